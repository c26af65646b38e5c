import { fileURLToPath } from "node:url";
import type { Batch, Optimizer } from "@rondo/algorithms";
import { randomFromSeed } from "@rondo/kernels";
import { webgpuDevice } from "@rondo/testkit/webgpu-device";
import * as ort from "onnxruntime-node";
import { afterAll, describe, expect, test, vi } from "vitest";
import { layoutOfSpec } from "../../testkit/src/model-spec.js";
import { trainerConformance } from "../../testkit/src/trainer-conformance.js";
import { importOnnxFile } from "../src/import/import-model.js";
import { lenet, mlp, resnet8 } from "../src/models/classifiers.js";
import { gpt2 } from "../src/models/gpt2.js";
import { llama } from "../src/models/llama.js";
import { type ModelBlueprint, normal } from "../src/models/model-writer.js";
import { createOnnxTrainer, type OnnxTrainer, type OnnxTrainerOptions } from "../src/session/trainer.js";
import { norm, relativeError } from "./compare.js";
import { checkExported, exportedBatches } from "./exported-models.js";
import { manifestOfSpec } from "./model-of-spec.js";
import { openWebgpu } from "./open-webgpu.js";

// Training on a WebGPU device, with no node of any graph on the CPU. Needs a Vulkan driver on Linux; a software one will do.

const device = await webgpuDevice(openWebgpu);
const WEBGPU = { device: "webgpu", strict: true } as const;
type Where = Pick<OnnxTrainerOptions, "device" | "threads" | "strict">;
const CPU = { device: "cpu", threads: 1 } as const;

describe.skipIf(device === undefined)("a trainer on WebGPU keeps the contract", () => {
	const trainers = new Map<string, OnnxTrainer>();
	afterAll(() => Promise.all([...trainers.values()].map((trainer) => trainer.dispose())));
	trainerConformance(
		test,
		async (spec) => {
			// Compiling shaders takes longer than all else: one trainer per model.
			const key = JSON.stringify(spec);
			const trainer =
				trainers.get(key) ?? (await createOnnxTrainer({ manifest: manifestOfSpec(spec), layout: layoutOfSpec(spec), ...WEBGPU }));
			trainers.set(key, trainer);
			const { loss, gradient, evaluate, begin } = trainer;
			return {
				loss: loss.bind(trainer),
				gradient: gradient.bind(trainer),
				evaluate: evaluate.bind(trainer),
				begin: begin.bind(trainer),
				description: trainer.description,
			};
		},
		{ localTraining: true },
	);
});

const TOKENS = 11;
const LENGTH = 5;

/** Rows of images, or of tokens whose labels are the next ones. */
function batchOf({ manifest }: ModelBlueprint, size: number, width: number, classes: number, seed: number): Batch {
	const random = randomFromSeed("batch").at(seed);
	const whole = (length: number, below: number): Int32Array =>
		Int32Array.from(random.words(0, new Uint32Array(length)), (word) => word % below);
	if ((manifest as { readonly loss: string }).loss === "causal-lm") {
		const tokens = whole(size * (LENGTH + 1), TOKENS);
		const part = (from: number): Int32Array => tokens.filter((_, i) => i % (LENGTH + 1) !== (from === 0 ? LENGTH : 0));
		return { size, inputs: part(0), labels: part(1) };
	}
	const inputs = new Float32Array(size * width);
	normal(1)(inputs, random);
	return { size, inputs, labels: whole(size, classes) };
}

const MODELS: readonly (readonly [name: string, model: ModelBlueprint, width: number, classes: number])[] = [
	["mlp", mlp({ inputs: 12, hidden: [9], classes: 5 }), 12, 5],
	["lenet", lenet({ size: 16, classes: 4 }), 256, 4],
	["resnet8", resnet8({ size: 8, channels: 2, classes: 4 }), 128, 4],
	["gpt2", gpt2({ vocabulary: TOKENS, contextLength: 8, width: 12, layers: 2, heads: 3 }), 0, 0],
	["llama", llama({ vocabulary: TOKENS, width: 16, hidden: 20, layers: 2, heads: 4, keyValueHeads: 2 }), 0, 0],
];

