import { type AnyStrategy, builtInStrategies, bytesOf, type Client, contentDigest, decodePlain, type Work } from "@rondo/algorithms";
import { perturb, perturbations, randomFrom, unpackBits } from "@rondo/kernels";
import { replayRun, type TaskState } from "@rondo/rounds";
import { layoutOf } from "@rondo/tensors";
import { describe, expect, test } from "vitest";
import { quadratic, rowsOf } from "../test/quadratic.js";
import type { SimulatedClient } from "./device.js";
import { type SimulateOptions, simulate } from "./simulate.js";

const fedkseed = builtInStrategies.find(({ name }) => name === "fedkseed")!;
const WIDTH = 40;
const clients = (present: SimulatedClient["present"] = () => true): SimulatedClient[] =>
	Array.from({ length: 4 }, (_, i) => ({
		id: `c${i}`,
		trainer: quadratic,
		data: rowsOf(
			WIDTH,
			Array.from({ length: WIDTH * (i + 1) }, (_x, j) => ((j * 7 + i) % 11) / 11),
		),
		...(i === 3 ? { present } : {}),
	}));
const VARIANTS = {
	uniform: {},
	pro: { sampling: "pro" },
	"re-based after every seventh commit": { rebaseEvery: 7 },
	"pro, re-based, independent candidates": { sampling: "pro", rebaseEvery: 7, noise: "noise/1" },
} as const;
type Variant = keyof typeof VARIANTS;
const base = (variant: Variant): SimulateOptions => ({
	strategy: fedkseed,
	options: { ...VARIANTS[variant], candidates: 64, localSteps: 10, learningRate: 0.02, cohortSize: 4, quorum: 1 },
	layout: layoutOf([{ name: "w", shape: [WIDTH] }]),
	initial: Float32Array.from({ length: WIDTH }, (_, j) => j / WIDTH),
	publicSeed: "0a".repeat(32),
	secretSeed: "0b".repeat(32),
	clients: clients(),
	rounds: 5,
});

/** FedKSeed that notes the digest of the weights each client starts a round with. */
function watched(seen: Map<string, string>, clientOf: (client: Client) => Client = (client) => client): AnyStrategy {
	return {
		...fedkseed,
		train: async (task, given) => {
			const client = clientOf(given);
			seen.set(`${client.round} ${client.id}`, contentDigest(bytesOf(await fedkseed.assemble!(task, client))));
			return fedkseed.train(task, client);
		},
	};
}

describe.each(Object.keys(VARIANTS) as Variant[])("FedKSeed, %s", (variant) => {
	test("a client that joins at round 40 starts with the bytes of those that were there all the time", async () => {
		const seen = new Map<string, string>();
		const models: string[] = [];
		const options: SimulateOptions = {
			...base(variant),
			strategy: watched(seen),
			rounds: 41,
			clients: clients((round) => round >= 40),
			evaluate: (weights) => {
				models.push(contentDigest(bytesOf(weights)));
				return {};
			},
		};
		const { phase, rounds } = await simulate(options);
		expect([phase, rounds.at(-2)!.clients, rounds.at(-3)!.clients]).toEqual(["completed", ["c0", "c1", "c2", "c3"], ["c0", "c1", "c2"]]);
		for (const round of [40, 41]) {
			// The model after the round before, as the coordinator rebuilds it.
			const wanted = models[round - 2];
			expect(["c0", "c1", "c2", "c3"].map((id) => seen.get(`${round} ${id}`))).toEqual(Array(4).fill(wanted));
		}
		expect(new Set(models).size).toBe(41);
	});

	test("a cache that vanishes changes no byte", async () => {
		const forgetful = watched(new Map(), (client) =>
			client.id === "c1" ? { ...client, cache: { get: () => undefined, set: () => undefined } } : client,
		);
		const wanted = await simulate(base(variant));
		expect((await simulate({ ...base(variant), strategy: forgetful })).records).toEqual(wanted.records);
	});

	test("the order of arrival changes no byte of the ledger or the model", async () => {
		const wanted = await simulate(base(variant));
		const arrivals: ((tasks: readonly TaskState[]) => TaskState[])[] = [
			(tasks) => [...tasks].reverse(),
			(tasks) => [...tasks.slice(2), ...tasks.slice(0, 2)],
		];
		for (const arrival of arrivals) {
			const { weights, records } = await simulate({ ...base(variant), arrival });
			expect(weights).toEqual(wanted.weights);
			expect(records.map(({ entry }) => entry.state)).toEqual(wanted.records.map(({ entry }) => entry.state));
		}
	});

	test("the rebuilt model is the weighted mean of the clients' final weights", async () => {
		const works = new Map<string, Work>();
		const strategy: AnyStrategy = {
			...fedkseed,
			train: async (task, client) => {
				const work = await fedkseed.train(task, client);
				works.set(client.id, work);
				return work;
			},
		};
		const options = base(variant);
		const { weights } = await simulate({ ...options, strategy, rounds: 1 });
		const z = perturbations(randomFrom(new Uint8Array(32).fill(0x0a)).at("z"), variant.includes("independent") ? "noise/1" : "noise/2");
		const mean = new Float64Array(WIDTH);
		for (const { header, numExamples } of works.values()) {
			const [packed, gradients] = header as [Uint8Array, Float32Array];
			const candidates = unpackBits(packed, 6, gradients.length);
			const final = options.initial.slice();
			for (const [i, k] of candidates.entries()) perturb(final, -0.02 * gradients[i]!, z, k, final);
			for (let j = 0; j < WIDTH; j++) mean[j]! += (numExamples / 10) * final[j]!;
		}
		expect(Math.max(...mean.map((value, j) => Math.abs(value - weights![j]!)))).toBeLessThan(1e-6);
		expect(Math.max(...options.initial.map((value, j) => Math.abs(value - weights![j]!)))).toBeGreaterThan(1e-2);
	});

	test("is replayed from its reports, which hold pairs and no weights", async () => {
		const { records, reports, engine } = await simulate(base(variant));
		let steps = 0;
		for await (const { ok } of replayRun({ records, report: async (task) => reports.get(task)!, engine })) steps += ok ? 1 : 0;
		expect(steps).toBe(6);
		for (const bytes of reports.values()) {
			const { header, lanes } = decodePlain(bytes) as unknown as Work;
			expect([(header as unknown[]).length, lanes]).toEqual([2, {}]);
			expect(bytes.length).toBeLessThan(10 * 6 + 100);
		}
	});
});
