import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { bytesOf, contentDigest } from "@rondo/algorithms";
import { randomFromSeed } from "@rondo/kernels";
import { readSafetensors } from "@rondo/tensors";
import { createOnnxTrainer, encodeGraph, type Graph, type Tensor } from "@rondo/trainer-onnx";
import { createTfjsTrainer, type LayersArchitecture } from "@rondo/trainer-tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeModel, summaryOf } from "./describe.js";
import { readModel } from "./read-model.js";

const exported = (name: string): string =>
	fileURLToPath(new URL(`../../../../packages/trainer-onnx/fixtures/models/${name}`, import.meta.url));

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "rondo-source-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("an ONNX file", () => {
	it("is told that training drops, where it says what", async () => {
		const choices = { loss: "softmax-cross-entropy", dropout: true };
		const model = await readModel(exported("dropout/torchscript-op17.onnx"), choices);
		expect(model.manifest).toMatchObject({ dropout: true });
		expect(describeModel(summaryOf(model))).toMatch(/dropout +in training/);
		await expect(readModel(exported("mlp/torchscript-op17.onnx"), choices)).rejects.toThrow("the model has no Dropout");
		await expect(readModel("dense:4-2", { dropout: true })).rejects.toThrow("--dropout goes with file.onnx");
	});

	it("gives weights, a description, and what people want to know of both", async () => {
		const model = await readModel(exported("resnet/torchscript-op17.onnx"), {
			loss: "softmax-cross-entropy",
			train: ["conv.*", "*.conv1.weight", "fc.*"],
			freeze: ["fc.bias"],
		});
		const { layout, weights } = readSafetensors(model.file);
		expect(layout).toEqual(model.layout);
		expect(weights.some((weight) => weight !== 0)).toBe(true);
		const summary = summaryOf(model);
		expect(summary).toMatchObject({
			parameters: 1194,
			bytes: 4776,
			loss: "softmax-cross-entropy",
			trainer: "gradient",
			input: "x",
			output: "logits",
			inputs: [{ name: "x", type: "float32", dims: ["batch", 3, 8, 8] }],
			outputs: [{ name: "logits", type: "float32", dims: ["batch", 5] }],
			trained: [
				{ name: "conv.weight", shape: [6, 3, 3, 3] },
				{ name: "layers.0.conv1.weight", shape: [6, 6, 3, 3] },
				{ name: "layers.1.conv1.weight", shape: [12, 6, 3, 3] },
				{ name: "fc.weight", shape: [5, 12] },
			],
		});
		expect(summary.frozen).toContain("fc.bias");
		const text = describeModel(summary, { name: "net" });
		expect(text).toMatch(/^name +net\n/);
		expect(text).toMatch(/loss +softmax-cross-entropy of logits\ngradients +can be derived/);
		expect(text).toContain("x: float32 [batch, 3, 8, 8] (the batch's inputs)");
		expect(text).toMatch(/not trained \(\d+\)\n( {2}\S+\n){20} {2}and \d+ more/);
	});

	it("says which weights were one", async () => {
		const model = await readModel(exported("gpt2/torchscript-op17.onnx"), { loss: "causal-lm" });
		expect(describeModel(summaryOf(model))).toMatch(
			/copies of one weight \(1\), trained as one\n {2}\S+ = transformer\.wte\.weight transposed$/,
		);
	});

	it("says why it has no gradients", async () => {
		const det: Graph = {
			opset: 18,
			domains: {},
			inputs: [{ name: "x", type: "float32", dims: ["batch", 2, 2] }],
			outputs: [{ name: "y", type: "float32", dims: ["batch"] }],
			initializers: new Map([["w", { type: "float32", dims: [2, 2], data: Float32Array.of(1, 2, 3, 4) }]]),
			nodes: [
				{ op: "MatMul", domain: "", name: "", inputs: ["x", "w"], outputs: ["xw"], attributes: {} },
				{ op: "Det", domain: "", name: "d", inputs: ["xw"], outputs: ["y"], attributes: {} },
			],
		};
		const file = join(folder, "det.onnx");
		await writeFile(file, encodeGraph(det));
		const summary = summaryOf(await readModel(file, { loss: "mse" }));
		expect(summary.trainer).toBe("loss");
		expect(describeModel(summary)).toMatch(/gradients +none: .*Det node "d".*fedkseed/);
	});

	it("gives large weights that are not trained as a file of their own, and is refused when what is left does not fit", async () => {
		const words = randomFromSeed("large").words(0, new Uint32Array(600 * 600));
		const large = (table: Tensor): Graph => ({
			opset: 18,
			domains: {},
			inputs: [{ name: "x", type: "float32", dims: ["batch", 600] }],
			outputs: [{ name: "y", type: "float32", dims: ["batch", 600] }],
			initializers: new Map<string, Tensor>([
				["base", { type: "float32", dims: [600, 600], data: Float32Array.from(words, (word) => word / 2 ** 32) }],
				["table", table],
				["head", { type: "float32", dims: [600], data: new Float32Array(600) }],
			]),
			nodes: [
				{ op: "MatMul", domain: "", name: "", inputs: ["x", "base"], outputs: ["h"], attributes: {} },
				{ op: "Cast", domain: "", name: "", inputs: ["table"], outputs: ["t"], attributes: { to: { int: 1 } } },
				{ op: "ReduceMean", domain: "", name: "", inputs: ["t"], outputs: ["mean"], attributes: { keepdims: { int: 0 } } },
				{ op: "Add", domain: "", name: "", inputs: ["h", "mean"], outputs: ["s"], attributes: {} },
				{ op: "Add", domain: "", name: "", inputs: ["s", "head"], outputs: ["y"], attributes: {} },
			],
		});
		const file = join(folder, "large.onnx");
		await writeFile(file, encodeGraph(large({ type: "int32", dims: [2], data: Int32Array.of(1, 2) })));
		const { layout, manifest, assets } = await readModel(file, { loss: "mse", freeze: ["base"] });
		expect(layout.length).toBe(600);
		const [[digest, asset]] = [...assets!] as [[string, Uint8Array]];
		expect(manifest).toMatchObject({ frozen: { digest }, assets: [{ digest, bytes: 4 * 360_000 }] });
		expect(contentDigest(bytesOf(readSafetensors(asset).weights))).toBe(digest);

		await writeFile(file, encodeGraph(large({ type: "uint32", dims: [360_000], data: words })));
		await expect(readModel(file, { loss: "mse", freeze: ["base"] })).rejects.toMatchObject({
			code: "TOO_LARGE",
			message: expect.stringMatching(/takes \d{7} bytes, clients take descriptions of at most 1048576$/),
		});
	});

	it.each([
		["mlp/external.onnx", {}, /needs --loss: softmax-cross-entropy, causal-lm, mse, binary-cross-entropy, or an output/],
		["mlp/external.onnx", { loss: "mean" }, /--loss must be one of .* or an output of the model \(logits\), got "mean"/],
		["mlp/external.onnx", { loss: "mse", train: ["nope"] }, /--train "nope" matches no weight/],
		["mlp/absent.onnx", { loss: "mse" }, /absent\.onnx cannot be read/],
		["mlp/reference.json", { loss: "mse" }, /is no ONNX file; --loss goes with file\.onnx/],
	])("%s with %j is refused", async (name, choices, message) => {
		await expect(readModel(exported(name), choices)).rejects.toThrow(message);
	});
});