const OPTIMIZERS: readonly Optimizer[] = [
	{ kind: "sgd", momentum: 0.9, clipNorm: 1 },
	{ kind: "adam", epsilon: 1e-3, weightDecay: 0.1 },
];

/** What one device makes of a model: loss, gradient, and weights after steps on batches and micro-batches. */
async function outcome(model: ModelBlueprint, where: Where, batches: readonly Batch[]) {
	const trainer = await createOnnxTrainer({ ...model, ...where });
	const weights = model.initialWeights(randomFromSeed("fresh"));
	const gradient = new Float32Array(weights.length).fill(Number.NaN);
	const losses = [await trainer.gradient(weights, batches[0]!, gradient), await trainer.loss(weights, batches[0]!)];
	const trained: Float32Array[] = [];
	for (const optimizer of OPTIMIZERS) {
		const training = await trainer.begin(weights, optimizer);
		for (const batch of [...batches, batches]) losses.push(await training.step(batch, 0.02));
		const out = new Float32Array(weights.length);
		await training.read(out);
		trained.push(out);
		await training.dispose();
	}
	const metrics = await trainer.evaluate(trained[0]!, {
		numExamples: batches[0]!.size,
		batches: async function* () {
			yield batches[0]!;
		},
	});
	await trainer.dispose();
	return { weights, gradient, losses: [...losses, metrics.loss!], accuracy: metrics.accuracy, trained };
}

describe.skipIf(device === undefined)("models on WebGPU are trained as on the CPU", () => {
	test.each(MODELS)("%s", async (_name, model, width, classes) => {
		const batches = [0, 1].map((seed) => batchOf(model, 3, width, classes, seed));
		const wanted = await outcome(model, CPU, batches);
		const found = await outcome(model, WEBGPU, batches);
		for (const [i, loss] of wanted.losses.entries()) expect(Math.abs(found.losses[i]! / loss - 1), `loss ${i}`).toBeLessThan(1e-4);
		expect(found.accuracy).toBe(wanted.accuracy);
		const size = norm(wanted.gradient);
		for (const { name, from, to } of model.layout.tensors) {
			const part = (vector: Float32Array): Float32Array => vector.subarray(from, to);
			const [own, other] = [part(found.gradient), part(wanted.gradient)];
			// A bias that softmax ignores has no gradient, only rounding.
			if (norm(other) < 1e-5 * size) expect(norm(own), name).toBeLessThan(1e-5 * size);
			else expect(relativeError(own, other), `gradient of ${name}`).toBeLessThan(1e-4);
		}
		for (const [i, trained] of wanted.trained.entries()) {
			const moved = (vector: Float32Array): Float32Array => vector.map((value, j) => value - wanted.weights[j]!);
			expect(norm(moved(trained))).toBeGreaterThan(1e-3);
			expect(relativeError(moved(found.trained[i]!), moved(trained)), JSON.stringify(OPTIMIZERS[i])).toBeLessThan(1e-3);
			for (const { name, from, to } of model.layout.tensors)
				expect(relativeError(found.trained[i]!.subarray(from, to), trained.subarray(from, to)), name).toBeLessThan(1e-4);
		}
	});
});

