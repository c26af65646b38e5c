import { type AnyStrategy, builtInStrategies } from "@rondo/algorithms";
import { packBits } from "@rondo/kernels";
import { layoutOf } from "@rondo/tensors";
import { describe, expect, test } from "vitest";
import { quadratic, rowsOf } from "../test/quadratic.js";
import { type SimulateOptions, simulate } from "./simulate.js";

const fedkseed = builtInStrategies.find(({ name }) => name === "fedkseed")!;
const WIDTH = 40;
const CLIENTS = 6;
const CANDIDATES = 64;
const STEPS = 30;

type Forge = "honest" | "few candidates" | "all candidates";

/** One client reports the largest gradients there may be, for one candidate or for as many as it can, and claims a million examples. */
const attacked = (forge: Forge): AnyStrategy => ({
	...fedkseed,
	train: async (task, client) => {
		const work = await fedkseed.train(task, client);
		if (forge === "honest" || client.id !== "c5") return work;
		const candidates = Uint32Array.from({ length: STEPS }, (_, i) => (forge === "few candidates" ? 7 : 2 * i));
		return { ...work, header: [packBits(candidates, 6), new Float32Array(STEPS).fill(-1000)], numExamples: 1_000_000 };
	},
});

async function weightsAfter(forge: Forge, options: object, rounds: number): Promise<Float32Array> {
	const setup: SimulateOptions = {
		strategy: attacked(forge),
		options: { candidates: CANDIDATES, localSteps: STEPS, learningRate: 0.005, unit: 2 ** -16, cohortSize: CLIENTS, quorum: 1, ...options },
		layout: layoutOf([{ name: "w", shape: [WIDTH] }]),
		initial: Float32Array.from({ length: WIDTH }, (_, j) => j / WIDTH),
		publicSeed: "0a".repeat(32),
		secretSeed: "0b".repeat(32),
		clients: Array.from({ length: CLIENTS }, (_, i) => ({
			id: `c${i}`,
			trainer: quadratic,
			data: rowsOf(
				WIDTH,
				Array.from({ length: WIDTH * 3 }, (_x, j) => ((j * 7 + i) % 11) / 11),
			),
		})),
		rounds,
	};
	const { weights, phase, refusals } = await simulate(setup);
	expect([phase, refusals]).toEqual(["completed", []]);
	return weights!;
}

const distance = (a: Float32Array, b: Float32Array): number => Math.sqrt(a.reduce((sum, value, j) => sum + (value - b[j]!) ** 2, 0));

describe.each(["few candidates", "all candidates"] as const)("a client that invents gradients for %s", (forge) => {
	const moves = async (options: object, rounds = 1) =>
		distance(await weightsAfter(forge, options, rounds), await weightsAfter("honest", options, rounds));
	const progress = async (options: object, rounds = 1) =>
		distance(
			await weightsAfter("honest", options, rounds),
			Float32Array.from({ length: WIDTH }, (_, j) => j / WIDTH),
		);

	test("moves the mean as far as it likes", async () => {
		expect(await moves({})).toBeGreaterThan(100 * (await progress({})));
	});

	// Less than what all honest clients do together, instead of a hundred times as much.
	test.each([
		["capped norms", { aggregation: "norm-cap" }],
		["trimmed means", { aggregation: "trimmed-mean" }],
	])("moves %s by less than the honest clients do", async (_name, options) => {
		expect(await moves(options)).toBeLessThan(await progress(options));
	});

	test("moves capped norms by at most what the cap says", async () => {
		const [normCap, root] = [0.01, Math.sqrt(WIDTH * Math.min(CANDIDATES, STEPS))];
		// |Σ_k a_k z_k| ≤ Σ_k |a_k|·√d ≤ √(d·τ)·|a|, and the reports differ by at most 2·cap, one of six.
		expect(await moves({ aggregation: "norm-cap", normCap })).toBeLessThanOrEqual(((2 * normCap) / CLIENTS) * root);
	});
});

test.each([{ aggregation: "norm-cap" }, { aggregation: "trimmed-mean" }])("the model gets on under attack with %o", async (options) => {
	const target = await weightsAfter("honest", {}, 60);
	const start = distance(
		Float32Array.from({ length: WIDTH }, (_, j) => j / WIDTH),
		target,
	);
	expect(distance(await weightsAfter("few candidates", options, 60), target)).toBeLessThan(start / 2);
	expect(distance(await weightsAfter("few candidates", {}, 60), target)).toBeGreaterThan(10 * start);
});
