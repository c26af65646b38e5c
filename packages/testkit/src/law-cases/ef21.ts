import assert from "node:assert/strict";
import { builtIn, completed, furthest, type StrategyCase } from "../law-kit.js";

export const cases: readonly StrategyCase[] = [
	{
		label: "a fifth of the weights",
		options: { learningRate: 0.3, batchSize: 4, codecShare: 0.2 },
		// The server keeps the sum of the clients' estimates and of their weights.
		exempt: { "identical clients give that client's result": "sums" },
		limit: [
			"with all of the weights and all clients in each round it is FedAvg",
			async (strategy) => {
				const options = { learningRate: 0.5, batchSize: 4 };
				const [whole, avg] = [
					await completed({ strategy, options: { ...options, codecShare: 1 } }),
					await completed({ strategy: builtIn("fedavg"), options }),
				];
				assert.ok(furthest(whole.weights!, avg.weights!) < 1e-6);
				assert.ok(furthest((await completed({ strategy, options: { ...options, codecShare: 0.2 } })).weights!, avg.weights!) > 0.01);
			},
		],
	},
];
