import { open, rename } from "node:fs/promises";
import { contentDigestOf } from "@rondo/algorithms";
import { RondoError, toRondoError } from "@rondo/errors";
import {
	checkBlobBytes,
	checkChunk,
	checkGetBlobStart,
	checkStatBlobResponse,
	chunkBytesAt,
	digestBytes,
	LIMITS,
	type PutBlobRequest,
} from "@rondo/protocol";
import { Backoff, type BackoffOptions, pause } from "./backoff.js";
import { type BlobRef, type BlobStore, fill, isChunk } from "./blob-store.js";
import { fileError } from "./state-dir.js";
import type { CallContext, Transport } from "./transport.js";

/** Moves blobs between the coordinator and the local store. */
export class BlobTransfer {
	readonly #transport: Transport;
	readonly #store: BlobStore;
	readonly #backoff: BackoffOptions;
	readonly #running = new Map<string, Promise<void>>();

	constructor(transport: Transport, store: BlobStore, backoff: BackoffOptions) {
		this.#transport = transport;
		this.#store = store;
		this.#backoff = backoff;
	}

	/**
	 * Makes sure that a blob is in the store: what was downloaded before an interruption stays, and an interruption is
	 * waited out until `call.signal` aborts.
	 * @throws DIGEST_MISMATCH when what arrives is not the blob; CANCELLED; whatever final error the coordinator answers
	 */
	async download(ref: BlobRef, call: CallContext): Promise<void> {
		const backoff = new Backoff(this.#backoff);
		checkBlobBytes("blob", BigInt(ref.bytes));
		for (;;) {
			if (call.signal.aborted) throw new RondoError("CANCELLED", `the download of ${ref.digest} was cancelled`);
			// A download of the same blob for another task: its result serves, its failure is its own.
			const other = this.#running.get(ref.digest);
			if (other !== undefined) await other.catch(() => {});
			else if (await this.#store.has(ref)) return;
			else {
				const attempt = this.#fetch(ref, call).finally(() => this.#running.delete(ref.digest));
				this.#running.set(ref.digest, attempt);
				try {
					await attempt;
				} catch (cause) {
					const error = toRondoError(cause);
					if (call.signal.aborted || !error.spec.retryable || error.code === "DISK_FULL") throw error;
					await pause(backoff.next(), call.signal);
				}
			}
		}
	}

	/**
	 * Makes sure that the coordinator has a blob; sends only what it lacks.
	 * @throws BLOB_MISSING or DIGEST_MISMATCH when the local file is gone or damaged; whatever the coordinator answers
	 */
	async upload(ref: BlobRef, taskId: string, call: CallContext): Promise<void> {
		const digest = digestBytes(ref.digest);
		const totalBytes = BigInt(ref.bytes);
		const state = await this.#transport.statBlob({ digest, totalBytes }, call);
		checkStatBlobResponse(state, ref.bytes);
		if (state.complete) return;
		const chunkHashes = await this.#store.chunkHashes(ref);
		const store = this.#store;
		const offset = Number(state.receivedBytes);
		async function* messages(): AsyncGenerator<PutBlobRequest> {
			const start = { digest, totalBytes, offset: BigInt(offset), chunkHashes, taskId: digestBytes(taskId) };
			yield { message: { $case: "start", start } };
			for await (const chunk of store.chunks(ref, offset)) yield { message: { $case: "chunk", chunk } };
		}
		const { receivedBytes } = await this.#transport.putBlob(messages(), call);
		if (receivedBytes !== totalBytes)
			throw new RondoError("UNAVAILABLE", `the coordinator has ${receivedBytes} of ${totalBytes} bytes of blob ${ref.digest}`);
	}

	async #fetch(ref: BlobRef, call: CallContext): Promise<void> {
		const path = this.#store.partOf(ref.digest);
		const file = await open(path, "a+", 0o600);
		let complete = false;
		try {
			const have = (await file.stat()).size;
			// The last chunk may be torn: only whole ones before it count, and they are checked against the hashes below.
			const offset = LIMITS.chunkBytes * Math.floor(Math.min(have, Math.max(0, ref.bytes - 1)) / LIMITS.chunkBytes);
			await file.truncate(offset);
			complete = await this.#receive(ref, call, file, offset);
			if (!complete) await file.truncate(0);
		} catch (cause) {
			throw fileError(cause, path);
		} finally {
			await file.close();
		}
		if (complete) await rename(path, this.#store.pathOf(ref.digest));
		else throw new RondoError("UNAVAILABLE", `what was left of an earlier download of ${ref.digest} is damaged; it begins anew`);
	}

	/** False when the chunks of an earlier download turn out to be damaged. */
	async #receive(ref: BlobRef, call: CallContext, file: Awaited<ReturnType<typeof open>>, offset: number): Promise<boolean> {
		const mismatch = (what: string): RondoError =>
			new RondoError("DIGEST_MISMATCH", `download of blob ${ref.digest}: ${what}`, { details: { digest: ref.digest } });
		let hashes: readonly Uint8Array[] | undefined;
		let at = offset;
		for await (const { message } of this.#transport.getBlob({ digest: digestBytes(ref.digest), offset: BigInt(offset) }, call)) {
			if (hashes === undefined) {
				if (message?.$case !== "start") throw mismatch("the first message is not `start`");
				checkGetBlobStart(message.start, ref.bytes);
				hashes = message.start.chunkHashes;
				if (contentDigestOf(ref.bytes, hashes) !== ref.digest) throw mismatch("the chunk hashes do not hash to the digest");
				if (!(await matches(file, offset, hashes))) return false;
			} else {
				if (message?.$case !== "chunk") throw mismatch(`a chunk was due at byte ${at}`);
				checkChunk(message.chunk, ref.bytes, at);
				if (!isChunk(message.chunk, hashes[at / LIMITS.chunkBytes]!)) throw mismatch(`the chunk at byte ${at} does not have its hash`);
				await file.appendFile(message.chunk);
				at += message.chunk.length;
			}
		}
		if (hashes === undefined || at !== ref.bytes)
			throw new RondoError("UNAVAILABLE", `the download of ${ref.digest} ended at byte ${at} of ${ref.bytes}`);
		return true;
	}
}

async function matches(file: Awaited<ReturnType<typeof open>>, bytes: number, hashes: readonly Uint8Array[]): Promise<boolean> {
	const chunk = new Uint8Array(Math.min(bytes, LIMITS.chunkBytes));
	for (let at = 0; at < bytes; at += LIMITS.chunkBytes) {
		const piece = chunk.subarray(0, chunkBytesAt(bytes, at));
		if ((await fill(file, piece, at)) !== piece.length || !isChunk(piece, hashes[at / LIMITS.chunkBytes]!)) return false;
	}
	return true;
}
