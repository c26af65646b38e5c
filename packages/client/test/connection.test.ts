import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ServerCredentials } from "@grpc/grpc-js";
import { bytesOf, contentDigest, encodePlain, vecOf } from "@rondo/algorithms";
import { type ClientEvents, type ClientOptions, connect, type RondoClient } from "@rondo/client";
import { RondoError } from "@rondo/errors";
import { digestBytes, LIMITS, ReceiptCode } from "@rondo/protocol";
import { expect, onTestFinished, test } from "vitest";
import type { FakeCoordinator } from "./fake-coordinator.js";
import { client, coordinator, fixture, folder, next, options } from "./setup.js";

const weights = Float32Array.of(1, 2, -4);
const model = vecOf("f32", 3, contentDigest(bytesOf(weights)));
const CHUNK = LIMITS.chunkBytes;

const withRun = (fake: FakeCoordinator): void => {
	fake.addRun({ runId: "r1", strategy: "probe", config: null, weights });
};
const bigLane = (length: number) => ({
	lanes: [{ name: "delta", length: BigInt(length), absMax: 1, combine: "mean", codec: encodePlain(["f32"]) }],
});
/** 2.5 chunks of float32. */
const BIG = (CHUNK * 5) / 8;

/** The next event of this name, whatever errors come before it. */
const later = <E extends keyof ClientEvents>(emitter: RondoClient, event: E): Promise<ClientEvents[E][0]> =>
	new Promise((resolve) => emitter.once(event, ((payload: ClientEvents[E][0]) => resolve(payload)) as never));

test("an upload that breaks off goes on where it stopped", async () => {
	const fake = await coordinator(withRun);
	const ada = await client(fake, await folder());
	let broken = false;
	fake.onPutChunk = (_digest, receivedBytes) => {
		if (broken || receivedBytes < 2 * CHUNK) return;
		broken = true;
		fake.stop();
	};
	const disconnected = next(ada, "disconnected");
	const receipt = later(ada, "receipt");
	const taskId = fake.offer("ada", "r1", { model, lane: BIG }, bigLane(BIG));
	expect((await disconnected).error.code).toBe("UNAVAILABLE");
	await fake.start();
	expect(await receipt).toMatchObject({ taskId, code: "ACCEPTED" });
	expect(fake.uploads.filter(({ totalBytes }) => totalBytes > 1000n).map(({ offset }) => Number(offset))).toEqual([0, 2 * CHUNK]);
	expect(fake.reports).toHaveLength(1);
	expect(fake.hellos[1]).toMatchObject({ session: 2n, outboxTaskIds: [Buffer.from(digestBytes(taskId))], knownRunIds: ["r1"] });
});

test("a download that breaks off goes on where it stopped", async () => {
	const big = vecOf("f32", BIG, "");
	const fake = await coordinator(withRun);
	const digest = fake.addBlob(new Float32Array(BIG).fill(2));
	const ada = await client(fake, await folder());
	let broken = false;
	fake.onGetChunk = (chunk, _digest, at) => {
		if (broken || at < 2 * CHUNK) return chunk;
		broken = true;
		throw new RondoError("UNAVAILABLE", "shutting down");
	};
	fake.offer("ada", "r1", { model: { ...big, sha256: digest } });
	await next(ada, "receipt");
	expect(fake.downloads.map(({ offset }) => Number(offset))).toEqual([0, 2 * CHUNK]);
	expect((fake.reports[0]!.report.header as { sum: number }).sum).toBe(2 * BIG);
});

test("a damaged download is refused, and so is one that is not the blob it is called", async () => {
	const fake = await coordinator(withRun);
	const ada = await client(fake, await folder());
	fake.onGetChunk = (chunk) => Uint8Array.from(chunk, (byte, i) => (i === 5 ? byte ^ 1 : byte));
	for (const [slot, spoil] of [
		() => {},
		() => fake.blobs.set(model.sha256, new Uint8Array(12)),
		() => fake.blobs.set(model.sha256, new Uint8Array(13)),
	].entries()) {
		spoil();
		const failure = later(ada, "error");
		const decline = fake.next("decline");
		fake.offer("ada", "r1", { model }, { slot });
		expect((await failure).code).toBe("DIGEST_MISMATCH");
		expect((await decline)[0].reason).toMatch(/^DIGEST_MISMATCH: /);
	}
	expect(fake.reports).toEqual([]);
});

