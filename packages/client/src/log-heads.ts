import { readFile } from "node:fs/promises";
import { LIMITS } from "@rondo/protocol";
import { writeDurably } from "./state-dir.js";

/** A place in a run's commit log. */
export interface LogHead {
	readonly commit: number;
	/** Hash of the entry, 64 hexadecimal digits. */
	readonly hash: string;
}

/** How far this client has verified the log of each run: what a later log must continue. */
export class LogHeads {
	readonly #path: string;
	readonly #heads: Map<string, LogHead>;

	private constructor(path: string, heads: Map<string, LogHead>) {
		this.#path = path;
		this.#heads = heads;
	}

	static async open(path: string): Promise<LogHeads> {
		const text = await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
			if (cause.code === "ENOENT") return "{}";
			throw cause;
		});
		return new LogHeads(path, new Map(Object.entries(JSON.parse(text) as Record<string, LogHead>)));
	}

	get(runId: string): LogHead | undefined {
		return this.#heads.get(runId);
	}

	/** Beyond as many runs as the protocol lets a client know, the ones read longest ago are forgotten. */
	async set(runId: string, { commit, hash }: LogHead): Promise<void> {
		const known = this.#heads.get(runId);
		if (known?.commit === commit && known.hash === hash) return;
		this.#heads.delete(runId);
		this.#heads.set(runId, { commit, hash });
		if (this.#heads.size > LIMITS.knownRuns) this.#heads.delete(this.#heads.keys().next().value!);
		await this.#write();
	}

	/** A run is over. */
	async forget(runId: string): Promise<void> {
		if (this.#heads.delete(runId)) await this.#write();
	}

	async #write(): Promise<void> {
		await writeDurably(this.#path, JSON.stringify(Object.fromEntries(this.#heads)));
	}
}
