import { vecOf } from "@rondo/algorithms";
import { type Offer, ReceiptCode } from "@rondo/protocol";
import { encodeReport } from "@rondo/rounds";
import { readSafetensors } from "@rondo/tensors";
import { expect, test, vi } from "vitest";
import { CoordinatorProcess } from "./coordinator-process.js";
import { uploadOf, WireClient } from "./wire-client.js";

// Too long to travel inside a report: the lanes lie on disk until the round ends.
const PARAMETERS = 12_000;
const OPTIONS = { cohortSize: 3, quorum: 3, deadlineMs: 600_000, reducer: "median" };

/** What honest client `index` sends in a round. */
const update = (index: number, round: number): Float32Array =>
	Float32Array.from({ length: PARAMETERS }, (_, j) => ((j % 37) - 18) / 64 + index / 8 + round / 4);
/** As far as the lane allows, on alternating sides. */
const hostile = Float32Array.from({ length: PARAMETERS }, (_, j) => (j % 2 === 0 ? 16 : -16));

const middle = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[1]!;

async function report(client: WireClient, { taskId }: Offer, array: Float32Array): Promise<void> {
	const { digest, messages } = uploadOf(taskId, array);
	await client.put(messages);
	const lanes = { delta: vecOf("u8", array.byteLength, digest) };
	const { bytes } = encodeReport({ header: null, lanes, numExamples: 1, metrics: {} });
	expect((await client.receiptFor(taskId, bytes)).code).toBe(ReceiptCode.ACCEPTED);
}

/** Connects again after the coordinator died; a channel that has just failed refuses streams for a while. */
async function comeBack(client: WireClient): Promise<void> {
	await client.failure();
	const again = async () => {
		client.open();
		client.hello();
		await client.next("welcome", 10_000);
	};
	await vi.waitFor(again, { timeout: 90_000, interval: 500 });
}

test("the median of a round is that of its reports, over a kill -9 in the middle and a hostile client", async () => {
	const killed = await CoordinatorProcess.start();
	await killed.importModel(PARAMETERS);
	const token = await killed.enrolmentToken();
	const clients = await Promise.all([0, 1, 2].map(() => WireClient.connected(killed.address, token)));
	const [one, two, attacker] = clients as [WireClient, WireClient, WireClient];
	const refused = await killed.request("POST", "/runs", {
		model: "model",
		strategy: "fedavg",
		rounds: 1,
		options: { ...OPTIONS, reducer: "krum", byzantine: 1 },
	});
	expect([refused.status, await refused.json()]).toMatchObject([
		400,
		{ code: "INVALID_ARGUMENT", detail: expect.stringContaining("krum with byzantine 1 needs at least 5 reports") },
	]);

	const run = await killed.submit({ strategy: "fedavg", rounds: 2, minClients: 3, options: OPTIONS });
	const first = await Promise.all(clients.map((client) => client.offer()));
	await report(one, first[0]!, update(0, 1));
	await report(two, first[1]!, update(1, 1));
	// Two reports are on disk; nothing that the next process starts with holds them.
	expect(await killed.child.kill("SIGKILL")).toMatchObject({ signal: "SIGKILL" });

	const next = killed.restart();
	await next.ready();
	await Promise.all(clients.map(comeBack));
	await report(attacker, await attacker.offer(), hostile);
	const second = await Promise.all(clients.map((client) => client.offer()));
	await report(attacker, second[2]!, hostile);
	await report(two, second[1]!, update(1, 2));
	await report(one, second[0]!, update(0, 2));
	expect(await next.ended(run)).toMatchObject({ phase: "completed", commit: 2 });

	const response = await next.request("GET", `/runs/${run}/model`);
	const { weights } = readSafetensors(new Uint8Array(await response.arrayBuffer()));
	let wanted = new Float32Array(PARAMETERS);
	for (const round of [1, 2]) {
		const reports = [update(0, round), update(1, round), hostile];
		wanted = wanted.map((weight, j) => weight + middle(reports.map((values) => values[j]!)));
	}
	expect(weights).toEqual(wanted);

	const { scores } = await next.get(`/runs/${run}/rounds/train/2/1`);
	const distances = clients.map(({ clientId }) => scores[clientId]["reducer.distance"]);
	expect(distances[2]).toBeGreaterThan(100 * distances[0]!);
	expect(distances[0]).toBeGreaterThan(0);
});
