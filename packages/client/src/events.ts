import type { RondoError } from "@rondo/errors";
import type { Bytes } from "./traffic.js";

/** A task that the coordinator offers. */
export interface OfferInfo {
	/** 64 hexadecimal digits. */
	readonly taskId: string;
	readonly runId: string;
	readonly kind: "train" | "evaluate";
	readonly strategy: string;
	/** 1-based. */
	readonly round: number;
	/** 1-based. */
	readonly attempt: number;
	/** Commits that the task is based on. */
	readonly commit: number;
	/** Time left for the task when it was offered, milliseconds. */
	readonly leaseMs: number;
	/** Largest number of examples that counts. */
	readonly maxExamples: number;
}

/** How the coordinator answers a report or a decline. */
export type ReceiptName = "ACCEPTED" | "DUPLICATE" | "CONFLICT" | "STALE" | "NOT_SELECTED" | "RUN_OVER" | "REJECTED" | "DECLINED" | "RETRY";

/** Events of a client, with what listeners get. */
export interface ClientEvents {
	/** The handshake is done. */
	connected: [{ readonly clientId: string; readonly epoch: number; readonly heartbeatMs: number }];
	/** The stream ended or could not be opened. */
	disconnected: [{ readonly error: RondoError; readonly retryInMs: number }];
	/** A task arrived. */
	offer: [OfferInfo];
	/** This client does not do a task: the application said so, something failed, or there is no room. */
	declined: [{ readonly offer: OfferInfo; readonly reason: string }];
	/** The coordinator called a task off, or its lease ran out. */
	cancelled: [{ readonly taskId: string; readonly reason: string }];
	/** The workload made a trainer for a run; `description` says what computes, if the trainer says so. */
	trainer: [{ readonly runId: string; readonly description: string }];
	/** Steps done of steps planned. */
	progress: [{ readonly taskId: string; readonly done: number; readonly total: number }];
	/** The answer to a report or a decline. */
	receipt: [
		{
			readonly taskId: string;
			readonly code: ReceiptName;
			/** Of the report that the coordinator accepted; empty if none. */
			readonly acceptedDigest: string;
			/** Current round, for STALE. */
			readonly round: number;
			readonly errorCode: string;
			readonly errorMessage: string;
		},
	];
	/** What became of an accepted report. */
	settled: [{ readonly taskId: string; readonly outcome: "applied" | "discarded"; readonly commit: number }];
	/** A run moved on or changed its phase. */
	run: [{ readonly runId: string; readonly phase: string; readonly commit: number }];
	/** Bytes of a finished task, and of this client so far. */
	traffic: [{ readonly taskId: string; readonly total: Bytes } & Bytes];
	/** Something failed; the client goes on, unless `client.closed` rejects with the same error. */
	error: [RondoError];
}
