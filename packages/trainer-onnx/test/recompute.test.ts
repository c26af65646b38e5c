import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Batch } from "@rondo/algorithms";
import { randomFromSeed } from "@rondo/kernels";
import { webgpuDevice } from "@rondo/testkit/webgpu-device";
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { decodeGraph } from "../src/graph/decode.js";
import { encodeGraph } from "../src/graph/encode.js";
import { readManifest } from "../src/model.js";
import { lenet, mlp } from "../src/models/classifiers.js";
import { gpt2 } from "../src/models/gpt2.js";
import { llama } from "../src/models/llama.js";
import type { ModelBlueprint } from "../src/models/model-writer.js";
import { withRecomputation } from "../src/recompute.js";
import { createOnnxTrainer, type OnnxTrainerOptions } from "../src/session/trainer.js";
import { specialize } from "../src/specialize.js";
import { gradientGraph, type ReadyGraph } from "../src/training-graph.js";
import { relativeError } from "./compare.js";
import { openWebgpu } from "./open-webgpu.js";

const TOKENS = 11;
const tokens = (size: number, length: number): Batch => {
	const ids = Int32Array.from({ length: size * length }, (_, i) => (i * 7) % TOKENS);
	return { size, inputs: ids, labels: ids.map((id) => (id + 7) % TOKENS) };
};
const numbers = (size: number, width: number, classes: number): Batch => ({
	size,
	inputs: Float32Array.from({ length: size * width }, (_, i) => Math.sin(0.7 * i)),
	labels: Int32Array.from({ length: size }, (_, i) => i % classes),
});

const MODELS: readonly (readonly [name: string, model: ModelBlueprint, batch: Batch])[] = [
	["mlp", mlp({ inputs: 16, hidden: Array(12).fill(32), classes: 5 }), numbers(32, 16, 5)],
	["lenet", lenet({ size: 16, classes: 4 }), numbers(4, 256, 4)],
	["gpt2", gpt2({ vocabulary: TOKENS, contextLength: 16, width: 12, layers: 5, heads: 3 }), tokens(4, 16)],
	["llama", llama({ vocabulary: TOKENS, width: 16, hidden: 20, layers: 5, heads: 4, keyValueHeads: 2 }), tokens(4, 16)],
];

/** Loss, gradient, and weights after two steps. */
async function outcome(model: ModelBlueprint, batch: Batch, where: Omit<OnnxTrainerOptions, "manifest" | "layout">) {
	const trainer = await createOnnxTrainer({ ...model, ...where });
	const weights = model.initialWeights(randomFromSeed("fresh"));
	const [gradient, after] = [new Float32Array(weights.length), new Float32Array(weights.length)];
	const loss = await trainer.gradient(weights, batch, gradient);
	const training = await trainer.begin(weights, { kind: "sgd", momentum: 0.5 });
	await training.step(batch, 0.1);
	await training.step([batch, batch], 0.1);
	await training.read(after);
	await training.dispose();
	await trainer.dispose();
	return { loss, gradient, after };
}

/** A gradient's graph for a batch. */
async function gradientOf({ manifest, layout }: ModelBlueprint, { size, inputs }: Batch): Promise<ReadyGraph> {
	const model = readManifest(manifest, layout);
	const sizes = new Map(
		model.graph.inputs.map(({ name, dims = [] }) => {
			const open = dims.flatMap((dim, i) => (typeof dim === "number" ? [] : [i]));
			return [name, dims.map((dim, i) => (typeof dim === "number" ? dim : i === open[0] ? size : inputs.length / size))];
		}),
	);
	return gradientGraph(model, await specialize(ort, model.graph, { inputs: sizes }));
}

describe.each(MODELS)("%s", (_name, model, batch) => {
	test("is trained as without recomputation", async () => {
		const wanted = await outcome(model, batch, { device: "cpu", threads: 1 });
		const found = await outcome(model, batch, { device: "cpu", threads: 1, recompute: true });
		expect(found.loss).toBeCloseTo(wanted.loss, 6);
		expect(relativeError(found.gradient, wanted.gradient)).toBeLessThan(1e-5);
		expect(relativeError(found.after, wanted.after)).toBeLessThan(1e-6);
	});

	test("is computed a second time, also after ONNX Runtime has made one of what is equal", async () => {
		const ready = await gradientOf(model, batch);
		const weights = new Set(model.layout.tensors.map(({ name }) => name));
		const twice = withRecomputation(ready, weights);
		const folder = mkdtempSync(join(tmpdir(), "rondo-recompute-"));
		const products = async ({ graph }: ReadyGraph, name: string): Promise<number> => {
			const file = join(folder, name);
			const options = { optimizedModelFilePath: file, logSeverityLevel: 3 } as const;
			await (await ort.InferenceSession.create(encodeGraph(graph), options)).release();
			return decodeGraph(readFileSync(file)).nodes.filter(({ op }) => /MatMul|Gemm|Conv/.test(op)).length;
		};
		const [once, again] = [await products(ready, "once.onnx"), await products(twice, "twice.onnx")];
		rmSync(folder, { recursive: true });
		const forward = ready.graph.nodes.filter(({ op, outputs }) => /MatMul|Gemm|Conv/.test(op) && !outputs[0]!.startsWith("rondo/")).length;
		expect(again - once).toBeGreaterThanOrEqual(Math.floor(forward / 4));
		expect(again - once).toBeLessThan(forward);
	});
});

test("what crosses no cut is not kept: a gradient reads only results of the last part, and what crosses cuts", async () => {
	const [, model, batch] = MODELS[0]!;
	const ready = await gradientOf(model, batch);
	const { graph } = withRecomputation(ready, new Set(model.layout.tensors.map(({ name }) => name)));
	const forward = new Set(graph.nodes.flatMap(({ outputs }) => outputs).filter((name) => !name.startsWith("rondo/")));
	const readBackward = new Set(
		graph.nodes
			.filter(({ outputs }) => outputs[0]!.startsWith("rondo/"))
			.flatMap(({ inputs }) => inputs.filter((name) => forward.has(name))),
	);
	const before = new Set(
		ready.graph.nodes
			.filter(({ outputs }) => outputs[0]!.startsWith("rondo/"))
			.flatMap(({ inputs }) => inputs.filter((name) => forward.has(name))),
	);
	expect(readBackward.size).toBeLessThan(before.size / 1.5);
});

test("a model of one part stays as it is", async () => {
	const model = mlp({ inputs: 4, hidden: [], classes: 2 });
	const ready = await gradientOf(model, numbers(3, 4, 2));
	expect(withRecomputation(ready, new Set(model.layout.tensors.map(({ name }) => name)))).toBe(ready);
});

test.skipIf((await webgpuDevice(openWebgpu)) === undefined)("on a WebGPU device", async () => {
	const [, model, batch] = MODELS[2]!;
	const wanted = await outcome(model, batch, { device: "cpu", threads: 1 });
	const found = await outcome(model, batch, { device: "webgpu", strict: true, recompute: true });
	expect(relativeError(found.gradient, wanted.gradient)).toBeLessThan(1e-4);
	expect(relativeError(found.after, wanted.after)).toBeLessThan(1e-5);
});