test("a file damaged on disk is fetched again", async () => {
	const fake = await coordinator(withRun);
	const stateDir = await folder();
	const ada = await client(fake, stateDir);
	fake.offer("ada", "r1", { model });
	await next(ada, "receipt");
	await writeFile(join(stateDir, "blobs", model.sha256), new Uint8Array(12));
	fake.offer("ada", "r1", { model }, { slot: 1 });
	await next(ada, "receipt");
	expect(fake.downloads).toHaveLength(2);
	expect((fake.reports[1]!.report.header as { sum: number }).sum).toBe(-1);
});

test("a finished report survives the end of the process and goes out once", async () => {
	const fake = await coordinator(withRun);
	const stateDir = await folder();
	const first = await client(fake, stateDir);
	fake.onSubmit = () => undefined;
	const submitted = fake.next("submit");
	const taskId = fake.offer("ada", "r1", { model, lane: BIG }, bigLane(BIG));
	await submitted;
	await first.close();
	expect(await readdir(join(stateDir, "outbox"))).toEqual([taskId]);

	fake.onSubmit = ({ digest }) => ({ code: ReceiptCode.DUPLICATE, acceptedDigest: digestBytes(digest) });
	const again = fake.next("submit");
	const second = await connect(options(fake, stateDir));
	onTestFinished(() => second.close());
	const receipt = next(second, "receipt");
	await again;
	expect((await receipt).code).toBe("DUPLICATE");
	expect(fake.reports).toHaveLength(2);
	expect(fake.reports[1]).toEqual(fake.reports[0]);
	expect(await readdir(join(stateDir, "outbox"))).toEqual([]);
	await second.close();
	// Accepted, but not known to be applied: the coordinator is asked.
	await client(fake, stateDir);
	expect(fake.hellos.at(-1)!.unsettledTaskIds.map((id) => Buffer.from(id).toString("hex"))).toEqual([taskId]);
	expect(fake.reports).toHaveLength(2);
});

test("RETRY keeps the report and sends it again; every final receipt ends it", async () => {
	const fake = await coordinator(withRun);
	const stateDir = await folder();
	const ada = await client(fake, stateDir);
	let tries = 0;
	fake.onSubmit = () => (++tries < 3 ? { code: ReceiptCode.RETRY, errorCode: "DISK_FULL" } : { code: ReceiptCode.STALE, round: 9 });
	const receipts: string[] = [];
	ada.on("receipt", ({ code, errorCode, round }) => receipts.push(`${code} ${errorCode} ${round}`));
	fake.offer("ada", "r1", { model });
	await next(ada, "traffic");
	expect(receipts).toEqual(["RETRY DISK_FULL 0", "RETRY DISK_FULL 0", "STALE  9"]);
	for (const [slot, code] of [ReceiptCode.CONFLICT, ReceiptCode.NOT_SELECTED, ReceiptCode.RUN_OVER, ReceiptCode.REJECTED].entries()) {
		fake.onSubmit = () => ({ code, acceptedDigest: new Uint8Array(code === ReceiptCode.CONFLICT ? 32 : 0) });
		fake.offer("ada", "r1", { model }, { slot: slot + 1 });
		expect((await next(ada, "receipt")).code).toBe(ReceiptCode[code]);
		expect(await readdir(join(stateDir, "outbox"))).toEqual([]);
	}
	expect(await readdir(join(stateDir, "carry", "r1.run"))).toEqual([]);
});

test("offers of a task that runs or waits in the outbox are not a second task", async () => {
	const fake = await coordinator(withRun);
	const ada = await client(fake, await folder());
	let offers = 0;
	ada.on("offer", () => offers++);
	const progress = next(ada, "progress");
	const hanging = fake.offer("ada", "r1", { model, hang: true });
	await progress;
	fake.offer("ada", "r1", { model, hang: true });
	fake.onSubmit = () => undefined;
	const cancelled = next(ada, "cancelled");
	fake.cancel("ada", hanging, "the round is over");
	expect(await cancelled).toEqual({ taskId: hanging, reason: "the round is over" });

	const submitted = fake.next("submit");
	fake.offer("ada", "r1", { model }, { slot: 1 });
	await submitted;
	const last = fake.next("submit");
	fake.offer("ada", "r1", { model }, { slot: 1 });
	fake.offer("ada", "r1", { model }, { slot: 2 });
	await last;
	expect(offers).toBe(3);
	expect(fake.reports.map(({ taskId }) => taskId)).toHaveLength(2);
});

