import { createBuiltInTrainer } from "@rondo/agent/built-in-trainer";
import { type AnyStrategy, bytesOf, contentDigest, type Metrics, type Plain } from "@rondo/algorithms";
import { inMemoryData } from "@rondo/datasets";
import { RondoError } from "@rondo/errors";
import { randomFromSeed } from "@rondo/kernels";
import { type AdversarySpec, type ClientSpec, chooseClients, type SimulatedRound, simulate, type ThreadPool } from "@rondo/simulation";
import type { LoadedDataset } from "./dataset.js";
import type { Cell, Setting } from "./experiment.js";
import { modelOf, type SimulationModel, trainerChoice } from "./model.js";
import { derivedSeed } from "./seeds.js";
import { partsOf, type SimulateWorkloadOptions } from "./workload.js";

/** One commit as results keep it. */
export type RoundResult = Pick<
	SimulatedRound,
	"round" | "kind" | "metrics" | "evaluation" | "bytesUp" | "bytesDown" | "atMs" | "unanswered"
> & { readonly reports: number };

/** One simulation as results keep it: the file of a cell. */
export interface CellResult {
	readonly name: string;
	/** Of everything that the numbers depend on. */
	readonly digest: string;
	readonly setting: string;
	readonly strategy: string;
	readonly seed: number;
	readonly parameters: number;
	readonly phase: string;
	readonly reason: string | null;
	readonly rounds: readonly RoundResult[];
	/** Reports that the coordinator refused or clients could not make, by error code. */
	readonly refusals: { readonly [code: string]: number };
	/** The first of them in words. */
	readonly firstRefusal: string | null;
	readonly stateDigest: string;
	/** Content digest of the final weights, as the coordinator names them; null when the strategy has no model. */
	readonly modelDigest: string | null;
	/** Of real time. */
	readonly seconds: number;
	/** Largest resident memory of the process after a round, all threads together, bytes. */
	readonly peakRssBytes: number;
}

/** What cells of one setting share. */
export interface Ground {
	readonly dataset: LoadedDataset;
	readonly model: SimulationModel;
	/** Metrics of weights over the test examples. */
	readonly evaluate: (weights: Float32Array) => Promise<Metrics>;
	dispose(): Promise<void>;
}

/** Around one cell. */
export interface CellContext {
	readonly ground: Ground;
	readonly strategy: AnyStrategy;
	readonly pool: ThreadPool;
	readonly digest: string;
	readonly signal: AbortSignal;
	readonly onRound: (round: RoundResult) => void;
}

/** Runs one simulation of an experiment. @throws what `simulate` throws */
export async function runCell(cell: Cell, context: CellContext): Promise<CellResult> {
	const { seed } = cell;
	const { ground, strategy, pool, digest, signal, onRound } = context;
	const { layout, manifest, assets } = ground.model;
	const startedMs = performance.now();
	const rounds: RoundResult[] = [];
	let peakRssBytes = process.memoryUsage.rss();
	const result = await simulate({
		...simulationOf(cell, ground, strategy),
		pool,
		manifest,
		assets,
		workloadOptions: workloadOptionsOf(cell),
		keepReports: false,
		signal,
		...(strategy.model === undefined ? {} : { evaluate: ground.evaluate }),
		onCommit: ({ round, kind, metrics, evaluation, bytesUp, bytesDown, atMs, unanswered, clients }) => {
			const kept = { round, kind, metrics, ...(evaluation === undefined ? {} : { evaluation }), bytesUp, bytesDown, atMs, unanswered };
			rounds.push({ ...kept, reports: clients.length });
			peakRssBytes = Math.max(peakRssBytes, process.memoryUsage.rss());
			onRound(rounds.at(-1)!);
		},
	});
	const refusals: Record<string, number> = {};
	for (const { code } of result.refusals) refusals[code] = (refusals[code] ?? 0) + 1;
	const [first] = result.refusals;
	return {
		name: cell.name,
		digest,
		setting: cell.settingLabel,
		strategy: cell.strategy.label,
		seed,
		parameters: layout.length,
		phase: result.phase,
		reason: result.reason ?? null,
		rounds,
		refusals,
		firstRefusal: first === undefined ? null : `${first.client} in round ${first.round}: ${first.code}: ${first.message}`,
		stateDigest: result.stateDigest,
		modelDigest: result.weights === undefined ? null : contentDigest(bytesOf(result.weights)),
		seconds: (performance.now() - startedMs) / 1000,
		peakRssBytes,
	};
}

