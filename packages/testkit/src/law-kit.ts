import assert from "node:assert/strict";
import {
	type AnyStrategy,
	type At,
	builtInStrategies,
	type Client,
	type Data,
	digestOf,
	type Plain,
	type Trainer,
} from "@rondo/algorithms";
import { randomFrom } from "@rondo/kernels";
import type { LogRecord } from "@rondo/rounds";
import { type SimulatedClient, type SimulateOptions, type SimulationResult, simulate } from "@rondo/simulation";
import { layoutOf } from "@rondo/tensors";
import { memoryData, quadraticTrainer, softmaxTrainer } from "./fixtures.js";
import type { LawName, Requirement } from "./laws.js";

/** One strategy with the options that the laws run it with. */
export interface LawCase {
	readonly strategy: AnyStrategy;
	/** For convex losses of some twenty weights. Without `cohortSize` and `quorum`, or what is named otherwise, which the laws set. */
	readonly options: Readonly<Record<string, unknown>>;
	/** The options of a round in which so many clients take part and one would do; default: `cohortSize` and `quorum`. */
	readonly cohort?: (clients: number) => Readonly<Record<string, unknown>>;
}

/** All options of a case for so many clients. */
export const optionsOf = ({ options, cohort = (cohortSize) => ({ cohortSize, quorum: 1 }) }: LawCase, clients: number) => ({
	...options,
	...cohort(clients),
});

/** One way to put a strategy before the laws: what each file of `law-cases/` exports a list of, as `cases`. */
export interface StrategyCase {
	readonly label: string;
	readonly options: LawCase["options"];
	readonly cohort?: NonNullable<LawCase["cohort"]>;
	/** Laws that do not hold for this strategy, and the requirement that stands against each. */
	readonly exempt?: Partial<Record<LawName, Requirement>>;
	/** The case in which the strategy is something simpler, and a check that it is. */
	readonly limit: readonly [name: string, check: (strategy: AnyStrategy) => Promise<void>];
}

const INPUTS = 4;
const CLASSES = 3;
const PER_CLIENT = 12;

/** Seeds of the laws' runs. */
export const SEEDS = { publicSeed: "1a".repeat(32), secretSeed: "2b".repeat(32) };

/** Examples of one client: class c lies around the c-th unit vector; client i has one class more often than the others. */
export function examplesOf(client: number, count = PER_CLIENT): { inputs: Float32Array; labels: Int32Array } {
	const noise = randomFrom(new Uint8Array(32).fill(client + 1)).words(0, new Uint32Array(count * INPUTS));
	const labels = Int32Array.from({ length: count }, (_, row) => (row % 4 === 3 ? client % CLASSES : row % CLASSES));
	const inputs = Float32Array.from(
		noise,
		(word, at) => (at % INPUTS === labels[Math.floor(at / INPUTS)] ? 1 : 0) + (word / 2 ** 32 - 0.5) / 2,
	);
	return { inputs, labels };
}

/** Clients "c0", "c1", … with a softmax regression of 15 weights. */
export const softmaxClients = (count: number): SimulatedClient[] =>
	Array.from({ length: count }, (_, i) => ({ id: `c${i}`, data: memoryData(examplesOf(i)), trainer: softmaxTrainer(INPUTS, CLASSES) }));

/** The built-in strategy of this name. */
export const builtIn = (name: string): AnyStrategy => builtInStrategies.find((strategy) => strategy.name === name)!;

/** Largest distance of two vectors in one element. */
export const furthest = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
	Math.max(...Array.from(a, (value, j) => Math.abs(value - b[j]!)));

/** The weights after one gradient step on all the data of the first of `softmaxClients`, in float64. */
export async function descended(start: Float32Array, learningRate: number): Promise<Float64Array> {
	const [client] = softmaxClients(1);
	const gradient = new Float32Array(start.length);
	for await (const batch of client!.data.batches(1000, randomFrom(new Uint8Array(32)))) {
		await client!.trainer.gradient(start, batch, gradient);
		break;
	}
	return Float64Array.from(start, (weight, j) => weight - learningRate * gradient[j]!);
}

/** Clients that fit one weight to 2. */
export const scalarClients = (count: number): SimulatedClient[] =>
	Array.from({ length: count }, (_, i) => ({
		id: `c${i}`,
		data: memoryData({ inputs: [1, 2, 3], labels: [0, 1, 2] }),
		trainer: quadraticTrainer(1),
	}));

/** All examples of these many clients. */
export function allExamples(count: number): Data {
	const parts = Array.from({ length: count }, (_, i) => examplesOf(i));
	return memoryData({ inputs: parts.flatMap(({ inputs }) => [...inputs]), labels: parts.flatMap(({ labels }) => [...labels]) });
}

