import type { Plain } from "@rondo/algorithms";
import { type ErrorCode, isRondoError, RondoError } from "@rondo/errors";
import type { BlobRef } from "./blob-store.js";
import type { LogEntryMessage } from "./log-chain.js";
import type { EncodedReport } from "./report.js";

// What the main thread and the training thread say to each other: structured-clone values only.

/** How the training thread starts. */
export interface WorkerSettings {
	readonly workload: string;
	readonly workloadOptions: Plain;
	readonly strategies: readonly string[];
	readonly blobsDir: string;
	readonly cacheDir: string;
	readonly deviceKey: Uint8Array;
	readonly clientId: string;
	readonly kernelThreads: number;
}

/** A run, as the training thread needs it. */
export interface RunSpec {
	readonly runId: string;
	readonly strategy: string;
	readonly version: number;
	/** Canonical CBOR of the options. */
	readonly config: Uint8Array;
	readonly publicSeed: Uint8Array;
	readonly layoutJson: string;
	readonly manifestJson: string;
	/** Digest of the initial weights. */
	readonly initialDigest: string;
	/** Number of weights. */
	readonly initialLength: number;
}

/** A lane of an offer; `codec` is canonical CBOR. */
export interface LaneMessage {
	readonly name: string;
	readonly length: number;
	readonly absMax: number;
	readonly combine: "mean" | "sum";
	readonly codec: Uint8Array;
}

/** Work for the training thread. */
export type Job =
	| {
			readonly type: "train" | "evaluate";
			readonly run: RunSpec;
			readonly taskId: string;
			readonly round: number;
			readonly task: Uint8Array;
			readonly lanes: readonly LaneMessage[];
			/** Encoded device state. */
			readonly carry?: Uint8Array;
	  }
	| { readonly type: "assemble"; readonly run: RunSpec; readonly round: number; readonly task: Uint8Array };

/** What a trained or evaluated task yields. */
export interface TrainResult extends EncodedReport {
	readonly carry?: Uint8Array;
}

export type JobResult = TrainResult | Float32Array;

/** A strategy that this device can run. */
export interface StrategyInfo {
	readonly name: string;
	readonly version: number;
	readonly carry: "applied" | "latest" | undefined;
}

export type ToWorker =
	| { readonly type: "job"; readonly id: number; readonly job: Job }
	| { readonly type: "abort"; readonly id: number }
	| { readonly type: "fetched"; readonly fetch: number; readonly error?: ErrorMessage }
	| ({ readonly type: "log"; readonly log: number } & LogPage)
	| { readonly type: "close" };

/** Some entries of a log that the training thread reads. */
export interface LogPage {
	readonly entries: readonly LogEntryMessage[];
	/** Nothing follows. */
	readonly done: boolean;
	readonly error?: ErrorMessage;
}

/** The training thread wants a part of the log, or the next page of it, or no more. */
export type LogAsk = { readonly after: number; readonly upTo: number } | "more" | "close";

export type FromWorker =
	| { readonly type: "ready"; readonly strategies: readonly StrategyInfo[]; readonly codecs: readonly string[] }
	| { readonly type: "unusable"; readonly error: ErrorMessage }
	| { readonly type: "fetch"; readonly fetch: number; readonly id: number; readonly blob: BlobRef }
	| { readonly type: "log"; readonly log: number; readonly id: number; readonly ask: LogAsk }
	| { readonly type: "trainer"; readonly id: number; readonly runId: string; readonly description: string }
	| { readonly type: "progress"; readonly id: number; readonly done: number; readonly total: number }
	| { readonly type: "done"; readonly id: number; readonly result: JobResult }
	| { readonly type: "failed"; readonly id: number; readonly error: ErrorMessage }
	| { readonly type: "closed" };

/** An error between threads: structured clone would lose its code. */
export interface ErrorMessage {
	readonly code: ErrorCode;
	readonly message: string;
	readonly stack?: string;
}

/** @param otherwise code of an error that is not Rondo's */
export function toErrorMessage(error: unknown, otherwise: ErrorCode): ErrorMessage {
	const { message, stack } = error instanceof Error ? error : new Error(String(error));
	return { code: isRondoError(error) ? error.code : otherwise, message, ...(stack === undefined ? {} : { stack }) };
}

export const fromErrorMessage = ({ code, message, stack }: ErrorMessage): RondoError =>
	new RondoError(code, message, { details: stack === undefined ? {} : { stack } });
