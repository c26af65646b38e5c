// What robust reducers cost and what they are worth: `npm run bench:reducers`, after a build.
import { parseArgs } from "node:util";
import { ATTACKERS, ATTACKS, accuracyOf, CLIENTS } from "./attacks.mjs";
import { measureCost } from "./cost.mjs";

const USAGE = `usage: npm run bench:reducers -- [--part cost|attacks|all] [--lengths 1000000,10000000] [--reports 25] [--threads 1]
       [--seeds 1,2,3] [--rounds 20] [--alpha 1] [--reducers mean,median,...]

cost:    seconds and memory of one closed round, for each reducer and length of the model
attacks: accuracy of FedAvg on the digits, ${CLIENTS} clients of which ${ATTACKERS} lie; exits 1 when a reducer that should withstand it
         loses more than ten points to an attack, or when the mean does not`;
let values;
try {
	({ values } = parseArgs({
		options: {
			reducers: { type: "string" },
			part: { type: "string", default: "all" },
			lengths: { type: "string", default: "1000000,10000000" },
			reports: { type: "string", default: "25" },
			threads: { type: "string", default: "1" },
			seeds: { type: "string", default: "1,2,3" },
			rounds: { type: "string", default: "20" },
			alpha: { type: "string", default: "1" },
		},
	}));
	if (!["cost", "attacks", "all"].includes(values.part)) throw new Error(`--part must be cost, attacks or all, got ${values.part}`);
} catch (error) {
	process.stderr.write(`${error.message}\n\n${USAGE}\n`);
	process.exit(2);
}

const wanted = values.reducers?.split(",");
const reducers = (byzantine, ofBulyan) =>
	[
		{ reducer: "mean" },
		{ reducer: "median" },
		{ reducer: "trimmed-mean", byzantine },
		{ reducer: "geometric-median" },
		{ reducer: "krum", byzantine },
		{ reducer: "multi-krum", byzantine },
		{ reducer: "bulyan", byzantine: ofBulyan },
		{ reducer: "norm-bound" },
		{ reducer: "centered-clip" },
		{ reducer: "flag" },
	].filter(({ reducer }) => wanted === undefined || wanted.includes(reducer));
const numbers = (list) => list.split(",").map(Number);
const mebibytes = (bytes) => `${Math.round(bytes / 2 ** 20)} MiB`;
let failed = false;

if (values.part !== "attacks") {
	const [reports, threads] = [Number(values.reports), Number(values.threads)];
	console.log(
		`${reports} reports, ${threads} kernel thread(s); seconds of processor time; arrival: checks, and the sum of the mean; finish: the rest of the round`,
	);
	console.log("  elements  reducer           arrival s  finish s   peak RSS");
	for (const length of numbers(values.lengths)) {
		const rows = measureCost(length, reports, reducers(Math.floor((reports - 3) / 2), Math.floor((reports - 3) / 4)), threads);
		for (const { reducer, arrival, finish, peak } of rows)
			console.log(
				`${String(length).padStart(10)}  ${reducer.padEnd(16)} ${arrival.toFixed(2).padStart(10)} ${finish.toFixed(2).padStart(9)} ${mebibytes(peak).padStart(10)}`,
			);
		if (new Set(rows.map(({ model }) => model)).size !== rows.length) throw new Error("two reducers gave the same model");
	}
}

if (values.part !== "cost") {
	const setting = { rounds: Number(values.rounds), alpha: Number(values.alpha) };
	const seeds = numbers(values.seeds);
	console.log(
		`\naccuracy after ${setting.rounds} rounds, mean (least) of seeds ${values.seeds}; Dirichlet ${setting.alpha}; ${ATTACKERS} of ${CLIENTS} clients lie; *: a run failed`,
	);
	console.log(
		`${"reducer".padEnd(17)}${Object.keys(ATTACKS)
			.map((attack) => attack.padStart(17))
			.join("")}`,
	);
	for (const own of reducers(ATTACKERS, ATTACKERS)) {
		const means = [];
		let line = own.reducer.padEnd(17);
		for (const attack of Object.keys(ATTACKS)) {
			const results = [];
			for (const seed of seeds) results.push(await accuracyOf(own, attack, { ...setting, seed }));
			const mean = results.reduce((sum, { accuracy }) => sum + accuracy, 0) / results.length;
			const least = Math.min(...results.map(({ accuracy }) => accuracy));
			means.push(mean);
			line += `${results.some((result) => result.failed) ? "*" : ""}${mean.toFixed(3)} (${least.toFixed(3)})`.padStart(17);
		}
		console.log(line);
		const lost = means[0] - Math.min(...means.slice(1));
		if (own.reducer === "mean" ? lost < 0.1 : lost > 0.1) failed = true;
	}
}
process.exit(failed ? 1 : 0);
