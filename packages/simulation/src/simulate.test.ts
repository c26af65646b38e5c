import { type AnyStrategy, builtInStrategies, encodePlain, type Plain, type Work } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { type LogRecord, replayRun, verifyChain } from "@rondo/rounds";
import { layoutOf } from "@rondo/tensors";
import { describe, expect, test } from "vitest";
import { clientsOf, loss } from "../test/quadratic.js";
import { createMemoryStore } from "./memory-store.js";
import { type SimulateOptions, type SimulationResult, simulate } from "./simulate.js";

const fedavg = builtInStrategies.find(({ name }) => name === "fedavg")!;
const base: SimulateOptions = {
	strategy: fedavg,
	options: { cohortSize: 3, learningRate: 0.5 },
	layout: layoutOf([{ name: "w", shape: [3] }]),
	initial: Float32Array.of(4, 4, 4),
	publicSeed: "01".repeat(32),
	secretSeed: "02".repeat(32),
	clients: clientsOf(3),
	rounds: 4,
};
const bytesOf = (records: readonly LogRecord[]): Uint8Array => encodePlain(records as unknown as Plain);
/** FedAvg whose clients pass their work through `change`. */
const tampering = (change: (work: Work, client: string, round: number) => Work): AnyStrategy => ({
	...fedavg,
	train: async (task, client) => change(await fedavg.train(task, client), client.id, client.round),
});

async function replayed({ records, reports, engine }: SimulationResult): Promise<boolean[]> {
	const steps: boolean[] = [];
	for await (const { ok } of replayRun({ records, report: async (task) => reports.get(task)!, engine })) steps.push(ok);
	return steps;
}

