import { exactBytes, maxItems, refuse } from "./fields.js";
import { LIMITS, MAX_BLOB_BYTES } from "./limits.js";

/** Number of chunks of a blob of `totalBytes`. */
export const chunkCount = (totalBytes: number): number => Math.ceil(totalBytes / LIMITS.chunkBytes);

/** Size of the chunk that begins at `offset`, bytes; 0 at the end of the blob. */
export const chunkBytesAt = (totalBytes: number, offset: number): number => Math.min(LIMITS.chunkBytes, totalBytes - offset);

/**
 * Size of a blob, before anything is allocated for it.
 * @throws TOO_LARGE above `maxBlobBytes`
 */
export function checkBlobBytes(field: string, totalBytes: bigint, maxBlobBytes: number = MAX_BLOB_BYTES): number {
	if (totalBytes > BigInt(Math.min(maxBlobBytes, MAX_BLOB_BYTES)))
		refuse(field, `at most ${Math.min(maxBlobBytes, MAX_BLOB_BYTES)} bytes`, totalBytes, "TOO_LARGE");
	return Number(totalBytes);
}

/** @throws INVALID_ARGUMENT unless `offset` is a multiple of the chunk size and not behind the end (whose last chunk may be short) */
export function checkOffset(field: string, offset: bigint, totalBytes: number): number {
	if (offset % BigInt(LIMITS.chunkBytes) !== 0n) refuse(field, `a multiple of ${LIMITS.chunkBytes}`, offset);
	if (offset > BigInt(totalBytes)) refuse(field, `at most the blob's ${totalBytes} bytes`, offset);
	return Number(offset);
}

/** @throws TOO_LARGE or INVALID_ARGUMENT unless there is one hash of 32 bytes for each chunk */
export function checkChunkHashes(field: string, hashes: readonly Uint8Array[], totalBytes: number): void {
	maxItems(field, hashes, LIMITS.chunks);
	if (hashes.length !== chunkCount(totalBytes)) refuse(field, `${chunkCount(totalBytes)} hashes for ${totalBytes} bytes`, hashes.length);
	for (const [i, hash] of hashes.entries()) exactBytes(`${field}[${i}]`, hash, LIMITS.digestBytes);
}

/** @throws INVALID_ARGUMENT unless `chunk` is a whole chunk of the blob, the last one being what is left of it */
export function checkChunk(chunk: Uint8Array, totalBytes: number, offset: number): void {
	const want = chunkBytesAt(totalBytes, offset);
	if (want <= 0) refuse("chunk", `absent: all ${totalBytes} bytes were sent`, chunk.length);
	exactBytes("chunk", chunk, want);
}