test.skipIf(device === undefined)("the same masks drop the same on WebGPU as on the CPU", async () => {
	const file = fileURLToPath(new URL("../fixtures/models/dropout/dynamo-op18.onnx", import.meta.url));
	const { manifest, layout, weights } = await importOnnxFile(ort, file, { loss: "softmax-cross-entropy", dropout: true });
	const [batch] = exportedBatches("dropout", manifest.input) as [Batch];
	const train = async (where: Where): Promise<Float32Array> => {
		const trainer = await createOnnxTrainer({ manifest, layout, dropout: { random: randomFromSeed("masks") }, ...where });
		const training = await trainer.begin(weights, { kind: "sgd", momentum: 0.5 });
		for (let step = 0; step < 3; step++) await training.step(batch, 0.05);
		const out = new Float32Array(weights.length);
		await training.read(out);
		await trainer.dispose();
		// In the wrong order: tensors on a device must outlive their trainer.
		await training.dispose();
		return out.map((weight, i) => weight - weights[i]!);
	};
	const [found, wanted] = [await train(WEBGPU), await train(CPU)];
	expect(norm(wanted)).toBeGreaterThan(1e-3);
	expect(relativeError(found, wanted)).toBeLessThan(1e-3);
});

test.skipIf(device === undefined)("weights stay on the device for 120 steps, and every tensor that is replaced is given back", async () => {
	const model = mlp({ inputs: 12, hidden: [16], classes: 5 });
	const STEPS = 120;
	const weights = model.initialWeights(randomFromSeed("fresh"));
	const batches = Array.from({ length: STEPS }, (_, i) => batchOf(model, 8, 12, 5, i % 7));
	const train = async (where: Where): Promise<Float32Array> => {
		const trainer = await createOnnxTrainer({ ...model, ...where });
		const training = await trainer.begin(weights, { kind: "adam" });
		for (const batch of batches) await training.step(batch, 0.01);
		const out = new Float32Array(weights.length);
		await training.read(out);
		await training.dispose();
		await trainer.dispose();
		return out;
	};
	const wanted = await train(CPU);
	const disposed: string[] = [];
	const { dispose } = ort.Tensor.prototype;
	const spy = vi.spyOn(ort.Tensor.prototype, "dispose").mockImplementation(function (this: ort.Tensor) {
		disposed.push(this.location);
		dispose.call(this);
	});
	const found = await train(WEBGPU);
	spy.mockRestore();
	expect(relativeError(found, wanted)).toBeLessThan(1e-3);
	// Weights and two states each; the first ones come from the host, the last ones go with the training.
	const tensors = 3 * model.layout.tensors.length;
	expect(disposed.filter((location) => location === "gpu-buffer")).toHaveLength(tensors * STEPS);
	expect(disposed.filter((location) => location === "cpu")).toHaveLength(tensors);
});

/** One of each kind; the other ones are of the same operators. */
const EXPORTED = ["autoencoder", "bert", "depthwise", "gpt2", "groupnorm-resize", "gru", "llama", "lstm", "own-loss", "resnet"];

test.skipIf(device === undefined)("weights outlive the graph that made them, and the trainer", async () => {
	const model = mlp({ inputs: 12, hidden: [9], classes: 5 });
	const weights = model.initialWeights(randomFromSeed("fresh"));
	const results: number[][] = [];
	for (const where of [CPU, { device: "webgpu" } as const]) {
		const trainer = await createOnnxTrainer({ ...model, ...where });
		const training = await trainer.begin(weights, { kind: "sgd" });
		const losses = [await training.step(batchOf(model, 1, 12, 5, 0), 0.1)];
		// More sizes than a trainer keeps graphs for.
		for (let size = 2; size < 16; size++) await trainer.loss(weights, batchOf(model, size, 12, 5, size));
		losses.push(await training.step(batchOf(model, 20, 12, 5, 1), 0.1));
		await trainer.dispose();
		await training.dispose();
		results.push(losses);
	}
	for (const [i, loss] of results[0]!.entries()) expect(Math.abs(results[1]![i]! / loss - 1)).toBeLessThan(1e-4);
});

describe.skipIf(device === undefined)("exported models on WebGPU", () => {
	test.each(EXPORTED)("%s", (name) => checkExported(name, "dynamo-op18.onnx", WEBGPU, 1));
});