describe("a simulation", () => {
	test("trains, evaluates, counts bytes, and its log can be replayed", async () => {
		const inputs = base.clients.flatMap(({ id }) =>
			Array.from({ length: Number(id[1]) + 1 }, (_, r) => [Number(id[1]) + r / 8, -Number(id[1]), 1]).flat(),
		);
		const everything = { size: inputs.length / 3, inputs: Float32Array.from(inputs) };
		const commits: number[] = [];
		const result = await simulate({
			...base,
			evaluate: (weights) => ({ loss: loss(weights, everything) }),
			settings: { evaluateEvery: 2 },
			onCommit: ({ commit }) => {
				commits.push(commit);
			},
		});
		expect([result.phase, result.refusals, commits]).toEqual(["completed", [], [1, 2, 3, 4]]);
		const losses = result.rounds.map(({ evaluation }) => evaluation?.loss);
		expect(losses.map((value) => value !== undefined)).toEqual([false, true, false, true]);
		expect(losses[3]!).toBeLessThan(losses[1]!);
		expect(result.rounds.map(({ clients }) => clients)).toEqual(Array(4).fill(["c0", "c1", "c2"]));
		// A new model of 12 bytes and the report's 12 bytes for each of three clients, and their frames.
		for (const { bytesDown, bytesUp } of result.rounds) {
			expect(bytesDown).toBeGreaterThan(3 * 12);
			expect(bytesUp).toBeGreaterThan(3 * 12);
			expect(bytesDown + bytesUp).toBeLessThan(3 * 300);
		}
		expect(verifyChain(result.records)).toEqual({ commits: 4, head: result.records[4]!.hash });
		expect(await replayed(result)).toEqual([true, true, true, true, true]);
		expect(() => result.store.verify()).not.toThrow();
	});

	test("clients read the log of what is committed, as copies, and pay for what they read", async () => {
		const seen: (readonly number[])[] = [];
		const reading: AnyStrategy = {
			...fedavg,
			finish: (state, folded, at) => ({ ...fedavg.finish(state, folded, at), publish: { list: Float64Array.of(at.round, folded.count) } }),
			train: async (task, client) => {
				const head = client.round - 1;
				for await (const { commit, round, value } of client.log(Math.min(1, head), head)) {
					const { list } = value as { list: Float64Array };
					if (client.id === "c1") seen.push([client.round, commit, round, ...list]);
					list.fill(0);
				}
				await expect(
					client
						.log(0, head + 1)
						[Symbol.asyncIterator]()
						.next(),
				).rejects.toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
				return fedavg.train(task, client);
			},
		};
		const [silent, read] = [await simulate(base), await simulate({ ...base, strategy: reading })];
		expect(read.weights).toEqual(silent.weights);
		expect(seen).toEqual([
			[3, 2, 2, 2, 3],
			[4, 2, 2, 2, 3],
			[4, 3, 3, 3, 3],
		]);
		const entry = (at: number): number => encodePlain(read.records[at]!.entry as unknown as Plain).length + 32;
		expect(read.rounds.map(({ bytesDown }, i) => bytesDown - silent.rounds[i]!.bytesDown)).toEqual([
			0,
			0,
			3 * entry(2),
			3 * (entry(2) + entry(3)),
		]);
	});

	test("what a client read and then stored was sent; what it stored and then reads is not", async () => {
		const storing: AnyStrategy = {
			...fedavg,
			train: async (task, client) => {
				client.keep("f32", await client.read(task.model));
				await client.read(task.model);
				await client.read(client.keep("f32", Float32Array.of(client.round, client.id.length)));
				return fedavg.train(task, client);
			},
		};
		const [plain, stored] = [await simulate(base), await simulate({ ...base, strategy: storing })];
		expect(stored.rounds.map(({ bytesDown }) => bytesDown)).toEqual(plain.rounds.map(({ bytesDown }) => bytesDown));
	});

	test("repeats its bytes, whatever the order of arrival; other seeds and ids are another run", async () => {
		const first = await simulate(base);
		expect(bytesOf((await simulate(base)).records)).toEqual(bytesOf(first.records));
		const reversed = await simulate({ ...base, arrival: (tasks) => [...tasks].reverse(), clients: [...base.clients].reverse() });
		expect(reversed.weights).toEqual(first.weights);
		expect(reversed.records.map(({ entry }) => entry.state)).toEqual(first.records.map(({ entry }) => entry.state));
		const [task] = first.reports.keys();
		expect([...(await simulate({ ...base, run: "other" })).reports.keys()]).not.toContain(task);
		expect((await simulate({ ...base, publicSeed: "03".repeat(32) })).records[0]!.hash).not.toBe(first.records[0]!.hash);
	});

	test("draws cohorts by the secret seed and stops at the first reports that are enough", async () => {
		const options = { ...base, clients: clientsOf(8), options: { cohortSize: 2, overSelect: 3 }, rounds: 12 };
		const cohorts = async (secretSeed: string) => (await simulate({ ...options, secretSeed })).rounds.map(({ clients }) => clients.join());
		const [one, two] = [await cohorts("02".repeat(32)), await cohorts("05".repeat(32))];
		expect(one).not.toEqual(two);
		for (const cohort of [...one, ...two]) expect(cohort.split(",")).toHaveLength(2);
		expect(new Set([...one, ...two].flatMap((cohort) => cohort.split(","))).size).toBe(8);
	});

	test("keeps no more than it needs when reports are not kept", async () => {
		const few = await simulate({ ...base, keepReports: false });
		const many = await simulate({ ...base, keepReports: false, rounds: 20 });
		expect([many.reports.size, many.store.size()]).toEqual([0, few.store.size()]);
	});

	test("puts large lanes into blobs, which a replay reads", async () => {
		const length = 10_000;
		const result = await simulate({
			...base,
			layout: layoutOf([{ name: "w", shape: [length] }]),
			initial: new Float32Array(length),
			clients: clientsOf(3).map((client) => ({
				...client,
				trainer: { ...client.trainer, gradient: async (_w, batch, out) => out.fill(batch.size) && 1 },
			})),
		});
		expect(result.phase).toBe("completed");
		expect(Math.max(...Array.from(result.reports.values(), (bytes) => bytes.length))).toBeLessThan(300);
		expect(result.rounds[0]!.bytesUp).toBeGreaterThan(3 * 4 * length);
		expect((await replayed(result)).every(Boolean)).toBe(true);
	});
});

