import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Batch, Data } from "@rondo/algorithms";
import { type Random, randomFromSeed } from "@rondo/kernels";
import { webgpuDevice } from "@rondo/testkit/webgpu-device";
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { withoutDropout } from "../src/dropout.js";
import { decodeGraph } from "../src/graph/decode.js";
import { encodeGraph } from "../src/graph/encode.js";
import { type Graph, type Node, scalar } from "../src/graph/ir.js";
import { type ImportOptions, importOnnx } from "../src/import/import-model.js";
import { readManifest } from "../src/model.js";
import { MaskSource } from "../src/session/mask-source.js";
import { createOnnxTrainer, type OnnxTrainer, type OnnxTrainerOptions } from "../src/session/trainer.js";
import { relativeError } from "./compare.js";
import { openWebgpu } from "./open-webgpu.js";

// A model that PyTorch's exporters wrote in training mode: dense layers with dropout of 0.3 and of 0.1 between them.

interface Numbers {
	readonly dims: readonly number[];
	readonly data: readonly number[];
}

interface Dropping {
	/** Of each Dropout. */
	readonly masks: readonly (readonly number[])[];
	readonly lossValue: number;
	readonly gradients: { readonly [parameter: string]: Numbers };
}

const FOLDER = fileURLToPath(new URL("../fixtures/models/dropout", import.meta.url));
const REFERENCE = JSON.parse(readFileSync(join(FOLDER, "reference.json"), "utf8")) as {
	readonly batches: readonly { readonly size: number; readonly inputs: { readonly x: Numbers }; readonly labels: Numbers }[];
	readonly dropping: readonly Dropping[];
	readonly names: { readonly [file: string]: { readonly [parameter: string]: readonly { readonly initializer: string }[] } };
};
const BATCHES = REFERENCE.batches.map(
	({ size, inputs, labels }): Batch => ({ size, inputs: Float32Array.from(inputs.x.data), labels: Int32Array.from(labels.data) }),
);
const BATCH = BATCHES[0]!;
const OPTIONS: ImportOptions = { loss: "softmax-cross-entropy" };
const FILE = "dynamo-op18.onnx";
const read = (file = FILE): Uint8Array => readFileSync(join(FOLDER, file));

/** The model as somebody else might have written it. */
const changed = (change: (node: Node) => Node, constants: Graph["initializers"] = new Map()): Uint8Array => {
	const graph = decodeGraph(read());
	return encodeGraph({
		...graph,
		initializers: new Map([...graph.initializers, ...constants]),
		nodes: graph.nodes.map((node) => (node.op === "Dropout" ? change(node) : node)),
	});
};
const device = await webgpuDevice(openWebgpu);
const { manifest, layout, weights } = await importOnnx(ort, read(), OPTIONS);

const open = (dropout: NonNullable<OnnxTrainerOptions["dropout"]>, own: object = manifest): Promise<OnnxTrainer> =>
	createOnnxTrainer({ manifest: own, layout, device: "cpu", threads: 1, dropout });

const gradientOf = async (trainer: OnnxTrainer, batch = BATCH, at = weights): Promise<readonly [number, Float32Array]> => {
	const out = new Float32Array(layout.length).fill(Number.NaN);
	return [await trainer.gradient(at, batch, out), out];
};

const difference = (after: Float32Array): Float32Array => weights.map((weight, i) => weight - after[i]!);

/** Randomness that is known beforehand: whatever is asked for, mask k keeps what `masks[k]` says. */
const given = (masks: readonly (readonly number[])[], path: readonly (string | number)[] = []): Random => ({
	at: (...more) => given(masks, [...path, ...more]),
	words: (from, out) => {
		const mask = masks[path.at(-1) as number]!;
		out.set(mask.slice(from, from + out.length).map((kept) => (kept === 1 ? 0xffffffff : 0)));
		return out;
	},
});

