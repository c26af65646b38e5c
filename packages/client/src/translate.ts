import { digestHex, LIMITS, type Offer, type Receipt, ReceiptCode, type RunDescription, TaskKind } from "@rondo/protocol";
import type { ClientEvents, ReceiptName } from "./events.js";
import type { LogHead } from "./log-heads.js";
import type { LaneMessage, RunSpec } from "./messages.js";
import type { Task } from "./tasks.js";

// Wire messages, already checked, in the terms of this package.

const RECEIPT_NAMES: { readonly [code: number]: ReceiptName } = {
	[ReceiptCode.ACCEPTED]: "ACCEPTED",
	[ReceiptCode.DUPLICATE]: "DUPLICATE",
	[ReceiptCode.CONFLICT]: "CONFLICT",
	[ReceiptCode.STALE]: "STALE",
	[ReceiptCode.NOT_SELECTED]: "NOT_SELECTED",
	[ReceiptCode.RUN_OVER]: "RUN_OVER",
	[ReceiptCode.REJECTED]: "REJECTED",
	[ReceiptCode.DECLINED]: "DECLINED",
	[ReceiptCode.RETRY]: "RETRY",
};

const hexOrEmpty = (bytes: Uint8Array): string => (bytes.length === 0 ? "" : digestHex(bytes));

/** A receipt as the event tells it. */
export function receiptOf(receipt: Receipt): ClientEvents["receipt"][0] {
	return {
		taskId: digestHex(receipt.taskId),
		code: RECEIPT_NAMES[receipt.code]!,
		acceptedDigest: hexOrEmpty(receipt.acceptedDigest),
		round: receipt.round,
		errorCode: receipt.errorCode,
		errorMessage: receipt.errorMessage,
	};
}

/** A run as the training thread needs it. */
export function runSpecOf(run: RunDescription): RunSpec {
	return {
		runId: run.runId,
		strategy: run.strategy!.name,
		version: run.strategy!.version,
		config: run.config,
		publicSeed: run.publicSeed,
		layoutJson: run.layoutJson,
		manifestJson: run.manifestJson,
		initialDigest: digestHex(run.initialDigest),
		initialLength: Number(run.initialBytes) / 4,
	};
}

/** A head of the log; without one no log can be read. */
export const logHeadOf = (head: Offer["logHead"]): LogHead => ({
	commit: Number(head?.commit ?? 0n),
	hash: digestHex(head?.hash ?? new Uint8Array(LIMITS.digestBytes)),
});

/** An offer as a task of a run. */
export function taskOfOffer(offer: Offer, run: RunSpec): Task {
	const lanes = offer.lanes.map(
		({ name, length, absMax, combine, codec }): LaneMessage => ({
			name,
			length: Number(length),
			absMax,
			combine: combine as "mean" | "sum",
			codec,
		}),
	);
	return {
		run,
		offer: {
			taskId: digestHex(offer.taskId),
			runId: offer.runId,
			kind: offer.kind === TaskKind.EVALUATE ? "evaluate" : "train",
			strategy: run.strategy,
			round: offer.round,
			attempt: offer.attempt,
			commit: Number(offer.logHead?.commit ?? 0n),
			leaseMs: Number(offer.leaseMs),
			maxExamples: Number(offer.maxExamples),
		},
		job: { task: offer.task, lanes },
		inlineBlobs: offer.blobs.map(({ digest, content }) => ({ digest: digestHex(digest), content })),
		carryBasis: offer.carryBasis.length === 0 ? undefined : digestHex(offer.carryBasis),
		logHead: logHeadOf(offer.logHead),
	};
}
