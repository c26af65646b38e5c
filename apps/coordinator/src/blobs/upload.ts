import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { CHUNK_BYTES, contentDigestOf } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { checkDigest, readFully } from "./files.js";

// What is announced of a blob, and whether its chunks keep to it.

/** What a client says of a blob before it sends it. */
export interface UploadHead {
	readonly digest: string;
	readonly totalBytes: number;
	/** SHA-256 of every 1 MiB chunk. */
	readonly chunkHashes: readonly Uint8Array[];
}

/** One sender's upload. Several may send the same blob at once; what one that goes away has sent stays for the next. */
export interface Upload {
	/** Where the next chunk belongs; a whole number of chunks, or everything. */
	readonly receivedBytes: number;
	/** Whether the blob is in the store, on disk and under its name. */
	readonly complete: boolean;
	/**
	 * Checks the next chunk and appends it; gives the bytes received. The last chunk completes the blob.
	 * @throws DIGEST_MISMATCH, SHAPE_MISMATCH (not the chunk's length), CONFLICT (upload is complete), DISK_FULL; the upload can go on after each.
	 */
	append(chunk: Uint8Array): Promise<number>;
}

const SHA256_BYTES = 32;

/** @throws INVALID_ARGUMENT, TOO_LARGE; DIGEST_MISMATCH when the chunk hashes do not give the digest. */
export function checkHead({ digest, totalBytes, chunkHashes }: UploadHead, maxBlobBytes: number): void {
	checkDigest(digest);
	if (!Number.isSafeInteger(totalBytes) || totalBytes < 0)
		throw new RondoError("INVALID_ARGUMENT", `totalBytes must be a non-negative integer, got ${totalBytes}`);
	if (totalBytes > maxBlobBytes) {
		throw new RondoError("TOO_LARGE", `totalBytes is ${totalBytes}, blobs may have at most ${maxBlobBytes} bytes`, {
			details: { digest, totalBytes, maxBlobBytes },
		});
	}
	const chunks = Math.ceil(totalBytes / CHUNK_BYTES);
	if (chunkHashes.length !== chunks || chunkHashes.some((hash) => hash.length !== SHA256_BYTES)) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`chunkHashes must be ${chunks} hashes of ${SHA256_BYTES} bytes for ${totalBytes} bytes, got ${chunkHashes.length}`,
			{ details: { digest, totalBytes } },
		);
	}
	if (contentDigestOf(totalBytes, chunkHashes) !== digest) {
		throw new RondoError("DIGEST_MISMATCH", `the chunk hashes of blob ${digest} do not give its digest`, {
			details: { digest, totalBytes },
		});
	}
}

/** Digest of one chunk. */
export const sha256 = (bytes: Uint8Array): Uint8Array => createHash("sha256").update(bytes).digest();

/** Whether two digests are the same. */
export const equal = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);

/** @throws SHAPE_MISMATCH, DIGEST_MISMATCH for what is not the chunk at byte `at`. */
export function checkChunk({ digest, totalBytes, chunkHashes }: UploadHead, at: number, chunk: Uint8Array): void {
	const index = at / CHUNK_BYTES;
	const expected = Math.min(CHUNK_BYTES, totalBytes - at);
	if (chunk.length !== expected) {
		throw new RondoError("SHAPE_MISMATCH", `chunk ${index} of blob ${digest} must have ${expected} bytes, got ${chunk.length}`, {
			details: { digest, index, expected, got: chunk.length },
		});
	}
	if (!equal(sha256(chunk), chunkHashes[index]!)) {
		throw new RondoError("DIGEST_MISMATCH", `chunk ${index} of blob ${digest} does not have the hash that was announced`, {
			details: { digest, index },
		});
	}
}

/** SHA-256 of every chunk of the first `bytes` of a file. @throws BLOB_MISSING when it ends before. */
export async function hashChunks(file: FileHandle, bytes: number, digest: string): Promise<readonly Uint8Array[]> {
	const hashes: Uint8Array[] = [];
	for (let from = 0; from < bytes; from += CHUNK_BYTES)
		hashes.push(sha256(await readFully(file, from, Math.min(CHUNK_BYTES, bytes - from), digest)));
	return hashes;
}
