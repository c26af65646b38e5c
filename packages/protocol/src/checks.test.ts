import type { RondoError } from "@rondo/errors";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
	ConnectRequest,
	ConnectResponse,
	checkChunk,
	checkConnectRequest,
	checkConnectResponse,
	checkEnrolRequest,
	checkGetBlobRequest,
	checkGetBlobStart,
	checkPutBlobStart,
	checkStatBlobRequest,
	digestBytes,
	digestHex,
	EnrolRequest,
	GetBlobStart,
	LIMITS,
	MAX_BLOB_BYTES,
	PutBlobStart,
} from "./index.js";

const id = new Uint8Array(32);
const hello = { protocolVersion: 1, software: "rondo-client/0.1.0", session: 1n, epochSeen: 0n, installationNonce: new Uint8Array(16) };
const offer = { taskId: id, runId: "r1", kind: 1 as const, leaseMs: 1000n };

function failure(run: () => void): Pick<RondoError, "code" | "message" | "details"> {
	try {
		run();
	} catch (error) {
		return error as RondoError;
	}
	throw new Error("nothing was refused");
}

const request = (message: Parameters<typeof ConnectRequest.fromPartial>[0]["message"]) => () =>
	checkConnectRequest(ConnectRequest.fromPartial({ message }));
const response = (message: Parameters<typeof ConnectResponse.fromPartial>[0]["message"]) => () =>
	checkConnectResponse(ConnectResponse.fromPartial({ message }));

describe("messages of a client", () => {
	test("legal ones pass", () => {
		request({ $case: "hello", hello })();
		request({ $case: "decline", decline: { taskId: id, reason: "battery low" } })();
		request({ $case: "submit", submit: { taskId: id, report: new Uint8Array(LIMITS.reportBytes) } })();
		request({ $case: "progress", progress: { taskId: id, done: 1n, total: 2n } })();
		request({ $case: "ping", ping: { nonce: 2n ** 64n - 1n } })();
		checkEnrolRequest(EnrolRequest.fromPartial({ protocolVersion: 1, token: "t", installationNonce: new Uint8Array(16) }));
		checkPutBlobStart(PutBlobStart.fromPartial({ digest: id, taskId: id, totalBytes: 1n, chunkHashes: [id] }));
		checkPutBlobStart(PutBlobStart.fromPartial({ digest: id, taskId: id }));
	});

	test.each<[string, () => void, string, string]>([
		["nothing set", request(undefined), "INVALID_ARGUMENT", "message"],
		["old protocol", request({ $case: "hello", hello: { ...hello, protocolVersion: 0 } }), "PROTOCOL_TOO_OLD", "update the client"],
		[
			"short nonce",
			request({ $case: "hello", hello: { ...hello, installationNonce: new Uint8Array(15) } }),
			"INVALID_ARGUMENT",
			"installation_nonce must be exactly 16 bytes, got 15",
		],
		[
			"session",
			request({ $case: "hello", hello: { ...hello, session: 2n ** 53n } }),
			"INVALID_ARGUMENT",
			"session must be at most 2^53 - 1, got 9007199254740992",
		],
		[
			"strategies",
			request({ $case: "hello", hello: { ...hello, strategies: Array.from({ length: 257 }, () => ({ name: "a", version: 1 })) } }),
			"TOO_LARGE",
			"strategies",
		],
		[
			"strategy name",
			request({ $case: "hello", hello: { ...hello, strategies: [{ name: "a b", version: 1 }] } }),
			"INVALID_ARGUMENT",
			'strategies[0].name must be 1 to 64 characters of [A-Za-z0-9._-], got "a b"',
		],
		[
			"outbox id",
			request({ $case: "hello", hello: { ...hello, outboxTaskIds: [id, new Uint8Array(31)] } }),
			"INVALID_ARGUMENT",
			"outbox_task_ids[1] must be exactly 32 bytes, got 31",
		],
		["outbox count", request({ $case: "hello", hello: { ...hello, outboxTaskIds: Array(1025).fill(id) } }), "TOO_LARGE", "outbox_task_ids"],
		["run id", request({ $case: "hello", hello: { ...hello, knownRunIds: ["../x"] } }), "INVALID_ARGUMENT", "known_run_ids[0]"],
		[
			"reason in UTF-8",
			request({ $case: "decline", decline: { taskId: id, reason: "ü".repeat(600) } }),
			"TOO_LARGE",
			"decline.reason must be at most 1024 bytes, got 1200",
		],
		[
			"report",
			request({ $case: "submit", submit: { taskId: id, report: new Uint8Array(LIMITS.reportBytes + 1) } }),
			"TOO_LARGE",
			"submit.report must be at most 196608 bytes, got 196609",
		],
		[
			"no token",
			() => checkEnrolRequest(EnrolRequest.fromPartial({ protocolVersion: 1, installationNonce: new Uint8Array(16) })),
			"INVALID_ARGUMENT",
			"token",
		],
		[
			"client name",
			() =>
				checkEnrolRequest(
					EnrolRequest.fromPartial({ protocolVersion: 1, token: "t", clientName: "a/b", installationNonce: new Uint8Array(16) }),
				),
			"INVALID_ARGUMENT",
			"client_name",
		],
		["blob size", () => checkStatBlobRequest({ digest: id, totalBytes: BigInt(MAX_BLOB_BYTES) + 1n }), "TOO_LARGE", "total_bytes"],
		[
			"own blob limit",
			() => checkStatBlobRequest({ digest: id, totalBytes: 11n }, 10),
			"TOO_LARGE",
			"total_bytes must be at most 10 bytes, got 11",
		],
		[
			"crooked offset",
			() => checkGetBlobRequest({ digest: id, offset: 5n }),
			"INVALID_ARGUMENT",
			"offset must be a multiple of 1048576, got 5",
		],
		[
			"offset behind the end",
			() => checkPutBlobStart(PutBlobStart.fromPartial({ digest: id, taskId: id, totalBytes: 5n, offset: 1_048_576n, chunkHashes: [id] })),
			"INVALID_ARGUMENT",
			"offset",
		],
		[
			"hash count",
			() => checkPutBlobStart(PutBlobStart.fromPartial({ digest: id, taskId: id, totalBytes: 1_048_577n, chunkHashes: [id] })),
			"INVALID_ARGUMENT",
			"chunk_hashes must be 2 hashes for 1048577 bytes, got 1",
		],
	])("refused: %s", (_name, run, code, text) => {
		const error = failure(run);
		expect(error.code).toBe(code);
		expect(error.message).toContain(text);
	});

	test("the largest legal messages are within the limit of the stream", () => {
		const name = "n".repeat(64);
		const ids = Array.from({ length: LIMITS.taskIds }, () => id);
		const strategies = Array.from({ length: LIMITS.strategies }, () => ({ name, version: 2 ** 32 - 1 }));
		const lists = {
			strategies,
			randomness: Array(16).fill(name),
			codecs: Array(64).fill(name),
			knownRunIds: Array(256).fill(name),
			outboxTaskIds: ids,
			unsettledTaskIds: ids,
		};
		const largest = [
			ConnectRequest.fromPartial({ message: { $case: "hello", hello: { ...hello, ...lists, software: name } } }),
			ConnectRequest.fromPartial({ message: { $case: "submit", submit: { taskId: id, report: new Uint8Array(LIMITS.reportBytes) } } }),
		];
		for (const message of largest) {
			checkConnectRequest(message);
			expect(ConnectRequest.encode(message).finish().length).toBeLessThanOrEqual(LIMITS.connectRequestBytes);
		}
	});

	test("decoding and checking any bytes gives a message or an error, nothing else", () => {
		fc.assert(
			fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
				for (const run of [
					() => checkConnectRequest(ConnectRequest.decode(bytes)),
					() => checkConnectResponse(ConnectResponse.decode(bytes)),
					() => checkEnrolRequest(EnrolRequest.decode(bytes)),
					() => checkPutBlobStart(PutBlobStart.decode(bytes)),
				]) {
					try {
						run();
					} catch (error) {
						expect(error).toBeInstanceOf(Error);
					}
				}
			}),
			{ numRuns: 2000 },
		);
	});
});

