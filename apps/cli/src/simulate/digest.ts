import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type AnyStrategy, digestOf, type Plain } from "@rondo/algorithms";
import { sha256, toHex } from "@rondo/kernels";
import type { Cell, Experiment } from "./experiment.js";

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { readonly version: string };

/** Digests of files that an experiment reads, each read once. */
export class FileDigests {
	readonly #known = new Map<string, Promise<string>>();

	/** @throws NOT_FOUND-like errors of the file system */
	of(file: string): Promise<string> {
		const known = this.#known.get(file) ?? readFile(file).then((bytes) => toHex(sha256(bytes)));
		this.#known.set(file, known);
		return known;
	}
}

/** Digest of everything that the numbers of a cell depend on: its setting, strategy, seed, the content of its files, and Rondo's version. */
export async function cellDigest(cell: Cell, strategy: AnyStrategy, { modules }: Experiment, files: FileDigests): Promise<string> {
	const { dataset, model } = cell.setting;
	const read = [...[dataset, model].flatMap((spec) => ("file" in spec ? [spec.file] : [])), ...modules.map((url) => fileURLToPath(url))];
	const contents = await Promise.all(read.map((file) => files.of(file)));
	const { name, options } = cell.strategy;
	const setting = { ...cell.setting, dataset: withoutFile(dataset), model: withoutFile(model), metrics: null };
	return digestOf(
		JSON.parse(JSON.stringify({ version, setting, strategy: [name, strategy.version, options], seed: cell.seed, contents })) as Plain,
	);
}

/** Content counts, not where it lies. */
const withoutFile = (spec: object): object => ({ ...spec, file: null });
