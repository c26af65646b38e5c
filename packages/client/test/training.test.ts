import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { builtInCodecs, bytesOf, contentDigest, digestOf, encodePlain, vecOf } from "@rondo/algorithms";
import { randomFrom } from "@rondo/kernels";
import { digestBytes, LIMITS, type Offer, ReceiptCode, TaskKind } from "@rondo/protocol";
import { expect, test } from "vitest";
import type { FakeCoordinator } from "./fake-coordinator.js";
import { client, coordinator, fixture, folder, next } from "./setup.js";

const weights = Float32Array.of(1, 2, -4);
const model = vecOf("f32", 3, contentDigest(bytesOf(weights)));

const withRun = (fake: FakeCoordinator): void => {
	fake.addRun({ runId: "r1", strategy: "probe", config: null, weights });
};

const lane = (length: number, absMax = 1): Offer["lanes"][number] => ({
	name: "delta",
	length: BigInt(length),
	absMax,
	combine: "mean",
	codec: encodePlain(["f32"]),
});

test("enrols once, trains, reports, hears the receipt and the settlement", async () => {
	const fake = await coordinator(withRun);
	const stateDir = await folder();
	const ada = await client(fake, stateDir);
	expect(ada.clientId).toBe("ada");
	expect(fake.enrolments).toHaveLength(1);
	expect(fake.hellos[0]).toMatchObject({
		protocolVersion: 1,
		session: 1n,
		epochSeen: 0n,
		codecs: builtInCodecs.map(({ name }) => name),
		randomness: ["rondo-random/1"],
	});
	expect(fake.hellos[0]!.strategies.map(({ name }) => name)).toEqual(expect.arrayContaining(["fedavg", "fedkseed", "fedprox", "probe"]));

	const receipt = next(ada, "receipt");
	const traffic = next(ada, "traffic");
	const progress = next(ada, "progress");
	const offered = next(ada, "offer");
	const trainer = next(ada, "trainer");
	const taskId = fake.offer(
		"ada",
		"r1",
		{ model, lane: 3 },
		{ lanes: [lane(3)], round: 4, logHead: { commit: 3n, hash: new Uint8Array(32) } },
	);
	expect(await offered).toEqual({
		taskId,
		runId: "r1",
		kind: "train",
		strategy: "probe",
		round: 4,
		attempt: 1,
		commit: 3,
		leaseMs: 600_000,
		maxExamples: 1000,
	});
	expect(await receipt).toMatchObject({ taskId, code: "ACCEPTED", acceptedDigest: fake.reports[0]!.digest });
	expect(await progress).toEqual({ taskId, done: 1, total: 1 });
	expect(await trainer).toEqual({ runId: "r1", description: "zero" });

	const { report } = fake.reports[0]!;
	expect(Object.keys(report).sort()).toEqual(["header", "lanes", "metrics", "numExamples"]);
	expect(report).toMatchObject({
		numExamples: 12,
		metrics: { loss: 0.25 },
		lanes: { delta: new Uint8Array(bytesOf(new Float32Array(3).fill(0.5))) },
	});
	expect(report.header).toMatchObject({ sum: -1, seen: 1, carry: null });
	// What the header refers to came before it.
	expect(fake.blobs.get(contentDigest(bytesOf(Uint16Array.of(1, 2, 4))))).toHaveLength(6);

	const { bytesUp, bytesDown } = await traffic;
	expect(bytesUp).toBeGreaterThan(encodePlain(report).length);
	expect(bytesDown).toBeGreaterThan(12);
	expect(bytesUp + bytesDown).toBeLessThan(1500);
	expect(await readdir(join(stateDir, "outbox"))).toEqual([]);

	const settled = next(ada, "settled");
	fake.settle("ada", taskId, "APPLIED", 4);
	expect(await settled).toEqual({ taskId, outcome: "applied", commit: 4 });
	await ada.close();

	// Second start: the identity is there, no token is spent, the session goes up.
	await client(fake, stateDir);
	expect(fake.enrolments).toHaveLength(1);
	expect(fake.hellos[1]).toMatchObject({ session: 2n, epochSeen: 1n, unsettledTaskIds: [] });
});

