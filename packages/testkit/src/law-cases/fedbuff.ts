import assert from "node:assert/strict";
import { builtIn, completed, furthest, type StrategyCase, softmaxClients } from "../law-kit.js";

const options = { learningRate: 0.5, batchSize: 4, localEpochs: 2 };
const cohort = (clients: number) => ({ concurrency: clients, bufferSize: clients, quorum: 1 });
/** Equal weights: a number of examples counts as one at most. */
const asFedAvg = { strategy: builtIn("fedavg"), options: { ...options, maxExamples: 1 } };

export const cases: readonly StrategyCase[] = [
	{
		label: "asynchronous",
		options,
		cohort,
		exempt: { "order of arrival is irrelevant": "asynchronous", "identical clients give that client's result": "asynchronous" },
		limit: [
			"one client at a time is FedAvg of one client, byte for byte",
			async (strategy) => {
				const change = { clients: softmaxClients(1), rounds: 4 };
				const [buffered, averaged] = [await completed({ strategy, options, cohort }, change), await completed(asFedAvg, change)];
				assert.deepEqual(buffered.weights, averaged.weights);
			},
		],
	},
	{
		label: "without stale reports",
		options: { ...options, maxStaleness: 0 },
		cohort,
		limit: [
			"clients that report in turn are FedAvg with equal weights, byte for byte",
			async (strategy) => {
				const buffered = await completed({ strategy, options: { ...options, maxStaleness: 0 }, cohort });
				const averaged = await completed(asFedAvg);
				assert.deepEqual(buffered.weights, averaged.weights);
				const stale = await completed({ strategy, options, cohort });
				assert.ok(furthest(stale.weights!, averaged.weights!) > 1e-3);
			},
		],
	},
];
