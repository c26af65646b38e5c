import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { decodePlain, vecsIn } from "@rondo/algorithms";
import { removeAny, writeDurably } from "./state-dir.js";

/**
 * Device state of strategies, one folder a run. "applied": one file a task, because what a task left behind counts only
 * once a commit has applied its report; the offer names the task to start from. "latest": one file, the newest.
 */
export class CarryStore {
	readonly #dir: string;

	constructor(dir: string) {
		this.#dir = dir;
	}

	/** @param basis task that the offer names, or undefined */
	async load(runId: string, mode: "applied" | "latest" | undefined, basis: string | undefined): Promise<Uint8Array | undefined> {
		const name = mode === "latest" ? "latest" : mode === "applied" ? basis : undefined;
		return name === undefined ? undefined : readFile(this.#pathOf(runId, name)).catch(absent);
	}

	async save(runId: string, mode: "applied" | "latest", taskId: string, carry: Uint8Array): Promise<void> {
		await mkdir(this.#runDir(runId), { recursive: true, mode: 0o700 });
		await writeDurably(this.#pathOf(runId, mode === "latest" ? "latest" : taskId), carry);
	}

	/** The state that `taskId` left is current: the others go, but for tasks whose outcome is still `open` or whose state one starts from. */
	async applied(taskId: string, open: ReadonlySet<string>): Promise<void> {
		for (const runDir of await this.#runDirs()) {
			const names = await readdir(runDir);
			if (!names.includes(`${taskId}.cbor`)) continue;
			for (const name of names) {
				const task = name.slice(0, 64);
				if (/^[0-9a-f]{64}\.cbor$/.test(name) && task !== taskId && !open.has(task)) await removeAny(join(runDir, name));
			}
		}
	}

	/** The state that `taskId` left counts for nothing. */
	async discard(taskId: string): Promise<void> {
		for (const runDir of await this.#runDirs()) await removeAny(join(runDir, `${taskId}.cbor`));
	}

	/** A run is over. */
	async forget(runId: string): Promise<void> {
		await removeAny(this.#runDir(runId));
	}

	/** Digests of all blobs that device states refer to. */
	async blobDigests(): Promise<readonly string[]> {
		const digests: string[] = [];
		for (const runDir of await this.#runDirs()) {
			for (const name of (await readdir(runDir)).filter((file) => file.endsWith(".cbor"))) {
				for (const vec of vecsIn(decodePlain(await readFile(join(runDir, name))))) digests.push(vec.sha256);
			}
		}
		return digests;
	}

	#runDir(runId: string): string {
		// A run id is a name of [A-Za-z0-9._-]; the suffix keeps ".." a plain name.
		return join(this.#dir, `${runId}.run`);
	}

	#pathOf(runId: string, name: string): string {
		return join(this.#runDir(runId), `${name}.cbor`);
	}

	async #runDirs(): Promise<string[]> {
		return (await readdir(this.#dir)).map((name) => join(this.#dir, name));
	}
}

function absent(cause: NodeJS.ErrnoException): undefined {
	if (cause.code === "ENOENT") return undefined;
	throw cause;
}
