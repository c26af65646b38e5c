import { type AnyStrategy, builtInReducers, builtInStrategies } from "@rondo/algorithms";
import { replayRun } from "@rondo/rounds";
import { layoutOf } from "@rondo/tensors";
import { describe, expect, test } from "vitest";
import { clientsOf, quadratic } from "../test/quadratic.js";
import type { SimulatedClient } from "./device.js";
import { type SimulateOptions, type SimulationResult, simulate } from "./simulate.js";

const fedavg = builtInStrategies.find(({ name }) => name === "fedavg") as AnyStrategy;
const HONEST = 9;
const ATTACKERS = 2;

/** Steps a thousand times too long, uphill. */
const hostile = (client: SimulatedClient): SimulatedClient => ({
	...client,
	trainer: {
		...quadratic,
		async gradient(weights, batch, out) {
			const loss = await quadratic.gradient(weights, batch, out);
			for (let j = 0; j < out.length; j++) out[j] = -1000 * (out[j]! + 1);
			return loss;
		},
	},
});

/** Clients of one mind, each with a little of its own; "c0" and "c4" are hostile. */
const clients = (attack: boolean): SimulatedClient[] =>
	clientsOf(HONEST + ATTACKERS).map((client, i) => {
		const rows = { ...client.data, numExamples: 4 };
		const honest = { ...client, data: { ...rows, batches: () => endless([3 + i / 16, -2, 1 - i / 16]) } };
		return attack && i % 4 === 0 && i < 8 ? hostile(honest) : honest;
	});

function* endless(row: readonly number[]) {
	for (;;) yield { size: 1, inputs: Float32Array.from(row), labels: new Int32Array(1) };
}

const run = (options: object, attack: boolean, change: Partial<SimulateOptions> = {}): Promise<SimulationResult> =>
	simulate({
		strategy: fedavg,
		options: {
			learningRate: 0.25,
			batchSize: 4,
			localEpochs: 2,
			cohortSize: HONEST + ATTACKERS,
			quorum: HONEST + ATTACKERS,
			absMax: 1e6,
			...options,
		},
		layout: layoutOf([{ name: "w", shape: [3] }]),
		initial: Float32Array.of(0, 0, 0),
		publicSeed: "1a".repeat(32),
		secretSeed: "2b".repeat(32),
		clients: clients(attack),
		rounds: 8,
		...change,
	});

const OPTIONS: Readonly<Record<string, object>> = {
	bulyan: { byzantine: ATTACKERS },
	"trimmed-mean": { byzantine: ATTACKERS },
	krum: { byzantine: ATTACKERS },
	"multi-krum": { byzantine: ATTACKERS },
};
const far = (weights: Float32Array): number => Math.max(...[3.3125, -2, 0.6875].map((x, j) => Math.abs(weights[j]! - x)));

test("the mean follows two hostile clients of eleven away", async () => {
	expect(far((await run({}, false)).weights!)).toBeLessThan(0.05);
	const { weights, rounds, phase } = await run({}, true, { rounds: 1 });
	expect([phase, rounds.length]).toEqual(["completed", 1]);
	expect(far(weights!)).toBeGreaterThan(100);
});

describe.each(builtInReducers.map(({ name }) => ({ name, options: { reducer: name, ...OPTIONS[name] } })))(
	"FedAvg with $name",
	({ name, options }) => {
		test("ends where the honest clients are, whoever reports first, and its log replays", async () => {
			const wanted = await run(options, true);
			// A bounded pull in each round still is one: norm bounds and projections slow the attack and do not end it.
			const bounded = name === "norm-bound" || name === "flag";
			expect(far(wanted.weights!)).toBeLessThan(bounded ? 2 : 0.5);
			const reversed = await run(options, true, { arrival: (tasks) => [...tasks].reverse() });
			expect(reversed.weights).toEqual(wanted.weights);
			expect(reversed.rounds.map(({ scores }) => scores)).toEqual(wanted.rounds.map(({ scores }) => scores));
			const { records, reports, engine } = wanted;
			const report = async (task: string) => reports.get(task)!;
			let steps = 0;
			for await (const { ok, what } of replayRun({ records, report, engine, head: records.at(-1)!.hash })) {
				expect(ok, what).toBe(true);
				steps++;
			}
			expect(steps).toBe(9);
		});

		test("scores hostile clients apart from honest ones", async () => {
			const { rounds } = await run(options, true, { rounds: 1 });
			const { scores } = rounds[0]!;
			expect(Object.keys(scores)).toHaveLength(HONEST + ATTACKERS);
			const [score] = ["distance", "sum", "norm", "agreement"].filter((one) => `reducer.${one}` in scores.c1!);
			const value = (client: string): number => (score === "agreement" ? -1 : 1) * scores[client]![`reducer.${score}`]!;
			const honest = Object.keys(scores).filter((client) => client !== "c0" && client !== "c4");
			for (const attacker of ["c0", "c4"]) for (const client of honest) expect(value(attacker)).toBeGreaterThan(value(client));
		});
	},
);
