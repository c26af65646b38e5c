import { RondoError } from "@rondo/errors";
import type { Batch, Client, Types } from "../contract.js";

/** Options of plain local SGD. */
export interface LocalSgdOptions {
	readonly learningRate: number;
	/** Examples per step; the last batch of an epoch may be smaller. */
	readonly batchSize: number;
	/** Passes over the local data. */
	readonly localEpochs: number;
	/** Steps; absent: as many as `localEpochs` passes have. */
	readonly localSteps?: number;
}

/** The options as JSON Schema properties. */
export const localSgdProperties = {
	learningRate: { type: "number", exclusiveMinimum: 0, maximum: 1000, default: 0.01, description: "step size of the local SGD" },
	batchSize: { type: "integer", minimum: 1, maximum: 1_000_000, default: 32, description: "examples per local step" },
	localEpochs: { type: "integer", minimum: 1, maximum: 10_000, default: 1, description: "passes over the local data per round" },
} as const;

/** What local training yields. */
export interface LocalSgd {
	readonly weights: Float32Array;
	/** Mean over the steps of the loss before each. */
	readonly meanLoss: number;
}

/**
 * w ← w − learningRate · ∇L(w; batch) for `localSteps`, or localEpochs · ⌈n / batchSize⌉ steps. The order of the data comes from the
 * device's secret. A trainer with `begin` takes the steps itself, unless there is `adjust`: then each step is computed in
 * the trainer's float32. Otherwise in float64 from the trainer's gradient, rounded to float32 once a step.
 * @param adjust changes the gradient of each step in place, given the current weights
 * @throws CONFLICT without examples, CANCELLED between steps, NOT_FINITE when a loss is
 */
export async function localSgd<T extends Types>(
	start: Float32Array,
	client: Client<T>,
	options: LocalSgdOptions,
	adjust?: (gradient: Float32Array, weights: Float32Array) => void,
): Promise<LocalSgd> {
	const { learningRate } = options;
	const weights = start.slice();
	const { trainer } = client;
	if (adjust === undefined && trainer.begin !== undefined) {
		requireExamples(client);
		const training = await trainer.begin(start, { kind: "sgd" });
		try {
			const meanLoss = await eachStep(client, options, (batch) => training.step(batch, learningRate));
			await training.read(weights);
			return { weights, meanLoss };
		} finally {
			await training.dispose();
		}
	}
	const gradient = new Float32Array(start.length);
	const meanLoss = await eachStep(client, options, async (batch) => {
		const loss = await trainer.gradient(weights, batch, gradient);
		adjust?.(gradient, weights);
		for (let j = 0; j < weights.length; j++) weights[j]! -= learningRate * gradient[j]!;
		return loss;
	});
	return { weights, meanLoss };
}

/** @returns the mean of what `take` returns: the loss before each step */
async function eachStep<T extends Types>(
	client: Client<T>,
	{ batchSize, localEpochs, localSteps }: LocalSgdOptions,
	take: (batch: Batch) => Promise<number>,
): Promise<number> {
	const passes = Math.ceil(requireExamples(client) / batchSize);
	const steps = localSteps ?? localEpochs * passes;
	let totalLoss = 0;
	let step = 0;
	for await (const batch of client.data.batches(batchSize, client.secret.at("order"))) {
		checkCancelled(client, step, steps);
		const loss = await take(batch);
		if (!Number.isFinite(loss)) throw new RondoError("NOT_FINITE", `the loss of local step ${step + 1} of ${steps} is ${loss}`);
		totalLoss += loss;
		client.progress(++step, steps);
		if (step === steps) break;
	}
	if (step < steps) throw new RondoError("CONFLICT", `the data ended after ${step} of ${steps} local steps`);
	return totalLoss / steps;
}

/**
 * The number of local examples.
 * @throws CONFLICT when there are none: the task cannot be done on this device
 */
export function requireExamples<T extends Types>(client: Client<T>): number {
	const { numExamples } = client.data;
	if (numExamples < 1) throw new RondoError("CONFLICT", `client ${client.id} has no examples to train on`);
	return numExamples;
}

/** @throws CANCELLED when the task was. */
export function checkCancelled<T extends Types>(client: Client<T>, step: number, steps: number): void {
	if (client.signal.aborted) throw new RondoError("CANCELLED", `training was cancelled after ${step} of ${steps} local steps`);
}
