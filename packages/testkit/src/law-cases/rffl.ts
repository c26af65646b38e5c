import assert from "node:assert/strict";
import { completed, descended, furthest, type StrategyCase, softmaxClients } from "../law-kit.js";

const one = softmaxClients(1);
const options = { learningRate: 0.5, batchSize: 4, gamma: 4 };

const limit: StrategyCase["limit"] = [
	"one client with one full-batch step goes down twice as far as gradient descent",
	async (strategy) => {
		const { members, engine, store, weights } = await completed(
			{ strategy, options: { learningRate: 0.7, batchSize: 1000, gamma: 100 } },
			{ clients: one, rounds: 1 },
		);
		const wanted = await descended(store.read(engine.parts.initial), 1.4);
		assert.ok(furthest(weights!, wanted) < 1e-6);
		const { model } = members.get("c0") as { readonly model: typeof engine.parts.initial };
		assert.ok(furthest(store.read(model), wanted) < 1e-6);
	},
];

export const cases: readonly StrategyCase[] = [
	{ label: "plain", options, limit },
	{
		label: "as in the paper, with probation at once",
		options: {
			...options,
			reference: "all",
			onBelowThreshold: "probation",
			warmupRounds: 0,
			patience: 1,
			thresholdFactor: 0.9,
			altruism: 2,
			lrDecay: 0.9,
		},
		limit,
	},
];
