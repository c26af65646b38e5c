import { randomUUID } from "node:crypto";
import { type FileHandle, open, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { CHUNK_BYTES, contentDigestOf } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import {
	blobMissing,
	blobPath,
	checkDigest,
	diskErrorOf,
	failedWith,
	freeBytesOf,
	makeFolder,
	partialFolder,
	readFully,
	sizeOf,
	statOf,
	syncFolder,
} from "./files.js";
import { Turns } from "./turns.js";
import { checkChunk, checkHead, equal, hashChunks, sha256, type Upload, type UploadHead } from "./upload.js";

/** Settings of a blob store. */
export interface BlobStoreOptions {
	readonly folder: string;
	/** Largest blob. */
	readonly maxBlobBytes: number;
	/** Disk space that uploads leave for the next commit. */
	readonly reserveBytes: number;
	/** Bytes free on the disk; default: asks the file system. */
	readonly freeBytes?: () => Promise<number>;
}

/** State of a blob: its size when it is complete, and what has been received of it. */
export interface BlobStat {
	readonly size: number | undefined;
	readonly receivedBytes: number;
}

const KNOWN_HASHES = 1024;

/**
 * Content-addressed folder: the blob with digest abcdef… is the file ab/cdef…. A file under its name is complete,
 * verified and on disk; what is being received lies in partial/.
 */
export class BlobStore {
	readonly #options: BlobStoreOptions;
	/** Uploads of one blob write one after the other. */
	readonly #turns = new Turns();
	/** Partial files whose chunks were checked since the start, and how much of each. */
	readonly #checked = new Map<string, number>();
	/** Chunk hashes of blobs that were read, oldest first. */
	readonly #hashes = new Map<string, readonly Uint8Array[]>();

	private constructor(options: BlobStoreOptions) {
		this.#options = options;
	}

	/** Opens or makes the folder. */
	static async open(options: BlobStoreOptions): Promise<BlobStore> {
		await makeFolder(options.folder);
		await makeFolder(partialFolder(options.folder));
		// Whatever was not renamed when the last process ended belongs to nobody. Uploads have digests for names and stay.
		for (const name of await readdir(partialFolder(options.folder))) {
			if (name.endsWith(".tmp")) await rm(join(partialFolder(options.folder), name), { force: true });
		}
		return new BlobStore(options);
	}

	/** Where a complete blob lies, for readers in other threads. */
	path(digest: string): string {
		return blobPath(this.#options.folder, digest);
	}

	/** What is here of a blob; writes nothing. */
	async stat(digest: string): Promise<BlobStat> {
		const size = await sizeOf(this.path(digest));
		if (size !== undefined) return { size, receivedBytes: size };
		const received = this.#checked.get(digest) ?? (await sizeOf(this.#partial(digest))) ?? 0;
		return { size: undefined, receivedBytes: received - (received % CHUNK_BYTES) };
	}

	/**
	 * Begins an upload, or goes on with one. Renews the lease of a blob that is complete already, so that it is not
	 * collected before the report that names it arrives.
	 * @throws INVALID_ARGUMENT, TOO_LARGE, DIGEST_MISMATCH (the chunk hashes do not give the digest), DISK_FULL.
	 */
	async openUpload(head: UploadHead): Promise<Upload> {
		checkHead(head, this.#options.maxBlobBytes);
		const { digest, totalBytes } = head;
		const at = await this.#writing(digest, async () => {
			if (await this.#renew(digest)) return totalBytes;
			const received = await this.#verifiedPart(head);
			await this.#requireBytes(totalBytes - received);
			if (received === totalBytes) await this.#complete(digest);
			return received;
		});
		let receivedBytes = at;
		let complete = receivedBytes === totalBytes;
		return {
			get receivedBytes() {
				return receivedBytes;
			},
			get complete() {
				return complete;
			},
			append: async (chunk) => {
				if (complete) throw new RondoError("CONFLICT", `blob ${digest} is complete; no chunk is expected`, { details: { digest } });
				checkChunk(head, receivedBytes, chunk);
				complete = await this.#writing(digest, () => this.#append(head, receivedBytes, chunk));
				receivedBytes += chunk.length;
				return receivedBytes;
			},
		};
	}

	/** Stores bytes that are in memory; gives their digest. @throws TOO_LARGE, DISK_FULL. */
	async put(bytes: Uint8Array): Promise<string> {
		const chunkHashes: Uint8Array[] = [];
		for (let from = 0; from < bytes.length; from += CHUNK_BYTES) chunkHashes.push(sha256(bytes.subarray(from, from + CHUNK_BYTES)));
		const digest = contentDigestOf(bytes.length, chunkHashes);
		checkHead({ digest, totalBytes: bytes.length, chunkHashes }, this.#options.maxBlobBytes);
		await this.#writing(digest, async () => {
			if (await this.#renew(digest)) return;
			await this.#requireBytes(bytes.length);
			const temporary = join(partialFolder(this.#options.folder), `${randomUUID()}.tmp`);
			try {
				const file = await open(temporary, "wx");
				try {
					await file.writeFile(bytes);
					await file.sync();
				} finally {
					await file.close();
				}
				await this.#rename(temporary, digest);
			} finally {
				await rm(temporary, { force: true });
			}
		});
		return digest;
	}

	/** Bytes `from` up to `to` (default: all) of a complete blob. @throws BLOB_MISSING, INVALID_ARGUMENT. */
	async read(digest: string, from = 0, to?: number): Promise<Uint8Array> {
		return this.#withFile(digest, async (file, size) => {
			const end = to ?? size;
			if (!(Number.isInteger(from) && Number.isInteger(end) && from >= 0 && from <= end && end <= size)) {
				throw new RondoError("INVALID_ARGUMENT", `bytes ${from} to ${end} are not within blob ${digest} of ${size} bytes`, {
					details: { digest, from, to: end, size },
				});
			}
			return await readFully(file, from, end - from, digest);
		});
	}

	/**
	 * SHA-256 of every chunk of a complete blob. The first call reads the blob and so finds out whether the disk still
	 * holds what was stored.
	 * @throws BLOB_MISSING; DIGEST_MISMATCH when the file has rotted.
	 */
	async chunkHashes(digest: string): Promise<readonly Uint8Array[]> {
		const known = this.#hashes.get(digest);
		if (known !== undefined) return known;
		const [hashes, size] = await this.#withFile(digest, async (file, bytes) => [await hashChunks(file, bytes, digest), bytes] as const);
		if (contentDigestOf(size, hashes) !== digest) {
			throw new RondoError("DIGEST_MISMATCH", `the file of blob ${digest} no longer holds it: delete ${this.path(digest)} and restore it`, {
				details: { digest },
			});
		}
		this.#hashes.set(digest, hashes);
		const [oldest] = this.#hashes.keys();
		if (this.#hashes.size > KNOWN_HASHES) this.#hashes.delete(oldest!);
		return hashes;
	}

	/** Deletes a blob and what was received of it. */
	async remove(digest: string): Promise<void> {
		await this.#turns.take(digest, async () => {
			this.#forget(digest);
			await rm(this.path(digest), { force: true });
			await rm(this.#partial(digest), { force: true });
		});
	}

	/** Digests of the complete blobs. */
	async list(): Promise<readonly string[]> {
		const digests: string[] = [];
		for (const prefix of await readdir(this.#options.folder)) {
			if (!/^[0-9a-f]{2}$/.test(prefix)) continue;
			for (const rest of await readdir(join(this.#options.folder, prefix))) digests.push(prefix + rest);
		}
		return digests;
	}

	/**
	 * Deletes complete blobs and abandoned uploads that are not `reachable` and were not touched for `olderThanMs`. A blob
	 * is touched when it is stored, and when somebody wants to store it again.
	 */
	async collect(reachable: ReadonlySet<string>, olderThanMs: number): Promise<{ readonly removed: number; readonly bytes: number }> {
		const before = Date.now() - olderThanMs;
		const partial = partialFolder(this.#options.folder);
		const complete = (await this.list()).map((digest) => [digest, this.path(digest)] as const);
		const received = (await readdir(partial)).map((name) => [name, join(partial, name)] as const);
		let [removed, bytes] = [0, 0];
		for (const [digest, path] of [...complete, ...received]) {
			if (reachable.has(digest) || ((await statOf(path))?.mtimeMs ?? before) >= before) continue;
			const freed = await this.#turns.take(digest, () => this.#removeUnlessTouched(digest, path, before));
			if (freed === undefined) continue;
			removed += 1;
			bytes += freed;
		}
		return { removed, bytes };
	}

	/** Another thread may renew the lease at any moment: so the file is taken away first, and looked at again. */
	async #removeUnlessTouched(digest: string, path: string, before: number): Promise<number | undefined> {
		const aside = join(partialFolder(this.#options.folder), `${randomUUID()}.tmp`);
		try {
			await rename(path, aside);
		} catch (error) {
			if (failedWith(error, "ENOENT")) return undefined;
			throw error;
		}
		const { mtimeMs, size } = await stat(aside);
		if (mtimeMs >= before) {
			await rename(aside, path);
			return undefined;
		}
		this.#forget(digest);
		await rm(aside);
		return size;
	}

	/** @throws DISK_FULL when less than the reserve is free. */
	requireSpace(): Promise<void> {
		return this.#requireBytes(0);
	}

	async #requireBytes(bytes: number): Promise<void> {
		const { folder, reserveBytes, freeBytes } = this.#options;
		const free = await (freeBytes === undefined ? freeBytesOf(folder) : freeBytes());
		if (free - bytes < reserveBytes) {
			throw new RondoError(
				"DISK_FULL",
				`${bytes} bytes would leave less than the reserve of ${reserveBytes} bytes: the disk of ${folder} has ${free} bytes free`,
				{
					details: { folder, bytes, freeBytes: free, reserveBytes },
				},
			);
		}
	}

	/** Work on one blob in turn with others. @throws DISK_FULL for what a full disk answers. */
	async #writing<T>(digest: string, work: () => Promise<T>): Promise<T> {
		try {
			return await this.#turns.take(digest, work);
		} catch (error) {
			throw diskErrorOf(error, this.#options.folder);
		}
	}

	/** Length of the part of an interrupted upload that is good; cuts off the rest (a torn write, or garbage after a power cut). */
	async #verifiedPart({ digest, totalBytes, chunkHashes }: UploadHead): Promise<number> {
		const known = this.#checked.get(digest);
		if (known !== undefined) return known;
		const path = this.#partial(digest);
		const size = Math.min((await sizeOf(path)) ?? 0, totalBytes);
		const file = await open(path, size === 0 ? "w" : "r+");
		try {
			const found = await hashChunks(file, size, digest);
			const wrong = found.findIndex((hash, i) => !equal(hash, chunkHashes[i]!));
			const good = wrong === -1 ? size : wrong * CHUNK_BYTES;
			await file.truncate(good);
			this.#checked.set(digest, good);
			return good;
		} finally {
			await file.close();
		}
	}

	/** Writes a checked chunk unless another sender of the blob already did; gives whether the blob is complete. */
	async #append({ digest, totalBytes }: UploadHead, at: number, chunk: Uint8Array): Promise<boolean> {
		if ((await sizeOf(this.path(digest))) !== undefined) return at + chunk.length === totalBytes;
		const end = this.#checked.get(digest) ?? 0;
		if (at > end)
			throw new RondoError("CONFLICT", `blob ${digest} was deleted while it was sent: begin again`, {
				details: { digest, receivedBytes: end },
			});
		if (at < end) return false;
		await this.#requireBytes(chunk.length);
		await this.#write(this.#partial(digest), at, chunk);
		this.#checked.set(digest, at + chunk.length);
		if (at + chunk.length < totalBytes) return false;
		await this.#complete(digest);
		return true;
	}

	async #write(path: string, at: number, chunk: Uint8Array): Promise<void> {
		const file = await open(path, "r+");
		try {
			for (let done = 0; done < chunk.length; ) done += (await file.write(chunk, done, chunk.length - done, at + done)).bytesWritten;
		} catch (error) {
			// Half a chunk must not stay: it would take the place that the disk lacks. The error to tell is the first one.
			await file.truncate(at).catch(() => undefined);
			throw error;
		} finally {
			await file.close();
		}
	}

	/** The partial file holds everything: puts it on disk and gives it its name. */
	async #complete(digest: string): Promise<void> {
		const partial = this.#partial(digest);
		this.#checked.delete(digest);
		const file = await open(partial, "r+");
		try {
			await file.sync();
		} catch (error) {
			// After a failed sync nobody knows which pages are on disk, and a second sync would claim success.
			await rm(partial, { force: true });
			throw error;
		} finally {
			await file.close();
		}
		await this.#rename(partial, digest);
	}

	async #rename(from: string, digest: string): Promise<void> {
		const to = this.path(digest);
		await makeFolder(dirname(to));
		await rename(from, to);
		await syncFolder(dirname(to));
	}

	/** Whether the blob is complete; its lease begins anew. */
	async #renew(digest: string): Promise<boolean> {
		const now = new Date();
		try {
			await utimes(this.path(digest), now, now);
			return true;
		} catch (error) {
			if (failedWith(error, "ENOENT")) return false;
			throw error;
		}
	}

	async #withFile<T>(digest: string, work: (file: FileHandle, size: number) => Promise<T>): Promise<T> {
		const file = await open(this.path(digest), "r").catch((error: unknown) => {
			throw failedWith(error, "ENOENT") ? blobMissing(digest, error) : error;
		});
		try {
			return await work(file, (await file.stat()).size);
		} finally {
			await file.close();
		}
	}

	#forget(digest: string): void {
		this.#checked.delete(digest);
		this.#hashes.delete(digest);
	}

	#partial(digest: string): string {
		checkDigest(digest);
		return join(partialFolder(this.#options.folder), digest);
	}
}
