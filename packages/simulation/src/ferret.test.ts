import { type AnyStrategy, builtInStrategies, bytesOf, type Client, contentDigest } from "@rondo/algorithms";
import { replayRun } from "@rondo/rounds";
import { layoutOf } from "@rondo/tensors";
import { expect, test } from "vitest";
import { quadratic, rowsOf } from "../test/quadratic.js";
import type { SimulatedClient } from "./device.js";
import { type SimulateOptions, simulate } from "./simulate.js";

const ferret = builtInStrategies.find(({ name }) => name === "ferret")!;
const WIDTH = 60;
const clients = (present: (id: number, round: number) => boolean): SimulatedClient[] =>
	Array.from({ length: 3 }, (_, i) => ({
		id: `c${i}`,
		trainer: quadratic,
		data: rowsOf(
			WIDTH,
			Array.from({ length: WIDTH * (i + 1) }, (_x, j) => ((j * 7 + i) % 11) / 11),
		),
		present: (round) => present(i, round),
	}));

/** c1 is away in rounds 3 to 6, c2 comes in round 8. */
const base: SimulateOptions = {
	strategy: ferret,
	options: { bases: 24, blocks: "tensors", localSteps: 3, learningRate: 0.1, cohortSize: 3, quorum: 1, snapshotEvery: 5 },
	layout: layoutOf([
		{ name: "a", shape: [40] },
		{ name: "b", shape: [20] },
	]),
	initial: Float32Array.from({ length: WIDTH }, (_, j) => j / WIDTH),
	publicSeed: "0a".repeat(32),
	secretSeed: "0b".repeat(32),
	clients: clients((id, round) => (id === 1 ? round < 3 || round > 6 : id === 2 ? round >= 8 : true)),
	rounds: 9,
};

/** Runs Ferret, and says with which weights each client started and where it began to read the log. */
async function followed(more: Partial<SimulateOptions> = {}, change: (client: Client) => Client = (client) => client) {
	const starts = new Map<string, string>();
	const read = new Map<string, number[]>();
	const models: string[] = [];
	const strategy: AnyStrategy = {
		...ferret,
		train: async (task, given) => {
			const key = `${given.round} ${given.id}`;
			const client = change({
				...(given as Client),
				log: (after, upTo) => {
					read.set(key, [...(read.get(key) ?? []), after]);
					return (given as Client).log(after, upTo);
				},
			});
			starts.set(key, contentDigest(bytesOf(await ferret.assemble!(task, client))));
			return ferret.train(task, client);
		},
	};
	const result = await simulate({
		...base,
		...more,
		strategy,
		evaluate: (weights) => {
			models.push(contentDigest(bytesOf(weights)));
			return {};
		},
	});
	expect([result.phase, result.refusals]).toEqual(["completed", []]);
	expect(new Set(models).size).toBe(base.rounds);
	for (const [key, digest] of starts) {
		const round = Number(key.split(" ")[0]);
		if (round > 1) expect(digest, key).toBe(models[round - 2]);
	}
	return { ...result, read };
}

test("clients start from the coordinator's bytes: always there, back again, or new", async () => {
	const { read, records, reports, engine } = await followed();
	// From its own copy: of the last round, or of round 2, although commit 5 was a snapshot, which serves the newcomer.
	expect(["9 c0", "7 c1", "8 c2", "9 c2"].map((key) => read.get(key)![0])).toEqual([7, 1, 5, 7]);
	for await (const step of replayRun({ records, report: async (task) => reports.get(task)!, engine })) expect(step.ok).toBe(true);
});

test("publications that are blobs reach back to the snapshot, and an older copy is left for it", async () => {
	const { read, store } = await followed({ options: { ...(base.options as object), bases: 9000 } });
	expect(["9 c0", "7 c1", "8 c2"].map((key) => read.get(key)![0])).toEqual([7, 5, 5]);
	expect(() => store.verify()).not.toThrow();
});

test("a cache that vanishes, or holds what is not the model, changes no byte", async () => {
	const wanted = await followed();
	const forgetful = await followed({}, (client) =>
		client.id === "c0" ? { ...client, cache: { get: () => undefined, set: () => undefined } } : client,
	);
	expect(forgetful.records).toEqual(wanted.records);
	// A copy that is another vector: the digest tells, and the snapshot is taken instead.
	const wrong = await followed({}, (client) => {
		const copy = client.keep("f32", new Float32Array(WIDTH).fill(client.round));
		const cache = { get: () => ({ copy, commit: client.round - 1 }), set: () => undefined };
		return client.id === "c0" ? { ...client, cache } : client;
	});
	expect(wrong.records).toEqual(wanted.records);
	expect(wrong.read.get("8 c0")).toEqual([7, 5, 7, 5]);
});

test("a log or a snapshot that does not give the model is not trained on", async () => {
	const strategy: AnyStrategy = {
		...ferret,
		train: (task, client) =>
			ferret.train(task, {
				...(client as Client),
				async *log(after: number, upTo: number) {
					for await (const entry of (client as Client).log(after, upTo)) if (entry.commit !== 2) yield entry;
				},
			}),
	};
	const { phase, refusals, rounds } = await simulate({ ...base, strategy, settings: { maxReplans: 0 } });
	expect([phase, rounds.length]).toEqual(["failed", 2]);
	expect(new Set(refusals.map(({ code, round }) => `${code} ${round}`))).toEqual(new Set(["MODEL_MISMATCH 3"]));
});

test("following costs what was published, not the model", async () => {
	const wide = layoutOf([{ name: "w", shape: [WIDTH] }]);
	const { rounds, records } = await simulate({
		...base,
		clients: clients(() => true),
		layout: wide,
		options: { bases: 4, blocks: "one", learningRate: 0.1, localSteps: 3, cohortSize: 3, quorum: 3 },
	});
	const { entry } = records[5]!;
	expect(entry).toMatchObject({ publish: [Uint16Array.of(4), expect.any(Float32Array)] });
	// One entry and the task for each of three clients.
	for (const { bytesDown } of rounds.slice(1)) expect(bytesDown).toBeLessThan(3 * 800);
});
