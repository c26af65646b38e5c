import { readFile } from "node:fs/promises";
import { LIMITS } from "@rondo/protocol";
import { writeDurably } from "./state-dir.js";

/** Accepted reports whose settlement this client has not seen; the coordinator is asked for it at each connection. */
export class Unsettled {
	readonly #path: string;
	#ids: readonly string[];

	private constructor(path: string, ids: readonly string[]) {
		this.#path = path;
		this.#ids = ids;
	}

	static async open(path: string): Promise<Unsettled> {
		const text = await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
			if (cause.code === "ENOENT") return "[]";
			throw cause;
		});
		const ids: unknown = JSON.parse(text);
		return new Unsettled(path, Array.isArray(ids) ? ids.filter((id) => typeof id === "string" && /^[0-9a-f]{64}$/.test(id)) : []);
	}

	get taskIds(): readonly string[] {
		return this.#ids;
	}

	/** Beyond the protocol's limit the oldest are forgotten. */
	async add(taskId: string): Promise<void> {
		if (this.#ids.includes(taskId)) return;
		this.#ids = [...this.#ids, taskId].slice(-LIMITS.taskIds);
		await this.#write();
	}

	async remove(taskId: string): Promise<void> {
		if (!this.#ids.includes(taskId)) return;
		this.#ids = this.#ids.filter((id) => id !== taskId);
		await this.#write();
	}

	async #write(): Promise<void> {
		await writeDurably(this.#path, JSON.stringify(this.#ids));
	}
}
