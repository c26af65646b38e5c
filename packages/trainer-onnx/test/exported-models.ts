import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Batch } from "@rondo/algorithms";
import * as ort from "onnxruntime-node";
import { expect } from "vitest";
import { type ImportedModel, importOnnxFile } from "../src/import/import-model.js";
import { createOnnxTrainer, type OnnxTrainerOptions } from "../src/session/trainer.js";
import { norm, relativeError } from "./compare.js";

interface Numbers {
	readonly type: "float32" | "int64" | "int32";
	readonly dims: readonly number[];
	readonly data: readonly number[];
}

interface Place {
	readonly initializer: string;
	readonly transposed: boolean;
	/** Which block of rows of the parameter each block of the initializer is, from row `rowOffset` on: gates of recurrent layers. */
	readonly rowBlocks?: readonly number[];
	readonly rowOffset?: number;
}

/** What PyTorch says about one model, and which of its parameters is where in which file. */
export interface Reference {
	readonly loss: string;
	readonly batches: readonly {
		readonly size: number;
		readonly inputs: { readonly [name: string]: Numbers };
		readonly labels: Numbers;
		readonly lossValue: number;
		readonly gradients: { readonly [parameter: string]: Numbers };
	}[];
	readonly names: { readonly [file: string]: { readonly [parameter: string]: readonly Place[] } };
}

const FOLDER = fileURLToPath(new URL("../fixtures/models", import.meta.url));
const arrayOf = ({ type, data }: Numbers): Float32Array | Int32Array =>
	type === "float32" ? Float32Array.from(data) : Int32Array.from(data);

/** The exported models, by name. */
export const exportedModels: ReadonlyMap<string, Reference> = new Map(
	readdirSync(FOLDER)
		.filter((entry) => !entry.endsWith(".md"))
		.map((name) => [name, JSON.parse(readFileSync(join(FOLDER, name, "reference.json"), "utf8")) as Reference]),
);

/** The batches that PyTorch was given. @param main the input that is `inputs` of a batch */
export function exportedBatches(name: string, main: string): readonly Batch[] {
	return exportedModels.get(name)!.batches.map(({ size, inputs: { [main]: first, ...more }, labels }) => ({
		size,
		inputs: arrayOf(first!),
		labels: arrayOf(labels),
		more: Object.fromEntries(Object.entries(more).map(([input, numbers]) => [input, arrayOf(numbers)])),
	}));
}

/** Imports a file, and compares losses and gradients on a device with PyTorch's in float64, for the first `batches` batches. */
export async function checkExported(
	name: string,
	file: string,
	where: Pick<OnnxTrainerOptions, "device" | "threads" | "strict">,
	batches = Number.POSITIVE_INFINITY,
): Promise<void> {
	const reference = exportedModels.get(name)!;
	const places = reference.names[file]!;
	const imported = await importOnnxFile(ort, join(FOLDER, name, file), { loss: reference.loss });
	expect(imported.manifest.reason).toBeUndefined();
	expect(imported.layout.tensors.filter((tensor) => /constant/i.test(tensor.name))).toEqual([]);
	const trainer = await createOnnxTrainer({ manifest: imported.manifest, layout: imported.layout, ...where });
	// Weights of half precision are other weights: their loss is near, and some of their rectifiers switch elsewhere.
	const [limit, lossLimit] = file.startsWith("float16") ? [0.15, 1e-3] : [1e-4, 1e-5];
	const given = exportedBatches(name, imported.manifest.input);
	for (const [i, { lossValue, gradients }] of reference.batches.slice(0, batches).entries()) {
		const batch = given[i]!;
		const out = new Float32Array(imported.layout.length).fill(Number.NaN);
		const loss = await trainer.gradient(imported.weights, batch, out);
		expect(Math.abs(loss / lossValue - 1)).toBeLessThan(lossLimit);
		expect(await trainer.loss(imported.weights, batch)).toBeCloseTo(loss, 5);
		for (const [parameter, wanted] of Object.entries(gradients)) {
			const actual = gradientOf(out, places[parameter]!, wanted, imported);
			// PyTorch leaves the embedding of the padding token out (padding_idx), which no exporter writes down.
			if (name === "bert" && parameter.endsWith("word_embeddings.weight")) actual.fill(0, 0, wanted.dims[1]);
			// A bias that softmax ignores has no gradient.
			if (norm(wanted.data) < 1e-3) expect(norm(actual)).toBeLessThan(1e-5);
			else expect(relativeError(actual, wanted.data), parameter).toBeLessThan(limit);
		}
	}
	await trainer.dispose();
}

/** The derivative by a parameter of PyTorch: it may lie transposed, or in blocks of rows, and its copies were tied at the import. */
function gradientOf(
	out: Float32Array,
	places: readonly Place[],
	{ dims }: Numbers,
	{ layout, ties, renamings }: Pick<ImportedModel, "layout" | "ties" | "renamings">,
): Float64Array {
	const size = dims.reduce((product, dim) => product * dim, 1);
	const sum = new Float64Array(size);
	for (const { initializer, transposed, rowBlocks, rowOffset = 0 } of places) {
		const name = renamings.find(({ from }) => from === initializer)?.name ?? initializer;
		const spec = layout.tensors.find((tensor) => tensor.name === name);
		if (spec === undefined) {
			expect(ties.map((tie) => tie.name)).toContain(name);
			continue;
		}
		const values = out.subarray(spec.from, spec.to);
		if (rowBlocks !== undefined) {
			const columns = dims.length === 1 ? 1 : dims[1]!;
			const block = size / rowBlocks.length;
			for (const [i, at] of rowBlocks.entries()) {
				for (let j = 0; j < block; j++) sum[at * block + j]! += values[rowOffset * columns + i * block + j]!;
			}
			continue;
		}
		const [rows, columns] = dims as [number, number];
		for (let i = 0; i < size; i++) sum[i]! += values[transposed ? (i % columns) * rows + Math.floor(i / columns) : i]!;
	}
	return sum;
}
