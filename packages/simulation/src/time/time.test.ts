import { builtInStrategies, encodePlain, type Plain } from "@rondo/algorithms";
import { randomFromSeed } from "@rondo/kernels";
import { layoutOf } from "@rondo/tensors";
import { describe, expect, test } from "vitest";
import { clientsOf } from "../../test/quadratic.js";
import { type SimulateOptions, simulate } from "../simulate.js";
import { type Behaviour, worldOf } from "./behaviour.js";
import { type Distribution, drawFrom } from "./distribution.js";

const base: SimulateOptions = {
	strategy: builtInStrategies.find(({ name }) => name === "fedavg")!,
	options: { cohortSize: 4, quorum: 2, learningRate: 0.5, deadlineMs: 5_300 },
	layout: layoutOf([{ name: "w", shape: [3] }]),
	initial: Float32Array.of(4, 4, 4),
	publicSeed: "01".repeat(32),
	secretSeed: "02".repeat(32),
	clients: clientsOf(4),
	rounds: 3,
};
/** One example a second: client i has i + 1 examples. */
const oneASecond: Behaviour = { examplesPerSecond: 1 };

describe("virtual time", () => {
	test("a round takes as long as its slowest client, and the next one starts there", async () => {
		const { rounds } = await simulate({ ...base, behaviour: oneASecond });
		expect(rounds.map(({ atMs, unanswered, clients }) => [atMs, unanswered, clients.length])).toEqual([
			[4_000, 0, 4],
			[8_000, 0, 4],
			[12_000, 0, 4],
		]);
	});

	test("clients that are not done at the deadline are left out, to the millisecond", async () => {
		const clients = clientsOf(4).map((client, i) => ({ ...client, numExamples: [1, 2, 5.3, 5.299][i]! }));
		const { rounds, refusals } = await simulate({ ...base, clients, behaviour: oneASecond });
		for (const { clients: reported, unanswered } of rounds) {
			expect(reported).toEqual(["c0", "c1", "c3"]);
			expect(unanswered).toBe(1);
		}
		expect(rounds.map(({ atMs }) => atMs)).toEqual([5_300, 10_600, 15_900]);
		expect(refusals).toEqual([]);
	});

	test("over-selection does not wait for the slowest, and never asks them to finish", async () => {
		const { rounds } = await simulate({
			...base,
			options: { ...(base.options as object), cohortSize: 2, overSelect: 2 },
			behaviour: oneASecond,
		});
		for (const { clients, unanswered } of rounds) expect([clients, unanswered]).toEqual([["c0", "c1"], 2]);
		expect(rounds.map(({ atMs }) => atMs)).toEqual([2_000, 4_000, 6_000]);
	});

	test("a round below its quorum at the deadline is tried again", async () => {
		const clients = clientsOf(4).map((client) => ({ ...client, numExamples: 60 }));
		const { phase, reason } = await simulate({ ...base, clients, behaviour: oneASecond, settings: { maxReplans: 1 } });
		expect(phase).toBe("failed");
		expect(reason).toMatch(/2 attempts in a row .* got 0 of the 2 reports of its quorum within 5300 ms/);
	});

	test("reports that never come are as many as their probability says", async () => {
		const { rounds } = await simulate({
			...base,
			options: { cohortSize: 40, quorum: 1, learningRate: 0.5, absMax: 100 },
			clients: clientsOf(40),
			rounds: 10,
			behaviour: { dropout: 0.3 },
		});
		const lost = rounds.reduce((sum, { unanswered }) => sum + unanswered, 0);
		// 400 draws: mean 120, deviation 9.2.
		expect(lost).toBeGreaterThan(85);
		expect(lost).toBeLessThan(155);
		expect(rounds.map(({ clients }) => clients.length)).toEqual(rounds.map(({ unanswered }) => 40 - unanswered));
	});

	test("who is there changes with the time, and a round waits for enough", async () => {
		const clients = clientsOf(4);
		const run = { ...base, options: { ...(base.options as object), quorum: 3 }, clients, rounds: 8 };
		const { rounds, phase } = await simulate({ ...run, behaviour: { availability: { share: 0.5, slotMs: 7_000 }, latencyMs: 1_000 } });
		expect(phase).toBe("completed");
		expect(new Set(rounds.map(({ clients: there }) => there.join())).size).toBeGreaterThan(1);
		expect(rounds.some(({ atMs }, i) => atMs - (rounds[i - 1]?.atMs ?? 0) > 7_000)).toBe(true);
		await expect(simulate({ ...run, behaviour: { availability: { share: 0, slotMs: 10 } } })).rejects.toMatchObject({
			code: "UNAVAILABLE",
		});
	});

	test("equal seeds are one history; another secret seed is another", async () => {
		const behaviour: Behaviour = {
			examplesPerSecond: { lognormal: { median: 1, sigma: 0.5 } },
			latencyMs: { exponential: { mean: 300 } },
			stragglers: { share: 0.3, slowdown: { uniform: [2, 9] } },
			dropout: 0.1,
		};
		const history = async (change: Partial<SimulateOptions> = {}) =>
			encodePlain((await simulate({ ...base, clients: clientsOf(9), behaviour, rounds: 5, ...change })).rounds as unknown as Plain);
		const first = await history();
		expect(await history()).toEqual(first);
		expect(await history({ clients: clientsOf(9).reverse() })).toEqual(first);
		expect(await history({ secretSeed: "07".repeat(32) })).not.toEqual(first);
	});

	test("in real time reports arrive as they are ready, and the sums are the same", async () => {
		const virtual = await simulate(base);
		const real = await simulate({ ...base, clock: "real" });
		expect(real.stateDigest).toBe(virtual.stateDigest);
	});
});