/** A run of the case over four clients and three rounds, unless `change` says otherwise. */
export function runCase(lawCase: LawCase, change: Partial<SimulateOptions> = {}): Promise<SimulationResult> {
	const clients = change.clients ?? softmaxClients(4);
	return simulate({
		strategy: lawCase.strategy,
		options: optionsOf(lawCase, clients.length),
		layout: layoutOf([
			{ name: "kernel", shape: [INPUTS, CLASSES] },
			{ name: "bias", shape: [CLASSES] },
		]),
		initial: Float32Array.from({ length: (INPUTS + 1) * CLASSES }, (_, j) => ((j % 7) - 3) / 8),
		...SEEDS,
		clients,
		rounds: 3,
		settings: { maxReplans: 0 },
		...change,
	});
}

/** `runCase` that must complete, without a refused report. */
export async function completed(lawCase: LawCase, change: Partial<SimulateOptions> = {}): Promise<SimulationResult> {
	const result = await runCase(lawCase, change);
	assert.deepEqual([result.phase, result.refusals], ["completed", []], result.reason);
	return result;
}

/** What must not depend on how a log came about: state, publication and metrics of every commit. */
export const outcomes = (records: readonly LogRecord[]): unknown[] =>
	records.map(({ entry }) => (entry.kind === "genesis" ? entry.state : [entry.state, digestOf(entry.publish), entry.metrics]));

/** The strategy with every client half running on another client. */
export const onClient = (strategy: AnyStrategy, change: (client: Client) => Client): AnyStrategy => ({
	...strategy,
	train: (task, client) => strategy.train(task, change(client as Client)),
});

/** A trainer that fails whenever it is asked for more than the strategy declared. */
export function declaredOnly(trainer: Trainer, declared: AnyStrategy["needs"]["trainer"]): Trainer {
	const undeclared = () => assert.fail(`the trainer is asked for more than "${declared}"`);
	return {
		...trainer,
		...(declared === "none" ? { loss: undeclared } : {}),
		...(declared === "gradient" ? {} : { gradient: undeclared }),
	};
}

type Half = (...args: never[]) => unknown;

/** The strategy with each server-half function checking that its arguments are as they were when it returns. */
export function guarded(strategy: AnyStrategy): AnyStrategy {
	const guard = <F extends Half>(name: string, half: F): F =>
		((...args: Parameters<F>) => {
			const before = args.map(fingerprint);
			const result = half.apply(strategy, args);
			assert.deepEqual(args.map(fingerprint), before, `${name} changed its arguments`);
			return result;
		}) as F;
	const { init, plan, task, unpack, weigh, finish, model } = strategy;
	return {
		...strategy,
		init: guard("init", init),
		plan: guard("plan", plan),
		task: guard("task", task),
		finish: guard("finish", finish),
		...(unpack === undefined ? {} : { unpack: guard("unpack", unpack) }),
		...(weigh === undefined ? {} : { weigh: guard("weigh", weigh) }),
		...(model === undefined ? {} : { model: guard("model", model) }),
		async train(given, client) {
			const before = digestOf(given);
			const work = await strategy.train(given, client);
			assert.equal(digestOf(given), before, "train changed its task");
			return work;
		},
	};
}

/** A digest of the data in an argument; functions and the ports in it are left out. */
function fingerprint(value: unknown): string {
	const data = (inner: unknown): Plain => {
		if (typeof inner === "function" || inner === undefined) return null;
		if (typeof inner !== "object" || inner === null || ArrayBuffer.isView(inner)) return inner as Plain;
		if (Array.isArray(inner)) return inner.map(data);
		const entries = Object.entries(inner).filter(([key]) => !PORTS.has(key));
		const members =
			"members" in inner && typeof inner.members === "function" ? [["members()", [...(inner.members() as Iterable<Plain>)]] as const] : [];
		return Object.fromEntries([...entries.map(([key, item]): [string, Plain] => [key, data(item)]), ...members]);
	};
	return digestOf(data(value));
}

const PORTS: ReadonlySet<string> = new Set<keyof At>(["io", "shared"]);

/** The strategy whose state and member rows go through their encoding after every step. */
export const reencoded = (strategy: AnyStrategy, recode: (value: Plain) => Plain): AnyStrategy => ({
	...strategy,
	init: (at) => recode(strategy.init(at)),
	finish(state, folded, at) {
		const outcome = strategy.finish(recode(state), folded, at);
		const members =
			outcome.members === undefined
				? {}
				: { members: new Map(Array.from(outcome.members, ([client, row]) => [client, row === null ? null : recode(row)])) };
		return { ...outcome, state: recode(outcome.state), ...members };
	},
});
