import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import {
	type InMemoryExamples,
	loadDigits,
	loadMnist,
	partitionByClassCount,
	partitionByKey,
	partitionDirichlet,
	partitionIid,
	partitionPowerLaw,
	splitBySpeaker,
	tokenWindows,
} from "@rondo/datasets";
import { RondoError } from "@rondo/errors";
import { permutation, type Random, randomFromSeed } from "@rondo/kernels";
import type { DatasetSpec, PartitionSpec } from "./experiment.js";

/** What a dataset module's `load` returns, and what the built-in datasets are. */
export interface LoadedDataset {
	/** `count` examples; clients share the arrays. */
	readonly train: InMemoryExamples;
	readonly test: InMemoryExamples;
	/** Whose a training example is, for `partition: by-key`. */
	readonly keys?: readonly string[];
	/** What models are made to fit. */
	readonly shape:
		| { readonly kind: "vector"; readonly inputs: number; readonly classes: number }
		| { readonly kind: "tokens"; readonly vocabulary: number; readonly length: number };
}

/** Loads a dataset; a pure function of its files. @throws NOT_FOUND, INVALID_ARGUMENT */
export async function loadDataset(spec: DatasetSpec): Promise<LoadedDataset> {
	switch (spec.kind) {
		case "digits":
		case "mnist": {
			const load = spec.kind === "digits" ? loadDigits : loadMnist;
			const [train, test] = [await load("train"), await load("test")];
			const inputs = train.shape[1] * train.shape[2];
			return {
				train: some("trainExamples", train, inputs, spec.trainExamples),
				test: some("testExamples", test, inputs, spec.testExamples),
				shape: { kind: "vector", inputs, classes: 10 },
			};
		}
		case "text":
			return loadText(spec);
		case "module":
			return loadModule(spec);
	}
}

/** So many examples drawn at random, always the same; 0: all. */
function some(
	field: string,
	examples: { readonly inputs: Uint8Array; readonly labels: Int32Array },
	width: number,
	count: number,
): InMemoryExamples {
	const { inputs, labels } = examples;
	if (count > labels.length) throw new RondoError("INVALID_ARGUMENT", `dataset.${field} must be at most ${labels.length}, got ${count}`);
	if (count === 0 || count === labels.length) return { inputs, labels };
	const rows = permutation(randomFromSeed(`rondo-simulate/1/${field}`), labels.length)
		.slice(0, count)
		.sort();
	const kept = new Uint8Array(count * width);
	for (const [i, row] of rows.entries()) kept.set(inputs.subarray(row * width, (row + 1) * width), i * width);
	return { inputs: kept, labels: Int32Array.from(rows, (row) => labels[row]!) };
}

/** A play by characters, each speaker's last speeches held out. */
async function loadText({ file, length, heldOut }: DatasetSpec & { readonly kind: "text" }): Promise<LoadedDataset> {
	const text = await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
		throw new RondoError("NOT_FOUND", `dataset.file ${file} cannot be read: ${cause.message}`, { cause });
	});
	const speakers = [...splitBySpeaker(text)];
	if (speakers.length === 0)
		throw new RondoError("INVALID_ARGUMENT", `dataset.file ${file} names no speaker: speeches begin with a line that ends in a colon`);
	const characters = [...new Set(speakers.flatMap(([, speech]) => [...speech]))].sort();
	const tokenOf = new Map(characters.map((character, token) => [character, token]));
	const parts = speakers.map(([speaker, speech]) => {
		const tokens = Array.from(speech, (character) => tokenOf.get(character)!);
		const kept = tokens.length - Math.round(heldOut * tokens.length);
		return { speaker, train: tokenWindows(tokens.slice(0, kept), length), test: tokenWindows(tokens.slice(kept), length) };
	});
	const joined = (pick: (part: (typeof parts)[number]) => InMemoryExamples & { readonly count: number }): InMemoryExamples => ({
		inputs: concatenated(parts.map((part) => pick(part).inputs as Int32Array)),
		labels: concatenated(parts.map((part) => pick(part).labels as Int32Array)),
		count: parts.reduce((sum, part) => sum + pick(part).count, 0),
	});
	return {
		train: joined(({ train }) => train),
		test: joined(({ test }) => test),
		keys: parts.flatMap(({ speaker, train }) => Array<string>(train.count).fill(speaker)),
		shape: { kind: "tokens", vocabulary: characters.length, length },
	};
}

