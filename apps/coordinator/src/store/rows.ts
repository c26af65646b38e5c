import { decodePlain, encodePlain, type Metrics, type Plain, type Plan } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { AcceptedReport, LogEntry, LogRecord, RoundKey, RoundState, RunPhase, RunSettings } from "@rondo/rounds";
import type { Layout } from "@rondo/tensors";
import type { Prisma } from "../generated/prisma/client.js";
import type { AuditRow, ClientRow, ModelRow, Page, ReportRow, RunRow, TaskRow, TokenRow } from "./store.js";

// Between the columns and the plain data of the port.

/** Primary key of an attempt; derived, so that nobody has to look it up. */
export const roundIdOf = (run: string, key: RoundKey): string => `${run}/${key.kind}/${key.round}/${key.attempt}`;

/** Canonical CBOR of a value whose interface is plain data by contract. */
export const toBytes = (value: unknown): Uint8Array<ArrayBuffer> => Uint8Array.from(encodePlain(value as Plain));

/** The driver's types want bytes that are not shared between threads. */
export const ownBytes = (bytes: Uint8Array): Uint8Array<ArrayBuffer> =>
	bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : Uint8Array.from(bytes);

/** Text for a column: PostgreSQL has no NUL in text, and reasons come from clients. */
export const toText = (text: string): string => text.replaceAll("\0", "\ufffd");

/** A value as JSON for a Json column; big integers become strings, typed arrays lists. */
export function toJson(value: unknown): Prisma.InputJsonValue {
	const text = JSON.stringify(value ?? {}, (_key, item: unknown) => {
		if (typeof item === "bigint") return item.toString();
		if (typeof item === "string") return toText(item);
		return ArrayBuffer.isView(item) && !(item instanceof DataView) ? Array.from(item as unknown as ArrayLike<number>) : item;
	});
	return JSON.parse(text) as Prisma.InputJsonValue;
}

export const tokenRow = (row: Prisma.TokenGetPayload<object>): TokenRow => ({
	id: row.id,
	name: row.name,
	scope: row.scope as TokenRow["scope"],
	createdAt: row.createdAt,
	expiresAt: row.expiresAt,
	usesLeft: row.usesLeft,
	revokedAt: row.revokedAt,
});

export const clientRow = (row: Prisma.ClientGetPayload<object>): ClientRow => ({
	id: row.id,
	name: row.name,
	role: row.role as ClientRow["role"],
	installationNonce: row.installationNonce,
	createdAt: row.createdAt,
	lastSeenAt: row.lastSeenAt,
	session: Number(row.session),
	revokedAt: row.revokedAt,
});

export const auditRow = (row: Prisma.AuditRecordGetPayload<object>): AuditRow => ({ ...row, id: Number(row.id) });

export const modelRow = (row: Prisma.ModelGetPayload<object>): ModelRow => ({
	id: row.id,
	name: row.name,
	createdAt: row.createdAt,
	weights: row.weights,
	parameters: Number(row.parameters),
	layout: row.layout as unknown as Layout,
	manifest: row.manifest,
});

/** Columns of a run that its row shows: neither the secret seed nor the state. */
export const RUN_COLUMNS = {
	id: true,
	name: true,
	createdAt: true,
	endedAt: true,
	modelId: true,
	strategy: true,
	strategyVersion: true,
	config: true,
	settings: true,
	publicSeed: true,
	incarnation: true,
	phase: true,
	reason: true,
	commit: true,
	rounds: true,
	misses: true,
	logHead: true,
	result: true,
} as const satisfies Prisma.RunSelect;

export const runRow = (row: Prisma.RunGetPayload<{ select: typeof RUN_COLUMNS }>): RunRow => ({
	id: row.id,
	name: row.name,
	createdAt: row.createdAt,
	endedAt: row.endedAt,
	modelId: row.modelId,
	strategy: row.strategy,
	strategyVersion: row.strategyVersion,
	config: decodePlain(row.config),
	settings: row.settings as unknown as RunSettings,
	publicSeed: row.publicSeed,
	incarnation: row.incarnation,
	phase: row.phase as RunPhase,
	reason: row.reason,
	commit: row.commit,
	rounds: row.rounds,
	misses: row.misses,
	logHead: row.logHead,
	result: row.result,
});

