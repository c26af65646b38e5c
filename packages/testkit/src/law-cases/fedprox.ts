import assert from "node:assert/strict";
import { builtIn, completed, type StrategyCase } from "../law-kit.js";

export const cases: readonly StrategyCase[] = [
	{
		label: "mu 0.1",
		options: { learningRate: 0.5, batchSize: 4, localEpochs: 2, mu: 0.1 },
		limit: [
			"mu 0 is FedAvg, byte for byte",
			async (strategy) => {
				const options = { learningRate: 0.5, batchSize: 4, localEpochs: 2 };
				const [prox, avg] = [
					await completed({ strategy, options: { ...options, mu: 0 } }),
					await completed({ strategy: builtIn("fedavg"), options }),
				];
				assert.deepEqual(prox.weights, avg.weights);
				assert.notDeepEqual((await completed({ strategy, options: { ...options, mu: 0.5 } })).weights, avg.weights);
			},
		],
	},
];
