import { RondoError } from "@rondo/errors";
import { checkBlobBytes, checkChunkHashes, checkOffset } from "./blobs.js";
import { digest, exactBytes, maxBytes, maxItems, maxUtf8, name, printable, refuse, safe } from "./fields.js";
import type {
	ConnectRequest,
	EnrolRequest,
	GetBlobRequest,
	GetCurrentTaskRequest,
	Hello,
	PutBlobStart,
	ReadLogRequest,
	StatBlobRequest,
} from "./generated/rondo/v1/federation.js";
import { LIMITS, MAX_BLOB_BYTES, MIN_PROTOCOL_VERSION, PROTOCOL_VERSION } from "./limits.js";

/** @throws PROTOCOL_TOO_OLD below `MIN_PROTOCOL_VERSION`; the message says what to update */
export function checkProtocolVersion(version: number, side: "client" | "coordinator"): void {
	if (version >= MIN_PROTOCOL_VERSION) return;
	throw new RondoError(
		"PROTOCOL_TOO_OLD",
		`the ${side} speaks protocol version ${version}, at least ${MIN_PROTOCOL_VERSION} is needed: update the ${side}`,
		{ details: { protocolVersion: version, minProtocolVersion: MIN_PROTOCOL_VERSION, protocolVersionHere: PROTOCOL_VERSION } },
	);
}

/** @throws PROTOCOL_TOO_OLD, INVALID_ARGUMENT or TOO_LARGE */
export function checkEnrolRequest(request: EnrolRequest): void {
	checkProtocolVersion(request.protocolVersion, "client");
	if (request.token === "") refuse("token", `1 to ${LIMITS.tokenBytes} bytes`, "");
	maxUtf8("token", request.token, LIMITS.tokenBytes);
	if (request.clientName !== "") name("client_name", request.clientName, LIMITS.clientNameChars);
	exactBytes("installation_nonce", request.installationNonce, LIMITS.nonceBytes);
	maxBytes("certificate_request", request.certificateRequest, LIMITS.certificateRequestBytes);
}

/** The first message of a stream. @throws PROTOCOL_TOO_OLD, INVALID_ARGUMENT or TOO_LARGE */
export function checkHello(hello: Hello): void {
	checkProtocolVersion(hello.protocolVersion, "client");
	printable("software", hello.software, LIMITS.softwareChars);
	safe("session", hello.session);
	safe("epoch_seen", hello.epochSeen);
	exactBytes("installation_nonce", hello.installationNonce, LIMITS.nonceBytes);
	maxItems("strategies", hello.strategies, LIMITS.strategies);
	for (const [i, strategy] of hello.strategies.entries()) name(`strategies[${i}].name`, strategy.name);
	maxItems("randomness", hello.randomness, LIMITS.randomness);
	for (const [i, spec] of hello.randomness.entries()) printable(`randomness[${i}]`, spec, LIMITS.nameChars);
	maxItems("codecs", hello.codecs, LIMITS.codecs);
	for (const [i, codec] of hello.codecs.entries()) name(`codecs[${i}]`, codec);
	for (const [field, ids] of [
		["outbox_task_ids", hello.outboxTaskIds],
		["unsettled_task_ids", hello.unsettledTaskIds],
	] as const) {
		maxItems(field, ids, LIMITS.taskIds);
		for (const [i, id] of ids.entries()) digest(`${field}[${i}]`, id);
	}
	maxItems("known_run_ids", hello.knownRunIds, LIMITS.knownRuns);
	for (const [i, run] of hello.knownRunIds.entries()) name(`known_run_ids[${i}]`, run, LIMITS.runIdChars);
}

/** Any message of a client's stream, Hello included. @throws PROTOCOL_TOO_OLD, INVALID_ARGUMENT or TOO_LARGE */
export function checkConnectRequest(request: ConnectRequest): void {
	const { message } = request;
	switch (message?.$case) {
		case "hello":
			checkHello(message.hello);
			return;
		case "decline":
			digest("decline.task_id", message.decline.taskId);
			maxUtf8("decline.reason", message.decline.reason, LIMITS.reasonBytes);
			return;
		case "submit":
			digest("submit.task_id", message.submit.taskId);
			maxBytes("submit.report", message.submit.report, LIMITS.reportBytes);
			return;
		case "progress":
			digest("progress.task_id", message.progress.taskId);
			safe("progress.done", message.progress.done);
			safe("progress.total", message.progress.total);
			return;
		case "ping":
			return;
		case undefined:
			refuse("message", "hello, decline, submit, progress or ping", "nothing");
			return;
	}
}

/** @throws INVALID_ARGUMENT, or TOO_LARGE above `maxBlobBytes` */
export function checkStatBlobRequest(request: StatBlobRequest, maxBlobBytes: number = MAX_BLOB_BYTES): void {
	digest("digest", request.digest);
	checkBlobBytes("total_bytes", request.totalBytes, maxBlobBytes);
}

/**
 * Sizes and counts of an upload's first message; that the chunk hashes hash to `digest` is for the receiver to check.
 * @throws INVALID_ARGUMENT, or TOO_LARGE above `maxBlobBytes`
 */
export function checkPutBlobStart(start: PutBlobStart, maxBlobBytes: number = MAX_BLOB_BYTES): void {
	digest("digest", start.digest);
	digest("task_id", start.taskId);
	const totalBytes = checkBlobBytes("total_bytes", start.totalBytes, maxBlobBytes);
	checkOffset("offset", start.offset, totalBytes);
	checkChunkHashes("chunk_hashes", start.chunkHashes, totalBytes);
}

/** @throws INVALID_ARGUMENT */
export function checkGetBlobRequest(request: GetBlobRequest): void {
	digest("digest", request.digest);
	checkOffset("offset", request.offset, MAX_BLOB_BYTES);
}

/** @throws INVALID_ARGUMENT */
export function checkReadLogRequest(request: ReadLogRequest): void {
	name("run_id", request.runId, LIMITS.runIdChars);
	safe("from_commit", request.fromCommit);
}

/** @throws INVALID_ARGUMENT */
export function checkGetCurrentTaskRequest(request: GetCurrentTaskRequest): void {
	name("run_id", request.runId, LIMITS.runIdChars);
}
