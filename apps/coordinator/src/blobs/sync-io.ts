import { createHash, randomUUID } from "node:crypto";
import { closeSync, fstatSync, fsyncSync, mkdirSync, openSync, readSync, renameSync, rmSync, utimesSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import {
	type ArrayOf,
	arrayFrom,
	bytesOf,
	bytesPerElement,
	CHUNK_BYTES,
	contentDigestOf,
	type DType,
	type Io,
	type Vec,
	vecOf,
} from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { ReportSource } from "@rondo/rounds";
import { blobMissing, blobPath, diskErrorOf, failedWith, partialFolder } from "./files.js";

const DEFAULT_CACHE_BYTES = 256 * 1024 * 1024;
/** Elements asked for at a time; a tile of any dtype is a whole fraction of a chunk, so that hashes end at tiles. */
const TILE = 65_536;

/**
 * The blob folder as strategies see it: synchronous, for a worker thread. Blobs that fit into the cache are read once;
 * of larger ones only the parts that are asked for.
 * @param cacheBytes bound of what stays in memory
 */
export function openSyncIo(folder: string, cacheBytes = DEFAULT_CACHE_BYTES): Io {
	const cache = new ByteCache(cacheBytes);
	return {
		read<D extends DType>(vec: Vec<D>, from = 0, to = vec.length): ArrayOf<D> {
			if (!(Number.isInteger(from) && Number.isInteger(to) && from >= 0 && from <= to && to <= vec.length)) {
				throw new RondoError("INVALID_ARGUMENT", `elements ${from} to ${to} are not within Vec ${vec.sha256} of ${vec.length} elements`, {
					details: { digest: vec.sha256, from, to, length: vec.length },
				});
			}
			const size = bytesPerElement(vec.dtype);
			const whole =
				cache.get(vec.sha256) ??
				(cache.fits(vec.length * size) ? cache.set(vec.sha256, readRange(folder, vec, 0, vec.length * size)) : undefined);
			if (whole === undefined) return arrayFrom(vec.dtype, readRange(folder, vec, from * size, to * size));
			checkSize(vec, whole.byteLength);
			return arrayFrom(vec.dtype, whole.subarray(from * size, to * size));
		},

		write<D extends DType>(dtype: D, length: number, tile: (from: number, to: number) => ArrayOf<D>): Vec<D> {
			if (!Number.isSafeInteger(length) || length < 0)
				throw new RondoError("INVALID_ARGUMENT", `length of a Vec must be a non-negative integer, got ${length}`);
			const temporary = join(partialFolder(folder), `${randomUUID()}.tmp`);
			try {
				const digest = writeTiles(temporary, dtype, length, tile);
				moveIntoPlace(folder, temporary, digest);
				return vecOf(dtype, length, digest);
			} catch (error) {
				throw diskErrorOf(error, folder);
			} finally {
				rmSync(temporary, { force: true });
			}
		},
	};
}

/**
 * The blob folder as reports are read from: whole blobs as `io` has them, parts without its cache, because each part is read
 * once in a pass over a cohort and would only push others out.
 */
export function reportSource(folder: string, io: Io): ReportSource {
	const uncached = openSyncIo(folder, 0);
	return { blob: (vec, from, to) => (from === undefined && to === undefined ? io.read(vec) : uncached.read(vec, from, to)) };
}

/** Writes and hashes an array tile by tile and puts it on disk; gives its digest. */
function writeTiles<D extends DType>(path: string, dtype: D, length: number, tile: (from: number, to: number) => ArrayOf<D>): string {
	const size = bytesPerElement(dtype);
	const hashes: Uint8Array[] = [];
	let chunk = createHash("sha256");
	const file = openSync(path, "wx");
	try {
		for (let from = 0; from < length; from += TILE) {
			const to = Math.min(from + TILE, length);
			const bytes = bytesOf(tile(from, to));
			if (bytes.length !== (to - from) * size) {
				throw new RondoError(
					"SHAPE_MISMATCH",
					`tile ${from} to ${to} of a ${dtype} Vec must have ${(to - from) * size} bytes, got ${bytes.length}`,
				);
			}
			chunk.update(bytes);
			for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
			if (to === length || (to * size) % CHUNK_BYTES === 0) {
				hashes.push(chunk.digest());
				chunk = createHash("sha256");
			}
		}
		fsyncSync(file);
	} finally {
		closeSync(file);
	}
	return contentDigestOf(length * size, hashes);
}

function moveIntoPlace(folder: string, temporary: string, digest: string): void {
	const to = blobPath(folder, digest);
	const now = new Date();
	try {
		// The same content is here already: its lease begins anew, so that it is not collected before it is referred to.
		utimesSync(to, now, now);
		return;
	} catch (error) {
		if (!failedWith(error, "ENOENT")) throw error;
	}
	if (mkdirSync(dirname(to), { recursive: true }) !== undefined) syncFolder(folder);
	renameSync(temporary, to);
	syncFolder(dirname(to));
}

function syncFolder(folder: string): void {
	const file = openSync(folder, "r");
	try {
		fsyncSync(file);
	} finally {
		closeSync(file);
	}
}

/** Bytes `from` up to `to` of the blob of a Vec. */
function readRange(folder: string, vec: Vec, from: number, to: number): Uint8Array {
	const file = openBlob(folder, vec.sha256);
	try {
		checkSize(vec, fstatSync(file).size);
		const bytes = new Uint8Array(to - from);
		for (let done = 0; done < bytes.length; ) {
			const count = readSync(file, bytes, done, bytes.length - done, from + done);
			if (count === 0) throw blobMissing(vec.sha256);
			done += count;
		}
		return bytes;
	} finally {
		closeSync(file);
	}
}

function openBlob(folder: string, digest: string): number {
	try {
		return openSync(blobPath(folder, digest), "r");
	} catch (error) {
		throw failedWith(error, "ENOENT") ? blobMissing(digest, error) : error;
	}
}

function checkSize(vec: Vec, bytes: number): void {
	const expected = vec.length * bytesPerElement(vec.dtype);
	if (bytes !== expected) {
		throw new RondoError(
			"SHAPE_MISMATCH",
			`Vec ${vec.sha256} of ${vec.length} ${vec.dtype} elements needs ${expected} bytes, its blob has ${bytes}`,
			{
				details: { digest: vec.sha256, expected, bytes },
			},
		);
	}
}

/** Most recently used byte arrays, together at most `maxBytes`. */
class ByteCache {
	readonly #entries = new Map<string, Uint8Array>();
	#bytes = 0;

	constructor(private readonly maxBytes: number) {}

	/** One entry may take a quarter: a round reads its model, its state and a few reports in turn. */
	fits(bytes: number): boolean {
		return bytes <= this.maxBytes / 4;
	}

	get(key: string): Uint8Array | undefined {
		const entry = this.#entries.get(key);
		if (entry === undefined) return undefined;
		this.#entries.delete(key);
		this.#entries.set(key, entry);
		return entry;
	}

	set(key: string, entry: Uint8Array): Uint8Array {
		this.#entries.set(key, entry);
		this.#bytes += entry.byteLength;
		for (const [oldest, { byteLength }] of this.#entries) {
			if (this.#bytes <= this.maxBytes) break;
			this.#entries.delete(oldest);
			this.#bytes -= byteLength;
		}
		return entry;
	}
}