test("a task ends with its lease; one whose trainer never yields ends with its thread", async () => {
	const fake = await coordinator(withRun);
	const ada = await client(fake, await folder());
	fake.offer("ada", "r1", { model, hang: true }, { leaseMs: 20n });
	expect((await next(ada, "cancelled")).reason).toBe("the lease ran out");
	fake.offer("ada", "r1", { model, block: true }, { slot: 1, leaseMs: 20n });
	await next(ada, "cancelled");
	fake.offer("ada", "r1", { model }, { slot: 2 });
	expect((await next(ada, "receipt")).code).toBe("ACCEPTED");
});

test("with a full outbox offers are declined", async () => {
	const fake = await coordinator(withRun);
	const ada = await client(fake, await folder(), { outboxLimitBytes: 10 });
	fake.onSubmit = () => undefined;
	const submitted = fake.next("submit");
	fake.offer("ada", "r1", { model });
	await submitted;
	const failure = later(ada, "error");
	const decline = fake.next("decline");
	fake.offer("ada", "r1", { model }, { slot: 1 });
	expect((await failure).code).toBe("OUTBOX_FULL");
	expect((await decline)[0].reason).toMatch(/^OUTBOX_FULL: 1 reports/);
});

test.each<[string, string, (fake: FakeCoordinator) => void, string]>([
	["a revoked identity", "TOKEN_REVOKED", (fake) => fake.credentials.clear(), "the identity was revoked"],
	["a coordinator that is too old", "PROTOCOL_TOO_OLD", (fake) => (fake.protocolVersion = 0), "update the coordinator"],
])("%s ends the client with %s", async (_what, code, spoil, text) => {
	const fake = await coordinator(withRun);
	const stateDir = await folder();
	await (await client(fake, stateDir)).close();
	spoil(fake);
	const ada = await connect(options(fake, stateDir));
	const failure = later(ada, "error");
	expect((await failure).code).toBe(code);
	await expect(ada.closed).rejects.toMatchObject({ code, message: expect.stringContaining(text) });
	await ada.close();
});

test("the newer connection of an identity wins", async () => {
	const fake = await coordinator(withRun);
	const stateDir = await folder();
	const ada = await client(fake, stateDir);
	const copy = await folder();
	await writeFile(join(copy, "identity.json"), await readFile(join(stateDir, "identity.json")));
	await client(fake, copy);
	await expect(ada.closed).rejects.toMatchObject({ code: "SUPERSEDED" });
});

test("a coordinator with a lower epoch is refused until a current one answers", async () => {
	const fake = await coordinator((f) => {
		f.epoch = 5;
	});
	const ada = await client(fake, await folder());
	const disconnected = next(ada, "disconnected");
	fake.stop();
	await disconnected;
	fake.epoch = 4;
	const refused = new Promise<RondoError>((resolve) => ada.on("disconnected", ({ error }) => error.code === "FENCED" && resolve(error)));
	await fake.start();
	expect((await refused).message).toContain("epoch 4 is older than 5");
	const connected = next(ada, "connected");
	fake.epoch = 6;
	expect((await connected).epoch).toBe(6);
});

test("a silent coordinator counts as gone after three heartbeats", async () => {
	const fake = await coordinator((f) => {
		f.heartbeatMs = 10;
	});
	const ada = await client(fake, await folder());
	const disconnected = next(ada, "disconnected");
	for (const stream of fake.streams.values()) stream.removeAllListeners("data");
	expect((await disconnected).error.message).toContain("3 heartbeats");
	await next(ada, "connected");
});

test("over TLS, to those whom the client trusts", async () => {
	const [cert, key] = await Promise.all([readFile(fixture("tls/cert.pem")), readFile(fixture("tls/key.pem"))]);
	const fake = await coordinator((f) => {
		f.credentialsOfServer = ServerCredentials.createSsl(null, [{ cert_chain: cert, private_key: key }]);
	});
	const ada = await client(fake, await folder(), { tls: { ca: cert.toString() } });
	expect(ada.clientId).toBe("ada");
	// Whom it does not trust gets no token.
	const abort = new AbortController();
	const log: ClientOptions["log"] = (_level, message) => message.startsWith("enrolment") && abort.abort();
	await expect(connect(options(fake, await folder(), { tls: {}, log, signal: abort.signal }))).rejects.toMatchObject({ code: "CANCELLED" });
	expect(fake.enrolments).toHaveLength(1);
});

