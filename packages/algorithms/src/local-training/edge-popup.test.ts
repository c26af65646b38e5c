import { randomFromSeed } from "@rondo/kernels";
import { layoutOf } from "@rondo/tensors";
import { describe, expect, it } from "vitest";
import { softmax, trainerOf } from "../../test/fixture.js";
import { dropLowest, droppedOf, edgePopup, fixedWeights, initialOrder, initialScores, rankedTensors, scoresOf } from "./edge-popup.js";

const random = randomFromSeed("edge popup");
const BATCH = {
	size: 4,
	inputs: Float32Array.of(1, 0.5, -0.25, 0.75, -1, 0.25, 0.5, -1.5),
	labels: Int32Array.of(0, 2, 1, 1),
};
/** Three classes on two features: a 3 × 2 layer and its biases. */
const LAYER = layoutOf([
	{ name: "weight", shape: [3, 2] },
	{ name: "bias", shape: [3] },
]);
const options = { sparsity: 0.5, outputAxis: "auto" } as const;

describe("the gradient", () => {
	const lossAndGradient = softmax(2, 3);
	const tensors = rankedTensors(LAYER, options);
	const theta = fixedWeights(LAYER.length, tensors, Math.SQRT2, random);
	const scores = Float32Array.of(0.5, 0.1, 0.4, 0.2, 0.6, 0.3, 0, 0, 0);
	/** The three lowest scores are dropped. */
	const mask = [1, 0, 1, 0, 1, 0, 0, 0, 0];
	const lossAt = (m: readonly number[]) =>
		lossAndGradient(
			m.map((factor, e) => factor * theta[e]!),
			BATCH,
		)[0];

	it("is that of the loss in the mask, for edges in the subnetwork and out of it", async () => {
		const out = new Float32Array(LAYER.length);
		const popup = edgePopup(trainerOf(lossAndGradient), theta, tensors);
		expect(await popup.gradient(scores, BATCH, out)).toBe(lossAt(mask));
		expect(await popup.loss(scores, BATCH)).toBe(lossAt(mask));
		const h = 1e-5;
		for (let e = 0; e < 6; e++) {
			const slope = (lossAt(mask.with(e, mask[e]! + h)) - lossAt(mask.with(e, mask[e]! - h))) / (2 * h);
			expect(Math.abs(out[e]! - slope)).toBeLessThan(1e-7);
			expect(Math.abs(slope)).toBeGreaterThan(1e-3);
		}
		expect([...out.subarray(6).map(Math.abs)]).toEqual([0, 0, 0]);
	});

	it("follows the scores: another order is another subnetwork", async () => {
		const popup = edgePopup(trainerOf(lossAndGradient), theta, tensors);
		const other = scores.slice();
		other[1] = 0.45;
		expect(await popup.loss(other, BATCH)).toBe(lossAt([1, 1, 0, 0, 1, 0, 0, 0, 0]));
		// Of equal scores those of the lower edges are the lower ones.
		expect(await popup.loss(new Float32Array(9), BATCH)).toBe(lossAt([0, 0, 0, 1, 1, 1, 0, 0, 0]));
		await expect(popup.loss(scores.with(2, Number.NaN), BATCH)).rejects.toThrow(expect.objectContaining({ code: "NOT_FINITE" }));
	});
});

it("a mask keeps n − ⌊(1 − k)·n⌋ edges, the highest, and training and vote agree which", async () => {
	for (const n of [1, 2, 3, 7, 10, 64, 1001]) {
		for (const sparsity of [0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999]) {
			const layout = layoutOf([{ name: "w", shape: [1, n] }]);
			const [tensor] = rankedTensors(layout, { ...options, sparsity });
			const order = initialOrder(tensor!, random);
			const weights = fixedWeights(n, [tensor!], 1, random);
			const theta = weights.slice();
			dropLowest(tensor!, order, weights);
			const kept = weights.reduce((count, weight) => count + (weight === 0 ? 0 : 1), 0);
			expect(kept).toBe(n - Math.floor((1 - sparsity) * n));
			expect(kept).toBe(n - droppedOf(n, sparsity));
			expect(kept).toBeGreaterThan(0);
			for (const e of order.subarray(n - kept)) expect(weights[e]).toBe(theta[e]);
			let seen: number[] = [];
			const trainer = trainerOf((w) => {
				seen = Array.from(w);
				return [0, seen.map(() => 0)];
			});
			const scores = new Float32Array(n);
			scoresOf(tensor!, order, random, scores);
			await edgePopup(trainer, theta, [tensor!]).loss(scores, BATCH);
			expect(seen).toEqual([...weights]);
		}
	}
});

it("weights are ± gain / √fanIn with fair signs of the run's seed, and 0 where nothing is ranked", () => {
	const layout = layoutOf([
		{ name: "bias", shape: [5] },
		{ name: "weight", shape: [100, 64] },
	]);
	const tensors = rankedTensors(layout, options);
	const weights = fixedWeights(layout.length, tensors, Math.SQRT2, random);
	expect([...weights.subarray(0, 5)]).toEqual([0, 0, 0, 0, 0]);
	expect(new Set(weights.subarray(5).map(Math.abs))).toEqual(new Set([Math.fround(Math.SQRT2 / 8)]));
	const positive = weights.reduce((count, weight) => count + (weight > 0 ? 1 : 0), 0);
	// Five standard deviations of 6,400 tosses.
	expect(Math.abs(positive - 3200)).toBeLessThan(200);
	expect(fixedWeights(layout.length, tensors, Math.SQRT2, randomFromSeed("another"))).not.toEqual(weights);
});

it("scores start uniform in [0, 1/√fanIn), and every ranking has the same values", () => {
	const [tensor] = rankedTensors(layoutOf([{ name: "weight", shape: [100, 64] }]), options);
	const scores = initialScores(tensor!, random);
	expect(scores.every((score) => score >= 0 && score <= 1 / 8)).toBe(true);
	expect(Math.abs(scores.reduce((sum, score) => sum + score, 0) / 6400 - 1 / 16)).toBeLessThan(0.0025);
	const order = initialOrder(tensor!, random);
	const again = new Float32Array(6400);
	scoresOf(tensor!, order, random, again);
	expect(again).toEqual(scores);
	scoresOf(tensor!, order.toReversed(), random, again);
	expect(again.slice().sort()).toEqual(scores.slice().sort());
	expect(again).not.toEqual(scores);
});

it.each([
	["dense_0/kernel", [64, 10], "auto", 64],
	["kernel", [64, 10], "auto", 64],
	["conv2d.kernel", [5, 5, 3, 8], "auto", 75],
	["fc.weight", [10, 64], "auto", 64],
	["conv1.weight", [8, 3, 5, 5], "auto", 75],
	["h.0.mlp.c_fc.weight", [64, 256], "auto", 256],
	["h.0.mlp.c_fc.weight", [64, 256], "last", 64],
	["dense_0/kernel", [64, 10], "first", 10],
	["subkernel", [64, 10], "auto", 10],
] as const)("a unit of %s %j has, with outputs %s, %i inputs", (name, shape, outputAxis, fanIn) => {
	const [tensor] = rankedTensors(layoutOf([{ name, shape }]), { sparsity: 0.5, outputAxis });
	expect(tensor!.fanIn).toBe(fanIn);
});