describe("dense:…", () => {
	it("is one model for both trainers", async () => {
		const { layout, file, manifest } = await readModel("dense:12-7-3", { seed: "s" });
		const { weights } = readSafetensors(file);
		const random = randomFromSeed("batch");
		const inputs = Float32Array.from(random.words(0, new Uint32Array(5 * 12)), (word) => word / 2 ** 32);
		const batch = { size: 5, inputs, labels: Int32Array.of(0, 1, 2, 1, 0) };
		const { architecture } = manifest as { architecture: LayersArchitecture };
		const results: { readonly loss: number; readonly gradient: Float32Array }[] = [];
		for (const trainer of [
			await createOnnxTrainer({ manifest, layout, device: "cpu", threads: 1 }),
			await createTfjsTrainer({ architecture, layout, backend: "cpu" }),
		]) {
			const gradient = new Float32Array(layout.length);
			results.push({ loss: await trainer.gradient(weights, batch, gradient), gradient });
			await trainer.dispose?.();
		}
		const [onnx, tfjs] = results as [(typeof results)[0], (typeof results)[0]];
		expect(onnx.loss).toBeCloseTo(tfjs.loss, 5);
		for (const [i, value] of onnx.gradient.entries()) expect(value).toBeCloseTo(tfjs.gradient[i]!, 5);
		expect(Math.hypot(...onnx.gradient)).toBeGreaterThan(0.1);
	});

	it.each(["dense:784", "dense:784-", "dense:a-b", "net.pt"])("%s is refused", async (source) => {
		await expect(readModel(source)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
	});
});
