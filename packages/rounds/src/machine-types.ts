import type { ClientId, Plan } from "@rondo/algorithms";
import type { ErrorCode } from "@rondo/errors";

/** Hash of (run, incarnation, track, kind, round, attempt, client, slot), 64 hexadecimal digits; keys a client's report. */
export type TaskId = string;

export type RunPhase = "created" | "running" | "paused" | "completed" | "failed" | "stopped";
export type RoundPhase = "planned" | "collecting" | "closing" | "committed" | "abandoned";
export type RoundKind = "train" | "evaluate";

/** Settings of a run that the machine obeys, fixed at submission. */
export interface RunSettings {
	/** Commits after which the run is complete. */
	readonly rounds: number;
	/** Attempts in a row that may end below their quorum; one more fails the run. */
	readonly maxReplans: number;
	/** Connected clients that a round waits for before its cohort is drawn. */
	readonly minClients: number;
	/** After this wait a round starts with fewer clients, if they reach its quorum, milliseconds. */
	readonly waitForClientsMs: number;
	/** Commits between evaluations; 0 turns them off. The last commit is always evaluated when on. */
	readonly evaluateEvery: number;
	/** Budget of one evaluation, milliseconds. */
	readonly evaluateDeadlineMs: number;
}

/** "expired": the lease of an asynchronous round ended, or its model became too old. */
export type TaskPhase = "leased" | "accepted" | "declined" | "rejected" | "expired";

/** The round that a task is of, when its report is to land in a later one. */
export interface TaskBasis {
	readonly round: number;
	readonly attempt: number;
	/** Commits that the task is based on. */
	readonly commit: number;
}

export interface TaskState {
	readonly id: TaskId;
	readonly client: ClientId;
	readonly slot: number;
	readonly phase: TaskPhase;
	/** Digest of the accepted report. */
	readonly digest?: string;
	/** Absent: the round that holds the task. */
	readonly basis?: TaskBasis;
	/** In an asynchronous round: the `leftMs` of the round at which the lease ends; below 0 when it outlasts the round's deadline. */
	readonly endsAtMs?: number;
}

/** An open attempt at one round. */
export interface RoundState {
	readonly kind: RoundKind;
	readonly track: number;
	/** 1-based. For an evaluation: the number of the round whose result is evaluated. */
	readonly round: number;
	/** 1-based: one more than the attempts abandoned in a row before it, so a number never comes twice. */
	readonly attempt: number;
	/** Commits that the tasks are based on. */
	readonly commit: number;
	readonly phase: RoundPhase;
	readonly plan: Plan;
	/** Budget left for waiting for clients, then for collecting, milliseconds of elapsed time. */
	readonly waitLeftMs: number;
	readonly leftMs: number;
	readonly tasks: { readonly [id: TaskId]: TaskState };
}

export interface RunState {
	readonly run: string;
	readonly incarnation: number;
	/** Fencing epoch of the coordinator that drives the run. */
	readonly epoch: number;
	readonly settings: RunSettings;
	readonly phase: RunPhase;
	/** Why the run failed or ended. */
	readonly reason?: string;
	/** Commits so far, skips included. */
	readonly commit: number;
	/** Rounds finished (committed or skipped); the open training round is this plus one. */
	readonly rounds: number;
	/** Abandoned and skipped attempts in a row. */
	readonly misses: number;
	/** The strategy ended the run for this reason; it completes once its open evaluations are closed. */
	readonly ending?: string;
	/**
	 * Newest round whose evaluation was opened, 0 for none: a recovery opens one that a crash kept from following its
	 * commit. Absent: unknown, and such an evaluation is lost.
	 */
	readonly evaluated?: number;
	readonly open: readonly RoundState[];
	/** The newest committed round with the tasks that are still leased, until the next round takes them over. */
	readonly carried?: RoundState;
	/** Time of the last tick, whole milliseconds; never persisted. */
	readonly tickedAtMs?: number;
}

/** What the coordinator already knows of a task that belongs to no open round. */
export interface PastTask {
	readonly client: ClientId;
	readonly acceptedDigest?: string;
}

/** Names one attempt. */
export interface RoundKey {
	readonly kind: RoundKind;
	readonly round: number;
	readonly attempt: number;
}

export type RunEvent =
	| { readonly type: "start" }
	| { readonly type: "pause"; readonly reason?: string }
	| { readonly type: "resume" }
	| { readonly type: "stop" }
	/** The driver has loaded the state from the store: go on from wherever it was. */
	| { readonly type: "recovered" }
	/** The strategy's plan for a round, asked for by a `plan` effect. */
	| { readonly type: "planned"; readonly round: number; readonly attempt: number; readonly plan: Plan }
	/** Connected eligible clients in the order of the secret draw of this attempt. */
	| { readonly type: "present"; readonly key: RoundKey; readonly clients: readonly ClientId[] }
	| { readonly type: "tick" }
	/** A report whose bytes were checked. `past` is set when the task belongs to no open round. */
	| {
			readonly type: "report";
			readonly task: TaskId;
			readonly client: ClientId;
			readonly digest: string;
			readonly verdict:
				| { readonly ok: true; readonly numExamples: number }
				| { readonly ok: false; readonly code: ErrorCode; readonly message: string };
			/** The round that the verdict is for; a report for another one than an asynchronous run is collecting is held. */
			readonly landing?: RoundKey;
			readonly past?: PastTask;
	  }
	| { readonly type: "decline"; readonly task: TaskId; readonly client: ClientId; readonly reason: string; readonly past?: PastTask }
	/** The engine has computed what a frozen set makes of the round. `done` ends the run. */
	| { readonly type: "finished"; readonly key: RoundKey; readonly done?: { readonly reason: string } }
	/** The engine cannot make anything of the frozen set, or cannot plan the round that `plan` asked for (a strategy threw). */
	| { readonly type: "finishFailed"; readonly key: RoundKey; readonly code: ErrorCode; readonly message: string };