describe("when clients misbehave", () => {
	test("a round goes on without those that decline, and says who and why", async () => {
		const strategy = tampering((work, client) => {
			if (client === "c1") throw new RondoError("TRAINER_FAILED", "out of memory");
			return work;
		});
		const { phase, rounds, refusals } = await simulate({ ...base, strategy, rounds: 2 });
		expect(phase).toBe("completed");
		expect(rounds.map(({ clients }) => clients)).toEqual([
			["c0", "c2"],
			["c0", "c2"],
		]);
		expect(refusals).toEqual([1, 2].map((round) => ({ round, client: "c1", code: "TRAINER_FAILED", message: "out of memory" })));
	});

	test("a report out of bounds is rejected, and another client takes the place", async () => {
		const strategy = tampering((work, client) => (client === "c1" ? { ...work, lanes: { delta: Float32Array.of(0, 17, 0) } } : work));
		const { phase, rounds, refusals } = await simulate({ ...base, strategy, clients: clientsOf(4), rounds: 3 });
		expect(phase).toBe("completed");
		for (const { clients } of rounds) expect(clients).toEqual(["c0", "c2", "c3"]);
		for (const { client, code, message } of refusals) {
			expect([client, code]).toEqual(["c1", "LANE_OUT_OF_BOUND"]);
			expect(message).toMatch(/lane delta\[1\] is 17/);
		}
	});

	test("a run whose rounds miss their quorum fails and says why", async () => {
		const strategy = tampering(() => {
			throw new RondoError("TRAINER_FAILED", "no");
		});
		const { phase, reason, records } = await simulate({ ...base, strategy, settings: { maxReplans: 1 } });
		expect([phase, records.length]).toEqual(["failed", 1]);
		expect(reason).toMatch(/round 1 got 0 of the 2 reports of its quorum/);
	});

	test("rounds may be skipped: the log says so and the model stays", async () => {
		const strategy = tampering((work, client, round) => {
			if (round === 2 && client !== "c0") throw new RondoError("TRAINER_FAILED", "no");
			return work;
		});
		const result = await simulate({ ...base, strategy, options: { ...(base.options as object), onMiss: "skip" }, rounds: 3 });
		expect(result.rounds.map(({ kind, clients }) => [kind, clients.length])).toEqual([
			["commit", 3],
			["skip", 0],
			["commit", 3],
		]);
		expect(result.records[2]!.entry.state).toBe(result.records[1]!.entry.state);
		expect(result.reports.size).toBe(6);
		expect(await replayed(result)).toEqual([true, true, true, true]);
	});

	test("a defect of a client half is not hidden", async () => {
		const strategy = tampering(() => JSON.parse("{"));
		await expect(simulate({ ...base, strategy })).rejects.toThrow(SyntaxError);
	});

	test("clients that are away are not drawn; too few of them cannot start a round", async () => {
		const away = (id: string, from: number, to: number) =>
			clientsOf(3).map((client) => (client.id === id ? { ...client, present: (round: number) => round < from || round > to } : client));
		const { rounds } = await simulate({ ...base, clients: away("c2", 2, 3) });
		expect(rounds.map(({ clients }) => clients.includes("c2"))).toEqual([true, false, false, true]);
		const nobody = clientsOf(3).map((client) => ({ ...client, present: (round: number) => round < 3 }));
		await expect(simulate({ ...base, clients: nobody, settings: { waitForClientsMs: 5000 } })).rejects.toThrow(
			expect.objectContaining({
				code: "UNAVAILABLE",
				message: expect.stringContaining("round 3 cannot start: 0 clients are there, its quorum is 2"),
			}),
		);
	});
});

describe("a simulation is refused", () => {
	test.each<[string, Partial<SimulateOptions>, string, RegExp]>([
		["for an unknown option", { options: { cohort: 3 } }, "UNKNOWN_OPTION", /cohort/],
		["for two clients of one id", { clients: [...base.clients, base.clients[0]!] }, "INVALID_ARGUMENT", /"c0"/],
		["for a short seed", { secretSeed: "ab" }, "INVALID_ARGUMENT", /secretSeed .*"ab"/],
		["for weights of another length", { initial: new Float32Array(2) }, "SHAPE_MISMATCH", /2 × f32, the layout has 3/],
		["for no rounds", { rounds: 0 }, "INVALID_ARGUMENT", /rounds/],
		["for no evaluations", { settings: { evaluateEvery: 0 } }, "INVALID_ARGUMENT", /evaluateEvery .*got 0/],
		["when it was cancelled", { signal: AbortSignal.abort() }, "CANCELLED", /round 1/],
	])("%s", async (_what, change, code, message) => {
		await expect(simulate({ ...base, ...change })).rejects.toThrow(
			expect.objectContaining({ code, message: expect.stringMatching(message) }),
		);
	});

	test("for an evaluation of a strategy that has no model", async () => {
		const { model: _model, ...strategy } = fedavg;
		await expect(simulate({ ...base, strategy, evaluate: () => ({}) })).rejects.toThrow(/evaluate needs a model/);
		expect((await simulate({ ...base, strategy })).weights).toBeUndefined();
	});
});

test("the store finds content by digest and notices writes into it", () => {
	const store = createMemoryStore();
	const vec = store.write("f32", 100_000, (from, to) => Float32Array.from({ length: to - from }, (_, i) => from + i));
	expect(store.read(vec, 65_535, 65_538)).toEqual(Float32Array.of(65_535, 65_536, 65_537));
	expect(store.put("f32", store.read(vec))).toEqual(vec);
	expect(() => store.write("f32", 3, () => new Float32Array(2))).toThrow(/tile 0 to 3 has 2 elements/);
	expect(() => store.read({ ...vec, length: 3 })).toThrow(expect.objectContaining({ code: "DIGEST_MISMATCH" }));
	store.verify();
	store.read(vec)[7] = 0;
	expect(() => store.verify()).toThrow(expect.objectContaining({ code: "DIGEST_MISMATCH" }));
	store.retain([]);
	expect([store.size(), () => store.read(vec)]).toEqual([0, expect.any(Function)]);
	expect(() => store.read(vec)).toThrow(expect.objectContaining({ code: "BLOB_MISSING" }));
});
