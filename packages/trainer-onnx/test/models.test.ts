import { randomFromSeed } from "@rondo/kernels";
import { denseClassifier } from "@rondo/trainer-tfjs";
import { describe, expect, it } from "vitest";
import { lenet, mlp, resnet8 } from "../src/models/classifiers.js";
import { gpt2 } from "../src/models/gpt2.js";
import { llama } from "../src/models/llama.js";
import { type ModelBlueprint, normal } from "../src/models/model-writer.js";
import { createOnnxTrainer } from "../src/session/trainer.js";
import { relativeError } from "./compare.js";
import { gpt2Reference, llamaReference } from "./reference-decoders.js";

const VOCABULARY = 13;
const LLAMA = { vocabulary: VOCABULARY, width: 16, hidden: 20, layers: 2, heads: 4 };
const GPT2 = { vocabulary: VOCABULARY, contextLength: 9, width: 12, layers: 2, heads: 3 };

/** Weights far from the small ones that training starts with, so that every part counts. */
function roughWeights({ layout }: ModelBlueprint): Float32Array {
	const weights = new Float32Array(layout.length);
	normal(0.5)(weights, randomFromSeed("rough"));
	return weights;
}

async function logits(model: ModelBlueprint, weights: Float32Array, rows: readonly (readonly number[])[]) {
	const trainer = await createOnnxTrainer({ ...model, device: "cpu", threads: 1 });
	try {
		return await trainer.predict(weights, { size: rows.length, inputs: Int32Array.from(rows.flat()) });
	} finally {
		await trainer.dispose();
	}
}

function expectClose(found: Float32Array, wanted: readonly number[]): void {
	expect(relativeError(found, wanted)).toBeLessThan(1e-5);
}

const ROWS = [
	[3, 0, 7, 7, 1, 12],
	[5, 11, 2, 2, 9, 4],
];

