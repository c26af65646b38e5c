import { type ArrayOf, arrayFrom, bytesOf, bytesPerElement, contentDigest, type DType, type Io, type Vec, vecOf } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { ReportSource } from "@rondo/rounds";

/** A content-addressed store in memory: what the coordinator's and the clients' stores are in a simulation. */
export interface MemoryStore extends Io, ReportSource {
	/** Stores a copy of `array`. */
	put<D extends DType>(dtype: D, array: ArrayOf<D>): Vec<D>;
	/** Takes content whose digest is known to be right; the bytes are kept, not copied. */
	adopt(vec: Vec, bytes: Uint8Array): void;
	/** All bytes of a blob; undefined when it is not there. */
	find(vec: Vec): Uint8Array | undefined;
	/** Forgets every blob but these. */
	retain(vecs: Iterable<Vec>): void;
	/**
	 * Recomputes the digest of every blob.
	 * @throws DIGEST_MISMATCH when somebody wrote into an array that was read
	 */
	verify(): void;
	/** Bytes of all blobs. */
	size(): number;
}

/** Elements that `write` asks for at once. */
const TILE = 65_536;

/** An empty store. Arrays that are read share memory with it. */
export function createMemoryStore(): MemoryStore {
	const blobs = new Map<string, Uint8Array>();
	const bytesFor = (vec: Vec): Uint8Array => {
		const bytes = blobs.get(vec.sha256);
		if (bytes === undefined) throw new RondoError("BLOB_MISSING", `the store has no blob ${vec.sha256} (${vec.length} × ${vec.dtype})`);
		if (bytes.length !== vec.length * bytesPerElement(vec.dtype)) {
			throw new RondoError("DIGEST_MISMATCH", `blob ${vec.sha256} has ${bytes.length} bytes, not ${vec.length} × ${vec.dtype}`);
		}
		return bytes;
	};
	const take = <D extends DType>(dtype: D, length: number, bytes: Uint8Array): Vec<D> => {
		const digest = contentDigest(bytes);
		if (!blobs.has(digest)) blobs.set(digest, bytes);
		return vecOf(dtype, length, digest);
	};
	return {
		read: (vec, from = 0, to = vec.length) => arrayFrom(vec.dtype, bytesFor(vec)).subarray(from, to) as ArrayOf<typeof vec.dtype>,
		write(dtype, length, tile) {
			const bytes = new Uint8Array(length * bytesPerElement(dtype));
			for (let from = 0; from < length; from += TILE) {
				const to = Math.min(from + TILE, length);
				const part = tile(from, to);
				if (part.length !== to - from)
					throw new RondoError("SHAPE_MISMATCH", `tile ${from} to ${to} has ${part.length} elements, expected ${to - from}`);
				bytes.set(bytesOf(part), from * bytesPerElement(dtype));
			}
			return take(dtype, length, bytes);
		},
		put: (dtype, array) => take(dtype, array.length, bytesOf(array).slice()),
		adopt(vec, bytes) {
			if (!blobs.has(vec.sha256)) blobs.set(vec.sha256, bytes);
		},
		find: (vec) => blobs.get(vec.sha256),
		blob: (vec, from, to) => bytesFor(vec).subarray(from, to),
		retain(vecs) {
			const kept = new Set(Array.from(vecs, ({ sha256 }) => sha256));
			for (const digest of blobs.keys()) if (!kept.has(digest)) blobs.delete(digest);
		},
		verify() {
			for (const [digest, bytes] of blobs) {
				if (contentDigest(bytes) !== digest) throw new RondoError("DIGEST_MISMATCH", `blob ${digest} was written into`);
			}
		},
		size: () => Array.from(blobs.values(), ({ length }) => length).reduce((sum, length) => sum + length, 0),
	};
}
