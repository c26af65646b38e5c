import { createHash } from "node:crypto";
import { type ClientId, digestOf, encodePlain, type Plain, type Plan, vecOf } from "@rondo/algorithms";
import type { CommitEntry, Genesis, LogRecord, RoundKey, RoundState, RunSettings, TaskId } from "@rondo/rounds";
import type { AuditWrite, CommitWrite, Store } from "../src/store/store.js";

// Values for the contract of the store; nothing in them means anything to it.

export const sha = (text: string): string => createHash("sha256").update(text).digest("hex");

export const by = (action: string, subject = "x"): AuditWrite => ({ actor: "token:admin", action, subject, details: { n: 1 } });

export const SETTINGS: RunSettings = {
	rounds: 5,
	maxReplans: 2,
	minClients: 2,
	waitForClientsMs: 60_000,
	evaluateEvery: 1,
	evaluateDeadlineMs: 30_000,
};

export const PLAN: Plan = {
	lanes: { x: { length: 4, absMax: 1.5, combine: "mean", codec: ["f32"] } },
	leases: 3,
	closeAt: 2,
	quorum: 1,
	deadlineMs: 60_000,
	maxExamples: 1000,
	onMiss: "replan",
	exclude: ["nobody"],
};

export const LAYOUT = { length: 4, tensors: [{ name: "w", shape: [2, 2], from: 0, to: 4 }] };

export const weightsOf = (run: string) => vecOf("f32", 4, sha(`weights of ${run}`));

/** A model, `clients` trainers named `<run>-0`, …, and a run in phase running. */
export async function makeRun(store: Store, run: string, clients: number): Promise<readonly ClientId[]> {
	await store.createToken(
		{ id: `enrol-${run}`, name: "t", hash: sha(`token ${run}`), scope: "enrol", expiresAt: null, usesLeft: null },
		by("token.create"),
	);
	const ids = Array.from({ length: clients }, (_, i) => `${run}-${i}`);
	for (const id of ids)
		await store.enrol(sha(`token ${run}`), { id, name: id, credentialHash: sha(`credential ${id}`), installationNonce: "n" });
	await store.createModel(
		{ id: `model-${run}`, name: `model-${run}`, weights: weightsOf(run).sha256, parameters: 4, layout: LAYOUT, manifest: { kind: "mlp" } },
		by("model.create"),
	);
	const state: Plain = { model: weightsOf(run), momentum: Float32Array.of(1, -2.5), step: 0 };
	await store.createRun(
		{
			id: run,
			name: `name of ${run}`,
			modelId: `model-${run}`,
			strategy: "toy",
			strategyVersion: 3,
			config: { rate: 0.1, big: 2n ** 60n },
			settings: SETTINGS,
			publicSeed: sha("public"),
			secretSeed: sha("secret"),
			state,
			genesis: genesisOf(run, state),
		},
		by("run.create"),
	);
	await store.setPhase(run, "running", null);
	return ids;
}

function genesisOf(run: string, state: Plain): LogRecord {
	const entry: Genesis = {
		kind: "genesis",
		logVersion: 1,
		run,
		strategy: "toy",
		strategyVersion: 3,
		config: { rate: 0.1, big: 2n ** 60n },
		initial: weightsOf(run),
		layout: digestOf(LAYOUT),
		publicSeed: sha("public"),
		state: digestOf(state),
	};
	return { commit: 0, hash: digestOf(entry as unknown as Plain), entry, accepted: [] };
}

export const TRAIN_1: RoundKey = { kind: "train", round: 1, attempt: 1 };

export const planned = (key: RoundKey, commit = key.round - 1): RoundState => ({
	...key,
	track: 0,
	commit,
	phase: "planned",
	plan: PLAN,
	waitLeftMs: 60_000,
	leftMs: 59_999.5,
	tasks: {},
});

export const taskOf = (run: string, key: RoundKey, client: ClientId): TaskId =>
	sha(`${run}/${key.kind}/${key.round}/${key.attempt}/${client}`);

/** Opens a round and leases a task to every client. */
export async function leaseAll(store: Store, run: string, key: RoundKey, clients: readonly ClientId[]): Promise<readonly TaskId[]> {
	await store.openRound(run, planned(key), clients.length, null);
	await lease(store, run, key, clients);
	return clients.map((client) => taskOf(run, key, client));
}

export const lease = (store: Store, run: string, key: RoundKey, clients: readonly ClientId[]): Promise<void> =>
	store.leaseTasks(
		run,
		key,
		clients.map((client, slot) => ({
			id: taskOf(run, key, client),
			client,
			slot,
			payload: encodePlain({ start: weightsOf(run) }),
			carryBasis: null,
		})),
	);

/** Canonical bytes of some report, different for different `note`s. */
export const content = (note: string): Uint8Array =>
	encodePlain({ header: note, lanes: { x: vecOf("u8", 16, sha(`lane ${note}`)) }, metrics: {}, numExamples: 7 });

export const reportOf = (task: TaskId, note: string) => ({
	task,
	digest: sha(note),
	content: content(note),
	numExamples: 7,
	staleness: 0,
	bytesUp: 100,
});

/** The commit of a round; `previous` is the run's log head. */
export function commitOf(
	run: string,
	key: RoundKey,
	previous: string,
	applied: readonly TaskId[],
	more: Partial<CommitWrite> = {},
): CommitWrite {
	const entry: CommitEntry = {
		kind: applied.length === 0 ? "skip" : "commit",
		commit: key.round,
		incarnation: 1,
		track: 0,
		round: key.round,
		attempt: key.attempt,
		population: 3,
		set: sha("set"),
		publish: applied.length === 0 ? null : { weights: vecOf("f32", 4, sha(`published ${run} ${key.round}`)) },
		state: sha("state"),
		members: null,
		metrics: { loss: 0.25 },
		previous,
	};
	const accepted = applied.map((task, sequence) => ({
		task,
		client: `client ${sequence}`,
		numExamples: 7,
		staleness: 0,
		sequence,
		digest: sha(task),
	}));
	return {
		run,
		key,
		record: { commit: key.round, hash: digestOf(entry as unknown as Plain), entry, accepted },
		members: [],
		applied,
		misses: 0,
		metrics: { loss: 0.25 },
		scores: {},
		...more,
	};
}

/** Everything that settles, whatever became of it. */
export const outcomes = async (work: readonly Promise<unknown>[]): Promise<readonly string[]> =>
	(await Promise.allSettled(work)).map((one) => (one.status === "fulfilled" ? "ok" : String((one.reason as { code?: unknown }).code)));
