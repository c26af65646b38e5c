import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Batch, bytesOf, contentDigest } from "@rondo/algorithms";
import { readSafetensors, tensorOf, writeSafetensors } from "@rondo/tensors";
import { webgpuDevice } from "@rondo/testkit/webgpu-device";
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { type ImportedModel, type ImportOptions, importOnnx, importOnnxFile } from "../src/import/import-model.js";
import type { LoraOptions } from "../src/lora/apply-lora.js";
import { mergeLora, peftAdapter } from "../src/lora/export-lora.js";
import { exportOnnx } from "../src/models/export-onnx.js";
import { createOnnxTrainer, type OnnxTrainer } from "../src/session/trainer.js";
import { norm, relativeError } from "./compare.js";
import { openWebgpu } from "./open-webgpu.js";

const path = (file: string): string => fileURLToPath(new URL(`../fixtures/models/${file}`, import.meta.url));
const imported = (file: string, options: ImportOptions): Promise<ImportedModel> => importOnnxFile(ort, path(file), options);
const trainerOf = ({ manifest, layout, frozenWeights }: ImportedModel): Promise<OnnxTrainer> =>
	createOnnxTrainer({ manifest, layout, device: "cpu", threads: 1, ...(frozenWeights === undefined ? {} : { frozen: frozenWeights }) });

/** The first batch that the fixture has. */
function batchOf(file: string, input: string): Batch {
	interface Numbers {
		readonly type: string;
		readonly data: readonly number[];
	}
	const { batches } = JSON.parse(readFileSync(path(`${file.split("/")[0]}/reference.json`), "utf8")) as {
		readonly batches: readonly { readonly size: number; readonly inputs: Record<string, Numbers>; readonly labels: Numbers }[];
	};
	const { size, inputs, labels } = batches[0]!;
	const arrayOf = ({ type, data }: Numbers) => (type === "float32" ? Float32Array.from(data) : Int32Array.from(data));
	const { [input]: main, ...more } = inputs;
	return {
		size,
		inputs: arrayOf(main!),
		labels: arrayOf(labels),
		more: Object.fromEntries(Object.entries(more).map(([name, numbers]) => [name, arrayOf(numbers)])),
	};
}

/** Numbers that are not small, so that every part of an adapter counts. */
const rough = (length: number): Float32Array => Float32Array.from({ length }, (_, i) => 0.3 * Math.sin(1.7 * i + 0.3));

/** Row-major product of [m, k] and [k, n]. */
function product(a: Float32Array, b: Float32Array, k: number): Float32Array {
	const [m, n] = [a.length / k, b.length / k];
	const out = new Float32Array(m * n);
	for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) for (let l = 0; l < k; l++) out[i * n + j]! += a[i * k + l]! * b[l * n + j]!;
	return out;
}

function transposed(a: Float32Array, columns: number): Float32Array {
	const rows = a.length / columns;
	return Float32Array.from(a, (_, i) => a[(i % rows) * columns + Math.floor(i / rows)]!);
}

const CASES: readonly (readonly [file: string, loss: string, lora: LoraOptions, trained: number])[] = [
	// Products with weights that the exporter transposed, in two forms of names.
	["llama/torchscript-op17.onnx", "causal-lm", { targets: ["*.q_proj.weight", "*.v_proj.weight"], rank: 2, alpha: 6 }, 4],
	["llama/dynamo-op18.onnx", "causal-lm", { targets: ["*proj.weight"], rank: 3 }, 14],
	// PyTorch's own linear layers: Gemm with a transposed weight.
	["mlp/torchscript-op17.onnx", "softmax-cross-entropy", { targets: ["*"], rank: 4, alpha: 2 }, 2],
	// GPT-2's Conv1D: Gemm with a weight as it is.
	["gpt2/torchscript-op17.onnx", "causal-lm", { targets: ["*.c_attn.weight", "*.c_fc.weight"], rank: 2 }, 4],
	// A weight that the graph transposes.
	["bert/dynamo-op20.onnx", "softmax-cross-entropy", { targets: ["*.query.weight", "bert.pooler.*", "classifier.*"], rank: 2 }, 4],
];