test("a built-in strategy trains the ten-line workload", async () => {
	const fake = await coordinator((f) =>
		f.addRun({ runId: "r1", strategy: "fedavg", config: { learningRate: 0.5, batchSize: 4, localEpochs: 1 }, weights }),
	);
	const ada = await client(fake, await folder());
	const submitted = fake.next("submit");
	fake.offer("ada", "r1", { model }, { lanes: [lane(3, 16)] });
	const [{ report }] = await submitted;
	// Three steps of w -= w/2 leave an eighth of the weights.
	const delta = new Float32Array(bytesOf((report.lanes as { delta: Uint8Array }).delta).slice().buffer);
	expect([...delta]).toEqual([...weights].map((w) => -w * (7 / 8)));
	expect(report.numExamples).toBe(12);
	await next(ada, "receipt");
});

test("a workload gets the blobs that the manifest lists, and no other", async () => {
	let frozen = "";
	let odd = "";
	const fake = await coordinator((f) => {
		frozen = f.addBlob(Uint8Array.of(7, 8, 9));
		odd = f.addBlob(Uint8Array.of(1));
		const assets = [{ digest: frozen, bytes: 3 }, { digest: "../identity.json", bytes: 3 }, { digest: odd, bytes: -1 }, null];
		const asks = [frozen, "../identity.json", model.sha256, odd];
		f.addRun({ runId: "r1", strategy: "probe", config: null, weights, manifest: { assets, asks } });
	});
	const stateDir = await folder();
	const ada = await client(fake, stateDir, { workload: fixture("asset-workload.js") });
	const trainer = next(ada, "trainer");
	fake.offer("ada", "r1", { model, lane: 3 }, { lanes: [lane(3)] });
	const contents = JSON.parse((await trainer).description) as unknown[];
	expect(contents).toEqual([
		[7, 8, 9],
		["NOT_FOUND", expect.stringContaining("identity.json")],
		["NOT_FOUND", expect.stringContaining(model.sha256)],
		["INVALID_ARGUMENT", expect.stringContaining("non-negative integer, got -1")],
	]);
	expect(await readdir(stateDir)).toContain("identity.json");
	expect(await readdir(join(stateDir, "blobs"))).toContain(frozen);
});

test("a large lane travels as a blob, uploaded before the report", async () => {
	const fake = await coordinator(withRun);
	const ada = await client(fake, await folder());
	const receipt = next(ada, "receipt");
	let known = -1;
	fake.onSubmit = ({ digest }) => {
		known = fake.blobs.size;
		return { code: ReceiptCode.ACCEPTED, acceptedDigest: digestBytes(digest) };
	};
	const length = LIMITS.inlineLaneBytes / 4 + 1;
	fake.offer("ada", "r1", { model, lane: length }, { lanes: [lane(length)] });
	await receipt;
	const digest = contentDigest(bytesOf(new Float32Array(length).fill(0.5)));
	expect(fake.reports[0]!.report.lanes).toEqual({ delta: { sha256: digest, dtype: "u8", length: 4 * length } });
	expect(fake.blobs.get(digest)).toHaveLength(4 * length);
	expect(known).toBe(3);
});

test("small blobs that travel with the offer are not downloaded", async () => {
	const fake = await coordinator(withRun);
	const ada = await client(fake, await folder());
	const receipt = next(ada, "receipt");
	fake.offer("ada", "r1", { model }, { blobs: [{ digest: digestBytes(model.sha256), content: bytesOf(weights) }] });
	expect((await receipt).code).toBe("ACCEPTED");
	expect(fake.downloads).toEqual([]);

	const decline = fake.next("decline");
	const failure = new Promise((resolve) => ada.once("error", resolve));
	fake.offer("ada", "r1", { model }, { slot: 1, blobs: [{ digest: digestBytes(model.sha256), content: Uint8Array.of(1) }] });
	expect(await failure).toMatchObject({ code: "DIGEST_MISMATCH" });
	expect((await decline)[0].reason).toContain("DIGEST_MISMATCH");
});

test("evaluates without a header and without lanes", async () => {
	const fake = await coordinator(withRun);
	const ada = await client(fake, await folder());
	fake.offer("ada", "r1", { model }, { kind: TaskKind.EVALUATE });
	await next(ada, "receipt");
	expect(fake.reports[0]!.report).toEqual({ header: null, lanes: {}, numExamples: 12, metrics: { loss: 10.5, examples: 12 } });
});

