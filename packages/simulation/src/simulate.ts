import { type AnyStrategy, type ClientId, createRegistry, type Metrics, type Plain, resolveConfig } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { fromHex, type Random, randomFrom } from "@rondo/kernels";
import { type LogRecord, RunEngine, type RunPhase, type RunSettings, type TaskId, type TaskState } from "@rondo/rounds";
import type { Layout } from "@rondo/tensors";
import { Attacks } from "./adversary/attacks.js";
import { checkAdversary } from "./adversary/spec.js";
import type { ReadLog } from "./client-half.js";
import { type ClientSpec, Device, type DeviceContext, type SimulatedClient } from "./device.js";
import { Driver, type Refusal, type SimulatedRound } from "./driver.js";
import { type Executor, inThisThread } from "./executor.js";
import { logReader } from "./log-reader.js";
import { createMemoryStore, type MemoryStore } from "./memory-store.js";
import type { ThreadPool } from "./threads/pool.js";
import { type Behaviour, worldOf } from "./time/behaviour.js";

/** What a simulation is made of. */
export interface SimulateOptions {
	readonly strategy: AnyStrategy;
	/** Options of the strategy; the rest are its defaults. */
	readonly options?: unknown;
	readonly layout: Layout;
	/** Initial weights, in layout order. */
	readonly initial: Float32Array;
	/** 64 hexadecimal digits each. */
	readonly publicSeed: string;
	readonly secretSeed: string;
	readonly clients: readonly SimulatedClient[];
	readonly rounds: number;
	/** Numbers of the global weights, computed every `settings.evaluateEvery` rounds (default: 1) and after the last. */
	readonly evaluate?: (weights: Float32Array, at: { readonly round: number; readonly commit: number }) => Promise<Metrics> | Metrics;
	readonly settings?: Partial<Omit<RunSettings, "rounds">>;
	readonly onCommit?: (round: SimulatedRound) => Promise<void> | void;
	/** Id of the run, which task ids depend on; default: "simulation". */
	readonly run?: string;
	/** Order in which the clients of a cohort report; default: as drawn. */
	readonly arrival?: (tasks: readonly TaskState[]) => readonly TaskState[];
	/**
	 * Index of the task that is done next, of the leased ones that wait (default: the first): where clients of different
	 * speeds take turns, as they do in asynchronous rounds. Must be a function of the tasks and of what it chose before.
	 */
	readonly next?: (waiting: readonly TaskState[]) => number;
	/** Whether accepted reports are kept for a replay; default: true. Without them memory does not grow with the rounds. */
	readonly keepReports?: boolean;
	/**
	 * "virtual" (default): reports arrive when `behaviour` says, and the round machine's deadlines are in that time. "real":
	 * they arrive as they are ready, so that late clients, unlike sums, differ from run to run.
	 */
	readonly clock?: "virtual" | "real";
	/** How long tasks take and who is there; default: everybody is, and answers at once. */
	readonly behaviour?: Behaviour;
	readonly signal?: AbortSignal;
}

/** A simulation whose client halves run in threads. */
export interface ThreadedOptions extends Omit<SimulateOptions, "clients"> {
	readonly clients: readonly ClientSpec[];
	/** Where they run. The strategy is the one that the pool's modules or Rondo have of this name. */
	readonly pool: ThreadPool;
	/** What the workload module learns of the model beside its layout; JSON. */
	readonly manifest?: unknown;
	/** Content that the manifest lists, by digest. */
	readonly assets?: ReadonlyMap<string, Uint8Array>;
	/** Options of the workload module. */
	readonly workloadOptions?: Plain;
}

