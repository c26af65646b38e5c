import assert from "node:assert/strict";
import { builtIn, completed, furthest, type StrategyCase } from "../law-kit.js";

const training = { learningRate: 0.5, batchSize: 4, localSteps: 6 };

export const cases: readonly StrategyCase[] = [
	{
		label: "one block, structured bases",
		options: { ...training, blocks: "one", bases: 256 },
		limit: [
			"all 4096 structured bases of one block are FedAvg",
			async (strategy) => {
				// Three steps of four examples are one epoch of the twelve that each client has.
				const options = { learningRate: 0.5, batchSize: 4 };
				const [all, avg] = [
					await completed({ strategy, options: { ...options, localSteps: 3, blocks: "one", bases: 4096 } }),
					await completed({ strategy: builtIn("fedavg"), options: { ...options, localEpochs: 1 } }),
				];
				assert.ok(furthest(all.weights!, avg.weights!) < 1e-6);
			},
		],
	},
	{
		label: "a block for every tensor, independent bases, half precision",
		options: { ...training, blocks: "tensors", bases: 64, noise: "noise/1", scalars: "f16", snapshotEvery: 2 },
		limit: [
			"without the norms' guard, half of the server learning rate is half of the step",
			async (strategy) => {
				const run = (serverLearningRate: number) =>
					completed({ strategy, options: { ...training, bases: 64, rescale: "none", serverLearningRate } }, { rounds: 1 });
				const [whole, half] = [await run(1), await run(0.5)];
				const start = whole.store.read(whole.engine.parts.initial);
				assert.ok(
					furthest(
						half.weights!,
						whole.weights!.map((weight, j) => (weight + start[j]!) / 2),
					) < 1e-6,
				);
			},
		],
	},
];
