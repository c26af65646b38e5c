import { type AnyStrategy, builtInStrategies, bytesOf, type Client, contentDigest } from "@rondo/algorithms";
import { permutation, randomFromSeed } from "@rondo/kernels";
import { replayRun } from "@rondo/rounds";
import { layoutOf } from "@rondo/tensors";
import { describe, expect, test } from "vitest";
import { quadratic, rowsOf } from "../test/quadratic.js";
import { type SimulateOptions, simulate } from "./simulate.js";

const justOneByte = builtInStrategies.find(({ name }) => name === "just-one-byte")!;
const WIDTH = 40;
const JOINS = 50;
const ROUNDS = 100;

/** c2 comes in round 50. */
const base = (join: "snapshot" | "replay"): SimulateOptions => ({
	strategy: justOneByte,
	options: { join, samples: 4, batchSize: 8, learningRate: 0.02, cohortSize: 3, quorum: 1 },
	layout: layoutOf([{ name: "w", shape: [WIDTH] }]),
	initial: Float32Array.from({ length: WIDTH }, (_, j) => j / WIDTH),
	publicSeed: "0a".repeat(32),
	secretSeed: "0b".repeat(32),
	clients: Array.from({ length: 3 }, (_, i) => ({
		id: `c${i}`,
		trainer: quadratic,
		data: rowsOf(
			WIDTH,
			Array.from({ length: WIDTH * (i + 1) }, (_x, j) => ((j * 7 + i) % 11) / 11),
		),
		present: (round: number) => i < 2 || round >= JOINS,
	})),
	rounds: ROUNDS,
});

/** A run that notes the digest of the weights each client starts a step with, and where it began to read the log. */
async function watched(options: SimulateOptions) {
	const starts = new Map<string, string>();
	const began = new Map<string, number>();
	const models: string[] = [];
	const strategy: AnyStrategy = {
		...justOneByte,
		train: async (task, given) => {
			const key = `${given.round} ${given.id}`;
			const client: Client = {
				...(given as Client),
				log: (after, upTo) => {
					began.set(key, after);
					return (given as Client).log(after, upTo);
				},
			};
			const work = await justOneByte.train(task, client);
			starts.set(key, contentDigest(bytesOf(await justOneByte.assemble!(task, given))));
			return work;
		},
	};
	const result = await simulate({
		...options,
		strategy,
		evaluate: (weights) => {
			models.push(contentDigest(bytesOf(weights)));
			return {};
		},
	});
	expect([result.phase, result.refusals]).toEqual(["completed", []]);
	return { ...result, starts, began, models };
}

describe.each(["snapshot", "replay"] as const)("just-one-byte, joining by %s", (join) => {
	test("replicas are equal for a hundred steps, that of a client which joins at the fiftieth too", async () => {
		const { starts, began, models, rounds, records, reports, engine } = await watched(base(join));
		expect([rounds[JOINS - 2]!.clients, rounds[JOINS - 1]!.clients]).toEqual([
			["c0", "c1"],
			["c0", "c1", "c2"],
		]);
		expect(new Set(models).size).toBe(ROUNDS);
		for (const [key, digest] of starts) {
			const round = Number(key.split(" ")[0]);
			if (round > 1) expect(digest, key).toBe(models[round - 2]);
		}
		// The last snapshot before is that of commit 48.
		expect(began.get(`${JOINS} c2`)).toBe(join === "snapshot" ? 48 : 0);
		const compared = rounds.filter(({ metrics }) => metrics.replicas !== undefined);
		expect(compared.map(({ round }) => round)).toEqual([17, 33, 49, 65, 81, 97]);
		for (const { metrics } of compared) expect(metrics).toMatchObject({ replicas: 1, discarded: 0 });
		for await (const step of replayRun({ records, report: async (task) => reports.get(task)!, engine })) expect(step.ok).toBe(true);
	});
});

test("neither the order of arrival nor the way of joining changes a byte of the weights", async () => {
	const wanted = (await simulate(base("snapshot"))).weights!;
	let turn = 0;
	const shuffled = await simulate({
		...base("replay"),
		arrival: (tasks) => Array.from(permutation(randomFromSeed("arrival").at(++turn), tasks.length), (i) => tasks[i]!),
	});
	expect(turn).toBe(ROUNDS);
	expect(shuffled.weights).toEqual(wanted);
	expect(contentDigest(bytesOf(wanted))).not.toBe(contentDigest(bytesOf(base("replay").initial)));
});

test("a device whose copy changed is found out at the next comparison and goes on from the snapshot", async () => {
	const strategy: AnyStrategy = {
		...justOneByte,
		train: (task, given) => {
			const client = given as Client;
			if (client.id !== "c1" || client.round !== 20) return justOneByte.train(task, client);
			const copy = client.keep("f32", new Float32Array(WIDTH));
			client.cache.set("just-one-byte/1", { commit: 19, copy });
			return justOneByte.train(task, client);
		},
	};
	const { phase, rounds, refusals, members } = await simulate({ ...base("snapshot"), strategy, rounds: 60 });
	expect([phase, refusals]).toEqual(["completed", []]);
	const compared = rounds
		.filter(({ metrics }) => metrics.replicas !== undefined)
		.map(({ round, metrics }) => [round, metrics.replicas, metrics.discarded]);
	expect(compared).toEqual([
		[17, 1, 0],
		[33, 2, 1],
		[49, 1, 0],
	]);
	expect(members.size).toBe(0);
});
