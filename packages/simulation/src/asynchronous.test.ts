import { builtInStrategies } from "@rondo/algorithms";
import { type LogRecord, replayRun, type TaskState } from "@rondo/rounds";
import { layoutOf } from "@rondo/tensors";
import { expect, test } from "vitest";
import { clientsOf } from "../test/quadratic.js";
import { type SimulateOptions, type SimulationResult, simulate } from "./simulate.js";

const LEARNING_RATE = 0.25;
const START = [4, 4, 4];
const base: SimulateOptions = {
	strategy: builtInStrategies.find(({ name }) => name === "fedbuff")!,
	options: { concurrency: 4, bufferSize: 3, maxStaleness: 4, learningRate: LEARNING_RATE },
	layout: layoutOf([{ name: "w", shape: [3] }]),
	initial: Float32Array.from(START),
	publicSeed: "01".repeat(32),
	secretSeed: "02".repeat(32),
	clients: clientsOf(6),
	rounds: 12,
};

/** Clients that need `durationOf` for each task, in virtual time that begins when the task is leased. */
function paced(durationOf: (client: string) => number): (waiting: readonly TaskState[]) => number {
	const due = new Map<string, number>();
	let now = 0;
	return (waiting) => {
		for (const { id, client } of waiting) if (!due.has(id)) due.set(id, now + durationOf(client));
		const times = waiting.map(({ id }) => due.get(id)!);
		now = Math.min(...times);
		return times.indexOf(now);
	};
}

/** Client i takes 1 + i² units of time. */
const uneven = () => paced((client) => 1 + Number(client[1]) ** 2);
const run = (change: Partial<SimulateOptions> = {}) => simulate({ ...base, next: uneven(), ...change });
const acceptedIn = (records: readonly LogRecord[]) =>
	records.flatMap(({ commit, accepted }) => accepted.map((row) => ({ ...row, commit })));

async function replayed({ records, reports, engine }: SimulationResult): Promise<boolean[]> {
	const steps: boolean[] = [];
	for await (const { ok } of replayRun({ records, report: async (task) => reports.get(task)!, engine })) steps.push(ok);
	return steps;
}

test("slow and fast clients fill buffers together; equal seeds and speeds give equal bytes, and the log replays", async () => {
	const result = await run();
	expect([result.phase, result.refusals, result.rounds.length]).toEqual(["completed", [], 12]);
	for (const { clients } of result.rounds) expect(clients.length).toBe(3);
	const rows = acceptedIn(result.records);
	expect(new Set(rows.map(({ task }) => task)).size).toBe(rows.length);
	const staleness = rows.map((row) => row.staleness);
	expect(new Set(staleness)).toContain(0);
	expect(Math.max(...staleness)).toBeGreaterThan(1);
	expect(Math.max(...staleness)).toBeLessThanOrEqual(4);
	// The fastest client is in one buffer twice, and reports more often than the slowest.
	expect(result.rounds.some(({ clients }) => new Set(clients).size < clients.length)).toBe(true);
	const times = (client: string): number => rows.filter((row) => row.client === client).length;
	expect(times("c0")).toBeGreaterThan(times("c5"));

	const again = await run();
	expect(again.records).toEqual(result.records);
	expect(again.reports).toEqual(result.reports);
	expect((await run({ next: paced(() => 1) })).records).not.toEqual(result.records);
	expect(await replayed(result)).toEqual(Array(13).fill(true));
	result.store.verify();
});

test("the model is a function of the log: staleness says which model each report started from", async () => {
	const { records, weights } = await run();
	const models = [START];
	for (const { accepted } of records.slice(1)) {
		const now = models.at(-1)!;
		const next = now.map((w, j) => {
			const changes = accepted.map(({ client, staleness }) => {
				const i = Number(client[1]);
				const center = [i + i / 16, -i, 1][j]!;
				const start = models[models.length - 1 - staleness]![j]!;
				return (LEARNING_RATE * (center - start)) / Math.sqrt(1 + staleness);
			});
			return w + changes.reduce((sum, change) => sum + change, 0) / accepted.length;
		});
		models.push(next);
	}
	for (const [j, w] of models.at(-1)!.entries()) expect(Math.abs(w - weights![j]!)).toBeLessThan(1e-5);
	expect(Math.abs(models.at(-1)![0]! - START[0]!)).toBeGreaterThan(0.1);
});

test("a client that is too slow is called off and never counts; the others go on", async () => {
	const { phase, records } = await run({ next: paced((client) => (client === "c2" ? 1e9 : 1)), rounds: 20 });
	expect(phase).toBe("completed");
	const rows = acceptedIn(records);
	expect(rows.length).toBe(60);
	expect(rows.filter(({ client }) => client === "c2")).toEqual([]);
	expect(Math.max(...rows.map(({ staleness }) => staleness))).toBeLessThanOrEqual(4);
});

test("one client that stays fills every buffer", async () => {
	const clients = base.clients.map((client, i) => (i === 0 ? client : { ...client, present: (round: number) => round <= 2 }));
	const { phase, rounds } = await run({ clients, options: { ...(base.options as object), bufferSize: 8 }, rounds: 6 });
	expect(phase).toBe("completed");
	expect(rounds.slice(-2).map((round) => round.clients)).toEqual([Array(8).fill("c0"), Array(8).fill("c0")]);
});

test("a choice that is no waiting task is refused", async () => {
	await expect(run({ next: (waiting) => waiting.length })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});
