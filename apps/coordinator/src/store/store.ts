import type { ClientId, Metrics, Plain, Plan, Vec } from "@rondo/algorithms";
import type {
	AcceptedReport,
	LogRecord,
	PastTask,
	RoundKey,
	RoundState,
	RunPhase,
	RunSettings,
	RunState,
	TaskId,
	TaskPhase,
} from "@rondo/rounds";
import type { Layout } from "@rondo/tensors";

// The store port. Every method is one named transaction that can be retried; every write asserts the fencing epoch and
// fails with FENCED when another coordinator took over. All values are plain data (structured-cloneable), because the
// store lives in its own worker thread.

export type TokenScope = "admin" | "read" | "enrol" | "enrol:evaluator";
export type ClientRole = "trainer" | "evaluator";

export interface TokenRow {
	readonly id: string;
	readonly name: string;
	readonly scope: TokenScope;
	readonly createdAt: Date;
	readonly expiresAt: Date | null;
	readonly usesLeft: number | null;
	readonly revokedAt: Date | null;
}

export interface ClientRow {
	readonly id: ClientId;
	readonly name: string;
	readonly role: ClientRole;
	readonly installationNonce: string;
	readonly createdAt: Date;
	readonly lastSeenAt: Date | null;
	readonly session: number;
	readonly revokedAt: Date | null;
}

export interface ModelRow {
	readonly id: string;
	readonly name: string;
	readonly createdAt: Date;
	readonly weights: string;
	readonly parameters: number;
	readonly layout: Layout;
	readonly manifest: unknown;
}

export interface RunRow {
	readonly id: string;
	readonly name: string;
	readonly createdAt: Date;
	readonly endedAt: Date | null;
	readonly modelId: string;
	readonly strategy: string;
	readonly strategyVersion: number;
	readonly config: Plain;
	readonly settings: RunSettings;
	readonly publicSeed: string;
	readonly incarnation: number;
	readonly phase: RunPhase;
	readonly reason: string | null;
	readonly commit: number;
	readonly rounds: number;
	readonly misses: number;
	readonly logHead: string;
	readonly result: unknown;
}

/** What the driver and the engine need of a run, secrets included. */
export interface RunSnapshot {
	readonly row: RunRow;
	readonly secretSeed: string;
	readonly model: ModelRow;
	readonly initial: Vec<"f32">;
	/** State of the strategy after `row.commit` commits. */
	readonly state: Plain;
	readonly members: readonly (readonly [ClientId, Plain])[];
	/** State of the round machine as of the last durable effect. */
	readonly machine: RunState;
	/** What the machine does not carry of open rounds. */
	readonly rounds: readonly { readonly key: RoundKey; readonly population: number; readonly payload: Uint8Array | null }[];
	/** Accepted reports of open rounds. */
	readonly reports: readonly ReportRow[];
}

export interface ReportRow {
	readonly task: TaskId;
	readonly client: ClientId;
	readonly digest: string;
	/** Canonical CBOR of the report. */
	readonly content: Uint8Array;
	readonly numExamples: number;
	readonly staleness: number;
	readonly sequence: number;
}

export interface TaskRow {
	readonly id: TaskId;
	readonly run: string;
	readonly key: RoundKey;
	readonly track: number;
	/** Commits that the task is based on. */
	readonly commit: number;
	readonly client: ClientId;
	readonly slot: number;
	readonly phase: TaskPhase;
	readonly payload: Uint8Array;
	readonly carryBasis: TaskId | null;
	readonly deliveredAt: Date | null;
	readonly endedAt: Date | null;
	readonly reason: string | null;
	readonly outcome: "applied" | "discarded" | null;
	readonly settledCommit: number | null;
	readonly bytesDown: number;
	readonly bytesUp: number;
	readonly numExamples: number | null;
	/** Of its accepted report. */
	readonly staleness: number | null;
}

export interface RoundRow {
	readonly id: string;
	readonly key: RoundKey;
	readonly track: number;
	readonly commit: number;
	readonly phase: RoundState["phase"];
	readonly plan: Plan;
	readonly population: number;
	readonly openedAt: Date;
	readonly closedAt: Date | null;
	readonly reason: string | null;
	readonly metrics: Metrics;
	readonly scores: { readonly [client: ClientId]: Metrics };
	/** Of its tasks. */
	readonly leased: number;
	readonly accepted: number;
	readonly bytesDown: number;
	readonly bytesUp: number;
}

