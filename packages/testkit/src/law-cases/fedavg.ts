import assert from "node:assert/strict";
import { completed, descended, furthest, type StrategyCase, softmaxClients } from "../law-kit.js";

const one = softmaxClients(1);

/** Of one report every one of these reducers gives that report: the round is then FedAvg's. */
const reduced = (options: Readonly<Record<string, unknown>>): StrategyCase => ({
	label: `reducer ${options.reducer}`,
	options: { learningRate: 0.5, batchSize: 4, localEpochs: 2, ...options },
	limit: [
		"with one client it is FedAvg, and with several it is not",
		async (strategy) => {
			const shared = { learningRate: 0.5, batchSize: 4, localEpochs: 2 };
			const run = async (own: object, count: number) =>
				(await completed({ strategy, options: { ...shared, ...own } }, { clients: softmaxClients(count) })).weights!;
			assert.ok(furthest(await run(options, 1), await run({}, 1)) < 1e-6);
			assert.ok(furthest(await run(options, 5), await run({}, 5)) > 1e-5);
		},
	],
});

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
	// Those that need several honest reports are tested in packages/simulation: the laws also run one client.
	...[
		{ reducer: "median" },
		{ reducer: "geometric-median" },
		{ reducer: "norm-bound" },
		{ reducer: "centered-clip" },
		{ reducer: "flag", flagPairs: 1 },
	].map(reduced),
];