describe("gradients", () => {
	test.each(Object.entries(REFERENCE.names))("of %s are those of PyTorch under the same masks", async (file, names) => {
		const imported = await importOnnx(ort, read(file), OPTIONS);
		for (const [i, { masks, lossValue, gradients }] of REFERENCE.dropping.entries()) {
			const random = given(masks);
			const trainer = await createOnnxTrainer({ manifest: imported.manifest, layout: imported.layout, device: "cpu", dropout: { random } });
			const out = new Float32Array(imported.layout.length);
			expect(await trainer.gradient(imported.weights, BATCHES[i]!, out)).toBeCloseTo(lossValue, 5);
			for (const [parameter, wanted] of Object.entries(gradients)) {
				const spec = imported.layout.tensors.find(({ name }) => name === names[parameter]![0]!.initializer)!;
				expect(relativeError(out.subarray(spec.from, spec.to), wanted.data), parameter).toBeLessThan(1e-5);
			}
			await trainer.dispose();
		}
	});

	test("are the slopes of the loss under masks that stay", async () => {
		const trainer = await open({ random: given(REFERENCE.dropping[0]!.masks) });
		const [, gradient] = await gradientOf(trainer);
		const direction = gradient.map((value) => value / Math.hypot(...gradient));
		// No rectifier switches on the way.
		const h = 2e-3;
		const at = async (sign: number): Promise<number> => {
			const [loss] = await gradientOf(
				trainer,
				BATCH,
				weights.map((weight, i) => weight + sign * h * direction[i]!),
			);
			return loss;
		};
		const slope = ((await at(1)) - (await at(-1))) / (2 * h);
		expect(Math.abs(slope / Math.hypot(...gradient) - 1)).toBeLessThan(5e-4);
		await trainer.dispose();
	});

	test("differ from call to call, and not from trainer to trainer", async () => {
		const [a, b, other] = [
			await open({ random: randomFromSeed("a") }),
			await open({ random: randomFromSeed("a") }),
			await open({ random: randomFromSeed("b") }),
		];
		const first = await gradientOf(a);
		const second = await gradientOf(a);
		expect(second).not.toEqual(first);
		expect([await gradientOf(b), await gradientOf(b)]).toEqual([first, second]);
		expect(await gradientOf(other)).not.toEqual(first);
		for (const trainer of [a, b, other]) await trainer.dispose();
	});

	test("have the masks of nobody else unless told so", async () => {
		const [a, b] = [await open(true), await open(true)];
		const many = (trainer: OnnxTrainer) => Promise.all(Array.from({ length: 8 }, async () => (await gradientOf(trainer))[0]));
		expect(await many(a)).not.toEqual(await many(b));
		for (const trainer of [a, b]) await trainer.dispose();
	});
});

describe("masks", () => {
	test("keep as many elements as the ratio says", () => {
		const elements = 100_003;
		for (const ratio of [0.01, 0.1, 0.5, 0.9]) {
			const source = new MaskSource(ort, randomFromSeed(`ratio ${ratio}`));
			const [first, second] = Object.values(
				source.next([
					{ name: "a", type: "bool", dims: [elements], ratio },
					{ name: "b", type: "bool", dims: [elements], ratio },
				]),
			).map(({ data }) => data as Uint8Array);
			const agreeing = first!.filter((kept, i) => kept === second![i]).length;
			for (const [count, probability] of [
				[first!.filter((kept) => kept === 1).length, 1 - ratio],
				[second!.filter((kept) => kept === 1).length, 1 - ratio],
				[agreeing, ratio ** 2 + (1 - ratio) ** 2],
			] as const)
				expect(Math.abs(count / elements - probability)).toBeLessThan(5 * Math.sqrt((probability * (1 - probability)) / elements));
		}
	});

	test("are a stream of words for each mask of each run", () => {
		const random = randomFromSeed("golden");
		const source = new MaskSource(ort, random);
		const masks = [
			{ name: "a", type: "bool", dims: [3, 5000], ratio: 0.5 },
			{ name: "b", type: "bool", dims: [7], ratio: 0.5 },
		] as const;
		for (const run of [0, 1]) {
			const drawn = source.next(masks);
			for (const [k, { name, dims }] of masks.entries()) {
				const words = random.at(run, k).words(0, new Uint32Array(dims.reduce((product: number, size) => product * size, 1)));
				expect(drawn[name]!.dims).toEqual(dims);
				expect(drawn[name]!.data).toEqual(Uint8Array.from(words, (word) => word >>> 31));
			}
		}
	});
});

