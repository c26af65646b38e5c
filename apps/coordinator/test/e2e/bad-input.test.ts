import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { vecOf } from "@rondo/algorithms";
import { LIMITS, type Offer, ReceiptCode } from "@rondo/protocol";
import { encodeReport } from "@rondo/rounds";
import { expect, test, vi } from "vitest";
import { CoordinatorProcess } from "./coordinator-process.js";
import { uploadOf, WireClient } from "./wire-client.js";

const PARAMETERS = 300_000;
const COHORT = { cohortSize: 1, quorum: 1, deadlineMs: 600_000 };

const reportOn = (digest: string, bytes: number): Uint8Array =>
	encodeReport({ header: null, lanes: { delta: vecOf("u8", bytes, digest) }, numExamples: 1, metrics: {} }).bytes;

/** Uploads an array and gives the report that names it. */
async function reportOf(client: WireClient, { taskId }: Offer, array: Float32Array): Promise<Uint8Array> {
	const { digest, messages } = uploadOf(taskId, array);
	await client.put(messages);
	return reportOn(digest, array.byteLength);
}

const arrayWith = (value: number): Float32Array => new Float32Array(PARAMETERS).fill(value, 7, 8);

test("bad updates are refused by name and value, and the round goes on without them", async () => {
	const coordinator = await CoordinatorProcess.start();
	await coordinator.importModel(PARAMETERS);
	const token = await coordinator.enrolmentToken();
	const clients = await Promise.all(Array.from({ length: 5 }, () => WireClient.connected(coordinator.address, token)));
	const [notANumber, tooLarge, garbage, tooShort, clumsy] = clients as [WireClient, WireClient, WireClient, WireClient, WireClient];
	const run = await coordinator.submit({ strategy: "fedavg", rounds: 1, minClients: 5, options: { ...COHORT, overSelect: 4 } });
	const offers = await Promise.all(clients.map((client) => client.offer()));
	const [first, second, third, fourth, fifth] = offers as [Offer, Offer, Offer, Offer, Offer];

	const rejected = async (client: WireClient, offer: Offer, report: Uint8Array) => {
		const receipt = await client.receiptFor(offer.taskId, report);
		expect(receipt.code).toBe(ReceiptCode.REJECTED);
		return `${receipt.errorCode}: ${receipt.errorMessage}`;
	};
	expect(await rejected(notANumber, first, await reportOf(notANumber, first, arrayWith(Number.NaN)))).toContain(
		"NOT_FINITE: lane delta[7] is NaN",
	);
	expect(await rejected(tooLarge, second, await reportOf(tooLarge, second, arrayWith(1e9)))).toContain(
		"LANE_OUT_OF_BOUND: lane delta[7] is 1000000000",
	);
	expect(await rejected(garbage, third, randomBytes(4_000))).toMatch(/^(BAD_ENCODING|INVALID_ARGUMENT|TOO_LARGE): /);
	expect(await rejected(tooShort, fourth, await reportOf(tooShort, fourth, new Float32Array(10)))).toContain("1200000 bytes, got 40");

	const good = uploadOf(fifth.taskId, arrayWith(0.5));
	const [start, one, two] = good.messages;
	if (start?.$case !== "start" || one?.$case !== "chunk" || two?.$case !== "chunk") throw new Error("the upload has not two chunks");
	const code = async (messages: Parameters<WireClient["put"]>[0]): Promise<string> => {
		const error: unknown = await clumsy.put(messages).catch((thrown: unknown) => thrown);
		return (error as { code: string }).code;
	};
	expect(await code([one])).toBe("INVALID_ARGUMENT");
	expect(await code([start, { $case: "chunk", chunk: randomBytes(LIMITS.chunkBytes) }])).toBe("DIGEST_MISMATCH");
	expect(await code([start, { $case: "chunk", chunk: new Uint8Array(LIMITS.chunkBytes + 1) }])).toMatch(/^(TOO_LARGE|SHAPE_MISMATCH)$/);
	// Beyond the largest message: refused below the service, before it is buffered.
	expect(await code([start, { $case: "chunk", chunk: new Uint8Array(3 * LIMITS.chunkBytes) }])).not.toBe("INTERNAL");
	const large = uploadOf(fifth.taskId, new Float32Array(3 * PARAMETERS));
	expect(await code([large.messages[0]!])).toBe("TOO_LARGE");
	expect(await code([{ $case: "start", start: { ...start.start, taskId: first.taskId } }])).toBe("CONFLICT");
	expect(await code([{ $case: "start", start: { ...start.start, digest: new Uint8Array(3) } }])).toBe("INVALID_ARGUMENT");

	const early = await clumsy.receiptFor(fifth.taskId, reportOn(good.digest, 4 * PARAMETERS));
	expect(early).toMatchObject({ code: ReceiptCode.RETRY, errorCode: "BLOB_MISSING" });
	await clumsy.put(good.messages);
	const report = reportOn(good.digest, 4 * PARAMETERS);
	expect((await clumsy.receiptFor(fifth.taskId, report)).code).toBe(ReceiptCode.ACCEPTED);
	expect(await coordinator.ended(run)).toMatchObject({ phase: "completed", commit: 1 });

	expect((await clumsy.receiptFor(fifth.taskId, report)).code).toBe(ReceiptCode.DUPLICATE);
	expect((await notANumber.receiptFor(first.taskId, report)).code).toBe(ReceiptCode.RUN_OVER);
	expect(coordinator.child.isRunning).toBe(true);
});

