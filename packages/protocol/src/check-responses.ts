import { RondoError } from "@rondo/errors";
import { checkBlobBytes, checkChunkHashes, checkOffset } from "./blobs.js";
import { checkProtocolVersion } from "./check-requests.js";
import { digest, exactBytes, maxBytes, maxItems, maxUtf8, name, oneOf, printable, refuse, safe } from "./fields.js";
import {
	type ConnectResponse,
	type EnrolResponse,
	type GetBlobStart,
	type GetCurrentTaskResponse,
	type LogHead,
	type Offer,
	type ReadLogResponse,
	type Receipt,
	ReceiptCode,
	type RunDescription,
	SettlementOutcome,
	type StatBlobResponse,
	TaskKind,
} from "./generated/rondo/v1/federation.js";
import { LIMITS } from "./limits.js";

const RECEIPT_CODES = [
	ReceiptCode.ACCEPTED,
	ReceiptCode.DUPLICATE,
	ReceiptCode.CONFLICT,
	ReceiptCode.STALE,
	ReceiptCode.NOT_SELECTED,
	ReceiptCode.RUN_OVER,
	ReceiptCode.REJECTED,
	ReceiptCode.DECLINED,
	ReceiptCode.RETRY,
];

/** @throws INVALID_ARGUMENT or TOO_LARGE */
export function checkEnrolResponse(response: EnrolResponse): void {
	printable("client_id", response.clientId, LIMITS.clientIdChars);
	// It goes into a header: printable ASCII, or gRPC would refuse it on every later call.
	printable("credential", response.credential, LIMITS.credentialBytes);
}

/** @throws PROTOCOL_TOO_OLD, INVALID_ARGUMENT or TOO_LARGE */
export function checkConnectResponse(response: ConnectResponse): void {
	const { message } = response;
	switch (message?.$case) {
		case "welcome":
			checkProtocolVersion(message.welcome.protocolVersion, "coordinator");
			safe("welcome.epoch", message.welcome.epoch);
			if (message.welcome.heartbeatMs === 0) refuse("welcome.heartbeat_ms", "positive", 0);
			return;
		case "run":
			checkRunDescription(message.run);
			return;
		case "offer":
			checkOffer(message.offer);
			return;
		case "cancel":
			digest("cancel.task_id", message.cancel.taskId);
			maxUtf8("cancel.reason", message.cancel.reason, LIMITS.reasonBytes);
			return;
		case "receipt":
			checkReceipt(message.receipt);
			return;
		case "settled":
			digest("settled.task_id", message.settled.taskId);
			oneOf("settled.outcome", message.settled.outcome, [SettlementOutcome.APPLIED, SettlementOutcome.DISCARDED]);
			safe("settled.commit", message.settled.commit);
			return;
		case "runUpdate":
			name("run_update.run_id", message.runUpdate.runId, LIMITS.runIdChars);
			name("run_update.phase", message.runUpdate.phase);
			checkLogHead("run_update.log_head", message.runUpdate.logHead);
			return;
		case "pong":
			return;
		case undefined:
			// A message that a newer coordinator has added: nothing that this client needs to understand.
			return;
	}
}

/** @throws INVALID_ARGUMENT or TOO_LARGE */
export function checkRunDescription(run: RunDescription): void {
	name("run.run_id", run.runId, LIMITS.runIdChars);
	name("run.strategy.name", run.strategy?.name ?? "");
	maxBytes("run.config", run.config, LIMITS.configBytes);
	exactBytes("run.public_seed", run.publicSeed, LIMITS.seedBytes);
	maxUtf8("run.layout_json", run.layoutJson, LIMITS.layoutBytes);
	maxUtf8("run.manifest_json", run.manifestJson, LIMITS.manifestBytes);
	digest("run.initial_digest", run.initialDigest);
	const bytes = checkBlobBytes("run.initial_bytes", run.initialBytes);
	if (bytes % 4 !== 0) refuse("run.initial_bytes", "a multiple of 4 (float32)", bytes);
}

