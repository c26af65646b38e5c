import { ReceiptCode } from "@rondo/protocol";
import { expect, test } from "vitest";
import { CoordinatorProcess } from "./coordinator-process.js";
import { WireClient } from "./wire-client.js";

test("a client is asked for no report whose codec it does not list", async () => {
	const coordinator = await CoordinatorProcess.start();
	await coordinator.importModel(8);
	const token = await coordinator.enrolmentToken();
	const plain = await WireClient.connected(coordinator.address, token);
	const able = new WireClient(coordinator.address);
	await able.enrol(token);
	able.open();
	able.hello({ codecs: ["f32", "int8"] });
	await able.next("welcome");

	const options = { cohortSize: 2, quorum: 1, deadlineMs: 600_000 };
	await coordinator.submit({ strategy: "fedavg", rounds: 1, minClients: 1, options: { ...options, codec: "int8" } });
	expect((await able.offer()).lanes).toMatchObject([{ name: "delta", length: 8n }]);
	// An answer on the other stream: what was sent there before has arrived.
	expect((await plain.receiptFor(new Uint8Array(32).fill(7), new Uint8Array(3))).code).toBe(ReceiptCode.NOT_SELECTED);
	expect(plain.received.map(({ $case }) => $case)).not.toContain("offer");

	// One that both can do goes to both.
	await coordinator.submit({ strategy: "fedavg", rounds: 1, minClients: 2, options });
	await Promise.all([plain.offer(), able.offer()]);
});
