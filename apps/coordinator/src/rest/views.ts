import { encodePlain, type Plain } from "@rondo/algorithms";
import type { LogRecord } from "@rondo/rounds";
import type { Static, TSchema } from "@sinclair/typebox";
import type { AuditRow, ClientRow, ModelRow, Page, RoundRow, RunClientRow, RunRow, TaskRow, TokenRow } from "../store/store.js";
import { toJson, toJsonWithoutDigests } from "./plain-json.js";
import type * as schemas from "./schemas.js";

// Rows of the store as the API shows them: dates as ISO text, and only what a caller may see.

type View<T extends TSchema> = Static<T>;

const iso = (date: Date | null): string | null => date?.toISOString() ?? null;

/** A page of rows as a page of views. */
export const pageView = <R, V>(page: Page<R>, view: (row: R) => V): { items: V[]; next: string | null } => ({
	items: page.items.map(view),
	next: page.next,
});

export const modelSummary = ({ id, name, createdAt, weights, parameters }: ModelRow): View<typeof schemas.ModelSummary> => ({
	id,
	name,
	createdAt: createdAt.toISOString(),
	weights,
	parameters,
});

export const layoutView = ({ length, tensors }: ModelRow["layout"]): View<typeof schemas.Layout> => ({
	length,
	tensors: tensors.map(({ name, shape, from, to }) => ({ name, shape: [...shape], from, to })),
});

export const modelView = (row: ModelRow): View<typeof schemas.Model> => ({
	...modelSummary(row),
	layout: layoutView(row.layout),
	manifest: row.manifest,
});

export const runView = (row: RunRow): View<typeof schemas.Run> => ({
	id: row.id,
	name: row.name,
	createdAt: row.createdAt.toISOString(),
	endedAt: iso(row.endedAt),
	model: row.modelId,
	strategy: row.strategy,
	strategyVersion: row.strategyVersion,
	options: toJson(row.config),
	settings: row.settings,
	publicSeed: row.publicSeed,
	incarnation: row.incarnation,
	phase: row.phase,
	reason: row.reason,
	commit: row.commit,
	rounds: row.rounds,
	misses: row.misses,
	logHead: row.logHead,
	result: toJson(row.result),
});

export const logView = ({ commit, hash, entry, accepted }: LogRecord): View<typeof schemas.LogRecord> => ({
	commit,
	hash,
	// Entries are made of plain values, which TypeScript cannot see through their optional-free interfaces.
	entry: Buffer.from(encodePlain(entry as unknown as Plain)).toString("base64"),
	content: toJson(entry),
	accepted: [...accepted],
});

export const roundView = (row: RoundRow): View<typeof schemas.Round> => ({
	...row.key,
	track: row.track,
	commit: row.commit,
	phase: row.phase,
	population: row.population,
	openedAt: row.openedAt.toISOString(),
	closedAt: iso(row.closedAt),
	reason: row.reason,
	metrics: row.metrics,
	leased: row.leased,
	accepted: row.accepted,
	bytesDown: row.bytesDown,
	bytesUp: row.bytesUp,
});

export const taskView = (row: TaskRow): View<typeof schemas.Task> => ({
	id: row.id,
	client: row.client,
	slot: row.slot,
	phase: row.phase,
	deliveredAt: iso(row.deliveredAt),
	endedAt: iso(row.endedAt),
	reason: row.reason,
	outcome: row.outcome,
	settledCommit: row.settledCommit,
	bytesDown: row.bytesDown,
	bytesUp: row.bytesUp,
	numExamples: row.numExamples,
	staleness: row.staleness,
});

export const roundDetail = (row: RoundRow, tasks: readonly TaskRow[]): View<typeof schemas.RoundDetail> => ({
	...roundView(row),
	scores: { ...row.scores },
	plan: toJson(row.plan),
	tasks: tasks.map(taskView),
});

export const runClientView = ({ member, scores, ...row }: RunClientRow, connected: boolean): View<typeof schemas.RunClient> => ({
	...row,
	connected,
	scores: { ...scores },
	state: toJsonWithoutDigests(member),
});

export const clientView = (row: ClientRow, connected: boolean): View<typeof schemas.Client> => ({
	id: row.id,
	name: row.name,
	role: row.role,
	createdAt: row.createdAt.toISOString(),
	lastSeenAt: iso(row.lastSeenAt),
	revokedAt: iso(row.revokedAt),
	connected,
});

export const tokenView = (row: TokenRow): View<typeof schemas.Token> => ({
	id: row.id,
	name: row.name,
	scope: row.scope,
	createdAt: row.createdAt.toISOString(),
	expiresAt: iso(row.expiresAt),
	usesLeft: row.usesLeft,
	revokedAt: iso(row.revokedAt),
});

export const auditView = (row: AuditRow): View<typeof schemas.AuditEntry> => ({
	id: row.id,
	at: row.at.toISOString(),
	actor: row.actor,
	action: row.action,
	subject: row.subject,
	details: toJson(row.details),
});