/** What a task's row needs of the rows around it. */
export const TASK_RELATIONS = {
	round: { select: { runId: true, kind: true, round: true, attempt: true, track: true, commit: true } },
	report: { select: { numExamples: true, staleness: true } },
} as const satisfies Prisma.TaskInclude;

export const taskRow = (row: Prisma.TaskGetPayload<{ include: typeof TASK_RELATIONS }>): TaskRow => ({
	id: row.id,
	run: row.round.runId,
	key: { kind: row.round.kind as RoundKey["kind"], round: row.round.round, attempt: row.round.attempt },
	track: row.round.track,
	commit: row.round.commit,
	client: row.clientId,
	slot: row.slot,
	phase: row.phase as TaskRow["phase"],
	payload: row.payload,
	carryBasis: row.carryBasis,
	deliveredAt: row.deliveredAt,
	endedAt: row.endedAt,
	reason: row.reason,
	outcome: row.outcome as TaskRow["outcome"],
	settledCommit: row.settledCommit,
	bytesDown: Number(row.bytesDown),
	bytesUp: Number(row.bytesUp),
	numExamples: row.report === null ? null : Number(row.report.numExamples),
	staleness: row.report === null ? null : row.report.staleness,
});

export const reportRow = (row: Prisma.ReportGetPayload<{ include: { task: { select: { clientId: true } } } }>): ReportRow => ({
	task: row.taskId,
	client: row.task.clientId,
	digest: row.digest,
	content: row.content,
	numExamples: Number(row.numExamples),
	staleness: row.staleness,
	sequence: row.sequence,
});

/** Columns of a task that the round machine keeps. */
export const HELD_TASK = {
	id: true,
	clientId: true,
	slot: true,
	phase: true,
	roundId: true,
	landingId: true,
	endsAtMs: true,
	round: { select: { round: true, attempt: true, commit: true } },
	report: { select: { digest: true } },
} as const satisfies Prisma.TaskSelect;

/** An attempt as the round machine keeps it, rebuilt from its row and its tasks. */
export const roundState = (row: Prisma.RoundGetPayload<{ include: { landings: { select: typeof HELD_TASK } } }>): RoundState => ({
	kind: row.kind as RoundState["kind"],
	track: row.track,
	round: row.round,
	attempt: row.attempt,
	commit: row.commit,
	phase: row.phase as RoundState["phase"],
	plan: planOf(row.plan),
	waitLeftMs: row.waitLeftMs,
	leftMs: row.leftMs,
	tasks: Object.fromEntries(
		row.landings.map((task) => [
			task.id,
			{
				id: task.id,
				client: task.clientId,
				slot: task.slot,
				phase: task.phase as TaskRow["phase"],
				...(task.report === null ? {} : { digest: task.report.digest }),
				...(task.roundId === task.landingId ? {} : { basis: task.round }),
				...(task.endsAtMs === null ? {} : { endsAtMs: task.endsAtMs }),
			},
		]),
	),
});

export const planOf = (bytes: Uint8Array): Plan => decodePlain(bytes) as unknown as Plan;

export const metricsOf = (json: Prisma.JsonValue): Metrics => json as Metrics;

export const logRecord = (row: Prisma.LogEntryGetPayload<object>): LogRecord => ({
	commit: row.commit,
	hash: row.hash,
	entry: decodePlain(row.entry) as unknown as LogEntry,
	accepted: decodePlain(row.accepted) as unknown as readonly AcceptedReport[],
});

const MAX_PAGE = 1000;

/** How many rows to ask for: one more than the page holds tells whether there is a next one. @throws INVALID_ARGUMENT. */
export function takeOf(limit: number): number {
	if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE) {
		throw new RondoError("INVALID_ARGUMENT", `limit must be an integer from 1 to ${MAX_PAGE}, got ${limit}`, { details: { limit } });
	}
	return limit + 1;
}

/** Where the page starts, for tables whose cursor is `id`. */
export const startOf = (after: string | undefined): { cursor?: { id: string }; skip?: number } =>
	after === undefined ? {} : { cursor: { id: after }, skip: 1 };

/** A page of at most `limit` of `limit + 1` rows. */
export function pageOf<Row extends { id: string | bigint }, T>(rows: readonly Row[], limit: number, make: (row: Row) => T): Page<T> {
	const shown = rows.slice(0, limit);
	return { items: shown.map(make), next: rows.length > limit ? String(shown.at(-1)!.id) : null };
}