describe.each(CASES)("%s, loss %s, %j", (file, loss, lora, count) => {
	test("computes the same at first; only adapters are trained", async () => {
		const [whole, adapted] = await Promise.all([imported(file, { loss }), imported(file, { loss, lora })]);
		const batch = batchOf(file, whole.manifest.input);
		const [plain, trainer] = await Promise.all([trainerOf(whole), trainerOf(adapted)]);
		expect(adapted.manifest.trainer).toBe("gradient");
		expect(adapted.layout.tensors.map(({ name }) => name.replace(/^.*\.(lora_[AB])\.weight$/, "$1"))).toEqual(
			Array.from({ length: count }, () => ["lora_A", "lora_B"]).flat(),
		);
		expect(await trainer.loss(adapted.weights, batch)).toBeCloseTo(await plain.loss(whole.weights, batch), 5);
		await Promise.all([plain.dispose(), trainer.dispose()]);
	});

	test("merged weights compute the same, and gradients are those that the merged weights imply", async () => {
		const [whole, adapted] = await Promise.all([imported(file, { loss }), imported(file, { loss, lora })]);
		const batch = batchOf(file, whole.manifest.input);
		const [plain, trainer] = await Promise.all([trainerOf(whole), trainerOf(adapted)]);
		const weights = rough(adapted.layout.length);
		const model = { manifest: adapted.manifest, layout: adapted.layout, weights };
		const merged = mergeLora(model, adapted.frozenWeights);
		expect(merged.layout.tensors.map(({ name }) => name).sort()).toEqual(whole.layout.tensors.map(({ name }) => name).sort());

		const asTrained = new Float32Array(whole.layout.length);
		const flipped = new Set(whole.manifest.transposed);
		for (const { name, shape, from } of whole.layout.tensors) {
			const values = tensorOf(merged.layout, name, merged.weights);
			asTrained.set(flipped.has(name) ? transposed(values, shape[0]!) : values, from);
		}
		const [before, after] = [await plain.loss(whole.weights, batch), await trainer.loss(weights, batch)];
		expect(Math.abs(after - before)).toBeGreaterThan(1e-3);
		expect(Math.abs((await plain.loss(asTrained, batch)) / after - 1)).toBeLessThan(1e-5);

		const dense = new Float32Array(whole.layout.length);
		const actual = new Float32Array(adapted.layout.length);
		await plain.gradient(asTrained, batch, dense);
		await trainer.gradient(weights, batch, actual);
		const { rank, alpha, targets } = adapted.manifest.lora!;
		for (const { weight, a, b, order } of targets) {
			const shape = whole.layout.tensors.find(({ name }) => name === weight)!.shape;
			const [rows, columns] = order === "in-out" ? shape : shape.toReversed();
			const g = tensorOf(whole.layout, weight, dense);
			const inOut = order === "in-out" ? g : transposed(g, shape[1]!);
			const scaled = inOut.map((value) => (value * alpha) / rank);
			// d/dA = s·G·Bᵀ, d/dB = s·Aᵀ·G, where G is the derivative by the merged weight.
			const [valuesA, valuesB] = [tensorOf(adapted.layout, a, weights), tensorOf(adapted.layout, b, weights)];
			const wantedA = product(scaled, transposed(valuesB, columns!), columns!);
			const wantedB = product(transposed(valuesA, rank), scaled, rows!);
			expect(Math.min(norm(wantedA), norm(wantedB))).toBeGreaterThan(1e-3);
			expect(relativeError(tensorOf(adapted.layout, a, actual), wantedA), a).toBeLessThan(1e-4);
			expect(relativeError(tensorOf(adapted.layout, b, actual), wantedB), b).toBeLessThan(1e-4);
		}
		await Promise.all([plain.dispose(), trainer.dispose()]);
	});
});

