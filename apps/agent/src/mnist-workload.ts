import type { Data, Trainer } from "@rondo/algorithms";
import type { WorkloadModel } from "@rondo/client";
import { inMemoryData, loadMnist } from "@rondo/datasets";
import { createBuiltInTrainer } from "./built-in-trainer.js";
import { type ShardOptions, shardOf } from "./shard.js";
import type { TrainerChoice } from "./trainer-choice.js";

// The agent's workload: runs in the SDK's training thread.

/** What the agent passes to its workload. */
export interface MnistWorkloadOptions extends ShardOptions, TrainerChoice {
	readonly index: number;
}

/** The agent's rows of MNIST, one byte per pixel. */
export async function createData(_model: WorkloadModel, options: unknown): Promise<Data> {
	const shard = options as MnistWorkloadOptions;
	return inMemoryData(await loadMnist(shard.split, { rows: await shardOf(shard) }));
}

/** @throws INVALID_ARGUMENT, TRAINER_FAILED as `createBuiltInTrainer` */
export const createTrainer = (model: WorkloadModel, options: unknown): Promise<Trainer> =>
	createBuiltInTrainer(model, options as MnistWorkloadOptions);
