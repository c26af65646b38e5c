import assert from "node:assert/strict";
import { memoryData } from "../fixtures.js";
import { builtIn, completed, examplesOf, furthest, type StrategyCase, softmaxClients } from "../law-kit.js";

export const cases: readonly StrategyCase[] = [
	{
		label: "momentum 0.5",
		options: { learningRate: 0.25, batchSize: 4, localEpochs: 2, localMomentum: 0.5 },
		limit: [
			"clients with equally many steps make it FedAvg, others do not",
			async (strategy) => {
				const options = { learningRate: 0.5, batchSize: 4, localEpochs: 2 };
				const uneven = softmaxClients(4).map((client, i) => ({ ...client, data: memoryData(examplesOf(i, i === 0 ? 40 : 8)) }));
				const apart = async (change: object): Promise<number> => {
					const [nova, avg] = [
						await completed({ strategy, options }, change),
						await completed({ strategy: builtIn("fedavg"), options }, change),
					];
					return furthest(nova.weights!, avg.weights!);
				};
				assert.ok((await apart({})) < 1e-6);
				assert.ok((await apart({ clients: uneven })) > 0.01);
			},
		],
	},
];
