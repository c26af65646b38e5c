import { builtInStrategies, encodePlain, type Plain } from "@rondo/algorithms";
import { openThreadPool, type SimulationResult, simulate, type ThreadPool } from "@rondo/simulation";
import { layoutOf } from "@rondo/tensors";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { clientsOf } from "../../test/quadratic.js";

const workload = new URL("../../test/quadratic-workload.mjs", import.meta.url).href;
const base = {
	layout: layoutOf([{ name: "w", shape: [3] }]),
	initial: Float32Array.of(4, 4, 4),
	publicSeed: "01".repeat(32),
	secretSeed: "02".repeat(32),
	rounds: 4,
};
const cases = ["fedavg", "fedkseed"].map((name) => ({
	name,
	strategy: builtInStrategies.find((strategy) => strategy.name === name)!,
	options: {
		cohortSize: 5,
		overSelect: 1,
		learningRate: 0.1,
		...(name === "fedkseed" ? { candidates: 16, localSteps: 4, sampling: "pro" } : {}),
	},
}));
const clients = clientsOf(8).map(({ id, data }) => ({ id, numExamples: data.numExamples }));
const bytesOf = ({ records, reports, rounds }: SimulationResult): Uint8Array =>
	encodePlain([records, [...reports].sort(), rounds] as unknown as Plain);

let one: ThreadPool;
let two: ThreadPool;
beforeAll(async () => {
	one = await openThreadPool({ threads: 1, workload, strategies: [] });
	two = await openThreadPool({ threads: 2, workload, strategies: [] });
});
afterAll(() => Promise.all([one.close(), two.close()]));

describe.each(cases)("$name", ({ strategy, options }) => {
	test("gives the same bytes in this thread, on one thread and on two, and of a pool that was used before", async () => {
		const here = await simulate({ ...base, strategy, options, clients: clientsOf(8) });
		expect(here.phase).toBe("completed");
		expect(here.refusals).toEqual([]);
		for (const pool of [one, two, two])
			expect(bytesOf(await simulate({ ...base, strategy, options, clients, pool }))).toEqual(bytesOf(here));
	});

	test("gives the same states whatever the order of arrival, with attackers among the clients", async () => {
		const spies = clients.map((client) =>
			client.id < "c3" ? { ...client, adversary: [{ kind: "sign-flip", scale: 2 } as const] } : client,
		);
		const all = { ...options, cohortSize: 8, overSelect: 0 };
		const forward = await simulate({ ...base, strategy, options: all, clients: spies, pool: two });
		const backward = await simulate({
			...base,
			strategy,
			options: all,
			clients: [...spies].reverse(),
			pool: two,
			arrival: (tasks) => [...tasks].reverse(),
		});
		const honest = await simulate({ ...base, strategy, options: all, clients, pool: two });
		expect(backward.stateDigest).toBe(forward.stateDigest);
		expect(forward.stateDigest).not.toBe(honest.stateDigest);
	});
});

test("the world of a simulation does not depend on the threads", async () => {
	const { strategy, options } = cases[0]!;
	const behaviour = {
		examplesPerSecond: { lognormal: { median: 2, sigma: 1 } },
		latencyMs: { uniform: [10, 400] as const },
		dropout: 0.1,
	};
	const run = (pool: ThreadPool) => simulate({ ...base, strategy, options, clients, pool, behaviour, rounds: 6 });
	expect(bytesOf(await run(two))).toEqual(bytesOf(await run(one)));
});

test("what a client half throws comes through: a defect ends the simulation, and the pool goes on", async () => {
	const { strategy, options } = cases[0]!;
	const run = (fail?: string) =>
		simulate({ ...base, strategy, options, clients, pool: two, workloadOptions: fail === undefined ? null : { fail } });
	await expect(run("c2")).rejects.toThrow("Error: no data for c2");
	expect((await run()).phase).toBe("completed");
});

test("pools that cannot work say why", async () => {
	await expect(openThreadPool({ threads: 0, workload, strategies: [] })).rejects.toThrow("threads must be a positive integer, got 0");
	const absent = new URL("absent.mjs", import.meta.url).href;
	await expect(openThreadPool({ threads: 1, workload: absent, strategies: [] })).rejects.toMatchObject({
		code: "TRAINER_FAILED",
		message: expect.stringContaining("absent.mjs cannot be loaded"),
	});
	await expect(
		openThreadPool({ threads: 1, workload: "data:text/javascript,export const createData = 1", strategies: [] }),
	).rejects.toThrow("does not export a function createTrainer");
	const { strategy, options } = cases[0]!;
	await expect(simulate({ ...base, strategy: { ...strategy, name: "of-nobody" }, options, clients, pool: one })).rejects.toMatchObject({
		code: "UNKNOWN_STRATEGY",
	});
	const pool = await openThreadPool({ threads: 1, workload, strategies: [] });
	await pool.close();
	await expect(simulate({ ...base, strategy, options, clients, pool })).rejects.toMatchObject({ code: "CANCELLED" });
});