export type ReceiptCode = "ACCEPTED" | "DUPLICATE" | "CONFLICT" | "STALE" | "NOT_SELECTED" | "RUN_OVER" | "REJECTED" | "DECLINED";

export interface Receipt {
	readonly task: TaskId;
	readonly client: ClientId;
	readonly code: ReceiptCode;
	/** Digest of the accepted report, for ACCEPTED, DUPLICATE and CONFLICT. */
	readonly acceptedDigest?: string;
	/** Current round, for STALE. */
	readonly round?: number;
	/** Why, for REJECTED. */
	readonly error?: { readonly code: ErrorCode; readonly message: string };
}

/**
 * What the driver does, strictly in this order. If one fails the driver drops its state, loads what the store has and
 * sends `recovered`: a failed effect is a crash between two effects.
 */
export type RunEffect =
	/** Durable: phase and reason of the run. */
	| { readonly type: "setPhase"; readonly phase: RunPhase; readonly reason?: string }
	/** Ask the engine for the plan of this attempt; answer with `planned`. */
	| { readonly type: "plan"; readonly round: number; readonly attempt: number }
	/** Durable: a new attempt in phase planned, with the tasks that it takes over. */
	| { readonly type: "openRound"; readonly state: RoundState }
	/** Ask for connected clients; answer with `present`, now and whenever presence changes. `turn`: see `turnOf`. */
	| { readonly type: "draw"; readonly key: RoundKey; readonly turn?: number }
	/** Durable: these tasks are leased (phase becomes collecting), then offer them. None: the round has taken over what it needs. */
	| { readonly type: "lease"; readonly key: RoundKey; readonly tasks: readonly TaskState[] }
	/** Offer leased tasks again after a recovery. */
	| { readonly type: "offer"; readonly key: RoundKey; readonly tasks: readonly TaskState[] }
	/** Durable, conditional on the round collecting: the report is accepted. */
	| {
			readonly type: "accept";
			readonly key: RoundKey;
			readonly task: TaskId;
			readonly digest: string;
			readonly numExamples: number;
			/** Commits between the task's basis and this round's. */
			readonly staleness: number;
	  }
	/** Durable: the task ended without a report. */
	| {
			readonly type: "endTask";
			readonly key: RoundKey;
			readonly task: TaskId;
			readonly phase: "declined" | "rejected" | "expired";
			readonly reason: string;
	  }
	| { readonly type: "receipt"; readonly receipt: Receipt }
	/** The task is in flight but no round can take it now: check the message anew and send the event again once one collects. */
	| { readonly type: "hold"; readonly task: TaskId }
	/** Add an accepted report to the accumulator (a cache). */
	| { readonly type: "fold"; readonly key: RoundKey; readonly task: TaskId }
	/** Tell clients to drop tasks. */
	| { readonly type: "cancel"; readonly tasks: readonly TaskState[]; readonly reason: string }
	/** Durable: phase closing and the accepted set, in client-id order. */
	| { readonly type: "freeze"; readonly key: RoundKey; readonly tasks: readonly TaskId[] }
	/** Ask the engine for the outcome of the frozen set; answer with `finished`. */
	| { readonly type: "finish"; readonly key: RoundKey; readonly tasks: readonly TaskId[] }
	/**
	 * Durable, one transaction: state, members, log entry, settlements, round committed. Skip: a null entry, nothing
	 * applied. Accepted tasks of the round that are not in `applied` are discarded. `done` is kept as the run's `ending`.
	 */
	| {
			readonly type: "commit";
			readonly key: RoundKey;
			readonly skip: boolean;
			readonly applied: readonly TaskId[];
			readonly misses: number;
			readonly done?: { readonly reason: string };
			/** Of an asynchronous round: leased tasks that stay leased; its other leased tasks become expired. */
			readonly carried?: readonly TaskId[];
	  }
	/** Durable, one transaction: round abandoned, its accepted reports discarded. */
	| {
			readonly type: "abandon";
			readonly key: RoundKey;
			readonly discarded: readonly TaskId[];
			readonly reason: string;
			readonly misses: number;
	  }
	| { readonly type: "settle"; readonly tasks: readonly TaskState[]; readonly outcome: "applied" | "discarded"; readonly commit: number }
	/** Durable: remaining budgets. */
	| { readonly type: "saveBudgets"; readonly key: RoundKey; readonly waitLeftMs: number; readonly leftMs: number };

/** Result of one step of the machine. */
export interface Step {
	readonly state: RunState;
	readonly effects: readonly RunEffect[];
}