describe("steps", () => {
	const trained = async (trainer: OnnxTrainer, steps: readonly (Batch | readonly Batch[])[]): Promise<Float32Array> => {
		const local = await trainer.begin(weights, { kind: "sgd" });
		for (const batch of steps) await local.step(batch, 1);
		const out = new Float32Array(layout.length);
		await local.read(out);
		await local.dispose();
		return out;
	};

	test("go down the gradient under their masks", async () => {
		const { masks, gradients } = REFERENCE.dropping[0]!;
		const trainer = await open({ random: given(masks) });
		const flat = layout.tensors.flatMap(({ name }) => gradients[name]!.data);
		expect(relativeError(difference(await trained(trainer, [BATCH])), flat)).toBeLessThan(1e-5);
		// Both parts see the same masks here.
		expect(relativeError(difference(await trained(trainer, [[BATCH, BATCH]])), flat)).toBeLessThan(1e-5);
		await trainer.dispose();
	});

	test("have masks of their own, in each part and each training", async () => {
		const seeded = () => open({ random: randomFromSeed("steps") });
		const [a, b] = [await seeded(), await seeded()];
		const whole = await trained(a, [BATCH]);
		const again = await trained(a, [BATCH]);
		const parts = await trained(a, [[BATCH, BATCH]]);
		expect(again).not.toEqual(whole);
		// The masks of calls between are others' business.
		await gradientOf(b);
		expect([await trained(b, [BATCH]), await trained(b, [BATCH]), await trained(b, [[BATCH, BATCH]])]).toEqual([whole, again, parts]);
		// Of two parts under one mask the third training would be one with a whole batch under its first.
		const c = await seeded();
		for (let i = 0; i < 2; i++) await trained(c, [BATCH]);
		const third = await trained(c, [BATCH]);
		expect(relativeError(difference(parts), difference(third))).toBeGreaterThan(1e-2);
		for (const trainer of [a, b, c]) await trainer.dispose();
	});
});

test.skipIf(device === undefined)("a WebGPU device drops the same, with no node on the CPU", async () => {
	const dropout = { random: randomFromSeed("devices") };
	const [gpu, cpu] = [await createOnnxTrainer({ manifest, layout, dropout, device: "webgpu", strict: true }), await open(dropout)];
	const after: Float32Array[] = [];
	for (const trainer of [gpu, cpu]) {
		const [, gradient] = await gradientOf(trainer);
		const local = await trainer.begin(weights, { kind: "sgd" });
		for (const batch of [BATCH, [BATCH, BATCHES[1]!]]) await local.step(batch, 1);
		const out = new Float32Array(layout.length);
		await local.read(out);
		await local.dispose();
		after.push(gradient, difference(out));
		await trainer.dispose();
	}
	expect(relativeError(after[0]!, after[2]!)).toBeLessThan(1e-4);
	expect(relativeError(after[1]!, after[3]!)).toBeLessThan(1e-4);
});

describe("outside of training", () => {
	test("nothing is dropped", async () => {
		const [on, off] = [await open({ random: randomFromSeed("x") }), await open(false)];
		await gradientOf(on);
		expect(await on.loss(weights, BATCH)).toBe(await off.loss(weights, BATCH));
		expect(await on.predict(weights, BATCH)).toEqual(await off.predict(weights, BATCH));
		const data: Data = {
			numExamples: BATCH.size,
			batches: async function* () {
				yield BATCH;
			},
		};
		expect(await on.evaluate(weights, data)).toEqual(await off.evaluate(weights, data));
		expect(await gradientOf(off)).toEqual(await gradientOf(off));
		for (const trainer of [on, off]) await trainer.dispose();
	});

	test("the graph is that of a model without Dropout", async () => {
		const without = await importOnnx(
			ort,
			changed((node) => ({ ...node, op: "Identity", inputs: [node.inputs[0]!] })),
			OPTIONS,
		);
		const { graph } = readManifest(manifest, layout);
		expect(graph.nodes.filter(({ op }) => op === "Dropout")).toHaveLength(2);
		expect(encodeGraph(withoutDropout(graph))).toEqual(encodeGraph(readManifest(without.manifest, layout).graph));
	});
});

