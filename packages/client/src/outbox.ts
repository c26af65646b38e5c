import { readdir, readFile, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { decodePlain, encodePlain, type Plain } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { LIMITS } from "@rondo/protocol";
import type { BlobRef } from "./blob-store.js";
import { syncFolder, writeDurably } from "./state-dir.js";

/** A finished task that waits for a final receipt. */
export interface OutboxEntry {
	/** 64 hexadecimal digits. */
	readonly taskId: string;
	readonly runId: string;
	/** SHA-256 of the report. */
	readonly digest: string;
	readonly report: Uint8Array;
	/** Blobs to upload before the report is submitted. */
	readonly blobs: readonly BlobRef[];
}

type Listed = Omit<OutboxEntry, "report"> & { readonly bytes: number };

/**
 * Reports on disk, one file each. A report is here before it is sent and until a final receipt, whatever happens to
 * the process, the machine or the connection in between.
 */
export class Outbox {
	readonly #dir: string;
	readonly #limitBytes: number;
	readonly #entries = new Map<string, Listed>();

	private constructor(dir: string, limitBytes: number) {
		this.#dir = dir;
		this.#limitBytes = limitBytes;
	}

	/** @param onDamaged hears of files that are not reports; they are set aside as `<name>.damaged` */
	static async open(dir: string, limitBytes: number, onDamaged: (error: RondoError) => void): Promise<Outbox> {
		const outbox = new Outbox(dir, limitBytes);
		for (const name of (await readdir(dir)).sort()) {
			if (!/^[0-9a-f]{64}$/.test(name)) continue;
			try {
				outbox.#list(decodeEntry(name, await readFile(join(dir, name))));
			} catch (cause) {
				if (!(cause instanceof RondoError)) throw cause;
				await rename(join(dir, name), join(dir, `${name}.damaged`));
				onDamaged(cause);
			}
		}
		return outbox;
	}

	/** Report and blob bytes that wait. */
	get bytes(): number {
		return [...this.#entries.values()].reduce((sum, { bytes }) => sum + bytes, 0);
	}

	/** Whether no further task should be begun. */
	get isFull(): boolean {
		return this.#entries.size >= LIMITS.taskIds || this.bytes >= this.#limitBytes;
	}

	/** Task ids in order of addition. */
	get taskIds(): readonly string[] {
		return [...this.#entries.keys()];
	}

	/** Digests of all blobs that wait. */
	get blobDigests(): readonly string[] {
		return [...this.#entries.values()].flatMap(({ blobs }) => blobs.map(({ digest }) => digest));
	}

	get(taskId: string): Omit<OutboxEntry, "report"> | undefined {
		return this.#entries.get(taskId);
	}

	/** The report is durable when this resolves. @throws DISK_FULL */
	async add(entry: OutboxEntry): Promise<void> {
		const { taskId, runId, digest, report } = entry;
		const blobs = entry.blobs.map(({ digest: sha256, bytes }) => ({ sha256, dtype: "u8" as const, length: bytes }));
		await writeDurably(join(this.#dir, taskId), encodePlain({ runId, digest, report, blobs }));
		this.#list(entry);
	}

	async report(taskId: string): Promise<Uint8Array> {
		return decodeEntry(taskId, await readFile(join(this.#dir, taskId))).report;
	}

	/** After a final receipt. */
	async remove(taskId: string): Promise<void> {
		if (!this.#entries.delete(taskId)) return;
		await unlink(join(this.#dir, taskId));
		await syncFolder(this.#dir);
	}

	#list({ taskId, runId, digest, report, blobs }: OutboxEntry): void {
		this.#entries.set(taskId, { taskId, runId, digest, blobs, bytes: blobs.reduce((sum, blob) => sum + blob.bytes, report.length) });
	}
}

function decodeEntry(taskId: string, file: Uint8Array): OutboxEntry {
	const value = decodePlain(file) as { readonly [key: string]: Plain } | null;
	const { runId, digest, report, blobs } = value ?? {};
	if (typeof runId !== "string" || typeof digest !== "string" || !(report instanceof Uint8Array) || !Array.isArray(blobs)) {
		throw new RondoError("BAD_ENCODING", `outbox file ${taskId} is not a report`);
	}
	const refs = blobs.map(({ sha256, length }: { sha256: string; length: number }) => ({ digest: sha256, bytes: length }));
	return { taskId, runId, digest, report, blobs: refs };
}
