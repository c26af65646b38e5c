import { createHash } from "node:crypto";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { readSafetensors } from "@rondo/tensors";
import { expect, test, vi } from "vitest";
import { CoordinatorProcess, testFolder } from "./coordinator-process.js";
import { startClient } from "./sdk-client.js";

const ANGLES = new URL("./fixtures/angles-workload.mjs", import.meta.url);
/** Models beyond what travels inside an offer. */
const PARAMETERS = 40_000;
const ROUNDS = 5;
const LOSES_ALL_IN = 4;

test("models of single clients: who has its own downloads the reward, who lost it the whole, and all have the coordinator's bytes", async () => {
	const coordinator = await CoordinatorProcess.start();
	await coordinator.importModel(PARAMETERS);
	const token = await coordinator.enrolmentToken();
	const stateDir = join(await testFolder(), "forgetful");
	const blobs = join(stateDir, "blobs");
	let lost = 0;
	const clients = await Promise.all([
		startClient(coordinator, token, 0, { workload: ANGLES }),
		startClient(coordinator, token, 1, {
			workload: ANGLES,
			stateDir,
			shouldTrain: async ({ round }) => {
				if (round !== LOSES_ALL_IN) return true;
				for (const name of await readdir(blobs)) {
					await rm(join(blobs, name));
					lost += 1;
				}
				return true;
			},
		}),
		startClient(coordinator, token, 2, { workload: ANGLES }),
	]);
	const options = { cohortSize: 3, quorum: 3, deadlineMs: 600_000, learningRate: 0.1, batchSize: 4, gamma: 1, reference: "all" };
	const run = await coordinator.submit({ strategy: "rffl", rounds: ROUNDS, minClients: 3, options });
	expect(await coordinator.ended(run)).toMatchObject({ phase: "completed", commit: ROUNDS });
	expect(lost).toBeGreaterThan(2);

	const ids = clients.map(({ clientId }) => clientId);
	const { items } = await coordinator.get(`/runs/${run}/clients`);
	const rows = ids.map((id) => items.find(({ client }: { client: string }) => client === id));
	for (const row of rows) {
		expect(row).toMatchObject({ applied: ROUNDS, lastRound: ROUNDS, scoredRound: ROUNDS, connected: true, scores: { standing: 1 } });
		expect(row.state).toMatchObject({ standing: "live", reports: ROUNDS, model: { dtype: "f32", length: PARAMETERS } });
	}
	// With noise, less reward: small enough for a patch to be smaller than the model.
	const [best, middle, other] = rows.map(({ scores }) => scores.quota);
	expect(best).toBe(1);
	expect(middle).toBeLessThan(0.95);
	expect(other).toBeLessThan(0.95);

	const downOf = async (round: number, client: number): Promise<number> => {
		const { tasks } = await coordinator.get(`/runs/${run}/rounds/train/${round}/1`);
		return tasks.find((task: { client: string }) => task.client === ids[client]).bytesDown;
	};
	const [dense, envelope] = [4 * PARAMETERS, 4_000];
	await vi.waitFor(async () => expect(await downOf(LOSES_ALL_IN, 1)).toBeGreaterThanOrEqual(dense), { timeout: 20_000, interval: 100 });
	for (const round of [3, LOSES_ALL_IN, ROUNDS]) {
		expect(await downOf(round, 2), `round ${round}`).toBeLessThan(4 * other * PARAMETERS * 1.02 + PARAMETERS / 8 + envelope);
		if (round !== LOSES_ALL_IN) expect(await downOf(round, 1), `round ${round}`).toBeLessThan(dense);
	}

	const digests = new Set<string>();
	for (const [i, id] of ids.entries()) {
		const response = await coordinator.request("GET", `/runs/${run}/clients/${id}/model`);
		expect(response.status).toBe(200);
		const { weights } = readSafetensors(new Uint8Array(await response.arrayBuffer()));
		// `model` compares what it assembles with the digest of the coordinator, too.
		const own = await clients[i]!.model(run);
		expect(own.weights).toEqual(weights);
		digests.add(
			createHash("sha256")
				.update(new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength))
				.digest("hex"),
		);
	}
	expect(digests.size).toBe(3);
	expect((await coordinator.request("GET", `/runs/${run}/clients/nobody/model`)).status).toBe(404);
});
