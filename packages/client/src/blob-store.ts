import { createHash, randomBytes } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, renameSync, writeSync } from "node:fs";
import { type FileHandle, open, readdir, rename, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { contentDigestOf } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { LIMITS } from "@rondo/protocol";
import { fileError, removeAny } from "./state-dir.js";

/** A blob by name and size. */
export interface BlobRef {
	/** Content digest, 64 hexadecimal digits. */
	readonly digest: string;
	readonly bytes: number;
}

const sha256 = (bytes: Uint8Array): Uint8Array => createHash("sha256").update(bytes).digest();

/** Content digest of bytes in memory, by the native SHA-256. */
export function digestOfBytes(bytes: Uint8Array): string {
	const hashes: Uint8Array[] = [];
	for (let from = 0; from < bytes.length; from += LIMITS.chunkBytes) hashes.push(sha256(bytes.subarray(from, from + LIMITS.chunkBytes)));
	return contentDigestOf(bytes.length, hashes);
}

/** Whether `chunk` has the SHA-256 `hash`. */
export const isChunk = (chunk: Uint8Array, hash: Uint8Array): boolean => Buffer.compare(sha256(chunk), hash) === 0;

/**
 * The content-addressed files of a state directory, each named by its digest. Downloads are not synced: content is
 * checked whenever it is read, and what a power cut tore is fetched again.
 */
export class BlobStore {
	readonly dir: string;

	constructor(dir: string) {
		this.dir = dir;
	}

	pathOf(digest: string): string {
		return join(this.dir, digest);
	}

	/** Where a download grows; its whole chunks survive an interruption. */
	partOf(digest: string): string {
		return join(this.dir, `${digest}.part`);
	}

	/** Whether a file of that name and size is there; its content is checked when it is read. */
	async has({ digest, bytes }: BlobRef): Promise<boolean> {
		const found = await stat(this.pathOf(digest)).catch(absent);
		return found?.size === bytes;
	}

	/** Stores content that travelled inside a message. @throws DIGEST_MISMATCH or DISK_FULL */
	async putInline(digest: string, content: Uint8Array): Promise<void> {
		const actual = digestOfBytes(content);
		if (actual !== digest)
			throw new RondoError("DIGEST_MISMATCH", `inline blob ${digest} has the digest ${actual}`, { details: { digest, actual } });
		const path = this.pathOf(digest);
		const aside = `${path}.${randomBytes(4).toString("hex")}.part`;
		try {
			await writeFile(aside, content);
			await rename(aside, path);
		} catch (cause) {
			throw fileError(cause, path);
		}
	}

	/**
	 * Stores content that was made here and that nobody else has, synced, before it returns: strategies keep arrays
	 * synchronously.
	 * @throws DISK_FULL
	 */
	keepSync(content: Uint8Array): BlobRef {
		const digest = digestOfBytes(content);
		const path = this.pathOf(digest);
		if (!existsSync(path)) {
			const aside = `${path}.${randomBytes(4).toString("hex")}.part`;
			try {
				const fd = openSync(aside, "w", 0o600);
				try {
					for (let at = 0; at < content.length; ) at += writeSync(fd, content, at);
					fsyncSync(fd);
				} finally {
					closeSync(fd);
				}
				renameSync(aside, path);
			} catch (cause) {
				throw fileError(cause, path);
			}
		}
		return { digest, bytes: content.length };
	}

	/**
	 * The content, checked. Marks the file as used, for `trim`.
	 * @throws BLOB_MISSING when it is absent, DIGEST_MISMATCH when it is damaged (and now removed)
	 */
	async read(ref: BlobRef): Promise<Uint8Array> {
		const content = new Uint8Array(ref.bytes);
		await this.#scan(ref, (chunk, at) => content.set(chunk, at));
		return content;
	}

	/** SHA-256 of every chunk of a stored blob, for an upload. @throws as `read` */
	async chunkHashes(ref: BlobRef): Promise<Uint8Array[]> {
		return this.#scan(ref, () => {});
	}

	/** The chunks of a stored blob from `offset` on. */
	async *chunks({ digest, bytes }: BlobRef, offset: number): AsyncGenerator<Uint8Array> {
		const file = await this.#open(digest);
		try {
			for (let at = offset; at < bytes; at += LIMITS.chunkBytes) {
				const chunk = new Uint8Array(Math.min(LIMITS.chunkBytes, bytes - at));
				if ((await fill(file, chunk, at)) !== chunk.length)
					throw new RondoError("BLOB_MISSING", `blob ${digest} ends before byte ${at + chunk.length}`);
				yield chunk;
			}
		} finally {
			await file.close();
		}
	}

	async remove(digest: string): Promise<void> {
		await removeAny(this.pathOf(digest));
	}

	/** Removes the least recently used files above `limitBytes`, `pinned` ones excepted. Call while nothing is in flight. */
	async trim(limitBytes: number, pinned: ReadonlySet<string>): Promise<void> {
		const files: { readonly name: string; readonly bytes: number; readonly usedMs: number }[] = [];
		for (const name of await readdir(this.dir)) {
			const found = await stat(join(this.dir, name)).catch(absent);
			if (found !== undefined) files.push({ name, bytes: found.size, usedMs: found.mtimeMs });
		}
		let total = files.reduce((sum, file) => sum + file.bytes, 0);
		files.sort((a, b) => a.usedMs - b.usedMs);
		for (const file of files) {
			if (total <= limitBytes) return;
			if (pinned.has(file.name.slice(0, 64))) continue;
			await removeAny(join(this.dir, file.name));
			total -= file.bytes;
		}
	}

	async #open(digest: string): Promise<FileHandle> {
		const file = await open(this.pathOf(digest), "r").catch(absent);
		if (file === undefined) throw new RondoError("BLOB_MISSING", `blob ${digest} is not in ${this.dir}`, { details: { digest } });
		return file;
	}

	async #scan({ digest, bytes }: BlobRef, take: (chunk: Uint8Array, at: number) => void): Promise<Uint8Array[]> {
		const file = await this.#open(digest);
		const hashes: Uint8Array[] = [];
		const chunk = new Uint8Array(Math.min(bytes, LIMITS.chunkBytes));
		try {
			for (let at = 0; at < bytes; at += LIMITS.chunkBytes) {
				const piece = chunk.subarray(0, bytes - at);
				piece.fill(0, await fill(file, piece, at));
				hashes.push(sha256(piece));
				take(piece, at);
			}
		} finally {
			await file.close();
		}
		if (contentDigestOf(bytes, hashes) !== digest) {
			await this.remove(digest);
			throw new RondoError("DIGEST_MISMATCH", `the stored blob ${digest} was damaged and is removed`, { details: { digest } });
		}
		const now = new Date();
		await utimes(this.pathOf(digest), now, now);
		return hashes;
	}
}

/** Reads until `into` is full or the file ends; bytes read. */
export async function fill(file: FileHandle, into: Uint8Array, at: number): Promise<number> {
	let done = 0;
	while (done < into.length) {
		const { bytesRead } = await file.read(into, done, into.length - done, at + done);
		if (bytesRead === 0) break;
		done += bytesRead;
	}
	return done;
}

function absent(cause: NodeJS.ErrnoException): undefined {
	if (cause.code === "ENOENT") return undefined;
	throw cause;
}
