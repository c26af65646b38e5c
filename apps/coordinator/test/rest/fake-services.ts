import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Plain, vecOf } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { layoutOf } from "@rondo/tensors";
import { type Logger, pino } from "pino";
import { hashSecret } from "../../src/auth/secrets.js";
import { BlobStore } from "../../src/blobs/blob-store.js";
import { openSyncIo } from "../../src/blobs/sync-io.js";
import { loadConfig } from "../../src/config/load-config.js";
import { importWeights } from "../../src/engine/import-weights.js";
import { createRestServer } from "../../src/rest/server.js";
import type { RunNotice, RunService, Services } from "../../src/services.js";
import type {
	AuditRow,
	AuditWrite,
	ClientRow,
	ModelRow,
	Page,
	RoundRow,
	RunClientRow,
	RunRow,
	Store,
	TaskRow,
	TokenRow,
	TokenScope,
} from "../../src/store/store.js";

/** What the fake store holds; tests read and write it. */
export interface World {
	readonly tokens: Map<string, TokenRow>;
	readonly clients: ClientRow[];
	readonly models: ModelRow[];
	readonly runs: RunRow[];
	readonly rounds: RoundRow[];
	readonly tasks: TaskRow[];
	readonly runClients: RunClientRow[];
	readonly audit: AuditRow[];
	readonly notices: RunNotice[];
	readonly connected: Set<string>;
	ready: boolean;
	databaseUp: boolean;
	/** Called when a `watch` ends because its signal aborted. */
	watchEnded: () => void;
}

export const LAYOUT = layoutOf([
	{ name: "dense/kernel", shape: [2, 3] },
	{ name: "dense/bias", shape: [3] },
]);
export const WEIGHTS = Float32Array.from({ length: LAYOUT.length }, (_, i) => i / 4 - 1);
export const HASH = (n: number): string => n.toString(16).padStart(64, "0");
export const NOW = new Date("2026-01-02T03:04:05.678Z");

/** Secrets of the tokens that every world starts with. */
export const SECRETS = { admin: "rondo_a_secret-of-the-admin", read: "rondo_r_secret-of-the-reader", enrol: "rondo_e_secret-of-enrolment" };

export const aRun = (id: string): RunRow => ({
	id,
	name: `name-of-${id}`,
	createdAt: NOW,
	endedAt: null,
	modelId: "m1",
	strategy: "fedavg",
	strategyVersion: 1,
	config: { lr: 0.5, scale: new Float32Array([1, 2]), big: 2n ** 70n } as Plain,
	settings: { rounds: 3, maxReplans: 3, minClients: 1, waitForClientsMs: 1000, evaluateEvery: 1, evaluateDeadlineMs: 1000 },
	publicSeed: HASH(7),
	incarnation: 1,
	phase: "running",
	reason: null,
	commit: 1,
	rounds: 1,
	misses: 0,
	logHead: HASH(1),
	result: null,
});

export const aRound = (round: number, attempt = 1): RoundRow => ({
	id: `r${round}.${attempt}`,
	key: { kind: "train", round, attempt },
	track: 0,
	commit: round - 1,
	phase: "committed",
	plan: { lanes: {}, leases: 1, closeAt: 1, quorum: 1, deadlineMs: 1000, maxExamples: 100, onMiss: "replan" },
	population: 1,
	openedAt: NOW,
	closedAt: NOW,
	reason: null,
	metrics: { loss: 0.5 },
	scores: { c1: { loss: 0.5 } },
	leased: 1,
	accepted: 1,
	bytesDown: 10,
	bytesUp: 20,
});

export const aTask = (round: number): TaskRow => ({
	id: HASH(round),
	run: "run1",
	key: { kind: "train", round, attempt: 1 },
	track: 0,
	commit: round - 1,
	client: "c1",
	slot: 0,
	phase: "accepted",
	payload: new Uint8Array([1, 2, 3]),
	carryBasis: null,
	deliveredAt: NOW,
	endedAt: NOW,
	reason: null,
	outcome: "applied",
	settledCommit: round,
	bytesDown: 10,
	bytesUp: 20,
	numExamples: 30,
	staleness: 0,
});

export const aRunClient = (client: string): RunClientRow => ({
	client,
	name: `device ${client}`,
	leased: 3,
	applied: 2,
	lastRound: 2,
	bytesDown: 30,
	bytesUp: 40,
	scoredRound: 2,
	scores: { reputation: 0.25, standing: 1 },
	member: { model: vecOf("f32", 9, HASH(77)), kept: [vecOf("u8", 3, HASH(78))], reason: "because", trail: new Uint8Array([1, 2]) },
});

