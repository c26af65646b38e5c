import { randomUUID } from "node:crypto";
import { open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type ClientId, decodePlain, encodePlain } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { TaskId } from "@rondo/rounds";
import { diskErrorOf, failedWith, makeFolder, syncFolder } from "./files.js";

/** What is needed to accept a report again. */
export interface AcceptanceRecord {
	readonly client: ClientId;
	/** Canonical CBOR of the report. */
	readonly content: Uint8Array;
}

const RUN_ID = /^[A-Za-z0-9_-]{1,128}$/;
const TASK_ID = /^[0-9a-f]{64}$/;

/**
 * Accepted reports as files that are on disk before the database hears of them. The embedded database never syncs, so
 * that a power cut may cost it the rows of reports whose clients heard ACCEPTED; these records bring them back.
 */
export class AcceptanceLog {
	/** Folders whose names are being made durable; whoever comes meanwhile shares the next sync. */
	readonly #syncs = new Map<string, { readonly running: Promise<void>; next?: Promise<void> }>();

	private constructor(private readonly folder: string) {}

	/** Opens or makes the folder. */
	static async open(folder: string): Promise<AcceptanceLog> {
		await makeFolder(folder);
		return new AcceptanceLog(folder);
	}

	/** Resolves when the record is on disk. @throws DISK_FULL. */
	async write(run: string, task: TaskId, { client, content }: AcceptanceRecord): Promise<void> {
		const path = this.#path(run, task);
		const temporary = `${path}.${randomUUID()}.tmp`;
		await makeFolder(dirname(path));
		try {
			const file = await open(temporary, "wx");
			try {
				await file.writeFile(encodePlain({ client, content }));
				await file.sync();
			} finally {
				await file.close();
			}
			await rename(temporary, path);
			await this.#sync(dirname(path));
		} catch (error) {
			await rm(temporary, { force: true });
			throw diskErrorOf(error, this.folder);
		}
	}

	/** Tasks of a run that have a record. */
	async list(run: string): Promise<readonly TaskId[]> {
		return (await namesIn(this.#runFolder(run))).filter((name) => TASK_ID.test(name)).sort();
	}

	/** The record of a task; null when there is none. @throws BAD_ENCODING when the file is damaged. */
	async read(run: string, task: TaskId): Promise<AcceptanceRecord | null> {
		const path = this.#path(run, task);
		const bytes = await readFile(path).catch((error: unknown) => {
			if (failedWith(error, "ENOENT")) return null;
			throw error;
		});
		if (bytes === null) return null;
		const { client, content } = (decodePlain(bytes) ?? {}) as Record<string, unknown>;
		if (typeof client !== "string" || !(content instanceof Uint8Array)) {
			throw new RondoError("BAD_ENCODING", `${path} is not an acceptance record`, { details: { run, task } });
		}
		return { client, content };
	}

	/**
	 * Deletes records that are older than `olderThanMs` and whose tasks are settled; gives how many. The age leaves the
	 * system time to write the settlement to disk.
	 */
	async removeSettled(outcomeOf: (task: TaskId) => Promise<"applied" | "discarded" | null>, olderThanMs: number): Promise<number> {
		const before = Date.now() - olderThanMs;
		let removed = 0;
		for (const run of (await namesIn(this.folder)).filter((name) => RUN_ID.test(name))) {
			for (const name of await namesIn(this.#runFolder(run))) {
				const path = join(this.#runFolder(run), name);
				if ((await stat(path)).mtimeMs >= before) continue;
				// What is not named after a task is the rest of a write that a crash cut short.
				if (TASK_ID.test(name) && (await outcomeOf(name)) === null) continue;
				await rm(path);
				removed += 1;
			}
		}
		return removed;
	}

	#runFolder(run: string): string {
		if (!RUN_ID.test(run))
			throw new RondoError(
				"INVALID_ARGUMENT",
				`run must be 1 to 128 letters, digits, "-" and "_", got ${JSON.stringify(run.slice(0, 80))}`,
			);
		return join(this.folder, run);
	}

	#path(run: string, task: TaskId): string {
		if (!TASK_ID.test(task))
			throw new RondoError("INVALID_ARGUMENT", `task must be 64 lower-case hexadecimal digits, got ${JSON.stringify(task.slice(0, 80))}`);
		return join(this.#runFolder(run), task);
	}

	/** Syncs a folder once for everybody who waits: a sync that began before a rename does not count for it. */
	#sync(folder: string): Promise<void> {
		const current = this.#syncs.get(folder);
		if (current !== undefined) {
			current.next ??= current.running.then(
				() => this.#startSync(folder),
				() => this.#startSync(folder),
			);
			return current.next;
		}
		return this.#startSync(folder);
	}

	#startSync(folder: string): Promise<void> {
		const running = syncFolder(folder).finally(() => {
			if (this.#syncs.get(folder)?.running === running && this.#syncs.get(folder)?.next === undefined) this.#syncs.delete(folder);
		});
		this.#syncs.set(folder, { running });
		return running;
	}
}

async function namesIn(folder: string): Promise<readonly string[]> {
	try {
		return await readdir(folder);
	} catch (error) {
		if (failedWith(error, "ENOENT")) return [];
		throw error;
	}
}
