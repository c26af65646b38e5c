import type { ClientId, Metrics } from "@rondo/algorithms";
import type { Layout } from "@rondo/tensors";
import type { Logger } from "pino";
import type { BlobStore } from "./blobs/blob-store.js";
import type { ImportedWeights, StrategyInfo } from "./engine/engine.js";
import type { RunRow, Store } from "./store/store.js";

/** Who asks: an admin token, a client, or the coordinator itself. Goes into the audit record. */
export type Actor = `token:${string}` | `client:${string}` | "coordinator";

/** What an administrator submits. Validated against the strategy's schema and the coordinator's limits. */
export interface RunSubmission {
	/** Unique; default: made from strategy and time. */
	readonly name?: string;
	/** Id or name of a model. */
	readonly model: string;
	readonly strategy: string;
	/** The strategy's options; unknown ones are errors. */
	readonly options?: { readonly [name: string]: unknown };
	readonly rounds: number;
	readonly minClients?: number;
	readonly waitForClientsMs?: number;
	readonly maxReplans?: number;
	readonly evaluateEvery?: number;
	readonly evaluateDeadlineMs?: number;
	/** 64 hexadecimal digits; default: random. */
	readonly publicSeed?: string;
	/** 64 hexadecimal digits; for experiments: who knows it can predict the cohorts. Default: random, never shown. */
	readonly secretSeed?: string;
	/** Start at once (default) or leave in phase created. */
	readonly start?: boolean;
}

/** Largest messages of a run, bytes per client and round; what `bounds` of the strategy says. */
export interface RunCost {
	readonly task: number;
	readonly download: number;
	readonly report: number;
}

/** Weights of a run in its newest state. */
export interface ModelExport {
	readonly layout: Layout;
	readonly commit: number;
	readonly round: number;
	/** Digest of the float32 bytes. */
	readonly digest: string;
	/** The blob that holds them. */
	readonly path: string;
	readonly bytes: number;
}

/** A line of `watch`: something happened to a run. */
export interface RunNotice {
	readonly run: string;
	readonly type:
		| "phase"
		| "opened"
		| "waiting"
		| "leased"
		| "progress"
		| "accepted"
		| "rejected"
		| "closing"
		| "committed"
		| "abandoned"
		| "evaluated";
	readonly kind?: "train" | "evaluate";
	readonly round?: number;
	readonly attempt?: number;
	readonly client?: ClientId;
	readonly phase?: string;
	readonly reason?: string;
	readonly done?: number;
	readonly total?: number;
	readonly metrics?: Metrics;
	readonly bytesUp?: number;
	readonly bytesDown?: number;
	readonly commit?: number;
}

/** What the REST API asks of the running coordinator; strategies appear only as data. */
export interface RunService {
	/** @throws UNKNOWN_STRATEGY, UNKNOWN_OPTION, INVALID_ARGUMENT, NOT_FOUND (model), ALREADY_EXISTS. */
	submit(submission: RunSubmission, actor: Actor): Promise<{ readonly run: RunRow; readonly cost: RunCost }>;
	/** @throws NOT_FOUND; CONFLICT when the phase does not allow it. */
	start(id: string, actor: Actor): Promise<RunRow>;
	pause(id: string, actor: Actor): Promise<RunRow>;
	resume(id: string, actor: Actor): Promise<RunRow>;
	stop(id: string, actor: Actor): Promise<RunRow>;
	/**
	 * Materialises the model of the newest commit in the engine's worker, or the one that a client has then.
	 * @throws NOT_FOUND, also for a client of whom the run keeps nothing; CONFLICT (strategy without a model)
	 */
	exportModel(id: string, client?: ClientId): Promise<ModelExport>;
	/** Notices until the signal aborts; slow readers lose the oldest progress notices, never others. */
	watch(id: string, signal: AbortSignal): AsyncIterable<RunNotice>;
	/** Options schema, needs and summary of every strategy. */
	strategies(): readonly StrategyInfo[];
}

/** Clients with an open stream. */
export interface PresenceView {
	connected(): readonly ClientId[];
	isConnected(id: ClientId): boolean;
	/** Ends the stream of a client whose identity was revoked. */
	revoke(id: ClientId): void;
}

/** Everything the edges (REST, gRPC) may use. */
export interface Services {
	readonly store: Store;
	readonly blobs: BlobStore;
	readonly runs: RunService;
	readonly presence: PresenceView;
	/** Takes a safetensors file over, in a worker. @throws BAD_SAFETENSORS, NOT_FINITE. */
	importWeights(file: ArrayBuffer): Promise<ImportedWeights>;
	readonly log: Logger;
	/** False while starting or shutting down: /readyz answers 503. */
	ready(): boolean;
}