function checkOffer(offer: Offer): void {
	digest("offer.task_id", offer.taskId);
	name("offer.run_id", offer.runId, LIMITS.runIdChars);
	oneOf("offer.kind", offer.kind, [TaskKind.TRAIN, TaskKind.EVALUATE]);
	safe("offer.epoch", offer.epoch);
	safe("offer.lease_ms", offer.leaseMs);
	safe("offer.max_examples", offer.maxExamples);
	maxBytes("offer.task", offer.task, LIMITS.taskBytes);
	maxItems("offer.lanes", offer.lanes, LIMITS.lanes);
	for (const [i, lane] of offer.lanes.entries()) {
		name(`offer.lanes[${i}].name`, lane.name);
		safe(`offer.lanes[${i}].length`, lane.length);
		if (!(lane.absMax > 0 && Number.isFinite(lane.absMax))) refuse(`offer.lanes[${i}].abs_max`, "positive and finite", lane.absMax);
		oneOf(`offer.lanes[${i}].combine`, lane.combine, ["mean", "sum"]);
		maxBytes(`offer.lanes[${i}].codec`, lane.codec, LIMITS.codecSpecBytes);
	}
	let inlineBytes = 0;
	for (const [i, blob] of offer.blobs.entries()) {
		digest(`offer.blobs[${i}].digest`, blob.digest);
		maxBytes(`offer.blobs[${i}].content`, blob.content, LIMITS.inlineBlobBytes);
		inlineBytes += blob.content.length;
	}
	if (inlineBytes > LIMITS.inlineBlobsBytes)
		refuse("offer.blobs", `at most ${LIMITS.inlineBlobsBytes} bytes together`, inlineBytes, "TOO_LARGE");
	if (offer.carryBasis.length > 0) digest("offer.carry_basis", offer.carryBasis);
	checkLogHead("offer.log_head", offer.logHead);
}

function checkReceipt(receipt: Receipt): void {
	digest("receipt.task_id", receipt.taskId);
	oneOf("receipt.code", receipt.code, RECEIPT_CODES);
	if (receipt.acceptedDigest.length > 0) digest("receipt.accepted_digest", receipt.acceptedDigest);
	maxUtf8("receipt.error_code", receipt.errorCode, LIMITS.nameChars);
	maxUtf8("receipt.error_message", receipt.errorMessage, LIMITS.reasonBytes);
}

function checkLogHead(field: string, head: LogHead | undefined): void {
	if (head === undefined) return;
	safe(`${field}.commit`, head.commit);
	digest(`${field}.hash`, head.hash);
}

/** @throws INVALID_ARGUMENT */
export function checkStatBlobResponse(response: StatBlobResponse, totalBytes: number): void {
	checkOffset("received_bytes", response.complete ? 0n : response.receivedBytes, totalBytes);
}

/**
 * Sizes and counts of a download's first message; that the chunk hashes hash to the blob's digest is for the receiver
 * to check.
 * @throws INVALID_ARGUMENT, TOO_LARGE, or DIGEST_MISMATCH when the blob has not the expected size
 */
export function checkGetBlobStart(start: GetBlobStart, expectedBytes: number): void {
	const totalBytes = checkBlobBytes("start.total_bytes", start.totalBytes);
	if (totalBytes !== expectedBytes)
		throw new RondoError("DIGEST_MISMATCH", `start.total_bytes must be ${expectedBytes}, got ${totalBytes}`);
	checkChunkHashes("start.chunk_hashes", start.chunkHashes, totalBytes);
}

/** @throws INVALID_ARGUMENT or TOO_LARGE */
export function checkGetCurrentTaskResponse(response: GetCurrentTaskResponse): void {
	if (response.run === undefined) refuse("run", "present", "nothing");
	checkRunDescription(response.run);
	if (response.logHead === undefined) refuse("log_head", "present", "nothing");
	checkLogHead("log_head", response.logHead);
	maxBytes("task", response.task, LIMITS.taskBytes);
	digest("model_digest", response.modelDigest);
}

/** @throws INVALID_ARGUMENT or TOO_LARGE */
export function checkReadLogResponse(response: ReadLogResponse): void {
	safe("commit", response.commit);
	maxBytes("entry", response.entry, LIMITS.logEntryBytes);
	digest("hash", response.hash);
}
