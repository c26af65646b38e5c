import { createHash } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Child, CoordinatorProcess, testFolder } from "./coordinator-process.js";
import { startClient, WORKLOAD } from "./sdk-client.js";

const TOY = new URL("../../../../packages/testkit/dist/toy-strategy.js", import.meta.url);

test("a strategy that the coordinator has never heard of runs end to end, with state on devices and at the server", async () => {
	const coordinator = await CoordinatorProcess.start({ strategies: fileURLToPath(TOY) });
	await coordinator.importModel(4);
	const token = await coordinator.enrolmentToken();
	const clients = await Promise.all([0, 1, 2].map((index) => startClient(coordinator, token, index, { strategies: [TOY] })));
	const options = { cohortSize: 3, quorum: 3, deadlineMs: 600_000 };
	const run = await coordinator.submit({ strategy: "toy-histogram", rounds: 4, minClients: 3, options });
	const ended = await coordinator.ended(run);
	expect(ended).toMatchObject({ phase: "completed", commit: 4 });

	const { items } = await coordinator.get(`/runs/${run}/rounds?limit=50`);
	expect(items).toHaveLength(4);
	for (const { metrics, round } of items) expect(metrics, `round ${round}`).toMatchObject({ lostCarries: 0, counted: 24 * round });
	const newest = items.find(({ round }: { round: number }) => round === 4);
	const detail = await coordinator.get(`/runs/${run}/rounds/train/4/${newest.attempt}`);
	expect(Object.keys(detail.scores).sort()).toEqual(clients.map(({ clientId }) => clientId).sort());
	await expect(clients[0]?.model(run)).rejects.toThrow("has no model");
});

test.each([
	["fedkseed", { candidates: 128, localSteps: 16, learningRate: 0.01, batchSize: 4 }],
	["ferret", { bases: 32, localSteps: 4, learningRate: 0.1, batchSize: 4, snapshotEvery: 2 }],
	["just-one-byte", { samples: 8, learningRate: 0.01, batchSize: 4, snapshotEvery: 2, join: "replay" }],
])("%s: a client that comes late, with an empty folder, assembles the bytes that the others have", async (strategy, more) => {
	const coordinator = await CoordinatorProcess.start();
	await coordinator.importModel(300);
	const token = await coordinator.enrolmentToken();
	const clients = await Promise.all([0, 1].map((index) => startClient(coordinator, token, index)));
	const options = { cohortSize: 2, quorum: 2, deadlineMs: 600_000, ...more };
	const run = await coordinator.submit({ strategy, rounds: 3, minClients: 2, options });
	expect(await coordinator.ended(run)).toMatchObject({ phase: "completed", commit: 3 });

	const argument = { address: coordinator.address, stateDir: join(await testFolder(), "late"), token, run, workload: WORKLOAD.href };
	const late = new Child(fileURLToPath(new URL("./fixtures/late-joiner.mjs", import.meta.url)), [JSON.stringify(argument)]);
	expect(await late.exited, late.output).toMatchObject({ code: 0 });
	const joined = JSON.parse(late.output);
	expect(joined.commit).toBe(3);
	for (const client of clients) {
		const { weights, commit } = await client.model(run);
		expect(commit).toBe(3);
		expect(createHash("sha256").update(new Uint8Array(weights.buffer)).digest("hex")).toBe(joined.sha256);
		expect(weights.some((weight) => weight !== 0)).toBe(true);
	}
});
