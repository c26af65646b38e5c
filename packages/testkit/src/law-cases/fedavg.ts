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
	...(
		[
			[{ codec: "f16" }, false],
			[{ codec: "int8" }, true],
			[{ codec: "top-k", codecShare: 0.4 }, false],
			[{ codec: "seeded-sparse", codecShare: 0.6, codecValues: "f16" }, true],
			[{ codec: "dare", codecShare: 0.8 }, true],
		] as const
	).map(
		([codec, isDrawn]): StrategyCase => ({
			label: Object.values(codec).join(" "),
			options: { learningRate: 0.5, batchSize: 4, localEpochs: 2, ...codec },
			// Each client rounds, or leaves out, by a draw of its own.
			exempt: isDrawn ? { "identical clients give that client's result": "lossy codec" } : {},
			limit:
				"codecShare" in codec
					? [
							"with all of the weights it is f32, byte for byte",
							async (strategy) => {
								const run = (more: object) => completed({ strategy, options: { learningRate: 0.5, batchSize: 4, ...more } });
								const whole = await run({ codec: codec.codec, codecShare: 1 });
								assert.deepEqual(whole.weights, (await run({})).weights);
								assert.notDeepEqual((await run(codec)).weights, whole.weights);
							},
						]
					: [
							"its weights are those of f32 but for roundings",
							async (strategy) => {
								const run = (more: object) => completed({ strategy, options: { learningRate: 0.5, batchSize: 4, ...more } });
								const [rounded, exact] = [await run(codec), await run({})];
								const apart = furthest(rounded.weights!, exact.weights!);
								assert.ok(apart > 0 && apart < (codec.codec === "int8" ? 0.02 : 2e-4), `the weights are ${apart} apart`);
							},
						],
		}),
	),
];
