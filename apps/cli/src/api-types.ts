import type { Layout } from "@rondo/tensors";

// What the commands read of the REST API's answers; docs/api/openapi.json has all of it.

export interface Page<T> {
	readonly items: readonly T[];
	readonly next: string | null;
}

export interface ModelView {
	readonly id: string;
	readonly name: string;
	readonly weights: string;
	readonly parameters: number;
	readonly layout: Layout;
	readonly manifest: unknown;
}

export type RunPhase = "created" | "running" | "paused" | "completed" | "failed" | "stopped";

export interface RunView {
	readonly id: string;
	readonly name: string;
	readonly createdAt: string;
	readonly endedAt: string | null;
	readonly model: string;
	readonly strategy: string;
	readonly strategyVersion: number;
	readonly options: unknown;
	readonly settings: { readonly rounds: number; readonly minClients: number; readonly evaluateEvery: number };
	readonly publicSeed: string;
	readonly phase: RunPhase;
	readonly reason: string | null;
	readonly commit: number;
	readonly rounds: number;
	readonly logHead: string;
}

export interface RoundView {
	readonly kind: "train" | "evaluate";
	readonly round: number;
	readonly attempt: number;
	readonly phase: "planned" | "collecting" | "closing" | "committed" | "abandoned";
	readonly openedAt: string;
	readonly closedAt: string | null;
	readonly reason: string | null;
	readonly metrics: { readonly [name: string]: number };
	readonly leased: number;
	readonly accepted: number;
	readonly bytesDown: number;
	readonly bytesUp: number;
}

export interface TaskView {
	readonly client: string;
	readonly phase: string;
	readonly bytesDown: number;
	readonly bytesUp: number;
	readonly numExamples: number | null;
}

export interface RoundDetailView extends RoundView {
	readonly tasks: readonly TaskView[];
}

export interface LogRecordView {
	readonly commit: number;
	readonly hash: string;
	/** Canonical CBOR of the entry, base64. */
	readonly entry: string;
	readonly accepted: readonly {
		readonly task: string;
		readonly client: string;
		readonly numExamples: number;
		readonly staleness: number;
		readonly sequence: number;
		readonly digest: string;
	}[];
}

export interface LogPageView {
	readonly items: readonly LogRecordView[];
	readonly next: number | null;
}

export interface TokenView {
	readonly id: string;
	readonly name: string;
	readonly scope: string;
	readonly createdAt: string;
	readonly expiresAt: string | null;
	readonly usesLeft: number | null;
	readonly revokedAt: string | null;
}

export interface ClientView {
	readonly id: string;
	readonly name: string;
	readonly role: string;
	readonly lastSeenAt: string | null;
	readonly revokedAt: string | null;
	readonly connected: boolean;
}

export interface RunClientView {
	readonly client: string;
	readonly name: string;
	readonly connected: boolean;
	readonly leased: number;
	readonly applied: number;
	readonly lastRound: number | null;
	readonly bytesDown: number;
	readonly bytesUp: number;
	readonly scoredRound: number | null;
	readonly scores: { readonly [name: string]: number };
	readonly state: unknown;
}

/** One event of `/runs/:id/events`. */
export interface RunNotice {
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
	readonly client?: string;
	readonly phase?: string;
	readonly reason?: string;
	readonly done?: number;
	readonly total?: number;
	readonly metrics?: { readonly [name: string]: number };
	readonly bytesUp?: number;
	readonly commit?: number;
}

/** Whether nothing will happen in a run any more. */
export const hasEnded = (phase: RunPhase): boolean => phase === "completed" || phase === "failed" || phase === "stopped";
