import assert from "node:assert/strict";
import { perturb, perturbations, randomFrom, unpackBits } from "@rondo/kernels";
import { decodeReport } from "@rondo/rounds";
import { completed, furthest, SEEDS, type StrategyCase, softmaxClients } from "../law-kit.js";

const one = softmaxClients(1);

const base = { candidates: 512, localSteps: 40, learningRate: 0.1, batchSize: 12 };

/** One step of one client under these options, and what it should have done. */
const oneStep = (options: object): StrategyCase["limit"] => [
	"one step of one client moves the weights by −learningRate · g · z_k",
	async (strategy) => {
		const { weights, reports, engine, store } = await completed(
			{ strategy, options: { ...options, candidates: 8, localSteps: 1, learningRate: 0.25, batchSize: 12, scalars: "f32" } },
			{ clients: one, rounds: 1 },
		);
		const [bytes] = reports.values();
		const [packed, [g]] = decodeReport(bytes!).header as unknown as [Uint8Array, Float32Array];
		const [k] = unpackBits(packed, 3, 1);
		const z = perturbations(randomFrom(Uint8Array.from(Buffer.from(SEEDS.publicSeed, "hex"))).at("z"), "noise/2");
		const wanted = store.read(engine.parts.initial).slice();
		perturb(wanted, -0.25 * g!, z, k!, wanted);
		assert.ok(Math.abs(g!) > 0.01);
		assert.ok(furthest(weights!, wanted) < 1e-7);
	},
];

/** Both runs end with the same bytes, or within `tolerance`. */
const same = (name: string, options: object, plain: object, rounds: number, tolerance = 0): StrategyCase["limit"] => [
	name,
	async (strategy) => {
		const end = async (more: object) => (await completed({ strategy, options: { ...base, ...more } }, { rounds })).weights!;
		const wanted = await end(plain);
		assert.ok(furthest(await end(options), wanted) <= tolerance);
		assert.ok(furthest(await end({ ...plain, learningRate: 0.09 }), wanted) > 1e-3);
	},
];

export const cases: readonly StrategyCase[] = [
	{ label: "uniform", options: base, limit: oneStep({}) },
	{
		label: "pro",
		options: { ...base, sampling: "pro" },
		// Pro adds up how often and how strongly candidates were used: more clients are more evidence.
		exempt: { "identical clients give that client's result": "sums" },
		limit: oneStep({ sampling: "pro" }),
	},
	{
		label: "independent candidates, half-precision scalars, a linear schedule",
		options: { ...base, noise: "noise/1", scalars: "f16", schedule: "linear", scheduleRounds: 20, finalLearningRate: 0.02 },
		limit: same("a schedule that ends where it starts is none", { schedule: "linear", scheduleRounds: 2, finalLearningRate: 0.1 }, {}, 3),
	},
	{
		label: "scalars of a byte, a cosine schedule",
		options: { ...base, scalars: "byte", schedule: "cosine", scheduleRounds: 20 },
		limit: same("the first round of a schedule has its full learning rate", { schedule: "cosine" }, {}, 1),
	},
	{
		label: "re-basing after every second commit",
		options: { ...base, rebaseEvery: 2 },
		limit: same("an epoch longer than the run changes nothing", { rebaseEvery: 100 }, {}, 3),
	},
	{
		label: "re-basing under pro with independent candidates, falling as 1/√round",
		options: { ...base, rebaseEvery: 1, sampling: "pro", noise: "noise/1", schedule: "inverse-sqrt", scheduleRounds: 10 },
		exempt: { "identical clients give that client's result": "sums" },
		limit: oneStep({ sampling: "pro", rebaseEvery: 1 }),
	},
	{
		label: "trimmed means",
		options: { ...base, candidates: 64, aggregation: "trimmed-mean", trim: 0.25 },
		limit: oneStep({ aggregation: "trimmed-mean" }),
	},
	{
		label: "capped norms",
		options: { ...base, aggregation: "norm-cap" },
		limit: same(
			"a cap that nobody reaches is the mean of clients with the same number of examples",
			{ aggregation: "norm-cap", normCap: 1e9 },
			{},
			3,
			1e-5,
		),
	},
	{
		label: "asynchronous",
		options: { ...base, maxStaleness: 4 },
		exempt: { "order of arrival is irrelevant": "asynchronous", "identical clients give that client's result": "asynchronous" },
		limit: [
			"one client at a time is a synchronous run of that client, byte for byte",
			async (strategy) => {
				const end = async (maxStaleness: number, clients = one) =>
					(await completed({ strategy, options: { ...base, maxStaleness } }, { clients, rounds: 4 })).weights!;
				assert.deepEqual(await end(4), await end(0));
				assert.ok(furthest(await end(4, softmaxClients(4)), await end(0, softmaxClients(4))) > 1e-3);
			},
		],
	},
	{
		label: "ledgers compared with the log, re-based",
		options: { ...base, verifyLog: true, rebaseEvery: 2 },
		limit: same("comparing changes no weight", { verifyLog: true, rebaseEvery: 2 }, { rebaseEvery: 2 }, 5),
	},
];