describe("imports", () => {
	const ratiosOf = async (bytes: Uint8Array, options = OPTIONS): Promise<readonly number[]> => {
		const imported = await importOnnx(ort, bytes, options);
		const { nodes, initializers } = readManifest(imported.manifest, imported.layout).graph;
		const found = nodes.filter(({ op }) => op === "Dropout");
		for (const { inputs, outputs } of found) expect([inputs.length, outputs.length]).toEqual([2, 1]);
		return found.map(({ inputs }) => initializers.get(inputs[1]!)!.data[0] as number);
	};
	const f32 = Math.fround;
	const off = new Map([["off", scalar("bool", 0)]]);
	const zero = new Map([["zero", scalar("float32", 0)]]);

	test.each<[string, Uint8Array, readonly number[]]>([
		["both in training mode", read(), [f32(0.3), f32(0.1)]],
		["both of TorchScript, which names masks", read("torchscript-op17.onnx"), [f32(0.3), f32(0.1)]],
		["both without a mode", changed((node) => ({ ...node, inputs: node.inputs.slice(0, 2) })), [f32(0.3), f32(0.1)]],
		["both of the default ratio", changed((node) => ({ ...node, inputs: node.inputs.slice(0, 1) })), [0.5, 0.5]],
		["none that is off", changed((node) => ({ ...node, inputs: [...node.inputs.slice(0, 2), "off"] }), off), []],
		["none of ratio 0", changed((node) => ({ ...node, inputs: [node.inputs[0]!, "zero", node.inputs[2]!] }), zero), []],
	])("keep %s", async (_name, bytes, ratios) => {
		expect(await ratiosOf(bytes)).toEqual(ratios);
	});

	test("never train a ratio", async () => {
		expect(await ratiosOf(read(), { ...OPTIONS, train: ["*"] })).toHaveLength(2);
	});

	test("refuse a ratio of which nothing is left", async () => {
		const all = changed((node) => ({ ...node, inputs: [node.inputs[0]!, "one"] }), new Map([["one", scalar("float32", 1)]]));
		await expect(importOnnx(ort, all, OPTIONS)).rejects.toMatchObject({
			code: "BAD_MODEL",
			message: expect.stringMatching(/^Dropout node ".+" has ratio 1; it must be at least 0 and below 1$/),
		});
	});

	test("say in the manifest that training drops", async () => {
		expect(manifest.dropout).toBeUndefined();
		const { manifest: dropping } = await importOnnx(ort, read(), { ...OPTIONS, dropout: true });
		expect(dropping).toEqual({ ...manifest, dropout: true });
		const [byManifest, off] = [await createOnnxTrainer({ manifest: dropping, layout, device: "cpu" }), await open(false, dropping)];
		const losses = new Set<number>();
		for (let i = 0; i < 8; i++) losses.add((await gradientOf(byManifest))[0]);
		expect(losses.size).toBeGreaterThan(1);
		expect((await gradientOf(off))[0]).toBe(await off.loss(weights, BATCH));
		for (const trainer of [byManifest, off]) await trainer.dispose();
	});

	test("and trainers refuse dropout where nothing can be dropped", async () => {
		const still = changed((node) => ({ ...node, inputs: [...node.inputs.slice(0, 2), "off"] }), off);
		const refusal = { code: "INVALID_ARGUMENT", message: expect.stringContaining("the model has no Dropout") };
		await expect(importOnnx(ort, still, { ...OPTIONS, dropout: true })).rejects.toMatchObject(refusal);
		const imported = await importOnnx(ort, still, OPTIONS);
		await expect(open(true, imported.manifest)).rejects.toMatchObject(refusal);
		await expect(open(false, { ...manifest, dropout: "yes" })).rejects.toThrow('manifest.dropout must be true or false, got "yes"');
	});
});
