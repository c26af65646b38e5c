import type { ClientId, Plan } from "@rondo/algorithms";
import type { Receipt, RoundKey, RunPhase, TaskId } from "@rondo/rounds";
import type { RunSpec } from "../engine/engine.js";

/** A task as it goes to a client. */
export interface TaskOffer {
	readonly task: TaskId;
	readonly spec: RunSpec;
	readonly manifest: unknown;
	readonly incarnation: number;
	readonly key: RoundKey;
	readonly track: number;
	readonly plan: Plan;
	readonly payload: Uint8Array;
	readonly leaseMs: number;
	readonly carryBasis: TaskId | null;
	readonly logHead: { readonly commit: number; readonly hash: string };
}

/** What the driver needs of the clients' streams. Messages to absent clients are dropped: they ask again on return. */
export interface ClientLink {
	/** Connected clients that can run this strategy version and encode the plan's lanes, in id order. */
	eligible(role: "trainer" | "evaluator", strategy: string, version: number, plan: Pick<Plan, "lanes">): readonly ClientId[];
	offer(client: ClientId, offer: TaskOffer): Promise<void>;
	cancel(client: ClientId, task: TaskId, reason: string): void;
	receipt(receipt: Receipt): void;
	settled(client: ClientId, task: TaskId, outcome: "applied" | "discarded", commit: number): void;
	/** Stores the byte counts so far, so that whoever hears of a commit reads them whole. */
	flush(): Promise<void>;
	runUpdate(run: string, phase: RunPhase, logHead: { readonly commit: number; readonly hash: string }): void;
}

/** Instants at which a crash is tested; production passes a function that does nothing. */
export type Checkpoint = "blob-renamed" | "acceptance-row" | "receipt-sent" | "set-frozen" | "fold" | "commit-transaction" | "next-plan";
export type Checkpoints = (name: Checkpoint) => void | Promise<void>;

/** Text form of a round's key. */
export const keyText = (run: string, key: RoundKey): string => `${run}/${key.kind}/${key.round}/${key.attempt}`;
