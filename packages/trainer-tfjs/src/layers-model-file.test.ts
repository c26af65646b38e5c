import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomFromSeed } from "@rondo/kernels";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { denseClassifier } from "./dense-classifier.js";
import { loadLayersModel } from "./layers-model-file.js";
import { createTfjsTrainer } from "./trainer.js";

let root = "";
let folder = "";
let count = 0;
beforeAll(async () => {
	root = await mkdtemp(join(tmpdir(), "rondo-model-"));
});
beforeEach(async () => {
	folder = join(root, String(count++));
	await mkdir(folder);
});
afterAll(() => rm(root, { recursive: true }));

const path = (): string => join(folder, "model.json");
const bytesOf = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** Writes model.json and its weight files. */
async function write(shards: Record<string, Uint8Array>, json: unknown): Promise<void> {
	for (const [name, bytes] of Object.entries(shards)) await writeFile(join(folder, name), bytes);
	await writeFile(path(), JSON.stringify(json));
}

const model = denseClassifier({ inputs: 3, hidden: [2], classes: 2, random: randomFromSeed("file") });
const specs = model.layout.tensors.map(({ name, shape }) => ({ name, shape, dtype: "float32" }));
const good = () => ({ modelTopology: model.architecture as unknown, weightsManifest: [{ paths: ["w.bin"], weights: specs as object[] }] });

test("reads what was written, over several files", async () => {
	const bytes = bytesOf(model.weights);
	const json = { ...good(), weightsManifest: [{ paths: ["a.bin", "b.bin"], weights: specs }] };
	await write({ "a.bin": bytes.subarray(0, 10), "b.bin": bytes.subarray(10) }, json);
	expect(await loadLayersModel(path())).toEqual(model);
});

test("reads what TensorFlow.js saves, in the order of the model, whatever the order of the file", async () => {
	await tf.setBackend("cpu");
	const saved = tf.sequential({
		layers: [tf.layers.dense({ units: 4, inputShape: [3], activation: "tanh" }), tf.layers.dense({ units: 2 })],
	});
	let artifacts: tf.io.ModelArtifacts = {};
	await saved.save(
		tf.io.withSaveHandler(async (given) => {
			artifacts = given;
			return { modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(given) };
		}),
	);
	const weightSpecs = artifacts.weightSpecs!;
	const data = new Uint8Array(artifacts.weightData as ArrayBuffer);
	// Group 1 has the second layer, group 2 the first one: kernel 12 and bias 4 values come first in the saved data.
	await write(
		{ "first.bin": data.subarray(0, 64), "second.bin": data.subarray(64) },
		{
			modelTopology: { model_config: artifacts.modelTopology, keras_version: "2" },
			weightsManifest: [
				{ paths: ["second.bin"], weights: weightSpecs.slice(2) },
				{ paths: ["first.bin"], weights: weightSpecs.slice(0, 2) },
			],
		},
	);
	const { architecture, layout, weights } = await loadLayersModel(path());
	expect(layout.tensors.map(({ shape }) => shape)).toEqual([[3, 4], [4], [4, 2], [2]]);
	const batch = { size: 2, inputs: Float32Array.of(1, 2, 3, -1, 0, 1), labels: Int32Array.of(0, 1) };
	const wanted = tf.tidy(() => {
		const logits = saved.predict(tf.tensor2d(batch.inputs, [2, 3])) as tf.Tensor2D;
		return tf.losses.softmaxCrossEntropy(tf.oneHot(tf.tensor1d(batch.labels, "int32"), 2), logits).dataSync()[0]!;
	});
	const trainer = await createTfjsTrainer({ architecture, layout, backend: "cpu" });
	expect(await trainer.loss(weights, batch)).toBeCloseTo(wanted, 6);
	await trainer.dispose?.();
	saved.dispose();
});

test.each([
	["no object", () => [], "must hold a JSON object"],
	["no topology", () => ({ ...good(), modelTopology: undefined }), "architecture must be an object"],
	["no manifest", () => ({ ...good(), weightsManifest: undefined }), "weightsManifest must be an array"],
	["no lists", () => ({ ...good(), weightsManifest: [{ paths: "w.bin" }] }), "weightsManifest[0] must have arrays paths and weights"],
	[
		"a file elsewhere",
		() => ({ ...good(), weightsManifest: [{ paths: ["x/../../w.bin"], weights: specs }] }),
		"must lie beside model.json",
	],
	["an absolute file", () => ({ ...good(), weightsManifest: [{ paths: ["/etc/passwd"], weights: specs }] }), "must lie beside model.json"],
	[
		"too few weights",
		() => ({ ...good(), weightsManifest: [{ paths: ["w.bin"], weights: specs.slice(1) }] }),
		"declares 32 bytes of weights",
	],
	["other dtype", () => spoil({ dtype: "int32" }), 'weightsManifest[0].weights[0] (dense_0/kernel) must be plain float32, got "int32"'],
	["quantized", () => spoil({ quantization: { dtype: "uint8" } }), "must be plain float32, got quantized weights"],
	["huge shape", () => spoil({ shape: [2 ** 40, 2 ** 40] }), "beyond 2^31"],
	["negative shape", () => spoil({ shape: [-3, -2] }), "must hold non-negative integers, got -3"],
	["other name", () => spoil({ name: "dense_9/kernel" }), "dense_9/kernel"],
])("refuses %s", async (_, json, message) => {
	await write({ "w.bin": bytesOf(model.weights) }, json());
	await expect(loadLayersModel(path())).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringContaining(message) });
});

const spoil = (change: object): object => ({
	...good(),
	weightsManifest: [{ paths: ["w.bin"], weights: specs.map((spec, i) => (i === 0 ? { ...spec, ...change } : spec)) }],
});

test("refuses files that are missing or no JSON", async () => {
	await expect(loadLayersModel(path())).rejects.toMatchObject({ code: "NOT_FOUND" });
	await write({}, good());
	await expect(loadLayersModel(path())).rejects.toMatchObject({ code: "NOT_FOUND", message: expect.stringContaining("w.bin") });
	await writeFile(path(), "{");
	await expect(loadLayersModel(path())).rejects.toMatchObject({
		code: "INVALID_ARGUMENT",
		message: expect.stringContaining("is not JSON"),
	});
});
