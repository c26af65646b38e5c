import assert from "node:assert/strict";
import { builtIn, completed, furthest, type StrategyCase } from "./law-kit.js";

/**
 * The law cases of a strategy that divides the server's step by the root of a second moment.
 * @param options for the laws
 * @param still options with which the second moment hardly moves from tau²
 */
export const adaptiveCases = (options: StrategyCase["options"], still: object = {}): readonly StrategyCase[] => [
	{
		label: "adaptive",
		options: { learningRate: 0.5, batchSize: 4, tau: 0.01, ...options },
		limit: [
			"a tau far above the updates is FedAvg with serverLearningRate / (2 tau)",
			async (strategy) => {
				const local = { learningRate: 0.5, batchSize: 4 };
				const run = async (tau: number, more: object) =>
					(await completed({ strategy, options: { ...local, serverLearningRate: 1.5 * tau, beta1: 0, ...more, tau } })).weights!;
				const { weights } = await completed({ strategy: builtIn("fedavg"), options: { ...local, serverLearningRate: 0.75 } });
				assert.ok(furthest(await run(500, still), weights!) < 1e-5);
				assert.ok(furthest(await run(0.1, "beta2" in still ? { beta2: 0.5 } : {}), weights!) > 0.01);
			},
		],
	},
];
