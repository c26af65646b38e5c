import type { ServerReadableStream, ServerWritableStream } from "@grpc/grpc-js";
import { CHUNK_BYTES } from "@rondo/algorithms";
import { RondoError, toRondoError } from "@rondo/errors";
import {
	checkGetBlobRequest,
	checkPutBlobStart,
	checkStatBlobRequest,
	digestHex,
	type FederationServiceServer,
	type GetBlobRequest,
	type GetBlobResponse,
	type PutBlobRequest,
	type PutBlobResponse,
	toServiceError,
} from "@rondo/protocol";
import type { Logger } from "pino";
import type { BlobStore } from "../blobs/blob-store.js";
import type { Driver } from "../driver/driver.js";
import type { Checkpoints } from "../driver/ports.js";
import type { Store } from "../store/store.js";
import { identify } from "./federation-service.js";
import type { Sessions } from "./sessions.js";

export interface BlobPorts {
	readonly store: Store;
	readonly blobs: BlobStore;
	readonly driver: Driver;
	readonly sessions: Sessions;
	readonly checkpoint: Checkpoints;
	readonly log: Logger;
}

export interface BlobCalls {
	readonly handlers: Pick<FederationServiceServer, "statBlob" | "putBlob" | "getBlob">;
	/** @throws DISK_FULL when less than the reserve is free. */
	requireSpace(): Promise<void>;
}

/** Up- and downloads of blobs in checked, resumable chunks. A digest is a capability: who knows it may read. */
export function createBlobCalls({ store, blobs, driver, sessions, checkpoint, log }: BlobPorts): BlobCalls {
	const fail = (thrown: unknown): ReturnType<typeof toServiceError> => {
		const error = toRondoError(thrown);
		if (error.code === "INTERNAL") log.error({ err: error }, "blob call failed");
		return toServiceError(error);
	};

	const put = async (call: ServerReadableStream<PutBlobRequest, PutBlobResponse>): Promise<PutBlobResponse> => {
		const client = await identify(store, call.metadata);
		let upload: Awaited<ReturnType<BlobStore["openUpload"]>> | undefined;
		let task = "";
		let receivedBytes = 0;
		let bytesUp = 0;
		try {
			for await (const { message } of call as AsyncIterable<PutBlobRequest>) {
				if (message?.$case === "start") {
					if (upload !== undefined) throw new RondoError("INVALID_ARGUMENT", "start: a second one in one upload");
					checkPutBlobStart(message.start);
					task = digestHex(message.start.taskId);
					const totalBytes = Number(message.start.totalBytes);
					const limit = await driver.reportLimit(task, client.id);
					if (totalBytes > limit) {
						throw new RondoError(
							"TOO_LARGE",
							`total_bytes: ${totalBytes} is more than the ${limit} bytes that a report of this run may have`,
							{ details: { field: "total_bytes", value: totalBytes, limit } },
						);
					}
					upload = await blobs.openUpload({ digest: digestHex(message.start.digest), totalBytes, chunkHashes: message.start.chunkHashes });
					receivedBytes = upload.receivedBytes;
					if (Number(message.start.offset) !== receivedBytes && !upload.complete) {
						throw new RondoError("INVALID_ARGUMENT", `offset: ${message.start.offset}, but ${receivedBytes} bytes are here; ask StatBlob`, {
							details: { field: "offset", value: Number(message.start.offset) },
						});
					}
				} else if (message?.$case === "chunk") {
					if (upload === undefined) throw new RondoError("INVALID_ARGUMENT", "chunk: comes before start");
					if (upload.complete) continue;
					if (message.chunk.length > CHUNK_BYTES)
						throw new RondoError("TOO_LARGE", `chunk: ${message.chunk.length} bytes, the limit is ${CHUNK_BYTES}`);
					receivedBytes = await upload.append(message.chunk);
					bytesUp += message.chunk.length;
				} else {
					throw new RondoError("INVALID_ARGUMENT", "message: neither start nor chunk");
				}
			}
			if (upload === undefined) throw new RondoError("INVALID_ARGUMENT", "start: missing");
			if (upload.complete) await checkpoint("blob-renamed");
			return { receivedBytes: BigInt(receivedBytes) };
		} finally {
			if (task !== "") sessions.count(task, { up: bytesUp });
		}
	};

	const get = async (call: ServerWritableStream<GetBlobRequest, GetBlobResponse>): Promise<void> => {
		const client = await identify(store, call.metadata);
		checkGetBlobRequest(call.request);
		const digest = digestHex(call.request.digest);
		const stat = await blobs.stat(digest);
		if (stat.size === undefined)
			throw new RondoError("NOT_FOUND", `digest: no blob ${digest}`, { details: { field: "digest", value: digest } });
		const write = async (response: GetBlobResponse): Promise<void> => {
			if (!call.write(response)) await new Promise((resolve) => call.once("drain", resolve));
		};
		await write({
			message: { $case: "start", start: { totalBytes: BigInt(stat.size), chunkHashes: [...(await blobs.chunkHashes(digest))] } },
		});
		let bytesDown = 0;
		for (let from = Number(call.request.offset); from < stat.size && !call.cancelled; from += CHUNK_BYTES) {
			const chunk = await blobs.read(digest, from, Math.min(from + CHUNK_BYTES, stat.size));
			await write({ message: { $case: "chunk", chunk } });
			bytesDown += chunk.length;
		}
		const task = sessions.get(client.id)?.newestTask;
		if (task !== undefined) sessions.count(task, { down: bytesDown });
		call.end();
	};

	return {
		requireSpace: () => blobs.requireSpace(),
		handlers: {
			statBlob: (call, answer) => {
				const stat = async () => {
					await identify(store, call.metadata);
					checkStatBlobRequest(call.request);
					const { size, receivedBytes } = await blobs.stat(digestHex(call.request.digest));
					return { complete: size !== undefined, receivedBytes: BigInt(size ?? receivedBytes) };
				};
				stat().then(
					(value) => answer(null, value),
					(thrown: unknown) => answer(fail(thrown)),
				);
			},
			putBlob: (call, answer) => {
				put(call).then(
					(value) => answer(null, value),
					(thrown: unknown) => answer(fail(thrown)),
				);
			},
			getBlob: (call) => {
				get(call).catch((thrown: unknown) => call.emit("error", fail(thrown)));
			},
		},
	};
}
