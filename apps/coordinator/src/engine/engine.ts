import type { ClientId, Metrics, Needs, Plain, Plan, Vec } from "@rondo/algorithms";
import type { ErrorCode } from "@rondo/errors";
import type { AcceptedReport, LogRecord, TaskId } from "@rondo/rounds";
import type { Layout } from "@rondo/tensors";

// What the driver asks of the engine's worker thread. Strategies run there and nowhere else in the coordinator.

/** What is constant for a run. */
export interface RunSpec {
	readonly run: string;
	readonly strategy: string;
	readonly version: number;
	readonly config: Plain;
	readonly layout: Layout;
	readonly initial: Vec<"f32">;
	/** 64 hexadecimal digits. */
	readonly publicSeed: string;
}

/** Where the run stands. */
export interface RunPosition {
	readonly state: Plain;
	readonly members: readonly (readonly [ClientId, Plain])[];
	readonly commit: number;
	/** The open round, or the one that a model or task is asked for. */
	readonly round: number;
	readonly population: number;
}

/** Answer to a check of a report. */
export type Verdict =
	| { readonly ok: true; readonly numExamples: number; readonly digest: string }
	| { readonly ok: false; readonly code: ErrorCode; readonly message: string; readonly digest: string };

export interface FinishRequest {
	readonly position: RunPosition;
	readonly plan: Plan;
	readonly attempt: number;
	readonly incarnation: number;
	readonly previous: string;
	/** In client-id order. */
	readonly accepted: readonly AcceptedReport[];
}

export interface FinishResult {
	readonly state: Plain;
	readonly members: readonly (readonly [ClientId, Plain | null])[];
	readonly record: LogRecord;
	readonly metrics: Metrics;
	readonly scores: { readonly [client: ClientId]: Metrics };
	readonly done?: { readonly reason: string; readonly result?: Plain };
}

/** A strategy as data. */
export interface StrategyInfo {
	readonly name: string;
	readonly version: number;
	readonly summary: string;
	/** JSON Schema of the options. */
	readonly schema: object;
	readonly needs: Needs;
	/** Whether reports consist of the header alone (the strategy unpacks lanes from it). */
	readonly headerOnly: boolean;
}

/** Weights that were taken out of a safetensors file. */
export interface ImportedWeights {
	/** Content digest of the float32 bytes. */
	readonly digest: string;
	readonly layout: Layout;
}

/** Methods of the engine's worker. */
export interface EngineMethods {
	/** Strategies that this coordinator can run. */
	strategies(): readonly StrategyInfo[];
	/** Validates options. @throws UNKNOWN_STRATEGY, UNKNOWN_OPTION, INVALID_ARGUMENT. */
	resolve(
		strategy: string,
		options: unknown,
		layout: Layout,
	): {
		readonly version: number;
		readonly config: Plain;
		readonly bounds: { readonly task: number; readonly download: number; readonly report: number };
	};
	genesis(spec: RunSpec): { readonly state: Plain; readonly record: LogRecord };
	/** Bounds of a run's messages. */
	bounds(spec: RunSpec): { readonly task: number; readonly download: number; readonly report: number };
	plan(spec: RunSpec, position: RunPosition): Plan;
	/** Encoded tasks, one per client. */
	tasks(spec: RunSpec, position: RunPosition, clients: readonly ClientId[]): readonly Uint8Array[];
	/** Checks the bytes of a report for a round of this plan; never throws for what a client sent. */
	check(spec: RunSpec, plan: Plan, content: Uint8Array, staleness: number): Verdict;
	/** Adds an accepted report to the accumulator of the round `key`. */
	fold(spec: RunSpec, plan: Plan, key: string, task: TaskId, content: Uint8Array, staleness: number): void;
	finish(spec: RunSpec, key: string, request: FinishRequest, reports: readonly (readonly [TaskId, Uint8Array])[]): FinishResult;
	/** The record of a skipped round. */
	skip(spec: RunSpec, request: Omit<FinishRequest, "accepted" | "plan">): LogRecord;
	/** Drops the accumulator of a round. */
	drop(key: string): void;
	/** Materialises the current weights, or those of a client. @throws CONFLICT when the strategy has no model. */
	model(spec: RunSpec, position: RunPosition, client?: ClientId): Vec<"f32">;
	/** Stores the weights of a safetensors file as float32. @throws BAD_SAFETENSORS, NOT_FINITE that name the tensor. */
	importWeights(file: ArrayBuffer): ImportedWeights;
}