/** A finished simulation. */
export interface SimulationResult {
	/** "completed", or "failed" with its reason. */
	readonly phase: RunPhase;
	readonly reason?: string;
	readonly rounds: readonly SimulatedRound[];
	readonly refusals: readonly Refusal[];
	/** The commit log, genesis first. */
	readonly records: readonly LogRecord[];
	/** Canonical bytes of the accepted reports. */
	readonly reports: ReadonlyMap<TaskId, Uint8Array>;
	readonly state: Plain;
	readonly stateDigest: string;
	readonly members: ReadonlyMap<ClientId, Plain>;
	/** Global weights at the end; absent when the strategy has no model. */
	readonly weights?: Float32Array;
	/** What the strategy ended the run with. */
	readonly result?: Plain;
	readonly store: MemoryStore;
	/** The engine of the run: replays and models of single clients. */
	readonly engine: RunEngine;
}

const DEFAULT_SETTINGS: Omit<RunSettings, "rounds"> = {
	maxReplans: 3,
	minClients: 1,
	waitForClientsMs: 0,
	evaluateEvery: 1,
	evaluateDeadlineMs: 60_000,
};

/**
 * Runs a federation in this process: the real round machine and engine, both halves of the strategy, one client after
 * the other or as many at once as a pool has threads. Equal arguments give equal bytes on any number of threads, and the
 * same bytes as a coordinator gives with these seeds, run id and accepted sets.
 * @throws INVALID_ARGUMENT, UNKNOWN_OPTION and SHAPE_MISMATCH for what does not fit; UNAVAILABLE when a round can never start;
 * CANCELLED; whatever is not a RondoError and a client half throws
 */
export function simulate(options: SimulateOptions): Promise<SimulationResult>;
export function simulate(options: ThreadedOptions): Promise<SimulationResult>;
export async function simulate(options: SimulateOptions | ThreadedOptions): Promise<SimulationResult> {
	const log = logReader(() => driver.records);
	const { facts, secret, secretOf, store, engine, devices, attacks, world, settings, evaluateEvery, signal } = prepare(options, log);
	const { clients, layout, run = "simulation", evaluate, onCommit } = options;
	const { initial, config } = facts;
	const opened = "pool" in options ? await options.pool.open({ ...options, run, config, initial, store, log, layout }) : undefined;
	const executor: Executor = opened ?? inThisThread(clients as readonly SimulatedClient[], facts, store, log, secretOf);
	const presence = new Map(clients.map(({ id, present }) => [id, present]));
	const driver: Driver = new Driver({
		run,
		engine,
		store,
		devices,
		secret,
		present: (client, round) => presence.get(client)?.(round) ?? true,
		// Evaluation is a plain call here: the machine's evaluation rounds are about finding an evaluator and waiting for it.
		settings: { ...settings, evaluateEvery: 0, rounds: options.rounds },
		arrival: options.arrival ?? ((tasks) => tasks),
		...(options.next === undefined ? {} : { next: options.next }),
		evaluateEvery,
		keepReports: options.keepReports ?? true,
		signal,
		executor,
		attacks,
		clock: options.clock ?? "virtual",
		world,
		...(evaluate === undefined ? {} : { evaluate }),
		...(onCommit === undefined ? {} : { onCommit }),
	});
	try {
		await driver.run();
	} finally {
		await opened?.close();
	}
	const { state, position, result } = driver;
	const weights = driver.weights();
	return {
		phase: state.phase,
		...(state.reason === undefined ? {} : { reason: state.reason }),
		rounds: driver.rounds,
		refusals: driver.refusals,
		records: driver.records,
		reports: driver.reports,
		state: position.state,
		stateDigest: driver.stateDigest(),
		members: position.members,
		...(weights === undefined ? {} : { weights }),
		...(result === undefined ? {} : { result }),
		store,
		engine,
	};
}

/**
 * Checks what can be checked before anything runs.
 * @throws as `simulate` does for what does not fit, INVALID_ARGUMENT with the reason for an attack that is not possible
 */
export const checkSimulation = (options: Omit<SimulateOptions, "clients"> & { readonly clients: readonly ClientSpec[] }): void =>
	void prepare(
		options,
		logReader(() => []),
	);