/** What the threads need to know of a cell. */
export function workloadOptionsOf({ setting: { dataset, partition, trainer, clients }, seed }: Cell): Plain {
	const options: SimulateWorkloadOptions = { dataset, partition, trainer, clients, seed };
	// Only what JSON has may travel.
	return JSON.parse(JSON.stringify(options)) as Plain;
}

/** What a simulation is, but for where its client halves run. */
export function simulationOf(
	{ setting, strategy: entry, seed }: Cell,
	{ dataset, model }: Pick<Ground, "dataset" | "model">,
	strategy: AnyStrategy,
) {
	const { options, rounds, behaviour, maxReplans, evaluateEvery, adversaries } = setting;
	const parts = partsOf(dataset, { ...setting, seed });
	const attacks = attacksOf(
		parts.map(({ id }) => id),
		adversaries,
		seed,
	);
	const clients = parts.map(({ id, rows }): ClientSpec => {
		const adversary = attacks.get(id);
		return { id, numExamples: rows.length, ...(adversary === undefined ? {} : { adversary }) };
	});
	return {
		strategy,
		options: { ...options, ...entry.options },
		layout: model.layout,
		initial: model.initial(randomFromSeed(derivedSeed(seed, "initial"))),
		publicSeed: derivedSeed(seed, "public"),
		secretSeed: derivedSeed(seed, "secret"),
		clients,
		rounds,
		behaviour,
		settings: { maxReplans, evaluateEvery },
	};
}

/** Groups are drawn one after the other from clients that are in no other. */
function attacksOf(
	clients: readonly string[],
	groups: Cell["setting"]["adversaries"],
	seed: number,
): Map<string, readonly AdversarySpec[]> {
	const random = randomFromSeed(derivedSeed(seed, "adversaries"));
	const attacks = new Map<string, readonly AdversarySpec[]>();
	for (const [i, { count, share, attacks: specs }] of groups.entries()) {
		const free = clients.filter((client) => !attacks.has(client));
		const wanted = count ?? Math.round(share! * clients.length);
		if (wanted > free.length)
			throw new RondoError("INVALID_ARGUMENT", `adversaries[${i}] wants ${wanted} clients, ${free.length} of ${clients.length} are left`);
		for (const client of chooseClients(free, { count: wanted }, random.at(i))) attacks.set(client, specs);
	}
	return attacks;
}

/** Loads and makes what cells of a setting share. @throws what `loadDataset`, `modelOf` and `createBuiltInTrainer` throw */
export async function groundOf(setting: Setting, loaded: Promise<LoadedDataset>): Promise<Ground> {
	const dataset = await loaded;
	const model = await modelOf(setting, dataset);
	const { layout, manifest, assets } = model;
	const asset = async (digest: string): Promise<Uint8Array> => {
		const bytes = assets.get(digest);
		if (bytes === undefined) throw new RondoError("NOT_FOUND", `the model has no asset ${digest}`);
		return bytes;
	};
	const data = inMemoryData(dataset.test);
	let made: ReturnType<typeof createBuiltInTrainer> | undefined;
	return {
		dataset,
		model,
		evaluate: async (weights) => {
			made ??= createBuiltInTrainer(
				{ runId: "simulation", strategy: "", layout, manifest, asset },
				{ ...trainerChoice(setting.trainer), seed: "evaluate", index: 0 },
			);
			return (await made).evaluate(weights, data);
		},
		dispose: async () => (await made)?.dispose?.(),
	};
}
