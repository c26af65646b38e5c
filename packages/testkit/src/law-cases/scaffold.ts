import assert from "node:assert/strict";
import { builtIn, completed, furthest, type StrategyCase, softmaxClients } from "../law-kit.js";

export const cases: readonly StrategyCase[] = [
	{
		label: "control variates",
		options: { learningRate: 0.5, batchSize: 4, localEpochs: 2 },
		// The server keeps the sum of the clients' control variates.
		exempt: { "identical clients give that client's result": "sums" },
		limit: [
			"with one client it is FedAvg, and so is the first round of several with as many examples",
			async (strategy) => {
				const options = { learningRate: 0.5, batchSize: 4, localEpochs: 2 };
				for (const change of [{ clients: softmaxClients(1) }, { rounds: 1 }]) {
					const [controlled, plain] = [
						await completed({ strategy, options }, change),
						await completed({ strategy: builtIn("fedavg"), options }, change),
					];
					assert.ok(furthest(controlled.weights!, plain.weights!) < 1e-6);
				}
				const [later, plain] = [await completed({ strategy, options }), await completed({ strategy: builtIn("fedavg"), options })];
				assert.ok(furthest(later.weights!, plain.weights!) > 1e-3);
			},
		],
	},
];
