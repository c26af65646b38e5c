import type { Data, Trainer } from "@rondo/algorithms";
import type { WorkloadModel } from "@rondo/client";
import { inMemoryData, loadMnist } from "@rondo/datasets";
import { RondoError } from "@rondo/errors";
import { createTfjsTrainer, type LayersArchitecture, type TfjsBackend, type TfjsLoss } from "@rondo/trainer-tfjs";
import { type ShardOptions, shardOf } from "./shard.js";

// The agent's workload: runs in the SDK's training thread.

/** What the agent passes to its workload. */
export interface MnistWorkloadOptions extends ShardOptions {
	readonly index: number;
	readonly trainer: "auto" | TfjsBackend;
}

/** The agent's rows of MNIST, one byte per pixel. */
export async function createData(_model: WorkloadModel, options: unknown): Promise<Data> {
	const shard = options as MnistWorkloadOptions;
	return inMemoryData(await loadMnist(shard.split, { rows: await shardOf(shard) }));
}

/**
 * TensorFlow.js on the model of the run, whose manifest says what it computes.
 * @throws INVALID_ARGUMENT when the manifest is none of a Keras layers model, TRAINER_FAILED without a usable backend
 */
export async function createTrainer({ layout, manifest }: WorkloadModel, options: unknown): Promise<Trainer> {
	const { format, architecture, loss } = (manifest ?? {}) as {
		readonly format?: unknown;
		readonly architecture?: unknown;
		readonly loss?: unknown;
	};
	if (format !== "keras-layers") {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`manifest.format must be "keras-layers", got ${JSON.stringify(format)}; other models need a --workload module`,
			{
				details: { field: "manifest.format", value: format },
			},
		);
	}
	return createTfjsTrainer({
		architecture: architecture as LayersArchitecture,
		layout,
		backend: (options as MnistWorkloadOptions).trainer,
		...(loss === undefined ? {} : { loss: loss as TfjsLoss }),
	});
}
