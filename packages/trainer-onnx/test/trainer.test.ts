import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Batch } from "@rondo/algorithms";
import { type Layout, layoutOf } from "@rondo/tensors";
import * as ort from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { layoutOfSpec, type ModelSpec } from "../../testkit/src/model-spec.js";
import { importOnnxFile } from "../src/import/import-model.js";
import { createOnnxTrainer, type OnnxTrainer } from "../src/session/trainer.js";
import { manifestOfSpec } from "./model-of-spec.js";

const SPEC: ModelSpec = { kind: "dense", loss: "softmax-cross-entropy", inputs: 20, hidden: [16], outputs: 5 };
const layout = layoutOfSpec(SPEC);
const manifest = manifestOfSpec(SPEC);
const MODELS = fileURLToPath(new URL("../fixtures/models", import.meta.url));

const wave = (length: number, phase = 0): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(1.7 * i + phase) / 2);
const batchOf = (size: number, phase = 0): Batch => ({
	size,
	inputs: wave(size * 20, phase),
	labels: Int32Array.from({ length: size }, (_, i) => (i + Math.round(phase)) % 5),
});
const weights = wave(layout.length);

async function gradientOf(trainer: OnnxTrainer, batch: Batch): Promise<readonly [number, Float32Array]> {
	const out = new Float32Array(layout.length);
	return [await trainer.gradient(weights, batch, out), out];
}

describe("a trainer", () => {
	let trainer: OnnxTrainer;
	beforeAll(async () => {
		trainer = await createOnnxTrainer({ manifest, layout, device: "cpu", threads: 1 });
	});
	afterAll(() => trainer.dispose());

	test("says what computes", () => {
		expect(trainer.device).toBe("cpu");
		expect(trainer.description).toMatch(/^onnxruntime 1\.[\d.]+ on cpu \(1 thread\)$/);
	});

	test("gives the same bytes on any number of threads", async () => {
		const other = await createOnnxTrainer({ manifest, layout, device: "cpu", threads: 2 });
		for (const size of [1, 7, 64]) expect(await gradientOf(other, batchOf(size))).toEqual(await gradientOf(trainer, batchOf(size)));
		await other.dispose();
	});

	test("takes more sizes of batches than it keeps graphs for", async () => {
		const first = await gradientOf(trainer, batchOf(1));
		for (let size = 2; size <= 30; size++) await trainer.loss(weights, batchOf(size));
		expect(await gradientOf(trainer, batchOf(1))).toEqual(first);
	});

	test("takes weights in shared memory, and writes there", async () => {
		const shared = new Float32Array(new SharedArrayBuffer(4 * layout.length));
		shared.set(weights);
		const out = new Float32Array(new SharedArrayBuffer(4 * layout.length));
		const batch = batchOf(4);
		const [loss, gradient] = await gradientOf(trainer, batch);
		expect(await trainer.gradient(shared, batch, out)).toBe(loss);
		expect([...out]).toEqual([...gradient]);
		shared[0]! += 1;
		expect(await trainer.loss(shared, batch)).not.toBe(loss);
	});

	test("sees weights that change in place", async () => {
		const changing = weights.slice();
		const batch = batchOf(4);
		const before = await trainer.loss(changing, batch);
		changing.fill(0);
		expect(await trainer.loss(changing, batch)).toBeCloseTo(Math.log(5), 6);
		expect(before).not.toBeCloseTo(Math.log(5), 3);
	});

	test("predicts what the loss is put on", async () => {
		const { dims, data } = await trainer.predict(weights, { size: 3, inputs: wave(60) });
		expect(dims).toEqual([3, 5]);
		// The model of the suite ends in a softmax.
		expect(data.slice(0, 5).reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 6);
	});

	test.each<[string, Batch, RegExp]>([
		["size", { ...batchOf(2), size: 0 }, /batch\.size must be a positive integer, got 0/],
		["inputs", { ...batchOf(2), inputs: wave(39) }, /batch\.inputs has 39 elements for 2 rows; .*"x" wants \[batch, 20\]/],
		[
			"labels",
			{ ...batchOf(2), labels: new Int32Array(3) },
			/batch\.labels has 3 elements for 2 rows; loss softmax-cross-entropy wants \[2\]/,
		],
		["kind of labels", { ...batchOf(2), labels: new Float32Array(2) }, /batch\.labels must be class indices/],
		["label", { ...batchOf(2), labels: Int32Array.of(1, 5) }, /batch\.labels\[1\] is 5, the model has 5 classes/],
	])("refuses a batch with a wrong %s", async (_name, batch, message) => {
		await expect(trainer.loss(weights, batch)).rejects.toThrow(message);
	});

	test("refuses vectors of another length", async () => {
		await expect(trainer.loss(new Float32Array(3), batchOf(2))).rejects.toMatchObject({
			code: "SHAPE_MISMATCH",
			message: expect.stringContaining("weights"),
		});
		await expect(trainer.gradient(weights, batchOf(2), new Float32Array(3))).rejects.toMatchObject({ code: "SHAPE_MISMATCH" });
		await expect(trainer.begin(new Float32Array(3), { kind: "sgd" })).rejects.toMatchObject({ code: "SHAPE_MISMATCH" });
	});
});

