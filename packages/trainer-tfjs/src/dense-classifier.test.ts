import { createHash } from "node:crypto";
import { randomFromSeed } from "@rondo/kernels";
import { tensorOf } from "@rondo/tensors";
import { expect, test } from "vitest";
import { denseClassifier } from "./dense-classifier.js";

const random = randomFromSeed("golden");
const mlp = () => denseClassifier({ inputs: 784, hidden: [64], classes: 10, random });

test("lays kernels and biases out layer by layer", () => {
	expect(mlp().layout.tensors).toEqual([
		{ name: "dense_0/kernel", shape: [784, 64], from: 0, to: 50_176 },
		{ name: "dense_0/bias", shape: [64], from: 50_176, to: 50_240 },
		{ name: "dense_1/kernel", shape: [64, 10], from: 50_240, to: 50_880 },
		{ name: "dense_1/bias", shape: [10], from: 50_880, to: 50_890 },
	]);
});

test("kernels start Glorot uniform, biases at zero", () => {
	const { layout, weights } = mlp();
	const kernel = tensorOf(layout, "dense_0/kernel", weights);
	const limit = Math.sqrt(6 / (784 + 64));
	expect(kernel.every((w) => Math.abs(w) <= limit)).toBe(true);
	// A uniform variate in ±limit has mean 0 and variance limit²/3.
	expect(Math.abs(kernel.reduce((a, b) => a + b, 0) / kernel.length)).toBeLessThan(0.02 * limit);
	expect(kernel.reduce((sum, w) => sum + w * w, 0) / kernel.length / (limit * limit)).toBeCloseTo(1 / 3, 2);
	for (const name of ["dense_0/bias", "dense_1/bias"]) expect(tensorOf(layout, name, weights).every((b) => b === 0)).toBe(true);
});

test("a seed gives the same bytes on every machine", () => {
	const digest = (weights: Float32Array): string => {
		const bytes = new DataView(new ArrayBuffer(4 * weights.length));
		for (const [i, w] of weights.entries()) bytes.setFloat32(4 * i, w, true);
		return createHash("sha256").update(bytes).digest("hex");
	};
	expect(digest(mlp().weights)).toBe("7307e92a68c9d2aa87e82a9f914ee6b989da749180a5b136a8651ae1785853a7");
	expect(digest(denseClassifier({ inputs: 784, hidden: [64], classes: 10, random: randomFromSeed("other") }).weights)).not.toBe(
		digest(mlp().weights),
	);
});

test("without hidden layers it is softmax regression from zero", () => {
	const { layout, weights } = denseClassifier({ inputs: 784, hidden: [], classes: 10, random });
	expect(layout.length).toBe(7850);
	expect(weights).toEqual(new Float32Array(7850));
});

test("names the option that is wrong", () => {
	const given = (options: object) => expect(() => denseClassifier({ inputs: 4, hidden: [], classes: 2, random, ...options }));
	given({ inputs: 0 }).toThrow("inputs must be an integer from 1 to 2^24, got 0");
	given({ hidden: [3, 2.5] }).toThrow("hidden[1] must be an integer from 1 to 2^24, got 2.5");
	given({ classes: 1 }).toThrow("classes must be an integer from 2 to 2^24, got 1");
	given({ inputs: 2 ** 24, hidden: [2 ** 24] }).toThrow("beyond 2^31");
});