test("the device's secret is keyed by the task: equal for a repeated one, unlike for another, unlike on another device", async () => {
	const secrets: unknown[] = [];
	const deviceKey = new Uint8Array(32).fill(3);
	for (const slot of [0, 0, 1]) {
		const fake = await coordinator(withRun);
		const ada = await client(fake, await folder(), { deviceKey });
		const taskId = fake.offer("ada", "r1", { model }, { slot });
		await next(ada, "receipt");
		const { secret } = fake.reports[0]!.report.header as { secret: Uint32Array };
		expect(secret).toEqual(randomFrom(deviceKey).at("task", taskId).words(0, new Uint32Array(2)));
		secrets.push(secret);
		await ada.close();
	}
	expect(secrets[0]).toEqual(secrets[1]);
	expect(secrets[0]).not.toEqual(secrets[2]);
	const fake = await coordinator(withRun);
	const other = await client(fake, await folder());
	fake.offer("ada", "r1", { model });
	await next(other, "receipt");
	expect((fake.reports[0]!.report.header as { secret: Uint32Array }).secret).not.toEqual(secrets[0]);
});

test("device state follows what was applied, and survives a restart", async () => {
	const fake = await coordinator(withRun);
	const stateDir = await folder();
	let ada = await client(fake, stateDir);
	const train = async (round: number, basis?: string): Promise<{ taskId: string; carry: unknown; seen: unknown }> => {
		const receipt = next(ada, "receipt");
		const taskId = fake.offer("ada", "r1", { model }, { round, ...(basis === undefined ? {} : { carryBasis: digestBytes(basis) }) });
		await receipt;
		const { carry, seen } = fake.reports.at(-1)!.report.header as { carry: unknown; seen: unknown };
		return { taskId, carry, seen };
	};
	const settle = async (taskId: string, outcome: "APPLIED" | "DISCARDED"): Promise<void> => {
		const settled = next(ada, "settled");
		fake.settle("ada", taskId, outcome, 1);
		await settled;
	};
	const first = await train(1);
	expect(first).toMatchObject({ carry: null, seen: 1 });
	await settle(first.taskId, "APPLIED");
	await ada.close();
	ada = await client(fake, stateDir);
	const second = await train(2, first.taskId);
	expect(second).toMatchObject({ carry: { round: 1 }, seen: 2 });
	await settle(second.taskId, "DISCARDED");
	const third = await train(3, first.taskId);
	expect(third.carry).toEqual({ round: 1 });
	await settle(third.taskId, "APPLIED");
	// The basis of an older commit is gone: a loss, which strategies expect.
	expect((await train(4, first.taskId)).carry).toBeNull();
	expect((await train(5, third.taskId)).carry).toEqual({ round: 3 });
});

test("a task that waits keeps the device state that it starts from, whatever is applied meanwhile", async () => {
	const fake = await coordinator(withRun);
	let held = 0;
	let open: () => void = () => undefined;
	const gate = new Promise<void>((resolve) => {
		open = resolve;
	});
	const ada = await client(fake, await folder(), {
		shouldTrain: async ({ round }) => {
			if (round === 3) held++;
			if (round === 3) await gate;
			return true;
		},
	});
	const offer = (round: number, basis?: string): string =>
		fake.offer("ada", "r1", { model }, { round, ...(basis === undefined ? {} : { carryBasis: digestBytes(basis) }) });
	const apply = async (taskId: string): Promise<void> => {
		const settled = next(ada, "settled");
		fake.settle("ada", taskId, "APPLIED", 1);
		await settled;
	};
	const done = async (task: () => string): Promise<string> => {
		const receipt = next(ada, "receipt");
		const taskId = task();
		await receipt;
		return taskId;
	};
	const first = await done(() => offer(1));
	await apply(first);
	const second = await done(() => offer(2, first));
	const offered = next(ada, "offer");
	const third = offer(3, first);
	await offered;
	await apply(second);
	expect(held).toBe(1);
	expect(
		await done(() => {
			open();
			return third;
		}),
	).toBe(third);
	expect(fake.reports.at(-1)!.report.header).toMatchObject({ carry: { round: 1 } });
});

test("a strategy that throws declines the task and says why", async () => {
	const fake = await coordinator(withRun);
	const ada = await client(fake, await folder());
	const failure = new Promise((resolve) => ada.once("error", resolve));
	const decline = fake.next("decline");
	const taskId = fake.offer("ada", "r1", { model, fail: "no data today" });
	expect(await failure).toMatchObject({ code: "TRAINER_FAILED", message: "no data today" });
	expect(await decline).toEqual([{ clientId: "ada", taskId, reason: "TRAINER_FAILED: no data today" }]);
	expect((await next(ada, "receipt")).code).toBe("DECLINED");
	// The next task goes its way.
	fake.offer("ada", "r1", { model }, { slot: 1 });
	expect((await next(ada, "receipt")).code).toBe("ACCEPTED");
});