describe("devices", () => {
	test("auto ends at the CPU and says why not elsewhere", async () => {
		const trainer = await createOnnxTrainer({ manifest, layout });
		expect(trainer.description).toContain(`on ${trainer.device}`);
		if (trainer.device === "cpu") expect(trainer.description).toMatch(/not on cuda: .*not on webgpu: /);
		await trainer.dispose();
	});

	test("unknown and absent ones are errors", async () => {
		await expect(createOnnxTrainer({ manifest, layout, device: "abacus" as "cpu" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
		await expect(createOnnxTrainer({ manifest, layout, device: "directml" })).rejects.toMatchObject({
			code: "TRAINER_FAILED",
			message: expect.stringContaining("no device runs the model: directml"),
		});
		const absent = (name: string): Promise<unknown> =>
			Promise.reject(Object.assign(new Error(`Cannot find package '${name}'`), { code: "ERR_MODULE_NOT_FOUND" }));
		await expect(createOnnxTrainer({ manifest, layout, importModule: absent })).rejects.toMatchObject({
			code: "TRAINER_FAILED",
			message: expect.stringContaining("npm install onnxruntime-node"),
		});
	});

	test("a disposed trainer says so", async () => {
		const trainer = await createOnnxTrainer({ manifest, layout, device: "cpu" });
		await trainer.dispose();
		await trainer.dispose();
		await expect(trainer.loss(weights, batchOf(1))).rejects.toThrow("the trainer was disposed");
	});
});

describe("inputs beside the first", () => {
	const open = async (
		name: string,
		file: string,
		loss: string,
	): Promise<{ trainer: OnnxTrainer; layout: Layout; weights: Float32Array }> => {
		const imported = await importOnnxFile(ort, join(MODELS, name, file), { loss });
		const trainer = await createOnnxTrainer({ manifest: imported.manifest, layout: imported.layout, device: "cpu", threads: 1 });
		return { trainer, layout: imported.layout, weights: imported.weights };
	};

	test("a mask that is left out is of ones", async () => {
		const llama = await open("llama", "torchscript-op17.onnx", "causal-lm");
		const batch: Batch = {
			size: 2,
			inputs: Int32Array.from({ length: 12 }, (_, i) => i),
			labels: Int32Array.from({ length: 12 }, (_, i) => i + 1),
		};
		const whole = await llama.trainer.loss(llama.weights, batch);
		const mask = new Int32Array(12).fill(1);
		expect(await llama.trainer.loss(llama.weights, { ...batch, more: { attention_mask: mask } })).toBe(whole);
		mask[0] = 0;
		expect(await llama.trainer.loss(llama.weights, { ...batch, more: { attention_mask: mask } })).not.toBe(whole);
		await llama.trainer.dispose();
	});

	test("data may fill one batch again and again", async () => {
		const llama = await open("llama", "torchscript-op17.onnx", "causal-lm");
		const batch = { size: 1, inputs: Int32Array.of(1, 2, 3), labels: Int32Array.of(2, 3, 4) };
		const first = await llama.trainer.loss(llama.weights, batch);
		batch.inputs.set([5, 6, 7]);
		const second = await llama.trainer.loss(llama.weights, batch);
		expect(second).not.toBe(first);
		expect(second).toBe(await llama.trainer.loss(llama.weights, { ...batch, inputs: Int32Array.of(5, 6, 7) }));
		await llama.trainer.dispose();
	});

	test("one without a plain meaning must be given", async () => {
		const own = await importOnnxFile(ort, join(MODELS, "own-loss", "torchscript-op17.onnx"), { loss: "loss" });
		const trainer = await createOnnxTrainer({ manifest: { ...own.manifest, labels: undefined }, layout: own.layout, device: "cpu" });
		await expect(trainer.loss(own.weights, { size: 2, inputs: wave(2 * 8), labels: Int32Array.of(0, 1) })).rejects.toThrow(
			/nothing for the model's input "[a-z]+"; give it as batch\.more|batch\.inputs has/,
		);
		await trainer.dispose();
	});
});

describe("manifests", () => {
	test.each<[string, object, RegExp]>([
		["format", { format: "keras-layers" }, /manifest\.format must be "onnx", got "keras-layers"/],
		["graph", { graph: "AAAA" }, /manifest\.graph is not deflated base64/],
		["output", { output: "nothing" }, /manifest\.output must be an output of the graph/],
		["input", { input: 7 }, /manifest\.input must be a string, got 7/],
	])("refuses a wrong %s", async (_name, change, message) => {
		await expect(createOnnxTrainer({ manifest: { ...manifest, ...change }, layout, device: "cpu" })).rejects.toThrow(message);
	});

	test("refuses another layout", async () => {
		const other = layoutOf([{ name: "dense_0/kernel", shape: [20, 17] }]);
		await expect(createOnnxTrainer({ manifest, layout: other, device: "cpu" })).rejects.toMatchObject({ code: "SHAPE_MISMATCH" });
	});
});
