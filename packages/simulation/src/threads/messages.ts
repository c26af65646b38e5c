import type { ClientId, Plain, Vec } from "@rondo/algorithms";
import { type ErrorCode, isRondoError, RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";
import type { AdversarySpec } from "../adversary/spec.js";
import type { Done, Job } from "../client-half.js";

/** What a thread is made with. */
export interface ThreadSettings {
	/** URL of the workload module. */
	readonly workload: string;
	/** URLs of modules with further strategies. */
	readonly strategies: readonly string[];
}

/** A run as a thread learns it, once. */
export interface ThreadRun {
	readonly run: string;
	readonly strategy: string;
	readonly version: number;
	readonly config: unknown;
	readonly layout: Layout;
	readonly initial: Vec<"f32">;
	readonly publicSeed: string;
	readonly secretSeed: string;
	readonly manifest: unknown;
	readonly assets: ReadonlyMap<string, Uint8Array>;
	readonly workloadOptions: Plain;
	readonly deviceKeys: ReadonlyMap<ClientId, Uint8Array>;
	readonly adversaries: ReadonlyMap<ClientId, readonly AdversarySpec[]>;
}

export type ToThread =
	| { readonly type: "open"; readonly id: number; readonly run: ThreadRun }
	| { readonly type: "job"; readonly id: number; readonly run: number; readonly job: Job }
	| { readonly type: "abort"; readonly id: number }
	/** The content that was asked for; absent: there is none. */
	| { readonly type: "blob"; readonly sha256: string; readonly bytes?: Uint8Array }
	/** The entries that were asked for, or why there are none. */
	| { readonly type: "log"; readonly ask: number; readonly entries: readonly Uint8Array[] }
	| { readonly type: "noLog"; readonly ask: number; readonly error: ErrorMessage }
	/** Forget the run. */
	| { readonly type: "close"; readonly id: number };

export type FromThread =
	| { readonly type: "ready" }
	| { readonly type: "unusable"; readonly error: ErrorMessage }
	| { readonly type: "opened"; readonly id: number }
	| { readonly type: "closed"; readonly id: number }
	| { readonly type: "read"; readonly run: number; readonly vec: Vec }
	| { readonly type: "log"; readonly run: number; readonly ask: number; readonly afterCommit: number; readonly upTo: number }
	| { readonly type: "done"; readonly id: number; readonly done: Done; readonly blobs: readonly (readonly [Vec, Uint8Array])[] }
	| { readonly type: "failed"; readonly id: number; readonly error: ErrorMessage };

/** An error between threads: structured clone would lose its code. */
export interface ErrorMessage {
	/** Absent: no RondoError, hence a defect that must be seen. */
	readonly code?: ErrorCode;
	readonly name: string;
	readonly message: string;
	readonly stack?: string;
}

export function toErrorMessage(error: unknown): ErrorMessage {
	const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
	return { ...(isRondoError(error) ? { code: error.code } : {}), name, message, ...(stack === undefined ? {} : { stack }) };
}

export function fromErrorMessage({ code, name, message, stack }: ErrorMessage): Error {
	const error = code === undefined ? new Error(`${name}: ${message}`) : new RondoError(code, message);
	if (stack !== undefined) error.stack = stack;
	return error;
}
