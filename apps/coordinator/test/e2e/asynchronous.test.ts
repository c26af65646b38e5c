import { bytesOf } from "@rondo/algorithms";
import { digestHex, type Offer, ReceiptCode, SettlementOutcome } from "@rondo/protocol";
import { encodeReport } from "@rondo/rounds";
import { readSafetensors } from "@rondo/tensors";
import { expect, test } from "vitest";
import { CoordinatorProcess } from "./coordinator-process.js";
import { startClient } from "./sdk-client.js";
import { WireClient } from "./wire-client.js";

const LENGTH = 8;
const s = (staleness: number): number => 1 / Math.sqrt(1 + staleness);
/** A report that moves every weight by `change`. */
const reportOf = (change: number): Uint8Array =>
	encodeReport({
		header: null,
		lanes: { delta: bytesOf(new Float32Array(LENGTH).fill(change)).slice() },
		numExamples: 3,
		metrics: { loss: 1 },
	}).bytes;

/** The same client on a new stream, after its coordinator died. */
async function comeBack(client: WireClient, address: string): Promise<WireClient> {
	const again = new WireClient(address);
	again.metadata.merge(client.metadata);
	again.open();
	again.hello({ session: 9n, installationNonce: client.nonce });
	await again.next("welcome");
	return again;
}

async function modelOf(coordinator: CoordinatorProcess, run: string): Promise<Float32Array> {
	const response = await coordinator.request("GET", `/runs/${run}/model`);
	return readSafetensors(new Uint8Array(await response.arrayBuffer())).weights;
}

test("slow and fast clients share buffers; kill -9 loses no lease, no report and no staleness", async () => {
	const first = await CoordinatorProcess.start();
	await first.importModel(LENGTH);
	const token = await first.enrolmentToken();
	let [fast, slow] = (await Promise.all([0, 1].map(() => WireClient.connected(first.address, token)))) as [WireClient, WireClient];
	const options = { concurrency: 2, bufferSize: 2, maxStaleness: 1, deadlineMs: 600_000 };
	const run = await first.submit({ strategy: "fedbuff", rounds: 5, minClients: 2, options });
	const accepted = async (client: WireClient, { taskId }: Offer, change: number): Promise<void> => {
		expect((await client.receiptFor(taskId, reportOf(change))).code).toBe(ReceiptCode.ACCEPTED);
	};

	// The fast client fills the first buffer alone: a task that it returns is replaced before the round is over.
	const [one, late] = (await Promise.all([fast.offer(), slow.offer()])) as [Offer, Offer];
	await accepted(fast, one, 1);
	const two = await fast.offer();
	expect([two.round, digestHex(two.taskId) === digestHex(one.taskId)]).toEqual([1, false]);
	await accepted(fast, two, 3);
	expect((await fast.next("settled")).settled).toMatchObject({ outcome: SettlementOutcome.APPLIED, commit: 1n });
	const three = await fast.offer();
	expect(three.round).toBe(2);
	await accepted(fast, three, 2);
	const four = await fast.offer();

	await first.child.kill("SIGKILL");
	const second = first.restart();
	await second.ready();
	[fast, slow] = [await comeBack(fast, second.address), await comeBack(slow, second.address)];
	// Both hold the leases that they had: the slow one for the model of round 1, in what is round 2 by now.
	expect(await slow.offer()).toMatchObject({ taskId: late.taskId, round: 1, task: late.task });
	expect(await fast.offer()).toMatchObject({ taskId: four.taskId, round: 2 });
	expect((await fast.receiptFor(three.taskId, reportOf(2))).code).toBe(ReceiptCode.DUPLICATE);
	await accepted(slow, late, 8);

	// Two more buffers by the fast client; the slow one's second task is then two commits old, one too many.
	const missed = await slow.offer();
	expect(missed.round).toBe(3);
	await accepted(fast, four, 1);
	for (const change of [2, 4, 6]) await accepted(fast, await fast.offer(), change);
	const { cancel } = await slow.next("cancel");
	expect([digestHex(cancel.taskId), cancel.reason]).toEqual([
		digestHex(missed.taskId),
		expect.stringContaining("more than 1 commits after"),
	]);
	expect((await slow.receiptFor(missed.taskId, reportOf(100))).code).toBe(ReceiptCode.STALE);
	for (const change of [1, 1]) await accepted(fast, await fast.offer(), change);
	expect(await second.ended(run)).toMatchObject({ phase: "completed", commit: 5 });

	const { items } = await second.get(`/runs/${run}/log?from=1&limit=10`);
	const rows = items.map(({ accepted: set }: { accepted: { staleness: number; sequence: number }[] }) =>
		[...set].sort((a, b) => a.sequence - b.sequence).map(({ staleness }) => staleness),
	);
	expect(rows).toEqual([
		[0, 0],
		[0, 1],
		[1, 0],
		[0, 0],
		[0, 0],
	]);
	const buffers = [
		[1, 3],
		[2, 8 * s(1)],
		[1 * s(1), 2],
		[4, 6],
		[1, 1],
	];
	const wanted = buffers.reduce((w, [a, b]) => w + (a! + b!) / 2, 0);
	for (const weight of await modelOf(second, run)) expect(Math.abs(weight - wanted)).toBeLessThan(1e-5);
	const { tasks } = await second.get(`/runs/${run}/rounds/train/2/1`);
	expect(tasks.find(({ id }: { id: string }) => id === digestHex(late.taskId))).toMatchObject({ phase: "accepted", staleness: 1 });
});