describe("messages of the coordinator", () => {
	test("legal ones pass, unknown ones are left to newer clients", () => {
		response({ $case: "welcome", welcome: { protocolVersion: 1, epoch: 1n, heartbeatMs: 15_000 } })();
		response({ $case: "offer", offer })();
		response(undefined)();
	});

	test.each<[string, () => void, string]>([
		["old coordinator", response({ $case: "welcome", welcome: { protocolVersion: 0, heartbeatMs: 1 } }), "update the coordinator"],
		["no heartbeat", response({ $case: "welcome", welcome: { protocolVersion: 1 } }), "heartbeat_ms"],
		["task id", response({ $case: "offer", offer: { ...offer, taskId: new Uint8Array(3) } }), "offer.task_id"],
		["kind", response({ $case: "offer", offer: { ...offer, kind: 7 as 1 } }), "offer.kind must be one of 1, 2, got 7"],
		[
			"bound",
			response({ $case: "offer", offer: { ...offer, lanes: [{ name: "d", length: 1n, absMax: Number.NaN, combine: "mean" }] } }),
			"offer.lanes[0].abs_max must be positive and finite, got NaN",
		],
		[
			"combine",
			response({ $case: "offer", offer: { ...offer, lanes: [{ name: "d", length: 1n, absMax: 1, combine: "max" }] } }),
			'must be one of mean, sum, got "max"',
		],
		[
			"inline blobs",
			response({
				$case: "offer",
				offer: { ...offer, blobs: Array.from({ length: 17 }, () => ({ digest: id, content: new Uint8Array(65_536) })) },
			}),
			"together",
		],
		["receipt code", response({ $case: "receipt", receipt: { taskId: id, code: 0 } }), "receipt.code"],
		[
			"other size",
			() => checkGetBlobStart(GetBlobStart.fromPartial({ totalBytes: 5n, chunkHashes: [id] }), 4),
			"total_bytes must be 4, got 5",
		],
	])("refused: %s", (_name, run, text) => {
		expect(failure(run).message).toContain(text);
	});
});

describe("chunks and digests", () => {
	test("a chunk is whole, the last one the rest", () => {
		const total = LIMITS.chunkBytes + 3;
		checkChunk(new Uint8Array(LIMITS.chunkBytes), total, 0);
		checkChunk(new Uint8Array(3), total, LIMITS.chunkBytes);
		expect(failure(() => checkChunk(new Uint8Array(3), total, 0)).message).toBe("chunk must be exactly 1048576 bytes, got 3");
		expect(failure(() => checkChunk(new Uint8Array(3), total, total)).message).toContain("all 1048579 bytes were sent");
	});

	test("hex there and back", () => {
		const hex = "00ff".repeat(16);
		expect(digestHex(digestBytes(hex))).toBe(hex);
		expect(failure(() => digestBytes("FF")).message).toContain('"FF"');
		expect(failure(() => digestHex(new Uint8Array(3))).message).toContain("got 3");
	});
});
