import { constants } from "node:fs";
import { type FileHandle, mkdir, open, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { RondoError } from "@rondo/errors";

// What the asynchronous store and the synchronous one of the worker share: where a blob lies and what errors mean.

const DIGEST = /^[0-9a-f]{64}$/;

/** Path of a blob below the folder of the store. @throws INVALID_ARGUMENT for what is not a digest, and so might be a path. */
export function blobPath(folder: string, digest: string): string {
	checkDigest(digest);
	return join(folder, digest.slice(0, 2), digest.slice(2));
}

/** @throws INVALID_ARGUMENT. */
export function checkDigest(digest: string): void {
	if (!DIGEST.test(digest)) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`digest must be 64 lower-case hexadecimal digits, got ${JSON.stringify(String(digest).slice(0, 80))}`,
			{ details: { digest } },
		);
	}
}

/** Folder of files that are being written; renamed into place when they are complete and on disk. */
export const partialFolder = (folder: string): string => join(folder, "partial");

/** Whether a file system call failed with this code. */
export const failedWith = (error: unknown, ...codes: readonly string[]): boolean =>
	error instanceof Error && "code" in error && codes.includes(String(error.code));

/** DISK_FULL for what a full disk or quota answers; anything else as it is. */
export function diskErrorOf(error: unknown, folder: string): unknown {
	return failedWith(error, "ENOSPC", "EDQUOT")
		? new RondoError("DISK_FULL", `the disk of ${folder} is full`, { details: { folder }, cause: error })
		: error;
}

/** @throws BLOB_MISSING. */
export const blobMissing = (digest: string, cause?: unknown): RondoError =>
	new RondoError("BLOB_MISSING", `blob ${digest} is not in the store`, { details: { digest }, ...(cause === undefined ? {} : { cause }) });

/** Makes names durable: a rename is on disk only when its folder is. */
export async function syncFolder(folder: string): Promise<void> {
	const handle = await open(folder, constants.O_RDONLY);
	try {
		await handle.sync();
	} finally {
		await handle.close();
	}
}

/** Makes a folder that survives a power cut. */
export async function makeFolder(folder: string): Promise<void> {
	if ((await mkdir(folder, { recursive: true })) !== undefined) await syncFolder(dirname(folder));
}

/** Bytes that unprivileged processes may still write on the disk of a folder. */
export async function freeBytesOf(folder: string): Promise<number> {
	const { bavail, bsize } = await statfs(folder);
	return bavail * bsize;
}

/** Exactly `length` bytes of a blob's file. @throws BLOB_MISSING when it ends before. */
export async function readFully(file: FileHandle, from: number, length: number, digest: string): Promise<Uint8Array> {
	const bytes = new Uint8Array(length);
	for (let done = 0; done < length; ) {
		const { bytesRead } = await file.read(bytes, done, length - done, from + done);
		if (bytesRead === 0) throw blobMissing(digest);
		done += bytesRead;
	}
	return bytes;
}

/** Size of a file; undefined when there is none. */
export const sizeOf = async (path: string): Promise<number | undefined> => (await statOf(path))?.size;

/** Size and time of a file; undefined when there is none. */
export async function statOf(path: string): Promise<{ readonly size: number; readonly mtimeMs: number } | undefined> {
	try {
		return await stat(path);
	} catch (error) {
		if (failedWith(error, "ENOENT")) return undefined;
		throw error;
	}
}
