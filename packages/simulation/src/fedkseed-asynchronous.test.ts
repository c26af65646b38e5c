import { builtInStrategies, type Vec } from "@rondo/algorithms";
import { unpackBits } from "@rondo/kernels";
import { decodeReport, type LogRecord, replayRun } from "@rondo/rounds";
import { layoutOf } from "@rondo/tensors";
import { expect, test } from "vitest";
import { quadratic, rowsOf } from "../test/quadratic.js";
import { type SimulateOptions, simulate } from "./simulate.js";

const WIDTH = 12;
const K = 64;
const UNIT = 2 ** -30;
const MAX_EXAMPLES = 6;
/** η of a round, from the definition of the schedule. */
const rate = (round: number): number => 0.05 - (0.05 - 0.01) * Math.min(1, (round - 1) / 10);

/** Client i has i + 1 examples, and needs as much time for each as all others. */
const setup: SimulateOptions = {
	strategy: builtInStrategies.find(({ name }) => name === "fedkseed")!,
	options: {
		...{ candidates: K, localSteps: 10, maxStaleness: 3, cohortSize: 3, overSelect: 2, quorum: 1, maxExamples: MAX_EXAMPLES },
		...{ learningRate: 0.05, schedule: "linear", scheduleRounds: 10, finalLearningRate: 0.01 },
	},
	layout: layoutOf([{ name: "w", shape: [WIDTH] }]),
	initial: Float32Array.from({ length: WIDTH }, (_, j) => 1 + j / WIDTH),
	publicSeed: "0a".repeat(32),
	secretSeed: "0b".repeat(32),
	clients: Array.from({ length: 6 }, (_, i) => ({
		id: `c${i}`,
		trainer: quadratic,
		data: rowsOf(
			WIDTH,
			Array.from({ length: WIDTH * (i + 1) }, (_x, j) => ((j * 7 + i) % 11) / 11),
		),
	})),
	rounds: 14,
	behaviour: { examplesPerSecond: 1 },
};

type Row = LogRecord["accepted"][number];

/** Σ w·Σ η·g / Σ w for each candidate in float64, from the reports as they travelled. */
function meanOf(
	rows: readonly Row[],
	header: (row: Row) => readonly unknown[],
	weightOf: (row: Row) => number,
	etaOf: (row: Row) => number,
) {
	const mean = new Float64Array(K);
	const total = rows.reduce((sum, row) => sum + weightOf(row), 0);
	for (const row of rows) {
		const [packed, gradients] = header(row) as [Uint8Array, Float32Array];
		const candidates = unpackBits(packed, 6, gradients.length);
		gradients.forEach((g, i) => {
			mean[candidates[i]!]! += (weightOf(row) / total) * etaOf(row) * g;
		});
	}
	return mean;
}

test("slow clients report late; the log replays, and the ledger is what its rows say", async () => {
	const { phase, refusals, records, reports, engine, store, weights } = await simulate(setup);
	expect([phase, refusals, records.length]).toEqual(["completed", [], 15]);
	const staleness = records.flatMap(({ accepted }) => accepted.map((row) => row.staleness));
	expect(new Set(staleness).size).toBeGreaterThan(2);
	expect(Math.max(...staleness)).toBeLessThanOrEqual(3);

	let steps = 0;
	for await (const { ok } of replayRun({ records, report: async (task) => reports.get(task)!, engine })) steps += ok ? 1 : 0;
	expect(steps).toBe(15);

	const header = ({ task }: Row) => decodeReport(reports.get(task)!).header as readonly unknown[];
	// The exact sum's weights are multiples of 2^-32 of the largest.
	const share = (weight: number) => Math.round((2 ** 32 * weight) / MAX_EXAMPLES);
	const weightOf = ({ numExamples, staleness }: Row) => share(numExamples / Math.sqrt(1 + staleness));
	let before = new Int32Array(K);
	/** Farthest from the recomputation, in units, of ledger and of what forgets about staleness in one way or the other. */
	const furthest = { ours: 0, unweighted: 0, rateOfLanding: 0 };
	for (const { entry, accepted } of records) {
		if (entry.kind === "genesis") continue;
		const after = store.read(entry.publish as unknown as Vec<"i32">);
		// No round was skipped: the round that a client trained in is as many before as its staleness.
		for (const row of accepted) expect(header(row)[2]).toBe(entry.round - row.staleness);
		const eta = ({ staleness }: Row) => rate(entry.round - staleness);
		const variants = {
			ours: meanOf(accepted, header, weightOf, eta),
			unweighted: meanOf(accepted, header, ({ numExamples }) => share(numExamples), eta),
			rateOfLanding: meanOf(accepted, header, weightOf, () => rate(entry.round)),
		};
		for (const [name, mean] of Object.entries(variants)) {
			const distance = Math.max(...mean.map((value, k) => Math.abs(after[k]! - before[k]! - value / UNIT)));
			furthest[name as keyof typeof furthest] = Math.max(furthest[name as keyof typeof furthest], distance);
		}
		before = after.slice();
	}
	// Rounded once to a whole number of units.
	expect(furthest.ours).toBeLessThan(0.51);
	expect(Math.min(furthest.unweighted, furthest.rateOfLanding)).toBeGreaterThan(1000);

	const distance = (w: Float32Array) => Math.hypot(...w.map((value) => value - 5 / 11));
	expect(distance(weights!)).toBeLessThan(distance(setup.initial) / 2);
	store.verify();
});

test("equal seeds give equal bytes, with ledgers that are compared with the log too", async () => {
	const options = { ...(setup.options as object), verifyLog: true };
	const [first, again] = [await simulate({ ...setup, options }), await simulate({ ...setup, options })];
	expect([first.phase, first.refusals]).toEqual(["completed", []]);
	expect(again.records).toEqual(first.records);
	// What clients do differs in the log only: the ids of tasks, hence clients' secrets, are those of the run.
	expect(first.weights).toEqual((await simulate(setup)).weights);
});