describe("adapters", () => {
	const LLAMA = "llama/torchscript-op17.onnx";
	const LORA = { targets: ["*.q_proj.weight"], rank: 2, alpha: 6 };

	test("the derivative along a direction is the slope of the loss", async () => {
		const model = await imported(LLAMA, { loss: "causal-lm", lora: LORA });
		const trainer = await trainerOf(model);
		const batch = batchOf(LLAMA, model.manifest.input);
		const at = rough(model.layout.length);
		const gradient = new Float32Array(at.length);
		await trainer.gradient(at, batch, gradient);
		const step = 2e-2 / norm(gradient);
		const along = (sign: number): Promise<number> =>
			trainer.loss(
				at.map((value, i) => value + sign * step * gradient[i]!),
				batch,
			);
		const slope = ((await along(1)) - (await along(-1))) / (2 * step);
		expect(Math.abs(slope / norm(gradient) ** 2 - 1)).toBeLessThan(1e-3);
		await trainer.dispose();
	});

	test("are drawn from the seed, within ±1/√in", async () => {
		const weightsOf = async (seed?: string): Promise<ImportedModel> =>
			imported(LLAMA, { loss: "causal-lm", lora: { ...LORA, ...(seed === undefined ? {} : { seed }) } });
		const [first, again, other] = [await weightsOf(), await weightsOf("0"), await weightsOf("1")];
		expect(again.weights).toEqual(first.weights);
		expect(other.weights).not.toEqual(first.weights);
		const a = tensorOf(first.layout, "model.layers.0.self_attn.q_proj.lora_A.weight", first.weights);
		const [rows] = first.layout.tensors[0]!.shape;
		const bound = 1 / Math.sqrt(rows!);
		expect(Math.max(...a.map(Math.abs))).toBeLessThanOrEqual(bound);
		expect(Math.max(...a)).toBeGreaterThan(0.7 * bound);
		expect(Math.min(...a)).toBeLessThan(-0.7 * bound);
		expect(norm(tensorOf(first.layout, "model.layers.0.self_attn.q_proj.lora_B.weight", first.weights))).toBe(0);
	});

	test("and chosen weights are trained together", async () => {
		const { layout, manifest, frozen, frozenWeights } = await imported(LLAMA, { loss: "causal-lm", lora: LORA, train: ["lm_head.*"] });
		expect(layout.tensors.map(({ name }) => name)).toContain("lm_head.weight");
		expect(layout.tensors).toHaveLength(5);
		expect(frozen).toContain("model.layers.0.self_attn.q_proj.weight");
		const merged = mergeLora({ manifest, layout, weights: rough(layout.length) }, frozenWeights);
		expect(merged.layout.tensors.filter(({ name }) => name === "lm_head.weight")).toHaveLength(1);
	});

	describe("of several clients, averaged", () => {
		const MLP = "mlp/torchscript-op17.onnx";
		const loss = "softmax-cross-entropy";
		const mean = (x: Float32Array, y: Float32Array): Float32Array => x.map((value, i) => (value + y[i]!) / 2);
		/** How far the average of merged models is from the merged average. */
		async function apart(freezeA: boolean): Promise<number> {
			const { manifest, layout, weights, frozenWeights } = await imported(MLP, { loss, lora: { targets: ["*"], rank: 3, freezeA } });
			const [one, two] = [rough(layout.length), weights.map((value, i) => value + 0.4 * Math.cos(2.3 * i))];
			const merged = (values: Float32Array): Float32Array => mergeLora({ manifest, layout, weights: values }, frozenWeights).weights;
			const [averaged, average] = [merged(mean(one, two)), mean(merged(one), merged(two))];
			return norm(averaged.map((value, i) => value - average[i]!)) / norm(average);
		}

		test("are not the average of what they do, unless A is frozen", async () => {
			expect(await apart(false)).toBeGreaterThan(0.05);
			expect(await apart(true)).toBeLessThan(1e-6);
		});

		test("with A frozen, half the kinds of matrices are trained, with the same gradient", async () => {
			const lora = { targets: ["*"], rank: 3 };
			const [both, alone] = [await imported(MLP, { loss, lora }), await imported(MLP, { loss, lora: { ...lora, freezeA: true } })];
			const [trainer, trainerOfB] = await Promise.all([trainerOf(both), trainerOf(alone)]);
			const batch = batchOf(MLP, both.manifest.input);
			expect(alone.layout.tensors.map(({ name }) => name)).toEqual(
				both.layout.tensors.map(({ name }) => name).filter((name) => name.includes("lora_B")),
			);
			expect(alone.frozen.filter((name) => name.includes("lora_A"))).toHaveLength(alone.layout.tensors.length);
			const b = rough(alone.layout.length);
			const full = both.weights.slice();
			for (const { name } of alone.layout.tensors) tensorOf(both.layout, name, full).set(tensorOf(alone.layout, name, b));
			const [all, own] = [new Float32Array(full.length), new Float32Array(b.length)];
			expect(await trainerOfB.gradient(b, batch, own)).toBeCloseTo(await trainer.gradient(full, batch, all), 5);
			for (const { name } of alone.layout.tensors)
				expect(relativeError(tensorOf(alone.layout, name, own), tensorOf(both.layout, name, all)), name).toBeLessThan(1e-5);
			await Promise.all([trainer.dispose(), trainerOfB.dispose()]);
			// The files of PEFT have both matrices all the same.
			const whole = peftAdapter({ manifest: both.manifest, layout: both.layout, weights: full });
			expect(peftAdapter({ manifest: alone.manifest, layout: alone.layout, weights: b }, alone.frozenWeights)).toEqual(whole);
		});
	});

	test("in the files of PEFT", async () => {
		const { layout, manifest } = await imported(LLAMA, { loss: "causal-lm", lora: LORA });
		const weights = rough(layout.length);
		const { config, ...file } = peftAdapter({ manifest, layout, weights });
		const modules = [0, 1].map((layer) => `model.layers.${layer}.self_attn.q_proj`);
		expect(config).toMatchObject({ peft_type: "LORA", task_type: "CAUSAL_LM", r: 2, lora_alpha: 6, target_modules: modules });
		const read = readSafetensors(writeSafetensors(file.layout, file.weights));
		expect(read.layout.tensors.map(({ name, shape }) => [name, shape])).toEqual(
			modules.flatMap((module) => [
				[`base_model.model.${module}.lora_A.weight`, [2, 16]],
				[`base_model.model.${module}.lora_B.weight`, [16, 2]],
			]),
		);
		const a = tensorOf(layout, `${modules[1]}.lora_A.weight`, weights);
		expect(tensorOf(read.layout, `base_model.model.${modules[1]}.lora_A.weight`, read.weights)).toEqual(transposed(a, 2));
	});

	test.each<[string, Partial<ImportOptions>, RegExp]>([
		[
			"a pattern that matches nothing",
			{ lora: { targets: ["*.query"] } },
			/^--lora "\*\.query" matches no weight of a matrix product; the model has .*q_proj\.weight/,
		],
		["an embedding", { lora: { targets: ["model.embed_tokens.weight"] } }, /matches no weight of a matrix product/],
		["no rank", { lora: { targets: ["*"], rank: 0 } }, /^--lora-rank must be a positive integer, got 0/],
		["half a rank", { lora: { targets: ["*"], rank: 1.5 } }, /^--lora-rank/],
		["no alpha", { lora: { targets: ["*"], alpha: 0 } }, /^--lora-alpha must be positive, got 0/],
		["what is frozen anyway", { lora: { targets: ["*"] }, freeze: ["lm_head.*"] }, /^--freeze does not go with --lora/],
	])("refuse %s", async (_name, options, message) => {
		await expect(imported(LLAMA, { loss: "causal-lm", ...options })).rejects.toMatchObject({
			code: "INVALID_ARGUMENT",
			message: expect.stringMatching(message),
		});
	});

	test("a head that is the embedding as well has none", async () => {
		await expect(imported("gpt2/dynamo-op18.onnx", { loss: "causal-lm", lora: { targets: ["*wte*", "lm_head*"] } })).rejects.toThrow(
			/matches no weight of a matrix product/,
		);
	});

	test("a model without them cannot be merged", async () => {
		const { manifest, layout, weights } = await imported("mlp/torchscript-op17.onnx", { loss: "softmax-cross-entropy" });
		expect(() => mergeLora({ manifest, layout, weights })).toThrow(/^manifest.lora is absent/);
		expect(() => peftAdapter({ manifest: { ...manifest, lora: { rank: 2 } }, layout, weights })).toThrow(/^manifest.lora must be/);
		const lora = { rank: 2, alpha: 2, base: [], targets: [{ weight: "0.weight", a: "0.weight", b: "2.weight", order: "in-out" }] };
		expect(() => peftAdapter({ manifest: { ...manifest, lora }, layout, weights })).toThrow(
			/"0\.weight" whose matrices do not go together/,
		);
	});
});