describe("distributions", () => {
	const draws = (distribution: Distribution): number[] =>
		Array.from({ length: 20_000 }, (_, i) => drawFrom(distribution, randomFromSeed("draws").at(i))).sort((a, b) => a - b);
	const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b) / values.length;

	test("have the moments that they name", () => {
		expect(draws(3).at(0)).toBe(3);
		const uniform = draws({ uniform: [2, 6] });
		expect(mean(uniform)).toBeCloseTo(4, 1);
		expect([uniform[0]! >= 2, uniform.at(-1)! < 6]).toEqual([true, true]);
		const lognormal = draws({ lognormal: { median: 5, sigma: 0.5 } });
		expect(lognormal[10_000]!).toBeGreaterThan(4.85);
		expect(lognormal[10_000]!).toBeLessThan(5.15);
		// E = median · e^(σ²/2)
		expect(mean(lognormal) / (5 * Math.exp(0.125))).toBeCloseTo(1, 1);
		expect(mean(draws({ exponential: { mean: 3 } })) / 3).toBeCloseTo(1, 1);
	});

	test.each<[Behaviour, RegExp]>([
		[{ dropout: 1.5 }, /behaviour\.dropout must be from 0 to 1, got 1\.5/],
		[{ examplesPerSecond: 0 }, /behaviour\.examplesPerSecond must be a number of at least .*got 0/],
		[{ latencyMs: { uniform: [5, 2] } }, /behaviour\.latencyMs\.uniform\[1\] .* at least 5, got 2/],
		[{ latencyMs: { lognormal: { median: 5, sigma: -1 } } }, /lognormal\.sigma .*got -1/],
		[{ stragglers: { share: 0.1, slowdown: 0.5 } }, /slowdown must be a number of at least 1, got 0\.5/],
		[{ availability: { share: 0.5, slotMs: 0 } }, /slotMs must be a positive integer, got 0/],
		[{ examplesPerSecond: 1 }, /needs numExamples of every client, a has none/],
	])("%j is refused", (behaviour, message) => {
		expect(() => worldOf(behaviour, new Map([["a", undefined]]), randomFromSeed("x"))).toThrow(message);
	});
});
