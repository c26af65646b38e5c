import { expect, test, vi } from "vitest";
import { CoordinatorProcess } from "./coordinator-process.js";
import { startCountingProxy } from "./counting-proxy.js";
import { startClient } from "./sdk-client.js";

const CLIENTS = 3;

/** Bytes per direction that the coordinator stores with the rounds of a run. */
async function storedBytes(coordinator: CoordinatorProcess, run: string): Promise<{ up: number; down: number }> {
	const { items } = await coordinator.get(`/runs/${run}/rounds?limit=50`);
	const sum = (field: "bytesUp" | "bytesDown"): number =>
		items.reduce((total: number, round: Record<string, number>) => total + round[field]!, 0);
	return { up: sum("bytesUp"), down: sum("bytesDown") };
}

async function counted(strategy: string, parameters: number, options: object) {
	const coordinator = await CoordinatorProcess.start();
	await coordinator.importModel(parameters);
	const proxy = await startCountingProxy(coordinator.address);
	const token = await coordinator.enrolmentToken();
	await Promise.all(Array.from({ length: CLIENTS }, (_, index) => startClient(proxy, token, index)));
	await vi.waitFor(
		async () =>
			expect((await coordinator.get("/clients")).items.filter(({ connected }: { connected: boolean }) => connected)).toHaveLength(CLIENTS),
		{
			timeout: 20_000,
		},
	);
	const before = { ...proxy.counted };
	const cohort = { cohortSize: CLIENTS, quorum: CLIENTS, deadlineMs: 600_000 };
	const { run, cost } = await coordinator.post("/runs", {
		model: "model",
		strategy,
		rounds: 2,
		minClients: CLIENTS,
		waitForClientsMs: 600_000,
		options: { ...cohort, ...options },
	});
	await coordinator.ended(run.id);
	// Counts are written in batches: two equal readings with one of them after the last batch.
	let last = { up: -1, down: -1 };
	await vi.waitFor(
		async () => {
			const now = await storedBytes(coordinator, run.id);
			const isFinal = now.up === last.up && now.down === last.down;
			last = now;
			if (!isFinal) throw new Error("the counts still change");
		},
		{ timeout: 20_000, interval: 600 },
	);
	return { stored: last, wire: { up: proxy.counted.up - before.up, down: proxy.counted.down - before.down }, cost };
}

function expectAgreement(stored: { up: number; down: number }, wire: { up: number; down: number }): void {
	for (const direction of ["up", "down"] as const) {
		expect(
			Math.abs(stored[direction] - wire[direction]),
			`${direction}: stored ${stored[direction]}, on the wire ${wire[direction]}`,
		).toBeLessThan(0.05 * wire[direction] + 10_000);
	}
}

test("the bytes stored with rounds are those on the wire: dense updates", async () => {
	const { stored, wire } = await counted("fedavg", 100_000, { learningRate: 0.1, batchSize: 8, localEpochs: 1 });
	expectAgreement(stored, wire);
	expect(stored.up).toBeGreaterThan(2 * CLIENTS * 400_000);
});

test("the bytes stored with rounds are those on the wire: seeds and scalars, whatever the model", async () => {
	const [candidates, localSteps] = [4096, 200];
	const { stored, wire, cost } = await counted("fedkseed", 1_000, { candidates, localSteps, learningRate: 0.01, batchSize: 8 });
	expectAgreement(stored, wire);
	const payload = 4 * candidates + 4 + 8 * localSteps;
	expect(cost.task + cost.download + cost.report).toBeLessThanOrEqual(payload);
	// Round and client, with the envelopes of all messages; the initial model travels once.
	const perRound = (stored.up + stored.down - CLIENTS * 4_000) / (2 * CLIENTS);
	expect(perRound).toBeLessThan(payload + 2_048);
});

test("the bytes stored with rounds are those on the wire: what clients read of the log", async () => {
	const bases = 6_000;
	const { stored, wire } = await counted("ferret", 1_000, { bases, learningRate: 0.01, localSteps: 2, batchSize: 8 });
	expectAgreement(stored, wire);
	// In the second round each client reads the commit of the first.
	expect(stored.down).toBeGreaterThan(CLIENTS * 4 * bases);
});