describe("frozen weights", () => {
	const FILE = "bert/torchscript-op17.onnx";
	const LOSS = "softmax-cross-entropy";

	test("leave the graph when they are large, and the others have the same gradient", async () => {
		const [whole, part] = await Promise.all([
			imported(FILE, { loss: LOSS }),
			imported(FILE, { loss: LOSS, train: ["classifier.*", "bert.embeddings.*"] }),
		]);
		const { frozen, assets } = part.manifest;
		expect(frozen!.digest).toBe(contentDigest(bytesOf(part.frozenWeights!)));
		expect(assets).toEqual([{ digest: frozen!.digest, bytes: 4 * frozen!.layout.length }]);
		expect(part.manifest.graph.length).toBeLessThan(whole.manifest.graph.length + 4096);
		expect(part.inputs.map(({ name }) => name)).toEqual(whole.inputs.map(({ name }) => name));
		const batch = batchOf(FILE, whole.manifest.input);
		const [plain, trainer] = await Promise.all([trainerOf(whole), trainerOf(part)]);
		const [all, some] = [new Float32Array(whole.layout.length), new Float32Array(part.layout.length)];
		expect(await trainer.gradient(part.weights, batch, some)).toBeCloseTo(await plain.gradient(whole.weights, batch, all), 5);
		for (const { name } of part.layout.tensors)
			expect(relativeError(tensorOf(part.layout, name, some), tensorOf(whole.layout, name, all)), name).toBeLessThan(1e-6);
		await Promise.all([plain.dispose(), trainer.dispose()]);
	});

	test("stay in the graph when they are small", async () => {
		const { manifest, frozen } = await imported("mlp/torchscript-op17.onnx", { loss: LOSS, freeze: ["0.*"] });
		expect(manifest.frozen).toBeUndefined();
		expect(manifest.assets).toBeUndefined();
		expect(frozen).toEqual(["0.weight", "0.bias"]);
	});

	test("are read where they lie, in steps too", async () => {
		const model = await imported(FILE, { loss: LOSS, train: ["classifier.*"] });
		const { manifest, layout, weights } = model;
		const values = model.frozenWeights!.slice();
		const trainer = await createOnnxTrainer({ manifest, layout, device: "cpu", frozen: new Uint8Array(values.buffer) });
		const batch = batchOf(FILE, manifest.input);
		const before = await trainer.loss(weights, batch);
		const local = await trainer.begin(weights, { kind: "sgd" });
		expect(await local.step(batch, 0)).toBeCloseTo(before, 5);
		expect(await local.step([batch, batch], 0)).toBeCloseTo(before, 5);
		values.fill(0);
		const without = await trainer.loss(weights, batch);
		expect(Math.abs(without - before)).toBeGreaterThan(1e-3);
		expect(await local.step(batch, 0)).toBeCloseTo(without, 5);
		await local.dispose();
		await trainer.dispose();
	});

	test("are fetched by their digest, copied when they are not aligned, and predict", async () => {
		const { manifest, layout, weights, frozenWeights } = await imported(FILE, { loss: LOSS, train: ["classifier.*"] });
		const odd = new Uint8Array(4 * frozenWeights!.length + 1);
		odd.set(bytesOf(frozenWeights!), 1);
		const asked: string[] = [];
		const frozen = async (digest: string): Promise<Uint8Array> => {
			asked.push(digest);
			return odd.subarray(1);
		};
		const [fetched, given] = await Promise.all([
			createOnnxTrainer({ manifest, layout, device: "cpu", frozen }),
			createOnnxTrainer({ manifest, layout, device: "cpu", frozen: frozenWeights! }),
		]);
		const batch = batchOf(FILE, manifest.input);
		expect(await fetched.predict(weights, batch)).toEqual(await given.predict(weights, batch));
		expect(asked).toEqual([manifest.frozen!.digest]);
		await Promise.all([fetched.dispose(), given.dispose()]);
	});

	test("go into an exported file", async () => {
		const part = await imported(FILE, { loss: LOSS, train: ["classifier.*"] });
		const whole = await importOnnx(ort, exportOnnx(part.manifest, part.layout, part.weights, part.frozenWeights), { loss: LOSS });
		const batch = batchOf(FILE, whole.manifest.input);
		const [plain, trainer] = await Promise.all([trainerOf(whole), trainerOf(part)]);
		expect(await plain.loss(whole.weights, batch)).toBeCloseTo(await trainer.loss(part.weights, batch), 5);
		await Promise.all([plain.dispose(), trainer.dispose()]);
		expect(() => exportOnnx(part.manifest, part.layout, part.weights)).toThrow(/frozen weights beside its graph/);
	});

	test("are refused when they are absent or others", async () => {
		const { manifest, layout } = await imported(FILE, { loss: LOSS, train: ["classifier.*"] });
		const made = (changes: Record<string, unknown>, frozen?: Float32Array): Promise<unknown> =>
			createOnnxTrainer({ manifest: { ...manifest, ...changes }, layout, device: "cpu", ...(frozen === undefined ? {} : { frozen }) });
		await expect(made({})).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringContaining(manifest.frozen!.digest) });
		await expect(made({}, new Float32Array(3))).rejects.toMatchObject({
			code: "SHAPE_MISMATCH",
			message: expect.stringMatching(/^frozen has 12 bytes/),
		});
		await expect(made({ frozen: { ...manifest.frozen!, digest: "abc" } })).rejects.toThrow(/^manifest.frozen.digest must be/);
		await expect(made({ frozen: { ...manifest.frozen!, layout } })).rejects.toThrow(
			/^manifest.frozen must be of weights that are not trained/,
		);
		await expect(made({ frozen: { ...manifest.frozen!, layout: {} } })).rejects.toThrow(/^layout.tensors must be an array/);
	});
});