/** One client as far as one run is concerned. */
export interface RunClientRow {
	readonly client: ClientId;
	readonly name: string;
	/** Training tasks handed to it. */
	readonly leased: number;
	/** Of these, reports that a commit applied, and the round of the newest one. */
	readonly applied: number;
	readonly lastRound: number | null;
	readonly bytesDown: number;
	readonly bytesUp: number;
	/** The newest round in which the strategy scored it, and the scores. */
	readonly scoredRound: number | null;
	readonly scores: Metrics;
	/** What the strategy keeps of it at the server; null when there is nothing. */
	readonly member: Plain | null;
}

export interface NewRun {
	readonly id: string;
	readonly name: string;
	readonly modelId: string;
	readonly strategy: string;
	readonly strategyVersion: number;
	readonly config: Plain;
	readonly settings: RunSettings;
	readonly publicSeed: string;
	readonly secretSeed: string;
	readonly state: Plain;
	readonly genesis: LogRecord;
}

/** Everything one commit writes. */
export interface CommitWrite {
	readonly run: string;
	readonly key: RoundKey;
	/** New state of the strategy; absent for a skip. */
	readonly state?: Plain;
	readonly members: readonly (readonly [ClientId, Plain | null])[];
	readonly record: LogRecord;
	readonly applied: readonly TaskId[];
	/** Of an asynchronous round: leased tasks that stay so; the others that it has expire. */
	readonly carried?: readonly TaskId[];
	readonly misses: number;
	readonly metrics: Metrics;
	readonly scores: { readonly [client: ClientId]: Metrics };
	readonly result?: unknown;
	/** Why the strategy ends the run with this commit. */
	readonly ending?: string;
}

export interface AuditWrite {
	readonly actor: string;
	readonly action: string;
	readonly subject: string;
	readonly details: unknown;
}
export interface AuditRow extends AuditWrite {
	readonly id: number;
	readonly at: Date;
}

/** Answer to `accept`. */
export type Acceptance =
	| { readonly kind: "accepted"; readonly sequence: number }
	| { readonly kind: "duplicate" | "conflict"; readonly digest: string }
	/** The round was no longer collecting, or the task not leased, when the transaction ran. */
	| { readonly kind: "closed" };

export interface Page<T> {
	readonly items: readonly T[];
	/** Pass as `after` for the next page; null at the end. */
	readonly next: string | null;
}

/** Persistence of the coordinator. One contract suite runs on every database. */
export interface Store {
	/** Takes the next fencing epoch; writers with an older one fail with FENCED from now on. */
	claimEpoch(): Promise<number>;
	close(): Promise<void>;
	/** Cheap liveness check. */
	ping(): Promise<void>;

	// Tokens, clients, audit. Secrets arrive hashed.
	createToken(
		row: { id: string; name: string; hash: string; scope: TokenScope; expiresAt: Date | null; usesLeft: number | null },
		audit: AuditWrite,
	): Promise<TokenRow>;
	findToken(hash: string): Promise<TokenRow | null>;
	listTokens(): Promise<readonly TokenRow[]>;
	/** @throws NOT_FOUND. */
	revokeToken(id: string, audit: AuditWrite): Promise<TokenRow>;
	/**
	 * One transaction: checks and spends one use of the token, creates the client.
	 * @throws UNAUTHENTICATED, TOKEN_EXPIRED, TOKEN_REVOKED, FORBIDDEN (wrong scope), ALREADY_EXISTS (client id).
	 */
	enrol(tokenHash: string, client: { id: ClientId; name: string; credentialHash: string; installationNonce: string }): Promise<ClientRow>;
	findClientByCredential(hash: string): Promise<ClientRow | null>;
	getClient(id: ClientId): Promise<ClientRow | null>;
	listClients(page: { after?: string; limit: number }): Promise<Page<ClientRow>>;
	/** @throws NOT_FOUND. */
	revokeClient(id: ClientId, audit: AuditWrite): Promise<ClientRow>;
	/** Records a connection; false when `session` is lower than one seen before. */
	touchClient(id: ClientId, session: number): Promise<boolean>;
	/** Number of trainers that are not revoked. */
	countTrainers(): Promise<number>;
	appendAudit(audit: AuditWrite): Promise<void>;
	listAudit(page: { after?: string; limit: number }): Promise<Page<AuditRow>>;