function prepare(options: Omit<SimulateOptions, "clients"> & { readonly clients: readonly ClientSpec[] }, log: ReadLog) {
	const { strategy, layout, initial, clients, publicSeed, run = "simulation", evaluate } = options;
	const { evaluateEvery, ...settings } = { ...DEFAULT_SETTINGS, ...options.settings };
	if (evaluate !== undefined && strategy.model === undefined)
		throw new RondoError("INVALID_ARGUMENT", `evaluate needs a model, which strategy ${strategy.name} has not`);
	if (!Number.isSafeInteger(evaluateEvery) || evaluateEvery < 1)
		throw new RondoError("INVALID_ARGUMENT", `settings.evaluateEvery must be a positive integer, got ${evaluateEvery}`);
	const secret = randomFrom(seedBytes("secretSeed", options.secretSeed));
	const shared = randomFrom(seedBytes("publicSeed", publicSeed));
	const config = resolveConfig(strategy, options.options, layout);
	const { codec, reducer } = createRegistry([strategy]);
	const store = createMemoryStore();
	const first = store.put("f32", initial);
	const engine = new RunEngine({ run, strategy, codec, reducer, config, layout, initial: first, publicSeed, io: store, source: store });
	const signal = options.signal ?? new AbortController().signal;
	const facts = { strategy, codec, config, layout, initial: first, shared };
	const secretOf = secretsOf(clients, secret);
	const devices = devicesOf(clients, secretOf, { ...facts, store, log, signal });
	const attacks = attacksOf(clients, engine, store, secret);
	const examplesOf = (client: ClientSpec) => client.numExamples ?? (client as Partial<SimulatedClient>).data?.numExamples;
	const world = worldOf(options.behaviour ?? {}, new Map(clients.map((client) => [client.id, examplesOf(client)])), secret.at("behaviour"));
	return { facts, secret, secretOf, store, engine, devices, attacks, world, settings, evaluateEvery, signal };
}

/** Roots of the devices' secret randomness. */
function secretsOf(clients: readonly ClientSpec[], secret: Random): (client: ClientId) => Random {
	const keys = new Map(clients.map(({ id, deviceKey }) => [id, deviceKey]));
	return (client) => {
		const key = keys.get(client);
		return key === undefined ? secret.at("device", client) : randomFrom(key);
	};
}

/** @throws INVALID_ARGUMENT for an attack that is malformed, or cannot change this strategy's reports */
function attacksOf(clients: readonly ClientSpec[], engine: RunEngine, store: MemoryStore, secret: Random): Attacks {
	const adversaries = new Map(clients.flatMap(({ id, adversary }) => (adversary === undefined ? [] : [[id, adversary] as const])));
	for (const [client, specs] of adversaries) checkAdversary(`adversary of ${client}`, specs);
	const attacks = new Attacks(adversaries, engine, store, secret.at("attacks"));
	if (adversaries.size === 0) return attacks;
	const { state } = engine.genesis();
	attacks.check(engine.plan({ state, members: new Map(), round: 1, commit: 0, population: clients.length }));
	return attacks;
}

function devicesOf(
	clients: readonly ClientSpec[],
	secretOf: (client: ClientId) => Random,
	context: DeviceContext,
): ReadonlyMap<ClientId, Device> {
	const devices = new Map<ClientId, Device>();
	for (const client of clients) {
		if (devices.has(client.id)) throw new RondoError("INVALID_ARGUMENT", `clients has two with the id ${JSON.stringify(client.id)}`);
		devices.set(client.id, new Device(client, secretOf(client.id), context));
	}
	return devices;
}

function seedBytes(field: string, seed: string): Uint8Array {
	if (!/^[0-9a-f]{64}$/.test(seed))
		throw new RondoError("INVALID_ARGUMENT", `${field} must be 64 hexadecimal digits, got ${JSON.stringify(seed)}`);
	return fromHex(seed);
}
