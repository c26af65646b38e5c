import type { ClientId, Metrics, Plain, Vec } from "@rondo/algorithms";
import type { TaskId } from "./machine-types.js";

/** One accepted report as the log records it: every input of the fold that cannot be derived. */
export interface AcceptedReport {
	readonly task: TaskId;
	readonly client: ClientId;
	readonly numExamples: number;
	readonly staleness: number;
	/** Order of acceptance within the round, 0-based. */
	readonly sequence: number;
	/** Digest of the canonical report. */
	readonly digest: string;
}

/** Entry 0 of a run's log: everything the model is a function of, besides the reports. */
export interface Genesis {
	readonly kind: "genesis";
	readonly logVersion: 1;
	readonly run: string;
	readonly strategy: string;
	readonly strategyVersion: number;
	readonly config: Plain;
	readonly initial: Vec<"f32">;
	/** Digest of the parameter layout. */
	readonly layout: string;
	/** Public run seed, 64 hexadecimal digits. */
	readonly publicSeed: string;
	/** Digest of the strategy's initial state. */
	readonly state: string;
}

/** Entry n ≥ 1: one commit. A skipped round has an empty accepted set and `publish` null. */
export interface CommitEntry {
	readonly kind: "commit" | "skip";
	readonly commit: number;
	readonly incarnation: number;
	readonly track: number;
	readonly round: number;
	readonly attempt: number;
	/** Clients enrolled when the round was planned. */
	readonly population: number;
	/** `digestOf` the accepted reports in client-id order: clients can check the chain without learning who took part. */
	readonly set: string;
	readonly publish: Plain;
	/** Digest of the strategy's state after this commit. */
	readonly state: string;
	/** Digest of the member rows that this commit wrote; null when it wrote none. */
	readonly members: string | null;
	readonly metrics: Metrics;
	/** Hash of the entry before. */
	readonly previous: string;
}

export type LogEntry = Genesis | CommitEntry;

/** What the coordinator stores and an administrator reads: an entry, its hash (`digestOf` the entry), and its set in the open. */
export interface LogRecord {
	readonly commit: number;
	readonly hash: string;
	readonly entry: LogEntry;
	/** In client-id order; empty for the genesis and for skips. */
	readonly accepted: readonly AcceptedReport[];
}
