import { type AnyStrategy, builtInStrategies, type Vec, vecOf } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { layoutOf } from "@rondo/tensors";
import { describe, expect, test } from "vitest";
import { quadratic, rowsOf } from "../test/quadratic.js";
import type { SimulatedClient } from "./device.js";
import { type SimulateOptions, simulate } from "./simulate.js";

const fedkseed = builtInStrategies.find(({ name }) => name === "fedkseed")!;
const WIDTH = 40;
const client = (id: string, present: SimulatedClient["present"] = () => true): SimulatedClient => ({
	id,
	present,
	trainer: quadratic,
	data: rowsOf(
		WIDTH,
		Array.from({ length: 2 * WIDTH }, (_, j) => ((j * 7 + id.charCodeAt(1)) % 11) / 11),
	),
});
const setup = (options: object, change: Partial<SimulateOptions> = {}): SimulateOptions => ({
	strategy: fedkseed,
	options: { candidates: 64, localSteps: 10, learningRate: 0.01, cohortSize: 3, quorum: 1, verifyLog: true, ...options },
	layout: layoutOf([{ name: "w", shape: [WIDTH] }]),
	initial: Float32Array.from({ length: WIDTH }, (_, j) => j / WIDTH),
	publicSeed: "0a".repeat(32),
	secretSeed: "0b".repeat(32),
	clients: [client("c0"), client("c1"), client("c2", (round) => round >= 7)],
	rounds: 8,
	...change,
});

/** A coordinator that from this commit on hands out a ledger with one entry changed, and publishes the true one. */
const dishonest = (from: number): AnyStrategy => ({
	...fedkseed,
	task: (state, member, at) => {
		if (at.commit < from) return fedkseed.task(state, member, at);
		const { ledger } = state as { readonly ledger: Vec<"i32"> };
		const other = at.io.write("i32", ledger.length, (low, high) =>
			at.io.read(ledger, low, high).map((value, k) => value ^ (k === 5 ? 1 << 20 : 0)),
		);
		return fedkseed.task({ ...state, ledger: vecOf("i32", ledger.length, other.sha256) }, member, at);
	},
});

describe.each([{}, { rebaseEvery: 3 }, { noise: "noise/1", sampling: "pro" }])("ledgers that are compared with the log (%o)", (options) => {
	test("clients that are there, come late or come back go on", async () => {
		const result = await simulate(setup(options));
		expect([result.phase, result.refusals, result.rounds.at(-1)!.clients]).toEqual(["completed", [], ["c0", "c1", "c2"]]);
		const trusting = await simulate(setup({ ...options, verifyLog: false }));
		expect(trusting.weights).toEqual(result.weights);
	});

	test("nobody trains on a ledger that was not published", async () => {
		const strategy = dishonest(4);
		const { phase, refusals, rounds } = await simulate(setup(options, { strategy, settings: { maxReplans: 0 } }));
		expect([phase, rounds.length]).toEqual(["failed", 4]);
		expect(refusals.map(({ client, code, round }) => `${client} ${code} ${round}`).sort()).toEqual([
			"c0 MODEL_MISMATCH 5",
			"c1 MODEL_MISMATCH 5",
		]);
		const trusting = await simulate(setup({ ...options, verifyLog: false }, { strategy }));
		expect([trusting.phase, trusting.refusals]).toEqual(["completed", []]);
	});
});

test("skipped rounds do not come between", async () => {
	const strategy: AnyStrategy = {
		...fedkseed,
		train: async (task, { round, ...client }) => {
			if (round === 4 || round === 5) throw new RondoError("UNAVAILABLE", "nobody trains in this round");
			return fedkseed.train(task, { round, ...client });
		},
	};
	const result = await simulate(setup({ onMiss: "skip" }, { strategy }));
	expect(result.records.map(({ entry }) => entry.kind).filter((kind) => kind === "skip")).toHaveLength(2);
	expect(result.phase).toBe("completed");
	expect(new Set(result.refusals.map(({ round }) => round))).toEqual(new Set([4, 5]));
	// Round 6 names the commit of round 3.
	expect(result.state).toMatchObject({ commit: 8, step: 6 });
});

test("comparing costs one entry of the log for each client and round", async () => {
	const wide = 4096;
	const options = { candidates: 4096, localSteps: 200, learningRate: 1e-4, batchSize: 2, cohortSize: 1 };
	const one = {
		...client("c0"),
		data: rowsOf(
			wide,
			Array.from({ length: wide }, (_, j) => (j % 7) / 7),
		),
	};
	const change: Partial<SimulateOptions> = {
		clients: [one],
		layout: layoutOf([{ name: "w", shape: [wide] }]),
		initial: new Float32Array(wide),
		rounds: 3,
	};
	const [verified, trusting] = [await simulate(setup(options, change)), await simulate(setup({ ...options, verifyLog: false }, change))];
	const more = verified.rounds.map(({ bytesDown }, i) => bytesDown - trusting.rounds[i]!.bytesDown);
	// The task says that nothing was added yet.
	expect(more[0]).toBeLessThan(10);
	for (const bytes of more.slice(1)) expect(bytes).toBeLessThanOrEqual(500);
});
