import { builtInStrategies, encodePlain, type Plain } from "@rondo/algorithms";
import { openThreadPool, type SimulationResult, simulate } from "@rondo/simulation";
import { layoutOf } from "@rondo/tensors";
import { expect, test } from "vitest";
import { clientsOf } from "../test/quadratic.js";

// Asynchronous rounds in virtual time and on threads.

const base = {
	strategy: builtInStrategies.find(({ name }) => name === "fedbuff")!,
	options: { concurrency: 4, bufferSize: 3, maxStaleness: 4, learningRate: 0.25 },
	layout: layoutOf([{ name: "w", shape: [3] }]),
	initial: Float32Array.of(4, 4, 4),
	publicSeed: "01".repeat(32),
	secretSeed: "02".repeat(32),
	rounds: 10,
	behaviour: { examplesPerSecond: { lognormal: { median: 1, sigma: 0.7 } }, latencyMs: { uniform: [10, 500] as const } },
};
const bytesOf = ({ records, reports, rounds }: SimulationResult): Uint8Array =>
	encodePlain([records, [...reports].sort(), rounds] as unknown as Plain);

test("slow clients' reports are stale in virtual time, whatever the number of threads", async () => {
	const here = await simulate({ ...base, clients: clientsOf(6) });
	expect([here.phase, here.refusals]).toEqual(["completed", []]);
	const staleness = here.records.flatMap(({ accepted }) => accepted.map((row) => row.staleness));
	expect(Math.max(...staleness)).toBeGreaterThan(0);
	const times = here.rounds.map(({ atMs }) => atMs);
	expect([...times].sort((a, b) => a - b)).toEqual(times);
	const clients = clientsOf(6).map(({ id, data }) => ({ id, numExamples: data.numExamples }));
	for (const threads of [1, 2]) {
		const pool = await openThreadPool({
			threads,
			workload: new URL("../test/quadratic-workload.mjs", import.meta.url).href,
			strategies: [],
		});
		expect(bytesOf(await simulate({ ...base, clients, pool }))).toEqual(bytesOf(here));
		await pool.close();
	}
});
