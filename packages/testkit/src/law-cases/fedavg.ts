import assert from "node:assert/strict";
import { completed, descended, furthest, type StrategyCase, softmaxClients } from "../law-kit.js";

const one = softmaxClients(1);

export const cases: readonly StrategyCase[] = [
	{
		label: "plain",
		options: { learningRate: 0.5, batchSize: 4, localEpochs: 2 },
		limit: [
			"one client with one full-batch step is gradient descent",
			async (strategy) => {
				const { weights, engine, store } = await completed(
					{ strategy, options: { learningRate: 0.7, batchSize: 1000 } },
					{ clients: one, rounds: 1 },
				);
				assert.ok(furthest(weights!, await descended(store.read(engine.parts.initial), 0.7)) < 1e-6);
			},
		],
	},
	{
		label: "with a server learning rate",
		options: { learningRate: 0.5, batchSize: 4, serverLearningRate: 0.5 },
		limit: [
			"half of the server learning rate is half of the step",
			async (strategy) => {
				const run = (serverLearningRate: number) => completed({ strategy, options: { serverLearningRate } }, { clients: one, rounds: 1 });
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
