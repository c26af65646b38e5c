// What the kernels are compared with: the C program, or where there is no compiler a triad in JavaScript.
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { streamKeys } from "./data.mjs";

const SOURCES = ["bench.c", "signs.c", "vectors.c", "hadamard.c", "generators.c"].map((name) =>
	fileURLToPath(new URL(name, import.meta.url)),
);
// Contraction to fused multiply-adds would change bytes, and gcc does it unasked.
const FLAGS = ["-O3", "-march=native", "-pthread", "-ffp-contract=off"];
const run = promisify(execFile);

export class Compiled {
	#dir;
	#binary;

	/** @returns the C program, or in its place a text that says why there is none */
	static async make() {
		const dir = await mkdtemp(join(tmpdir(), "rondo-kernels-"));
		const made = new Compiled();
		made.#dir = dir;
		made.#binary = join(dir, "kernels");
		try {
			await run("cc", [...FLAGS, "-o", made.#binary, ...SOURCES, "-lm"]);
			made.compiler = (await run("cc", ["--version"])).stdout.split("\n")[0];
		} catch (error) {
			await made.close();
			return error.code === "ENOENT" ? "no C compiler" : `C does not compile: ${(error.stderr || error.message).split("\n")[0]}`;
		}
		made.flags = FLAGS.join(" ");
		return made;
	}

	/**
	 * Starts one benchmark of the program, which then waits.
	 * @param {{ bench: string, n: number, K?: number, threads?: number, kind?: string }} request
	 */
	async start({ bench, n, K = 1, threads = 1, kind }) {
		const args = [bench, `n=${n}`, `K=${K}`, `threads=${threads}`, "samples=0"];
		if (kind !== undefined) {
			const path = join(this.#dir, `${bench}.keys`);
			await writeFile(path, streamKeys(kind, K));
			args.push(`keys=${path}`);
		}
		return Bench.start(bench, spawn(this.#binary, args, { stdio: ["pipe", "pipe", "inherit"] }));
	}

	close() {
		return rm(this.#dir, { recursive: true, force: true });
	}
}

class Bench {
	#process;
	#lines;

	static async start(name, child) {
		const bench = new Bench();
		bench.name = name;
		bench.#process = child;
		bench.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
		bench.checksum = (await bench.#next()).checksum;
		return bench;
	}

	async #next() {
		const { done, value } = await this.#lines.next();
		if (done) throw new Error(`the C program ended before it answered: ${this.name}`);
		return JSON.parse(value);
	}

	/** @returns seconds per pass */
	async sample(passes) {
		this.#process.stdin.write(`${passes}\n`);
		return (await this.#next()).seconds;
	}

	async close() {
		const exited = new Promise((resolve) => this.#process.once("exit", resolve));
		this.#process.stdin.end();
		await exited;
	}
}

/** a = b + s·c of float64 in JavaScript, each thread on a piece of its own. */
export class ScriptTriad {
	name = "triad in JavaScript";
	#workers;

	static async start(n, threads) {
		const triad = new ScriptTriad();
		const url = new URL("./triad-worker.mjs", import.meta.url);
		triad.#workers = Array.from({ length: threads }, () => new Worker(url, { workerData: Math.ceil(n / threads) }));
		await triad.sample(2);
		return triad;
	}

	async sample(passes) {
		const begunAtMs = performance.now();
		await Promise.all(
			this.#workers.map((worker) => {
				const done = new Promise((resolve) => worker.once("message", resolve));
				worker.postMessage(passes);
				return done;
			}),
		);
		return (performance.now() - begunAtMs) / 1000 / passes;
	}

	async close() {
		await Promise.all(this.#workers.map((worker) => worker.terminate()));
	}
}