test("messages that break the protocol are dropped and told", async () => {
	const fake = await coordinator(withRun);
	const ada = await client(fake, await folder());
	const failure = later(ada, "error");
	fake.streams.get("ada")!.write({ message: { $case: "cancel", cancel: { taskId: new Uint8Array(3), reason: "" } } });
	expect((await failure).message).toBe("cancel.task_id must be exactly 32 bytes, got 3");
	fake.offer("ada", "r1", { model });
	expect((await next(ada, "receipt")).code).toBe("ACCEPTED");
});

test("an abort closes the client, during enrolment too", async () => {
	const fake = await coordinator();
	const abort = new AbortController();
	const ada = await client(fake, await folder(), { signal: abort.signal });
	abort.abort();
	await ada.closed;
	fake.stop();
	const early = new AbortController();
	const enrolling = connect(
		options(fake, await folder(), { signal: early.signal, log: (_level, message) => message.startsWith("enrolment") && early.abort() }),
	);
	await expect(enrolling).rejects.toMatchObject({ code: "CANCELLED" });
});

test("enrolment: a spent token and a missing one are told apart; the identity is private to its owner", async () => {
	const fake = await coordinator();
	const stateDir = await folder();
	await expect(connect(options(fake, stateDir, { enrolmentToken: "spent" }))).rejects.toMatchObject({ code: "TOKEN_EXPIRED" });
	const { enrolmentToken: _token, ...withoutToken } = options(fake, stateDir);
	await expect(connect(withoutToken)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
	const nonce = JSON.parse(await readFile(join(stateDir, "identity.json"), "utf8")).installationNonce;
	await client(fake, stateDir);
	expect(fake.enrolments.map((request) => Buffer.from(request.installationNonce).toString("hex"))).toEqual([nonce, nonce]);
	expect((await stat(join(stateDir, "identity.json"))).mode & 0o777).toBe(0o600);
	await writeFile(join(await folder(), "x"), "");
	const damaged = await folder();
	await writeFile(join(damaged, "identity.json"), '{"installationNonce":"zz"}');
	await expect(connect(options(fake, damaged))).rejects.toMatchObject({
		code: "INVALID_ARGUMENT",
		message: expect.stringContaining('installationNonce is "zz"'),
	});
});

test.each<[string, Partial<ClientOptions>]>([
	["address", { address: "coordinator" }],
	["address", { address: "host:99999" }],
	["workload", { workload: "./workload.js" }],
	["name", { name: "a b" }],
	["deviceKey", { deviceKey: new Uint8Array(31) }],
	["outboxLimitBytes", { outboxLimitBytes: 0 }],
	["reconnect", { reconnect: { minMs: 10, maxMs: 5 } }],
])("options: %s is checked", async (option, wrong) => {
	const fake = await coordinator();
	await expect(connect(options(fake, await folder(), wrong))).rejects.toMatchObject({
		code: "INVALID_ARGUMENT",
		message: expect.stringMatching(new RegExp(`^${option} must be`)),
	});
});

function child(what: string, settings: ClientOptions): ChildProcess {
	const { workload, strategies, ...rest } = settings;
	const json = JSON.stringify({ ...rest, workload: String(workload), strategies: strategies!.map(String) });
	const process1 = spawn(process.execPath, [fileURLToPath(fixture("child.js")), json, what], { stdio: ["ignore", "pipe", "inherit"] });
	onTestFinished(() => {
		process1.kill("SIGKILL");
	});
	return process1;
}

test("after close() the process ends by itself", async () => {
	const fake = await coordinator(withRun);
	const greeting = fake.next("hello");
	const process1 = child("train", options(fake, await folder()));
	await greeting;
	fake.offer("ada", "r1", { model });
	expect(await once(process1, "exit")).toEqual([0, null]);
	expect(fake.reports).toHaveLength(1);
});

test("one client a state directory; the lock of a killed one is taken over", async () => {
	const fake = await coordinator(withRun);
	const stateDir = await folder();
	const process1 = child("stay", options(fake, stateDir));
	await once(process1.stdout!, "data");
	await expect(connect(options(fake, stateDir))).rejects.toMatchObject({ code: "FOLDER_LOCKED" });
	process1.kill("SIGKILL");
	await once(process1, "exit");
	await client(fake, stateDir);
});
