import { createBuiltInTrainer } from "@rondo/agent/built-in-trainer";
import type { ClientId, Data, Trainer } from "@rondo/algorithms";
import { inMemoryData } from "@rondo/datasets";
import { RondoError } from "@rondo/errors";
import { randomFromSeed } from "@rondo/kernels";
import type { SimulatedModel } from "@rondo/simulation";
import { divide, type LoadedDataset, loadDataset, type Parts } from "./dataset.js";
import type { Setting } from "./experiment.js";
import { trainerChoice } from "./model.js";
import { derivedSeed } from "./seeds.js";

// The workload of the threads of `rondo simulate`. Each thread keeps the dataset of the last setting.

/** What a cell passes to its workload. */
export interface SimulateWorkloadOptions extends Pick<Setting, "dataset" | "partition" | "trainer" | "clients"> {
	readonly seed: number;
}

let dataset: { readonly key: string; readonly loaded: Promise<LoadedDataset> } | undefined;
let trainer: { readonly key: string; readonly made: Promise<Trainer> } | undefined;
let parts: { readonly key: string; readonly made: Promise<ReadonlyMap<string, Uint32Array>> } | undefined;

function loadedOf(options: SimulateWorkloadOptions): Promise<LoadedDataset> {
	const key = JSON.stringify(options.dataset);
	if (dataset?.key !== key) dataset = { key, loaded: loadDataset(options.dataset) };
	return dataset.loaded;
}

async function rowsOf(options: SimulateWorkloadOptions): Promise<ReadonlyMap<string, Uint32Array>> {
	const key = JSON.stringify([options.dataset, options.partition, options.clients, options.seed]);
	if (parts?.key !== key) {
		const made = loadedOf(options).then((loaded) => new Map(partsOf(loaded, options).map(({ id, rows }) => [id, rows])));
		parts = { key, made };
	}
	return parts.made;
}

/** Who holds what, for a seed. */
export const partsOf = (
	loaded: LoadedDataset,
	{ partition, clients, seed }: Pick<SimulateWorkloadOptions, "partition" | "clients" | "seed">,
): Parts => divide(loaded, partition, clients, randomFromSeed(derivedSeed(seed, "partition")));

/** The rows of one client. */
export async function createData(_model: SimulatedModel, options: unknown, client: ClientId): Promise<Data> {
	const chosen = options as SimulateWorkloadOptions;
	const rows = (await rowsOf(chosen)).get(client);
	if (rows === undefined) throw new RondoError("NOT_FOUND", `the partition has no client ${JSON.stringify(client)}`);
	return inMemoryData({ ...(await loadedOf(chosen)).train, rows });
}

/**
 * A trainer that outlives the run: cells of one model share it and the graphs it has compiled. None of the models drops
 * elements, so what it computes does not depend on what it computed before.
 * @throws INVALID_ARGUMENT, TRAINER_FAILED as `createBuiltInTrainer`
 */
export async function createTrainer(model: SimulatedModel, options: unknown): Promise<Trainer> {
	const { trainer: choice, seed } = options as SimulateWorkloadOptions;
	const key = JSON.stringify([model.manifest, model.layout, choice]);
	if (trainer?.key !== key) {
		await (await trainer?.made)?.dispose?.();
		trainer = { key, made: createBuiltInTrainer(model, { ...trainerChoice(choice), seed: String(seed), index: 0 }) };
	}
	return withoutDispose(await trainer.made);
}

const withoutDispose = (shared: Trainer): Trainer => ({
	loss: (weights, batch) => shared.loss(weights, batch),
	gradient: (weights, batch, out) => shared.gradient(weights, batch, out),
	evaluate: (weights, data) => shared.evaluate(weights, data),
	...(shared.begin === undefined ? {} : { begin: (weights, optimizer) => shared.begin!(weights, optimizer) }),
	...(shared.description === undefined ? {} : { description: shared.description }),
});
