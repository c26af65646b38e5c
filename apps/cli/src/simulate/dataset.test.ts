import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomFromSeed } from "@rondo/kernels";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { countOf, divide, loadDataset } from "./dataset.js";
import { modelOf } from "./model.js";

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "rondo-dataset-"));
});
afterAll(() => rm(folder, { recursive: true }));
const random = randomFromSeed("parts");
const onnx = { kind: "onnx", device: "cpu" } as const;

async function play() {
	const file = join(folder, "play.txt");
	await writeFile(file, "ANNE:\nabcabcabcabcabcabcab\n\nBOB:\nbbbbbbbbbb\n\nANNE:\ncccc\n\nCAT:\nabababababababab\n");
	return loadDataset({ kind: "text", file, length: 4, heldOut: 0.25 });
}

describe("datasets of experiments", () => {
	it("a play gives each speaker's characters as sequences, the last of each held out", async () => {
		const loaded = await play();
		// Newlines between speeches are characters, too.
		expect(loaded.shape).toEqual({ kind: "tokens", vocabulary: 4, length: 4 });
		const sizes = Object.fromEntries(["ANNE", "BOB", "CAT"].map((name) => [name, loaded.keys!.filter((key) => key === name).length]));
		expect(sizes).toEqual({ ANNE: 5, BOB: 2, CAT: 3 });
		expect(countOf(loaded.train)).toBe(10);
		expect(loaded.train.inputs.length).toBe(40);
		const parts = divide(loaded, { kind: "by-key" }, 2, random);
		expect(parts.map(({ id, rows }) => [id, ...rows])).toEqual([
			["client-0", 0, 1, 2, 3, 4],
			["client-1", 7, 8, 9],
		]);
		expect(() => divide(loaded, { kind: "by-key" }, 4, random)).toThrow("clients must be at most 3, the keys of the dataset, got 4");
		expect(() => divide(loaded, { kind: "dirichlet", alpha: 1, minPerClient: 1 }, 2, random)).toThrow("needs examples with one class each");
		const gpt2 = await modelOf({ model: { kind: "gpt2", width: 8, layers: 1, heads: 2 }, trainer: onnx }, loaded);
		expect(gpt2.layout.tensors.some(({ shape }) => shape.join() === "4,8")).toBe(true);
	});

	it("a part of the digits is always the same, and models fit it", async () => {
		const load = () => loadDataset({ kind: "digits", trainExamples: 100, testExamples: 10 });
		const [one, two] = [await load(), await load()];
		expect(one).toEqual(two);
		expect([countOf(one.train), countOf(one.test), one.train.inputs.length]).toEqual([100, 10, 6400]);
		const parts = divide(one, { kind: "class-count", classes: 2 }, 11, random);
		expect(parts.map(({ id }) => id)[10]).toBe("client-10");
		const mlp = await modelOf({ model: { kind: "mlp", hidden: [3], bias: false }, trainer: onnx }, one);
		expect(mlp.layout.length).toBe(64 * 3 + 3 * 10);
		await expect(modelOf({ model: { kind: "lenet" }, trainer: onnx }, one)).rejects.toThrow(
			/model lenet needs square images .* have 64 values/,
		);
		await expect(modelOf({ model: { kind: "gpt2", width: 8, layers: 1, heads: 2 }, trainer: onnx }, one)).rejects.toThrow(
			"needs a dataset of tokens",
		);
		const tfjs = { kind: "tfjs", backend: "cpu" } as const;
		await expect(modelOf({ model: { kind: "mlp", hidden: [], bias: false }, trainer: tfjs }, one)).rejects.toThrow(
			"without biases needs trainer onnx",
		);
		expect((await modelOf({ model: { kind: "mlp", hidden: [], bias: true }, trainer: tfjs }, one)).manifest).toHaveProperty("architecture");
	});

	it.each<[string, string, RegExp]>([
		["nothing", "export const x = 1;", /does not export a function load/],
		["half", "export const load = () => ({ train: {} });", /load must return train, test and a shape/],
		["what is no module", "export const load = (", /cannot be loaded: /],
	])("a module that gives %s is refused", async (name, text, message) => {
		const file = join(folder, `${name.replaceAll(" ", "-")}.mjs`);
		await writeFile(file, text);
		await expect(loadDataset({ kind: "module", file, options: null })).rejects.toThrow(message);
	});

	it("files that say nothing are refused", async () => {
		const file = join(folder, "prose.txt");
		await writeFile(file, "No speaker here.");
		await expect(loadDataset({ kind: "text", file, length: 4, heldOut: 0.1 })).rejects.toThrow(/names no speaker/);
		await expect(loadDataset({ kind: "text", file: join(folder, "absent"), length: 4, heldOut: 0.1 })).rejects.toMatchObject({
			code: "NOT_FOUND",
		});
		await expect(loadDataset({ kind: "digits", trainExamples: 2000, testExamples: 0 })).rejects.toThrow(
			"dataset.trainExamples must be at most 1442, got 2000",
		);
	});
});