describe.skipIf((await webgpuDevice(openWebgpu)) === undefined)("on a WebGPU device", () => {
	test("adapters are trained beside frozen weights that stay on the device", async () => {
		const file = "bert/torchscript-op17.onnx";
		const lora = { targets: ["*.query.weight", "*.dense.weight"], rank: 2 };
		const { manifest, layout, frozenWeights } = await imported(file, { loss: "softmax-cross-entropy", lora });
		const batch = batchOf(file, manifest.input);
		const weights = rough(layout.length);
		const results = [];
		for (const where of [{ device: "cpu" }, { device: "webgpu", strict: true }] as const) {
			const frozen = frozenWeights!.slice();
			const trainer = await createOnnxTrainer({ manifest, layout, frozen, ...where });
			// What is on the device is not read from here again.
			if (where.device === "webgpu") frozen.fill(0);
			const [gradient, after] = [new Float32Array(layout.length), new Float32Array(layout.length)];
			const loss = await trainer.gradient(weights, batch, gradient);
			const local = await trainer.begin(weights, { kind: "sgd" });
			await local.step(batch, 0.1);
			await local.step([batch, batch], 0.1);
			await local.read(after);
			results.push({ loss, gradient, after });
			await local.dispose();
			await trainer.dispose();
		}
		const [cpu, webgpu] = results as [(typeof results)[0], (typeof results)[0]];
		expect(webgpu.loss).toBeCloseTo(cpu.loss, 4);
		expect(relativeError(webgpu.gradient, cpu.gradient)).toBeLessThan(1e-4);
		expect(relativeError(webgpu.after, cpu.after)).toBeLessThan(1e-4);
	});
});