test("unknown strategies, other versions and the application's no are declined with a reason", async () => {
	const fake = await coordinator(withRun);
	fake.addRun({ runId: "r2", strategy: "unheard-of", config: null, weights });
	fake.addRun({ runId: "r3", strategy: "probe", config: null, weights });
	fake.runs.get("r3")!.strategy!.version = 9;
	let answer: boolean | { decline: string } = false;
	const ada = await client(fake, await folder(), { shouldTrain: ({ runId }) => runId === "r9" || answer });
	const reasons: string[] = [];
	for (const [runId, slot] of [
		["r1", 0],
		["r1", 1],
		["r2", 2],
		["r3", 3],
	] as const) {
		const decline = fake.next("decline");
		fake.offer("ada", runId, { model }, { slot });
		reasons.push((await decline)[0].reason);
		answer = { decline: `battery low ${"ü".repeat(600)}` };
	}
	expect(reasons[0]).toBe("declined by the application");
	expect(reasons[1]).toMatch(/^battery low ü+$/);
	expect(Buffer.byteLength(reasons[1]!)).toBeLessThanOrEqual(LIMITS.reasonBytes);
	expect(reasons[2]).toBe("UNKNOWN_STRATEGY: this client does not have unheard-of");
	expect(reasons[3]).toBe("STRATEGY_VERSION: this client has probe version 1, not 9");
	expect(ada.listenerCount("error")).toBe(0);
});

test("a work that does not fit its task is not sent", async () => {
	const fake = await coordinator(withRun);
	const ada = await client(fake, await folder());
	ada.on("error", () => {});
	for (const [task, lanes, text] of [
		[{ model, lane: 3 }, [], 'lane "delta" was not asked for'],
		[{ model }, [lane(3)], 'lane "delta" must have 3 elements, got none'],
		[{ model, lane: 2 }, [lane(3)], 'lane "delta" must have 3 elements, got 2'],
		[{ model, lane: 3 }, [{ ...lane(3), codec: encodePlain(["zip"]) }], "UNKNOWN_CODEC"],
	] as const) {
		const decline = fake.next("decline");
		fake.offer("ada", "r1", task, { lanes: [...lanes], slot: Math.floor(text.length * 7) });
		expect((await decline)[0].reason).toContain(text);
	}
	expect(fake.reports).toEqual([]);
});

test("model() gives the verified weights, and refuses others", async () => {
	const fake = await coordinator(withRun);
	const ada = await client(fake, await folder());
	fake.setCurrent("r1", { model }, model.sha256, 5);
	expect(await ada.model("r1")).toEqual({
		weights,
		commit: 5,
		layout: { length: 3, tensors: [{ name: "w", shape: [3], from: 0, to: 3 }] },
	});
	fake.setCurrent("r1", { model }, digestOf("something else"), 6);
	await expect(ada.model("r1")).rejects.toMatchObject({ code: "MODEL_MISMATCH", details: { commit: 6, digest: model.sha256 } });
	await expect(ada.model("r7")).rejects.toMatchObject({ code: "NOT_FOUND" });
});

test("two clients in one process train side by side", async () => {
	const fake = await coordinator(withRun);
	const [ada, bob] = await Promise.all([
		client(fake, await folder()),
		client(fake, await folder(), { name: "bob", workloadOptions: { examples: 7 } }),
	]);
	fake.offer("ada", "r1", { model });
	fake.offer("bob", "r1", { model });
	await Promise.all([next(ada, "receipt"), next(bob, "receipt")]);
	expect(fake.reports.map(({ clientId, report }) => [clientId, report.numExamples]).sort()).toEqual([
		["ada", 12],
		["bob", 7],
	]);
});

test("a workload that cannot be used fails at once", async () => {
	const fake = await coordinator();
	await expect(client(fake, await folder(), { workload: fixture("nowhere.js") })).rejects.toMatchObject({
		code: "TRAINER_FAILED",
		message: expect.stringContaining("nowhere.js"),
	});
	await expect(client(fake, await folder(), { workload: fixture("strategies.js") })).rejects.toMatchObject({
		code: "TRAINER_FAILED",
		message: expect.stringContaining("createTrainer"),
	});
	await expect(client(fake, await folder(), { strategies: [fixture("workload.js")] })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});