test("a report that arrives while the run is paused between two rounds waits on the device, and lands after it", async () => {
	const coordinator = await CoordinatorProcess.start();
	await coordinator.importModel(LENGTH);
	const token = await coordinator.enrolmentToken();
	const [fast, slow] = (await Promise.all([0, 1].map(() => WireClient.connected(coordinator.address, token)))) as [WireClient, WireClient];
	const options = { concurrency: 2, bufferSize: 1, maxStaleness: 2, deadlineMs: 600_000 };
	const run = await coordinator.submit({ strategy: "fedbuff", rounds: 2, minClients: 2, options });
	const [mine, late] = (await Promise.all([fast.offer(), slow.offer()])) as [Offer, Offer];
	await coordinator.post(`/runs/${run}/pause`);
	expect((await fast.receiptFor(mine.taskId, reportOf(1))).code).toBe(ReceiptCode.ACCEPTED);
	await fast.next("settled");
	expect(await slow.receiptFor(late.taskId, reportOf(2))).toMatchObject({ code: ReceiptCode.RETRY, errorCode: "UNAVAILABLE" });
	await coordinator.post(`/runs/${run}/resume`);
	expect((await slow.receiptFor(late.taskId, reportOf(2))).code).toBe(ReceiptCode.ACCEPTED);
	expect(await coordinator.ended(run)).toMatchObject({ phase: "completed", commit: 2 });
	for (const weight of await modelOf(coordinator, run)) expect(Math.abs(weight - (1 + 2 * s(1)))).toBeLessThan(1e-6);
});

test("clients of the SDK, one of them slow, live through kill -9: every accepted report was applied", async () => {
	const first = await CoordinatorProcess.start();
	await first.importModel(LENGTH);
	const token = await first.enrolmentToken();
	const gate = () => {
		let open: () => void = () => undefined;
		const opened = new Promise<void>((resolve) => {
			open = resolve;
		});
		return { open, opened };
	};
	const [mayReport, threeCommits, landed] = [gate(), gate(), gate()];
	let commits = 0;
	const slow = await startClient(first, token, 0, { shouldTrain: () => mayReport.opened.then(() => true) });
	// After three commits the others wait for the slow one, so that its report is not too late for the run.
	const shouldTrain = async () => {
		if (commits >= 3) await landed.opened;
		return true;
	};
	const others = await Promise.all([1, 2].map((index) => startClient(first, token, index, { shouldTrain })));
	const accepted = new Set<string>();
	let lateTask = "";
	slow.once("offer", ({ taskId }) => {
		lateTask = taskId;
	});
	for (const client of [slow, ...others]) {
		client.on("settled", ({ commit }) => {
			commits = Math.max(commits, commit);
			if (commits >= 3) threeCommits.open();
		});
		client.on("receipt", ({ code, taskId }) => {
			if (code === "ACCEPTED" || code === "DUPLICATE") accepted.add(taskId);
			if (taskId === lateTask) landed.open();
		});
	}
	const options = { concurrency: 3, bufferSize: 2, maxStaleness: 1_000, learningRate: 0.05, deadlineMs: 600_000 };
	const run = await first.submit({ strategy: "fedbuff", rounds: 8, minClients: 3, options });
	await threeCommits.opened;
	await first.child.kill("SIGKILL");
	mayReport.open();
	const second = first.restart();
	await second.ready();
	expect(await second.ended(run)).toMatchObject({ phase: "completed", commit: 8 });

	const { items } = await second.get(`/runs/${run}/log?from=1&limit=100`);
	const rows: { task: string; staleness: number }[] = items.flatMap((item: { accepted: object[] }) => item.accepted);
	const applied = new Map(rows.map(({ task, staleness }) => [task, staleness]));
	expect([rows.length, applied.size]).toEqual([16, 16]);
	for (const task of accepted) expect(applied.has(task), `accepted report ${task} is in the log`).toBe(true);
	expect(applied.get(lateTask)).toBeGreaterThan(0);
});