export const aToken = (id: string, scope: TokenScope, change: Partial<TokenRow> = {}): TokenRow => ({
	id,
	name: id,
	scope,
	createdAt: NOW,
	expiresAt: null,
	usesLeft: null,
	revokedAt: null,
	...change,
});

export const aClient = (id: string): ClientRow => ({
	id,
	name: `device ${id}`,
	role: "trainer",
	installationNonce: "nonce-not-to-be-shown",
	createdAt: NOW,
	lastSeenAt: NOW,
	session: 4,
	revokedAt: null,
});

function pageOf<T>(rows: readonly T[], { after, limit }: { after?: string; limit: number }): Page<T> {
	const from = Number(after ?? 0);
	return { items: rows.slice(from, from + limit), next: from + limit < rows.length ? String(from + limit) : null };
}

const found = <T>(row: T | undefined, what: string): T => {
	if (row === undefined) throw new RondoError("NOT_FOUND", `no ${what}`);
	return row;
};

const freshWorld = (): World => ({
	tokens: new Map([
		[hashSecret(SECRETS.admin), aToken("t-admin", "admin")],
		[hashSecret(SECRETS.read), aToken("t-read", "read")],
		[hashSecret(SECRETS.enrol), aToken("t-enrol", "enrol")],
	]),
	clients: [aClient("c1")],
	models: [],
	runs: [aRun("run1")],
	rounds: [aRound(1), aRound(2)],
	tasks: [aTask(1), aTask(2)],
	runClients: [aRunClient("c1"), { ...aRunClient("c2"), applied: 0, lastRound: null, scoredRound: null, scores: {}, member: null }],
	audit: [],
	notices: [],
	connected: new Set(["c1"]),
	ready: true,
	databaseUp: true,
	watchEnded: () => undefined,
});

