import { readSafetensors } from "@rondo/tensors";
import { expect, test } from "vitest";
import { CoordinatorProcess } from "./coordinator-process.js";
import { startClient } from "./sdk-client.js";

test("ballots too large for a report travel as blobs, and the subnetwork downloads as an ordinary model", async () => {
	const coordinator = await CoordinatorProcess.start();
	// 30,000 edges of 15 bits: 56,250 bytes a ballot.
	await coordinator.importModel(150, 200);
	const token = await coordinator.enrolmentToken();
	const clients = await Promise.all([0, 1].map((index) => startClient(coordinator, token, index)));
	const options = { cohortSize: 2, quorum: 2, deadlineMs: 600_000 };
	const run = await coordinator.submit({ strategy: "frl", rounds: 2, minClients: 2, options });
	expect(await coordinator.ended(run)).toMatchObject({ phase: "completed", commit: 2 });

	const response = await coordinator.request("GET", `/runs/${run}/model`);
	const { layout, weights } = readSafetensors(new Uint8Array(await response.arrayBuffer()));
	expect(layout.tensors).toMatchObject([{ name: "x", shape: [150, 200] }]);
	expect(new Set(weights.map(Math.abs))).toEqual(new Set([0, Math.fround(Math.SQRT2 / Math.sqrt(200))]));
	expect(weights.filter((weight) => weight !== 0).length).toBe(15_000);
	for (const client of clients) expect((await client.model(run)).weights).toEqual(weights);
});