describe("decoders", () => {
	it.each([
		["llama", LLAMA],
		["llama, shared key and value heads", { ...LLAMA, keyValueHeads: 2 }],
		["llama, one key and value head", { ...LLAMA, keyValueHeads: 1 }],
		["llama, halves of a head rotated", { ...LLAMA, ropePairs: "halves" as const, ropeBase: 500 }],
		["llama, own head", { ...LLAMA, tiedHead: false, normEpsilon: 0.01 }],
	])("%s gives the logits of the float64 reference", async (_name, config) => {
		const model = llama(config);
		const weights = roughWeights(model);
		const { dims, data } = await logits(model, weights, ROWS);
		expect(dims).toEqual([2, 6, VOCABULARY]);
		expectClose(data, ROWS.flatMap((row) => llamaReference(config, model.layout, weights, row)).flat());
	});

	it("gpt2 gives the logits of the float64 reference", async () => {
		const model = gpt2(GPT2);
		const weights = roughWeights(model);
		const { dims, data } = await logits(model, weights, ROWS);
		expect(dims).toEqual([2, 6, VOCABULARY]);
		expectClose(data, ROWS.flatMap((row) => gpt2Reference(GPT2, model.layout, weights, row)).flat());
	});

	it("take sequences of other lengths, gpt2 up to its context", async () => {
		for (const [model, reference] of [
			[llama(LLAMA), llamaReference.bind(undefined, LLAMA)],
			[gpt2(GPT2), gpt2Reference.bind(undefined, GPT2)],
		] as const) {
			const weights = roughWeights(model);
			for (const row of [[4], [1, 2, 3, 4, 5, 6, 7, 8, 9]])
				expectClose((await logits(model, weights, [row])).data, reference(model.layout, weights, row).flat());
		}
		await expect(logits(gpt2(GPT2), roughWeights(gpt2(GPT2)), [Array.from({ length: 10 }, () => 1)])).rejects.toThrow(/does not run|input/);
	});

	it.each([
		["llama", llama({ ...LLAMA, width: 64, hidden: 172, heads: 8, keyValueHeads: 4, vocabulary: 512 }), 512],
		["gpt2", gpt2({ ...GPT2, width: 64, heads: 4, vocabulary: 96 }), 96],
	])("fresh %s knows nothing: the loss is ln V; its gradient is derived", async (_name, model, vocabulary) => {
		const trainer = await createOnnxTrainer({ ...model, device: "cpu", threads: 1 });
		const weights = model.initialWeights(randomFromSeed("fresh"));
		const inputs = Int32Array.from({ length: 32 }, (_, i) => (i * 37) % vocabulary);
		const batch = { size: 4, inputs, labels: inputs.map((token) => (token * 7 + 3) % vocabulary) };
		const gradient = new Float32Array(weights.length);
		const loss = await trainer.gradient(weights, batch, gradient);
		expect(Math.abs(loss - Math.log(vocabulary))).toBeLessThan(0.1);
		for (const { name, from, to } of model.layout.tensors)
			expect(
				gradient.subarray(from, to).some((value) => value !== 0),
				name,
			).toBe(true);
		const moved = weights.map((weight, i) => weight - 0.05 * gradient[i]!);
		expect(await trainer.loss(moved, batch)).toBeLessThan(loss);
		await trainer.dispose();
	});

	it("have the sizes that their documentation says", () => {
		expect(llama({ vocabulary: 512, width: 64, hidden: 172, layers: 5, heads: 8, keyValueHeads: 4 }).layout.length).toBe(260_032);
		expect(gpt2({ vocabulary: 96, contextLength: 128, width: 128, layers: 4, heads: 4 }).layout.length).toBe(822_016);
	});

	it("start from equal bytes for equal seeds, residual layers smaller", () => {
		const model = gpt2({ ...GPT2, width: 48, layers: 8 });
		const bytes = (seed: string): Buffer => Buffer.from(model.initialWeights(randomFromSeed(seed)).buffer);
		const weights = model.initialWeights(randomFromSeed("a"));
		expect(bytes("a").equals(bytes("a"))).toBe(true);
		expect(bytes("b").equals(bytes("a"))).toBe(false);
		const deviation = (name: string): number => {
			const { from, to } = model.layout.tensors.find((tensor) => tensor.name === name)!;
			return Math.sqrt(weights.subarray(from, to).reduce((sum, w) => sum + w * w, 0) / (to - from));
		};
		expect(deviation("transformer.h.3.mlp.c_fc.weight")).toBeCloseTo(0.02, 3);
		expect(deviation("transformer.h.3.mlp.c_proj.weight")).toBeCloseTo(0.02 / 4, 3);
	});

	it.each([
		[() => llama({ ...LLAMA, heads: 3 }), "width (16) must be a multiple of 2 · heads (6)"],
		[() => llama({ ...LLAMA, keyValueHeads: 3 }), "heads (4) must be a multiple of keyValueHeads (3)"],
		[() => llama({ ...LLAMA, layers: 0 }), "layers must be an integer from 1 to 2^24, got 0"],
		[() => gpt2({ ...GPT2, contextLength: 1.5 }), "contextLength must be an integer from 1 to 2^24, got 1.5"],
		[() => lenet({ size: 30 }), "size (30) must be a multiple of 4 (4)"],
	])("refuse sizes that do not fit (%#)", (build, message) => {
		expect(build).toThrow(message);
	});
});

describe("classifiers", () => {
	it.each([[[20]], [[]], [[7, 6]]])("mlp has the layout and the fresh weights of the dense classifier, hidden %j", (hidden) => {
		const options = { inputs: 12, hidden, classes: 5 };
		const model = mlp(options);
		const other = denseClassifier({ ...options, random: randomFromSeed("dense") });
		expect(model.layout).toEqual(other.layout);
		expect(model.initialWeights(randomFromSeed("dense"))).toEqual(other.weights);
	});

	it.each([
		["mlp", mlp({ inputs: 784, hidden: [200], classes: 10 }), 784, 159_010],
		["mlp without biases", mlp({ inputs: 784, hidden: [200], classes: 10, bias: false }), 784, 158_800],
		["lenet", lenet(), 784, 61_706],
		["resnet8", resnet8(), 3072, 78_042],
	])("%s learns a batch by heart", async (_name, model, width, parameters) => {
		expect(model.layout.length).toBe(parameters);
		const trainer = await createOnnxTrainer({ ...model, device: "cpu", threads: 2 });
		const inputs = new Float32Array(8 * width);
		normal(1)(inputs, randomFromSeed("images"));
		const batch = { size: 8, inputs, labels: Int32Array.of(3, 1, 4, 1, 5, 9, 2, 6) };
		const training = await trainer.begin(model.initialWeights(randomFromSeed("fresh")), { kind: "adam" });
		const losses: number[] = [];
		for (let step = 0; step < 30; step++) losses.push(await training.step(batch, 3e-3));
		expect(losses[0]).toBeGreaterThan(1.5);
		expect(losses.at(-1)).toBeLessThan(0.2);
		await training.dispose();
		await trainer.dispose();
	});
});
