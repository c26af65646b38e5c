import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodePlain, encodePlain, type Plain } from "@rondo/algorithms";

/** Most bytes that one run's cache may hold on disk. */
export const CACHE_BYTES = 256 * 1024 * 1024;
/** Most runs whose caches are kept. */
export const CACHED_RUNS = 8;

const sha256 = (bytes: Uint8Array | string): Buffer => createHash("sha256").update(bytes).digest();

/**
 * The cache of one run: what a strategy may recompute at any time. In memory while the thread lives, on disk between
 * tasks; a file that a crash tore is a miss. The least recently written entries go first.
 */
export class WorkerCache {
	readonly #dir: string;
	readonly #entries = new Map<string, Plain>();
	readonly #dirty = new Set<string>();

	constructor(dir: string) {
		this.#dir = dir;
	}

	get(key: string): Plain | undefined {
		if (this.#entries.has(key)) return this.#entries.get(key);
		const value = this.#load(key);
		if (value !== undefined) this.#entries.set(key, value);
		return value;
	}

	set(key: string, value: Plain): void {
		this.#entries.set(key, value);
		this.#dirty.add(key);
	}

	/** Writes what was set. Called after the report is out, so that no task waits for it. */
	flush(): void {
		if (this.#dirty.size === 0) return;
		mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
		for (const key of this.#dirty) {
			const bytes = encodePlain(this.#entries.get(key)!);
			const path = this.#pathOf(key);
			if (bytes.length > CACHE_BYTES) {
				rmSync(path, { force: true });
				continue;
			}
			writeFileSync(`${path}.part`, Buffer.concat([sha256(bytes), bytes]), { mode: 0o600 });
			renameSync(`${path}.part`, path);
		}
		this.#dirty.clear();
		for (const path of oldestBeyond(this.#dir, CACHE_BYTES, (at) => statSync(at).size)) rmSync(path, { force: true });
	}

	#pathOf(key: string): string {
		return join(this.#dir, sha256(key).toString("hex"));
	}

	#load(key: string): Plain | undefined {
		const path = this.#pathOf(key);
		let file: Buffer;
		try {
			file = readFileSync(path);
		} catch (error) {
			if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
			throw error;
		}
		const bytes = file.subarray(32);
		if (file.length >= 32 && Buffer.compare(sha256(bytes), file.subarray(0, 32)) === 0) return decodePlain(bytes);
		rmSync(path, { force: true });
		return undefined;
	}
}

/** Removes the caches of the runs that were used longest ago, beyond `CACHED_RUNS`. */
export function trimCaches(cacheDir: string): void {
	for (const path of oldestBeyond(cacheDir, CACHED_RUNS, () => 1)) rmSync(path, { recursive: true, force: true });
}

/** Entries of a folder to remove, oldest first, until the sizes of the rest are at most `limit` together. */
function oldestBeyond(dir: string, limit: number, sizeOf: (path: string) => number): string[] {
	const entries = readdirSync(dir)
		.map((name) => join(dir, name))
		.map((path) => ({ path, usedMs: statSync(path).mtimeMs, size: sizeOf(path) }))
		.sort((a, b) => a.usedMs - b.usedMs);
	let total = entries.reduce((sum, { size }) => sum + size, 0);
	const removed: string[] = [];
	for (const { path, size } of entries) {
		if (total <= limit) break;
		removed.push(path);
		total -= size;
	}
	return removed;
}