	// Models and runs.
	/** @throws ALREADY_EXISTS when the name is taken by another model. */
	createModel(row: Omit<ModelRow, "createdAt">, audit: AuditWrite): Promise<ModelRow>;
	/** By id or name. */
	getModel(idOrName: string): Promise<ModelRow | null>;
	listModels(page: { after?: string; limit: number }): Promise<Page<ModelRow>>;
	/** @throws ALREADY_EXISTS when the name is taken. */
	createRun(run: NewRun, audit: AuditWrite): Promise<RunRow>;
	/** By id or name. */
	getRun(idOrName: string): Promise<RunRow | null>;
	listRuns(page: { after?: string; limit: number }): Promise<Page<RunRow>>;
	/** Ids of runs that are created, running or paused. */
	listLiveRuns(): Promise<readonly string[]>;
	/** @throws NOT_FOUND. */
	loadRun(id: string): Promise<RunSnapshot>;

	// Named transactions of the round machine, one per durable effect.
	setPhase(run: string, phase: RunPhase, reason: string | null): Promise<void>;
	/** Also moves the tasks in flight that the round takes over (`state.tasks`). `payload`: the frozen task of an evaluation. */
	openRound(run: string, state: RoundState, population: number, payload: Uint8Array | null): Promise<void>;
	/** Creates tasks and sets the round collecting. Repeating it with the same tasks changes nothing. */
	leaseTasks(
		run: string,
		key: RoundKey,
		tasks: readonly { id: TaskId; client: ClientId; slot: number; payload: Uint8Array; carryBasis: TaskId | null; endsAtMs?: number }[],
	): Promise<void>;
	/** Conditional on the round collecting and the task being leased and landing in it. */
	accept(
		run: string,
		key: RoundKey,
		report: { task: TaskId; digest: string; content: Uint8Array; numExamples: number; staleness: number; bytesUp: number },
	): Promise<Acceptance>;
	endTask(run: string, task: TaskId, phase: "declined" | "rejected" | "expired", reason: string): Promise<void>;
	freeze(run: string, key: RoundKey, tasks: readonly TaskId[], setDigest: string): Promise<void>;
	commit(write: CommitWrite): Promise<void>;
	/** Closes an evaluation round with its numbers; no log entry. */
	closeEvaluation(run: string, key: RoundKey, metrics: Metrics, applied: readonly TaskId[]): Promise<void>;
	abandon(run: string, key: RoundKey, discarded: readonly TaskId[], reason: string, misses: number): Promise<void>;
	saveBudgets(run: string, key: RoundKey, waitLeftMs: number, leftMs: number): Promise<void>;
	/** Adds to the counters of tasks; sets deliveredAt when `delivered`. Unknown tasks are left out. */
	countBytes(counts: readonly { task: TaskId; down: number; up: number; delivered: boolean }[]): Promise<void>;

	// Look-ups.
	getTask(id: TaskId): Promise<TaskRow | null>;
	/** For a task that is in no open round: who it belonged to and what was accepted. */
	pastTask(id: TaskId): Promise<PastTask | null>;
	/** Leased tasks that land in open, collecting rounds, of this client: what is offered again on reconnection. */
	openTasksOf(client: ClientId): Promise<readonly TaskRow[]>;
	/** Settlements among these tasks of this client. */
	settlementsOf(
		client: ClientId,
		tasks: readonly TaskId[],
	): Promise<readonly { task: TaskId; outcome: "applied" | "discarded"; commit: number }[]>;
	/** Task of the client's newest applied report in this run. */
	lastApplied(run: string, client: ClientId): Promise<TaskId | null>;
	getReport(task: TaskId): Promise<ReportRow | null>;
	/** Of the reports that count for this round. */
	reportsOf(run: string, key: RoundKey): Promise<readonly ReportRow[]>;
	listRounds(run: string, page: { after?: string; limit: number; kind?: "train" | "evaluate" }): Promise<Page<RoundRow>>;
	/** Of the tasks whose reports count for this round. */
	listTasks(run: string, key: RoundKey): Promise<readonly TaskRow[]>;
	/** Clients that had a training task of the run, in the order of their ids' bytes. */
	listRunClients(run: string, page: { after?: string; limit: number }): Promise<Page<RunClientRow>>;
	/** Log records from `fromCommit` on, at most `limit`. */
	readLog(run: string, fromCommit: number, limit: number): Promise<readonly LogRecord[]>;
	/** Accepted reports of one commit in the order of the log. */
	readAccepted(run: string, commit: number): Promise<readonly AcceptedReport[]>;
	/** Digests of all blobs that live state refers to; reports of rounds closed before `keepRounds` rounds ago are not. */
	reachableBlobs(keepRounds: number): Promise<readonly string[]>;
}
