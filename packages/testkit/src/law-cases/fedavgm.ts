import assert from "node:assert/strict";
import { builtIn, completed, type StrategyCase } from "../law-kit.js";

export const cases: readonly StrategyCase[] = [
	{
		label: "momentum 0.5",
		options: { learningRate: 0.5, batchSize: 4, serverLearningRate: 0.6, serverMomentum: 0.5 },
		limit: [
			"momentum 0 is FedAvg, byte for byte",
			async (strategy) => {
				const options = { learningRate: 0.5, batchSize: 4 };
				const [still, avg] = [
					await completed({ strategy, options: { ...options, serverMomentum: 0 } }),
					await completed({ strategy: builtIn("fedavg"), options }),
				];
				assert.deepEqual(still.weights, avg.weights);
				assert.notDeepEqual((await completed({ strategy, options: { ...options, serverMomentum: 0.5 } })).weights, avg.weights);
			},
		],
	},
];
