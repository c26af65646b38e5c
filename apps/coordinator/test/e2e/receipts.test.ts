import { digestHex, type Offer, ReceiptCode, SettlementOutcome } from "@rondo/protocol";
import { encodeReport } from "@rondo/rounds";
import { expect, test } from "vitest";
import { CoordinatorProcess } from "./coordinator-process.js";
import { WireClient } from "./wire-client.js";

/** One step with candidate 3, four bits of 16. */
const reportOf = (value: number) =>
	encodeReport({ header: [Uint8Array.of(3), Float32Array.of(value)], lanes: {}, numExamples: 1, metrics: {} });
const OPTIONS = { candidates: 16, localSteps: 4 };

async function federation(clients: number) {
	const coordinator = await CoordinatorProcess.start();
	await coordinator.importModel(8);
	const token = await coordinator.enrolmentToken();
	return {
		coordinator,
		clients: await Promise.all(Array.from({ length: clients }, () => WireClient.connected(coordinator.address, token))),
	};
}

test("a report counts once, for its own task, whatever comes again or late", async () => {
	const { coordinator, clients } = await federation(2);
	const [quick, slow] = clients as [WireClient, WireClient];
	const options = { ...OPTIONS, cohortSize: 1, overSelect: 1, quorum: 1, deadlineMs: 600_000 };
	const run = await coordinator.submit({ strategy: "fedkseed", rounds: 2, minClients: 2, options });
	const [first, missed] = (await Promise.all([quick.offer(), slow.offer()])) as [Offer, Offer];
	const { bytes, digest } = reportOf(0.5);

	// A task of another client, and one that nobody has.
	expect((await slow.receiptFor(first.taskId, bytes)).code).toBe(ReceiptCode.NOT_SELECTED);
	expect((await slow.receiptFor(new Uint8Array(32).fill(7), bytes)).code).toBe(ReceiptCode.NOT_SELECTED);

	expect((await quick.receiptFor(first.taskId, bytes)).code).toBe(ReceiptCode.ACCEPTED);
	const [again] = await Promise.all([quick.offer(), slow.offer()]);
	expect(again).toMatchObject({ round: 2, attempt: 1 });
	// Round 1 is over. The same bytes were accepted; other bytes, of a training that ran twice, are not what counted.
	expect((await quick.receiptFor(first.taskId, bytes)).code).toBe(ReceiptCode.DUPLICATE);
	const conflict = await quick.receiptFor(first.taskId, reportOf(0.25).bytes);
	expect(conflict.code).toBe(ReceiptCode.CONFLICT);
	expect(digestHex(conflict.acceptedDigest)).toBe(digest);
	// The report of round 1 that was left in an outbox is not taken for one of round 2.
	expect(await slow.receiptFor(missed.taskId, bytes)).toMatchObject({ code: ReceiptCode.STALE, round: 2 });

	expect((await quick.receiptFor(again.taskId, bytes)).code).toBe(ReceiptCode.ACCEPTED);
	expect(await coordinator.ended(run)).toMatchObject({ phase: "completed", commit: 2 });
	const { items } = await coordinator.get(`/runs/${run}/log?from=0&limit=10`);
	expect(items.map(({ accepted }: { accepted: unknown[] }) => accepted.length)).toEqual([0, 1, 1]);
});

test("an abandoned attempt discards what it accepted, and its late reports do not count for the next one", async () => {
	const { coordinator, clients } = await federation(2);
	const [quick, slow] = clients as [WireClient, WireClient];
	const options = { ...OPTIONS, cohortSize: 2, quorum: 2, deadlineMs: 1_500 };
	const run = await coordinator.submit({ strategy: "fedkseed", rounds: 1, minClients: 2, options });
	const [first, missed] = (await Promise.all([quick.offer(), slow.offer()])) as [Offer, Offer];
	const { bytes } = reportOf(0.5);
	expect((await quick.receiptFor(first.taskId, bytes)).code).toBe(ReceiptCode.ACCEPTED);
	const { settled } = await quick.next("settled");
	expect(settled).toMatchObject({ taskId: first.taskId, outcome: SettlementOutcome.DISCARDED });

	expect((await slow.receiptFor(missed.taskId, bytes)).code).toBe(ReceiptCode.STALE);
	expect((await quick.receiptFor(first.taskId, bytes)).code).toBe(ReceiptCode.DUPLICATE);
	await coordinator.post(`/runs/${run}/stop`);
	expect((await coordinator.get(`/runs/${run}`)).commit).toBe(0);
});

test("the connection with the higher session number wins, and gets the same task", async () => {
	const { coordinator, clients } = await federation(1);
	const [older] = clients as [WireClient];
	await coordinator.submit({ strategy: "fedkseed", rounds: 1, options: { ...OPTIONS, cohortSize: 1, quorum: 1, deadlineMs: 600_000 } });
	const offered = await older.offer();

	const newer = new WireClient(coordinator.address);
	newer.metadata.merge(older.metadata);
	newer.open();
	newer.hello({ session: 9n, installationNonce: older.nonce });
	expect(await older.failure()).toMatchObject({ code: "SUPERSEDED" });
	expect((await newer.offer()).taskId).toEqual(offered.taskId);

	// The old connection's attempt to come back, half-open for a while, does not throw the newer one out.
	older.open();
	older.hello();
	expect(await older.failure()).toMatchObject({ code: "SUPERSEDED" });
	expect((await newer.receiptFor(offered.taskId, reportOf(1).bytes)).code).toBe(ReceiptCode.ACCEPTED);
});
