import { encodePlain } from "@rondo/algorithms";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Store } from "../src/store/store.js";
import { by, commitOf, lease, leaseAll, makeRun, outcomes, planned, PLAN, reportOf, SETTINGS, sha, TRAIN_1, taskOf, weightsOf } from "./store-fixtures.js";

/** A database under test: two coordinators on it, the first of which has claimed the epoch. */
export interface OpenedStore {
	readonly store: Store;
	/** Absent where one process owns the database. */
	readonly other?: Store;
	/** Runs SQL past the store. Absent where nothing can. */
	readonly sql?: (statement: string) => Promise<unknown>;
	close(): Promise<void>;
}

/** What every implementation of the store must do. */
export function storeContract(name: string, open: () => Promise<OpenedStore>): void {
	describe(`store contract on ${name}`, () => {
		let opened: OpenedStore;
		let store: Store;
		beforeAll(async () => {
			opened = await open();
			store = opened.store;
		});
		afterAll(() => opened.close());

		identities(() => store);
		models(() => store);
		rounds(() => store);
		reads(() => store);

		test("nobody changes the audit record", async () => {
			if (opened.sql === undefined) return;
			await store.appendAudit(by("test"));
			for (const statement of [`UPDATE "AuditRecord" SET actor = 'me'`, `DELETE FROM "AuditRecord"`, `TRUNCATE "AuditRecord"`]) {
				await expect(opened.sql(statement), statement).rejects.toThrow(/append-only/);
			}
		});

		test("a second coordinator fences the first off", async () => {
			if (opened.other === undefined) return;
			await makeRun(store, "fenced", 1);
			await expect(opened.other.setPhase("fenced", "paused", null)).rejects.toMatchObject({ code: "FENCED" });
			const epoch = (await store.loadRun("fenced")).machine.epoch;
			expect(await opened.other.claimEpoch()).toBe(epoch + 1);
			await expect(store.setPhase("fenced", "paused", null)).rejects.toMatchObject({ code: "FENCED", details: { epoch, newest: epoch + 1 } });
			await expect(store.openRound("fenced", planned(TRAIN_1), 1, null)).rejects.toMatchObject({ code: "FENCED" });
			await expect(store.touchClient("fenced-0", 9)).rejects.toMatchObject({ code: "FENCED" });
			await expect(store.loadRun("fenced")).rejects.toMatchObject({ code: "FENCED" });
			await opened.other.setPhase("fenced", "stopped", "by the other one");
			// Readers may go on; and the first may take over again.
			expect(await store.getRun("fenced")).toMatchObject({ phase: "stopped" });
			expect(await store.claimEpoch()).toBe(epoch + 2);
		});
	});
}