test("bad connections are refused by name, and hurt nobody else", async () => {
	const coordinator = await CoordinatorProcess.start();
	await coordinator.importModel(8);
	const { token, secret } = await coordinator.post("/tokens", { name: "gone", scope: "enrol" });
	await coordinator.post(`/tokens/${token.id}/revoke`);
	const enrolment = await coordinator.enrolmentToken();
	const stranger = new WireClient(coordinator.address);
	await expect(stranger.enrol(secret)).rejects.toMatchObject({ code: "TOKEN_REVOKED" });
	await expect(stranger.enrol("no-such-token")).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
	await expect(stranger.enrol(enrolment, 0)).rejects.toMatchObject({ code: "PROTOCOL_TOO_OLD" });
	stranger.open();
	stranger.hello();
	expect(await stranger.failure()).toMatchObject({ code: "UNAUTHENTICATED" });
	await stranger.enrol(enrolment);

	const firstMessage = async (send: () => void) => {
		stranger.open();
		send();
		const { code, message } = await stranger.failure();
		return `${code}: ${message}`;
	};
	expect(await firstMessage(() => stranger.send({ $case: "ping", ping: { nonce: 1n } }))).toContain(
		"INVALID_ARGUMENT: message: the first message of a stream is hello",
	);
	expect(await firstMessage(() => stranger.send(undefined))).toContain("INVALID_ARGUMENT: message");
	expect(await firstMessage(() => stranger.hello({ protocolVersion: 0 }))).toContain("PROTOCOL_TOO_OLD");
	expect(
		await firstMessage(() => stranger.hello({ strategies: Array.from({ length: 1_000 }, () => ({ name: "fedavg", version: 1 })) })),
	).toContain("strategies");
	expect(
		await firstMessage(() => {
			stranger.hello();
			stranger.hello();
		}),
	).toContain("INVALID_ARGUMENT: message: a second hello");
	// A copied state folder on another machine has another nonce.
	expect(await firstMessage(() => stranger.hello({ installationNonce: randomBytes(16) }))).toContain("FORBIDDEN: installation_nonce");
	const { items: audit } = await coordinator.get("/audit?limit=50");
	expect(audit.map(({ action }: { action: string }) => action)).toContain("client.cloned");

	// Noise on the port itself: the HTTP/2 layer hangs up.
	const noise = connect(Number(coordinator.address.split(":")[1]), "127.0.0.1");
	const hungUp = new Promise((resolve) => noise.on("error", resolve).on("close", resolve));
	noise.on("data", () => undefined).end(randomBytes(100_000));
	await hungUp;

	const client = await WireClient.connected(coordinator.address, enrolment);
	const run = await coordinator.submit({ strategy: "fedavg", rounds: 1, options: COHORT });
	const { taskId } = await client.offer();
	await coordinator.post(`/clients/${client.clientId}/revoke`);
	expect(await client.failure()).toMatchObject({ code: "TOKEN_REVOKED" });
	client.open();
	client.hello();
	expect(await client.failure()).toMatchObject({ code: "TOKEN_REVOKED" });
	await expect(client.put(uploadOf(taskId, new Float32Array(8)).messages)).rejects.toMatchObject({ code: "TOKEN_REVOKED" });
	expect(await coordinator.get(`/runs/${run}`)).toMatchObject({ phase: "running" });
	await vi.waitFor(async () => expect((await fetch(`${coordinator.url}/healthz`)).status).toBe(200));
});
