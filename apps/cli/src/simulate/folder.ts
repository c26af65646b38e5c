import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RondoError } from "@rondo/errors";
import type { CellResult } from "./cell.js";
import type { Plot } from "./plots.js";
import type { Results } from "./results.js";

/** The folder of an experiment: finished cells, and what is made of them. */
export class ResultsFolder {
	readonly dir: string;

	private constructor(dir: string) {
		this.dir = dir;
	}

	static async open(dir: string): Promise<ResultsFolder> {
		await mkdir(join(dir, "cells"), { recursive: true });
		return new ResultsFolder(dir);
	}

	/**
	 * The result of a cell, where it is there; one of another digest is of an experiment that has changed since.
	 * @throws INVALID_ARGUMENT for a file that is none
	 */
	async cell(name: string): Promise<CellResult | undefined> {
		const file = this.#cellFile(name);
		const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
			if (error.code === "ENOENT") return undefined;
			throw error;
		});
		if (text === undefined) return undefined;
		try {
			const cell = JSON.parse(text) as CellResult;
			if (typeof cell.digest === "string" && Array.isArray(cell.rounds)) return cell;
		} catch (cause) {
			throw new RondoError("INVALID_ARGUMENT", `${file} is not JSON: remove it`, { cause });
		}
		throw new RondoError("INVALID_ARGUMENT", `${file} is not the result of a cell: remove it`);
	}

	/** Whole or not at all: an interruption leaves no half file. */
	async keepCell(cell: CellResult): Promise<void> {
		await this.#write(this.#cellFile(cell.name), `${JSON.stringify(cell)}\n`);
	}

	async keepResults(results: Results, markdown: string, plots: readonly Plot[]): Promise<void> {
		await rm(join(this.dir, "plots"), { recursive: true, force: true });
		if (plots.length > 0) await mkdir(join(this.dir, "plots"));
		for (const { file, svg } of plots) await this.#write(join(this.dir, file), svg);
		await this.#write(join(this.dir, "results.json"), `${JSON.stringify(results, undefined, "\t")}\n`);
		await this.#write(join(this.dir, "results.md"), markdown);
	}

	#cellFile(name: string): string {
		return join(this.dir, "cells", `${name}.json`);
	}

	async #write(file: string, text: string): Promise<void> {
		const unfinished = `${file}.part`;
		await writeFile(unfinished, text);
		await rename(unfinished, file);
	}
}