function identities(store: () => Store): void {
	const token = (id: string, more: object = {}) =>
		store().createToken({ id, name: id, hash: sha(id), scope: "enrol", expiresAt: null, usesLeft: null, ...more }, by("token.create", id));
	const enrol = (tokenId: string, id: string) => store().enrol(sha(tokenId), { id, name: id, credentialHash: sha(`c ${id}`), installationNonce: "n" });

	test("a one-time token that is used twice at once enrols one client", async () => {
		await token("once", { usesLeft: 1 });
		const results = await outcomes([enrol("once", "racer-a"), enrol("once", "racer-b"), enrol("once", "racer-c")]);
		expect([...results].sort()).toEqual(["TOKEN_EXPIRED", "TOKEN_EXPIRED", "ok"]);
		expect(await store().findToken(sha("once"))).toMatchObject({ usesLeft: 0 });
	});

	test("tokens that are unknown, revoked, expired or of another scope do not enrol", async () => {
		await token("revoked");
		await store().revokeToken("revoked", by("token.revoke"));
		await token("expired", { expiresAt: new Date(1000) });
		await token("reader", { scope: "read" });
		await expect(enrol("no such token", "n1")).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
		await expect(enrol("revoked", "n2")).rejects.toMatchObject({ code: "TOKEN_REVOKED" });
		await expect(enrol("expired", "n3")).rejects.toMatchObject({ code: "TOKEN_EXPIRED" });
		await expect(enrol("reader", "n4")).rejects.toMatchObject({ code: "FORBIDDEN", details: { scope: "read" } });
		await expect(store().revokeToken("missing", by("token.revoke"))).rejects.toMatchObject({ code: "NOT_FOUND" });
	});

	test("a taken client id costs no use of the token, and the audit record tells only what happened", async () => {
		await token("twice", { usesLeft: 2, scope: "enrol:evaluator" });
		expect(await enrol("twice", "eva")).toMatchObject({ id: "eva", role: "evaluator", session: 0, revokedAt: null });
		await expect(enrol("twice", "eva")).rejects.toMatchObject({ code: "ALREADY_EXISTS", details: { id: "eva" } });
		expect(await store().findToken(sha("twice"))).toMatchObject({ usesLeft: 1 });
		const records = (await store().listAudit({ limit: 1000 })).items.filter((record) => record.actor === "token:twice");
		expect(records).toMatchObject([{ action: "client.enrol", subject: "client:eva", details: { name: "eva", role: "evaluator" } }]);
	});

	test("a lower session than the newest is refused", async () => {
		await token("sessions");
		await enrol("sessions", "phone");
		expect(await store().touchClient("phone", 5)).toBe(true);
		expect(await store().touchClient("phone", 4)).toBe(false);
		expect(await store().touchClient("phone", 5)).toBe(true);
		expect(await store().getClient("phone")).toMatchObject({ session: 5, lastSeenAt: expect.any(Date) });
		await expect(store().touchClient("nobody", 1)).rejects.toMatchObject({ code: "NOT_FOUND" });
	});

	test("revoked clients are known but not counted; pages go through all of them", async () => {
		await token("many");
		for (const id of ["m-0", "m-1", "m-2", "m-3", "m-4"]) await enrol("many", id);
		const before = await store().countTrainers();
		expect(await store().revokeClient("m-3", by("client.revoke"))).toMatchObject({ revokedAt: expect.any(Date) });
		expect(await store().countTrainers()).toBe(before - 1);
		expect(await store().findClientByCredential(sha("c m-3"))).toMatchObject({ id: "m-3", revokedAt: expect.any(Date) });
		const ids: string[] = [];
		for (let after: string | null = "m-"; after !== null; ) {
			const page = await store().listClients(ids.length === 0 ? { limit: 2 } : { after, limit: 2 });
			ids.push(...page.items.map(({ id }) => id));
			after = page.next;
		}
		expect(ids).toEqual([...new Set(ids)].sort());
		expect(ids).toContain("m-4");
		await expect(store().listClients({ limit: 0 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
		await expect(store().listAudit({ after: "x", limit: 1 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
	});
}

function models(store: () => Store): void {
	test("names of models and runs are unique", async () => {
		await makeRun(store(), "unique", 1);
		const model = await store().getModel("model-unique");
		expect(model).toMatchObject({ parameters: 4, layout: { length: 4 }, manifest: { kind: "mlp" } });
		const { createdAt: _createdAt, ...same } = model!;
		expect(await store().createModel(same, by("model.create"))).toEqual(model);
		await expect(store().createModel({ ...same, id: "another" }, by("model.create"))).rejects.toMatchObject({ code: "ALREADY_EXISTS" });
		const genesis = (await store().readLog("unique", 0, 1))[0]!;
		const { config, settings, publicSeed } = (await store().getRun("unique"))!;
		const run = { id: "other", name: "name of unique", modelId: "model-unique", strategy: "toy", strategyVersion: 3, config, settings, publicSeed, secretSeed: "", state: null, genesis };
		await expect(store().createRun(run, by("run.create"))).rejects.toMatchObject({ code: "ALREADY_EXISTS" });
		expect(await store().getRun("other")).toBeNull();
	});

	test("a run is found by id and name and listed while it lives", async () => {
		await makeRun(store(), "lives", 0);
		const run = await store().getRun("lives");
		expect(run).toEqual(await store().getRun("name of lives"));
		expect(run).toMatchObject({ phase: "running", config: { rate: 0.1, big: 2n ** 60n }, settings: SETTINGS, commit: 0, endedAt: null, result: null });
		expect(run).not.toHaveProperty("secretSeed");
		expect(await store().listLiveRuns()).toContain("lives");
		await store().setPhase("lives", "failed", "a reason\0 with a NUL");
		expect(await store().listLiveRuns()).not.toContain("lives");
		expect(await store().getRun("lives")).toMatchObject({ phase: "failed", reason: "a reason\ufffd with a NUL", endedAt: expect.any(Date) });
		const first = await store().listRuns({ limit: 1 });
		expect(first.items).toHaveLength(1);
		expect((await store().listRuns({ after: first.next!, limit: 1 })).items[0]!.id).not.toBe(first.items[0]!.id);
		await expect(store().loadRun("no such run")).rejects.toMatchObject({ code: "NOT_FOUND" });
		await expect(store().setPhase("no such run", "paused", null)).rejects.toMatchObject({ code: "NOT_FOUND" });
	});
}

function rounds(store: () => Store): void {
	test("a loaded run is what was written, at every step of a round", async () => {
		const clients = await makeRun(store(), "steps", 3);
		const machine = async () => (await store().loadRun("steps")).machine;
		await store().openRound("steps", planned(TRAIN_1), 3, null);
		await store().openRound("steps", planned(TRAIN_1), 3, null);
		expect((await machine()).open).toEqual([planned(TRAIN_1)]);
		await lease(store(), "steps", TRAIN_1, clients.slice(0, 2));
		await lease(store(), "steps", TRAIN_1, clients);
		const tasks = Object.fromEntries(clients.map((client, slot) => [taskOf("steps", TRAIN_1, client), { id: taskOf("steps", TRAIN_1, client), client, slot, phase: "leased" }]));
		expect((await machine()).open).toEqual([{ ...planned(TRAIN_1), phase: "collecting", tasks }]);

		const [a, b, c] = clients.map((client) => taskOf("steps", TRAIN_1, client)) as [string, string, string];
		expect(await store().accept("steps", TRAIN_1, reportOf(b, "report of b"))).toEqual({ kind: "accepted", sequence: 0 });
		await store().endTask("steps", c, "declined", "battery");
		await store().endTask("steps", c, "declined", "battery");
		await expect(store().endTask("steps", b, "rejected", "late")).rejects.toMatchObject({ code: "CONFLICT" });
		await store().saveBudgets("steps", TRAIN_1, 12.5, 34.25);
		const snapshot = await store().loadRun("steps");
		expect(snapshot.machine.open[0]).toMatchObject({ waitLeftMs: 12.5, leftMs: 34.25, tasks: { [a]: { phase: "leased" }, [b]: { phase: "accepted", digest: sha("report of b") }, [c]: { phase: "declined" } } });
		expect(snapshot).toMatchObject({
			secretSeed: sha("secret"),
			initial: weightsOf("steps"),
			state: { model: weightsOf("steps"), momentum: Float32Array.of(1, -2.5), step: 0 },
			rounds: [{ key: TRAIN_1, population: 3, payload: null }],
			reports: [{ task: b, client: clients[1], digest: sha("report of b"), content: reportOf(b, "report of b").content, numExamples: 7, sequence: 0 }],
		});

		await expect(store().freeze("steps", TRAIN_1, [a], sha("set"))).rejects.toMatchObject({ code: "CONFLICT" });
		await store().freeze("steps", TRAIN_1, [b], sha("set"));
		await store().freeze("steps", TRAIN_1, [b], sha("set"));
		expect(await store().accept("steps", TRAIN_1, reportOf(a, "too late"))).toEqual({ kind: "closed" });
		await expect(lease(store(), "steps", TRAIN_1, clients)).rejects.toMatchObject({ code: "CONFLICT" });

		const write = commitOf("steps", TRAIN_1, snapshot.row.logHead, [b], { state: { step: 1 }, members: [[clients[0]!, { seen: 1 }], [clients[1]!, { seen: 2 }]], scores: { [clients[1]!]: { score: 0.5 } } });
		await store().commit(write);
		await store().commit(write);
		const after = await store().loadRun("steps");
		expect(after).toMatchObject({ state: { step: 1 }, members: [[clients[0], { seen: 1 }], [clients[1], { seen: 2 }]], rounds: [], reports: [] });
		expect(after.row).toMatchObject({ commit: 1, rounds: 1, misses: 0, logHead: write.record.hash });
		expect(after.machine).toEqual({ run: "steps", incarnation: 1, epoch: after.machine.epoch, settings: SETTINGS, phase: "running", commit: 1, rounds: 1, misses: 0, evaluated: 0, open: [] });
		expect(await store().getTask(b)).toMatchObject({ outcome: "applied", settledCommit: 1, bytesUp: 100, numExamples: 7, key: TRAIN_1 });
		expect(await store().getTask(a)).toMatchObject({ outcome: null, phase: "leased", numExamples: null });
		expect(await store().getTask(c)).toMatchObject({ phase: "declined", reason: "battery" });

		// A second commit that forgets a member and one that does not follow.
		const second = { kind: "train", round: 2, attempt: 1 } as const;
		const [next] = await leaseAll(store(), "steps", second, [clients[0]!]);
		await store().accept("steps", second, reportOf(next!, "next"));
		await store().freeze("steps", second, [next!], sha("set 2"));
		await expect(store().commit(commitOf("steps", second, sha("not the head"), [next!]))).rejects.toMatchObject({ code: "CONFLICT" });
		await expect(store().commit(commitOf("steps", second, write.record.hash, [next!, b]))).rejects.toMatchObject({ code: "CONFLICT" });
		await store().commit(commitOf("steps", second, write.record.hash, [next!], { members: [[clients[0]!, null]], result: { items: ["x"] } }));
		expect(await store().loadRun("steps")).toMatchObject({ members: [[clients[1], { seen: 2 }]], row: { commit: 2, result: { items: ["x"] } }, state: { step: 1 } });
	});

	test("the same report again is a duplicate, another one for the task a conflict", async () => {
		const [client] = await makeRun(store(), "again", 1);
		const [task] = await leaseAll(store(), "again", TRAIN_1, [client!]);
		expect(await store().accept("again", TRAIN_1, reportOf(task!, "one"))).toEqual({ kind: "accepted", sequence: 0 });
		expect(await store().accept("again", TRAIN_1, reportOf(task!, "one"))).toEqual({ kind: "duplicate", digest: sha("one") });
		expect(await store().accept("again", TRAIN_1, reportOf(task!, "two"))).toEqual({ kind: "conflict", digest: sha("one") });
		expect(await store().accept("again", TRAIN_1, reportOf(sha("no such task"), "three"))).toEqual({ kind: "closed" });
		expect(await store().reportsOf("again", TRAIN_1)).toHaveLength(1);
		expect(await store().pastTask(task!)).toEqual({ client, acceptedDigest: sha("one") });
		expect(await store().pastTask(sha("no such task"))).toBeNull();
	});

	test("one of many identical reports at once is accepted", async () => {
		const [client] = await makeRun(store(), "twins", 1);
		const [task] = await leaseAll(store(), "twins", TRAIN_1, [client!]);
		const kinds = await Promise.all(Array.from({ length: 8 }, async (_, i) => (await store().accept("twins", TRAIN_1, reportOf(task!, `twin ${i % 2}`))).kind));
		expect(kinds.filter((kind) => kind === "accepted")).toHaveLength(1);
		expect(kinds.filter((kind) => kind === "duplicate")).toHaveLength(3);
		expect(kinds.filter((kind) => kind === "conflict")).toHaveLength(4);
	});

	test("reports that arrive together get consecutive places", async () => {
		const clients = await makeRun(store(), "crowd", 24);
		const tasks = await leaseAll(store(), "crowd", TRAIN_1, clients);
		const accepted = await Promise.all(tasks.map((task) => store().accept("crowd", TRAIN_1, reportOf(task, task))));
		expect(accepted.map((one) => (one.kind === "accepted" ? one.sequence : -1)).sort((a, b) => a - b)).toEqual(tasks.map((_task, i) => i));
		expect((await store().reportsOf("crowd", TRAIN_1)).map(({ sequence }) => sequence)).toEqual(tasks.map((_task, i) => i));
	});

	test("a report that races the freezing is in the set or hears that it is too late", async () => {
		const [a, b] = await makeRun(store(), "race", 2);
		for (let round = 1; round <= 10; round++) {
			const key = { kind: "train", round, attempt: 1 } as const;
			const [first, second] = await leaseAll(store(), "race", key, [a!, b!]);
			await store().accept("race", key, reportOf(first!, "first"));
			const [acceptance, frozen] = await Promise.allSettled([store().accept("race", key, reportOf(second!, "second")), store().freeze("race", key, [first!], sha("set"))]);
			const kind = acceptance.status === "fulfilled" ? acceptance.value.kind : "failed";
			expect([kind, frozen.status]).toEqual(kind === "accepted" ? ["accepted", "rejected"] : ["closed", "fulfilled"]);
			expect(await store().reportsOf("race", key)).toHaveLength(kind === "accepted" ? 2 : 1);
		}
	});

	test("an abandoned round discards what it had accepted; a skipped one logs nothing", async () => {
		const clients = await makeRun(store(), "misses", 2);
		const [task] = await leaseAll(store(), "misses", TRAIN_1, clients);
		await store().accept("misses", TRAIN_1, reportOf(task!, "in vain"));
		await store().abandon("misses", TRAIN_1, [task!], "1 of 2 reports", 1);
		await store().abandon("misses", TRAIN_1, [task!], "1 of 2 reports", 1);
		expect(await store().settlementsOf(clients[0]!, [task!, sha("other")])).toEqual([{ task, outcome: "discarded", commit: 0 }]);
		expect((await store().loadRun("misses")).machine).toMatchObject({ misses: 1, rounds: 0, open: [] });
		const retry = { ...TRAIN_1, attempt: 2 };
		const [late] = await leaseAll(store(), "misses", retry, clients);
		await store().accept("misses", retry, reportOf(late!, "in vain again"));
		const head = (await store().getRun("misses"))!.logHead;
		await store().commit(commitOf("misses", retry, head, [], { misses: 2 }));
		expect(await store().getRun("misses")).toMatchObject({ commit: 1, rounds: 1, misses: 2 });
		expect(await store().getTask(late!)).toMatchObject({ outcome: "discarded", settledCommit: 1 });
		expect(await store().lastApplied("misses", clients[0]!)).toBeNull();
		expect((await store().listRounds("misses", { limit: 10 })).items).toMatchObject([
			{ key: retry, phase: "committed", leased: 2, accepted: 1, bytesUp: 100, closedAt: expect.any(Date) },
			{ key: TRAIN_1, phase: "abandoned", reason: "1 of 2 reports", plan: PLAN },
		]);
	});

	test("an evaluation keeps its frozen task and closes without a commit", async () => {
		const clients = await makeRun(store(), "evaluated", 1);
		const key = { kind: "evaluate", round: 1, attempt: 1 } as const;
		const payload = encodePlain({ weights: weightsOf("frozen") });
		await store().openRound("evaluated", planned(key), 1, payload);
		await lease(store(), "evaluated", key, clients);
		expect((await store().loadRun("evaluated")).rounds).toEqual([{ key, population: 1, payload }]);
		expect(await store().reachableBlobs(1)).toContain(weightsOf("frozen").sha256);
		const task = taskOf("evaluated", key, clients[0]!);
		await store().accept("evaluated", key, reportOf(task, "accuracy"));
		await store().freeze("evaluated", key, [task], sha("set"));
		await store().closeEvaluation("evaluated", key, { accuracy: 0.75 }, [task]);
		await store().closeEvaluation("evaluated", key, { accuracy: 0.75 }, [task]);
		expect(await store().getRun("evaluated")).toMatchObject({ commit: 0, rounds: 0 });
		expect((await store().listRounds("evaluated", { limit: 10, kind: "evaluate" })).items).toMatchObject([{ phase: "committed", metrics: { accuracy: 0.75 } }]);
		expect((await store().listRounds("evaluated", { limit: 10, kind: "train" })).items).toEqual([]);
		// Device state follows training only.
		expect(await store().lastApplied("evaluated", clients[0]!)).toBeNull();
	});
}

function reads(store: () => Store): void {
	test("what clients and the console look up", async () => {
		const clients = await makeRun(store(), "looked-up", 2);
		const [a, b] = await leaseAll(store(), "looked-up", TRAIN_1, clients);
		expect((await store().openTasksOf(clients[0]!)).map(({ id }) => id)).toEqual([a]);
		await store().countBytes([
			{ task: a!, down: 10, up: 1, delivered: true },
			{ task: a!, down: 5, up: 0, delivered: false },
			{ task: b!, down: 7, up: 0, delivered: false },
			{ task: sha("unknown"), down: 7, up: 0, delivered: true },
		]);
		await store().countBytes([]);
		const delivered = (await store().getTask(a!))!;
		expect(delivered).toMatchObject({ bytesDown: 15, bytesUp: 1 });
		expect(Math.abs(delivered.deliveredAt!.getTime() - Date.now())).toBeLessThan(3_600_000);
		expect(await store().getTask(b!)).toMatchObject({ bytesDown: 7, deliveredAt: null });
		await store().accept("looked-up", TRAIN_1, reportOf(a!, "a"));
		expect(await store().openTasksOf(clients[0]!)).toEqual([]);
		expect(await store().getReport(a!)).toMatchObject({ client: clients[0], digest: sha("a") });
		expect(await store().getReport(b!)).toBeNull();
		await store().freeze("looked-up", TRAIN_1, [a!], sha("set"));
		const write = commitOf("looked-up", TRAIN_1, (await store().getRun("looked-up"))!.logHead, [a!], { state: { model: weightsOf("new") } });
		await store().commit(write);
		expect(await store().openTasksOf(clients[1]!)).toEqual([]);
		expect(await store().lastApplied("looked-up", clients[0]!)).toBe(a);
		expect(await store().settlementsOf(clients[0]!, [a!, b!])).toEqual([{ task: a, outcome: "applied", commit: 1 }]);
		expect((await store().readLog("looked-up", 0, 10)).map(({ commit }) => commit)).toEqual([0, 1]);
		expect(await store().readLog("looked-up", 1, 10)).toEqual([write.record]);
		expect(await store().readAccepted("looked-up", 1)).toEqual(write.record.accepted);
		expect(await store().readAccepted("looked-up", 9)).toEqual([]);
		expect((await store().listTasks("looked-up", TRAIN_1)).map(({ client, slot }) => [client, slot])).toEqual(clients.map((client, slot) => [client, slot]));
	});

	test("blobs of live state are reachable, those of old reports are not", async () => {
		const clients = await makeRun(store(), "reach", 1);
		let head = (await store().getRun("reach"))!.logHead;
		for (let round = 1; round <= 4; round++) {
			const key = { kind: "train", round, attempt: 1 } as const;
			const [task] = await leaseAll(store(), "reach", key, clients);
			await store().accept("reach", key, reportOf(task!, `reach ${round}`));
			if (round === 4) break;
			await store().freeze("reach", key, [task!], sha("set"));
			const write = commitOf("reach", key, head, [task!], { state: { model: weightsOf(`state ${round}`) }, members: [[clients[0]!, { own: weightsOf("member") }]] });
			await store().commit(write);
			head = write.record.hash;
		}
		const reachable = new Set(await store().reachableBlobs(2));
		const lane = (round: number) => sha(`lane reach ${round}`);
		expect([1, 2, 3, 4].map((round) => reachable.has(lane(round)))).toEqual([false, true, true, true]);
		expect([1, 2, 3].map((round) => reachable.has(sha(`published reach ${round}`)))).toEqual([false, true, true]);
		expect(["reach", "state 3", "member"].every((name) => reachable.has(weightsOf(name).sha256))).toBe(true);
		expect([1, 2].some((round) => reachable.has(weightsOf(`state ${round}`).sha256))).toBe(false);
	});

	test("the database answers", async () => {
		await store().ping();
	});
}