function concatenated(parts: readonly Int32Array[]): Int32Array {
	const out = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
	let from = 0;
	for (const part of parts) {
		out.set(part, from);
		from += part.length;
	}
	return out;
}

async function loadModule({ file, options }: DatasetSpec & { readonly kind: "module" }): Promise<LoadedDataset> {
	const module: { readonly load?: unknown } = await import(pathToFileURL(file).href).catch((cause: unknown) => {
		throw new RondoError("INVALID_ARGUMENT", `dataset.file ${file} cannot be loaded: ${String(cause)}`, { cause });
	});
	if (typeof module.load !== "function") throw new RondoError("INVALID_ARGUMENT", `dataset.file ${file} does not export a function load`);
	const loaded = (await module.load(options)) as Partial<LoadedDataset> | null;
	const kind = loaded?.shape?.kind;
	if (loaded?.train === undefined || loaded.test === undefined || (kind !== "vector" && kind !== "tokens"))
		throw new RondoError("INVALID_ARGUMENT", `dataset.file ${file}: load must return train, test and a shape of kind vector or tokens`);
	return loaded as LoadedDataset;
}

/** Number of examples. */
export const countOf = ({ labels, count }: InMemoryExamples): number => count ?? labels.length;

/** Rows of the training examples that each client holds. */
export type Parts = readonly { readonly id: string; readonly rows: Uint32Array }[];

/**
 * Divides the training examples among clients. By key, the keys with the most examples are the clients.
 * @throws INVALID_ARGUMENT for a partition that does not fit the dataset
 */
export function divide(dataset: LoadedDataset, spec: PartitionSpec, clients: number, random: Random): Parts {
	const { train, keys } = dataset;
	const named = (parts: readonly Uint32Array[]): Parts => parts.map((rows, i) => ({ id: idOf(i, clients), rows }));
	const labels = (): Int32Array => {
		if (!(train.labels instanceof Int32Array) || train.labels.length !== countOf(train))
			throw new RondoError("INVALID_ARGUMENT", `partition ${spec.kind} needs examples with one class each`);
		return train.labels;
	};
	switch (spec.kind) {
		case "by-key":
			return named(byKey(keys, clients));
		case "iid":
			return named(partitionIid(countOf(train), clients, random));
		case "dirichlet":
			return named(partitionDirichlet(labels(), clients, spec.alpha, random, { minPerClient: spec.minPerClient }));
		case "power-law":
			return named(partitionPowerLaw(countOf(train), clients, spec.exponent, random));
		case "class-count":
			return named(partitionByClassCount(labels(), countsOf(spec.classes, clients), random));
	}
}

/** Numbers of classes, one for each client. */
function countsOf(classes: number | readonly number[], clients: number): readonly number[] {
	if (typeof classes === "number") return Array<number>(clients).fill(classes);
	if (classes.length === clients) return classes;
	throw new RondoError("INVALID_ARGUMENT", `partition.classes has ${classes.length} numbers for ${clients} clients`);
}

function byKey(keys: readonly string[] | undefined, clients: number): Uint32Array[] {
	if (keys === undefined) throw new RondoError("INVALID_ARGUMENT", "partition by-key needs a dataset that says whose an example is");
	const parts = [...partitionByKey(keys)].sort(([a, x], [b, y]) => y.length - x.length || (a < b ? -1 : 1));
	if (clients > parts.length)
		throw new RondoError("INVALID_ARGUMENT", `clients must be at most ${parts.length}, the keys of the dataset, got ${clients}`);
	return parts.slice(0, clients).map(([, rows]) => rows);
}

/** Ids that sort as they count. */
const idOf = (index: number, clients: number): string => `client-${String(index).padStart(String(clients - 1).length, "0")}`;