/** A REST server over an in-memory world with one run, model, client and three tokens. Close it with `close`. */
export async function startFake(
	options: { readonly log?: Logger; readonly flags?: Record<string, unknown>; readonly runs?: (store: Store) => RunService } = {},
) {
	const config = loadConfig({ env: {}, flags: options.flags ?? {} });
	const folder = mkdtempSync(join(tmpdir(), "rondo-rest-"));
	const world = freshWorld();
	const record = (audit: AuditWrite): void => {
		world.audit.push({ ...audit, id: world.audit.length + 1, at: NOW });
	};
	const blobs = await BlobStore.open({ folder, maxBlobBytes: config.maxBlobBytes, reserveBytes: 0 });
	const genesis = {
		kind: "genesis",
		logVersion: 1,
		run: "run1",
		strategy: "fedavg",
		strategyVersion: 1,
		config: { steps: new Int32Array(40).fill(7) } as Plain,
		initial: vecOf("f32", 9, HASH(9)),
		layout: HASH(10),
		publicSeed: HASH(7),
		state: HASH(11),
	} as const;
	const accepted = { task: HASH(1), client: "c1", numExamples: 30, staleness: 0, sequence: 0, digest: HASH(12) };
	const log = [0, 1, 2].map((commit) => ({ commit, hash: HASH(commit + 100), entry: genesis, accepted: commit === 0 ? [] : [accepted] }));
	const move = (phase: RunRow["phase"], action: string) => async (id: string, actor: string) => {
		const at = world.runs.findIndex((run) => run.id === id);
		if (world.runs[at]!.phase === phase) throw new RondoError("CONFLICT", `run ${id} is ${phase}`);
		world.runs[at] = { ...world.runs[at]!, phase };
		record({ actor, action, subject: id, details: {} });
		return world.runs[at];
	};
	const services = {
		log: options.log ?? pino({ level: "silent" }),
		ready: () => world.ready,
		presence: {
			connected: () => [...world.connected],
			isConnected: (id: string) => world.connected.has(id),
			revoke: (id: string) => void world.connected.delete(id),
		},
		blobs,
		importWeights: async (file: ArrayBuffer) => importWeights(openSyncIo(folder), new Uint8Array(file)),
		store: {
			ping: async () => {
				if (!world.databaseUp) throw new Error("no database");
			},
			findToken: async (hash: string) => world.tokens.get(hash) ?? null,
			listTokens: async () => [...world.tokens.values()],
			createToken: async (
				{ hash, ...row }: { id: string; name: string; hash: string; scope: TokenScope; expiresAt: Date | null; usesLeft: number | null },
				audit: AuditWrite,
			) => {
				const token = { ...row, createdAt: NOW, revokedAt: null };
				world.tokens.set(hash, token);
				record(audit);
				return token;
			},
			revokeToken: async (id: string, audit: AuditWrite) => {
				const [hash, token] = found(
					[...world.tokens].find(([, row]) => row.id === id),
					"token",
				);
				world.tokens.set(hash, { ...token, revokedAt: NOW });
				record(audit);
				return world.tokens.get(hash)!;
			},
			getClient: async (id: string) => world.clients.find((row) => row.id === id) ?? null,
			listClients: async (page: { after?: string; limit: number }) => pageOf(world.clients, page),
			revokeClient: async (id: string, audit: AuditWrite) => {
				const client = found(
					world.clients.find((row) => row.id === id),
					"client",
				);
				record(audit);
				return { ...client, revokedAt: NOW };
			},
			appendAudit: async (audit: AuditWrite) => record(audit),
			listAudit: async (page: { after?: string; limit: number }) => pageOf(world.audit, page),
			createModel: async (row: Omit<ModelRow, "createdAt">, audit: AuditWrite) => {
				if (world.models.some(({ name }) => name === row.name)) throw new RondoError("ALREADY_EXISTS", `a model has the name ${row.name}`);
				world.models.push({ ...row, createdAt: NOW });
				record(audit);
				return world.models.at(-1)!;
			},
			getModel: async (id: string) => world.models.find((row) => row.id === id || row.name === id) ?? null,
			listModels: async (page: { after?: string; limit: number }) => pageOf(world.models, page),
			getRun: async (id: string) => world.runs.find((row) => row.id === id || row.name === id) ?? null,
			listRuns: async (page: { after?: string; limit: number }) => pageOf(world.runs, page),
			getTask: async (id: string) => world.tasks.find((row) => row.id === id) ?? null,
			getReport: async (id: string) =>
				id === HASH(1)
					? { task: id, client: "c1", digest: HASH(12), content: new Uint8Array([0xa0]), numExamples: 30, staleness: 0, sequence: 0 }
					: null,
			listRounds: async (_run: string, page: { after?: string; limit: number; kind?: string }) =>
				pageOf(
					world.rounds.filter(({ key }) => page.kind === undefined || key.kind === page.kind),
					page,
				),
			listTasks: async (_run: string, key: { round: number }) => world.tasks.filter((row) => row.key.round === key.round),
			listRunClients: async (_run: string, page: { after?: string; limit: number }) => pageOf(world.runClients, page),
			readLog: async (_run: string, from: number, limit: number) => log.slice(from, from + limit),
		},
		runs: {
			submit: async ({ strategy, model }: { strategy: string; model: string }, actor: string) => {
				if (strategy !== "fedavg")
					throw new RondoError("UNKNOWN_STRATEGY", `strategy = ${JSON.stringify(strategy)} is not registered`, {
						details: { field: "strategy", value: strategy },
					});
				if (model !== "m1")
					throw new RondoError("NOT_FOUND", `no model has the id or name ${model}`, { details: { field: "model", value: model } });
				record({ actor, action: "run.create", subject: "run2", details: {} });
				world.runs.push(aRun("run2"));
				return { run: world.runs.at(-1)!, cost: { task: 1, download: 2, report: 3 } };
			},
			start: move("running", "run.start"),
			pause: move("paused", "run.pause"),
			resume: move("running", "run.resume"),
			stop: move("stopped", "run.stop"),
			exportModel: async (_run: string, client?: string) => {
				if (client !== undefined && client !== "c1") throw new RondoError("NOT_FOUND", `no model of client ${client}`);
				const bytes = new Uint8Array((client === undefined ? WEIGHTS : WEIGHTS.map((weight) => 2 * weight)).buffer);
				const digest = await blobs.put(bytes);
				return { layout: LAYOUT, commit: 1, round: 1, digest, path: blobs.path(digest), bytes: bytes.length };
			},
			async *watch(_run: string, signal: AbortSignal) {
				yield* world.notices;
				await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
				world.watchEnded();
			},
			strategies: () => [{ name: "fedavg", version: 1, summary: "Averages.", schema: { type: "object" }, needs: { reads: "lanes" } }],
		},
	};
	// Only what routes use is there.
	const runs = options.runs?.(services.store as unknown as Store) ?? services.runs;
	const app = createRestServer({ ...services, runs } as unknown as Services, config);
	return {
		app,
		world,
		blobs,
		/** Puts the world back as it was at the start. */
		reset: () => void Object.assign(world, freshWorld()),
		async close() {
			await app.close();
			rmSync(folder, { recursive: true });
		},
	};
}

/** The Authorization header of one of the tokens. */
export const as = (who: keyof typeof SECRETS): { authorization: string } => ({ authorization: `Bearer ${SECRETS[who]}` });
