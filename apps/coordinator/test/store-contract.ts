import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Store } from "../src/store/store.js";
import { asynchronousContract } from "./store-contract-asynchronous.js";
import { roundsContract } from "./store-contract-rounds.js";
import {
	by,
	commitOf,
	LAYOUT,
	leaseAll,
	makeRun,
	outcomes,
	planned,
	reportOf,
	SETTINGS,
	sha,
	TRAIN_1,
	weightsOf,
} from "./store-fixtures.js";

/** A database under test: one coordinator on it, which has claimed the epoch. */
export interface OpenedStore {
	readonly store: Store;
	close(): Promise<void>;
}

/** A database that others can reach too. */
export interface SharedStore extends OpenedStore {
	/** A second coordinator. */
	readonly other: Store;
	/** Runs SQL past the store. */
	readonly sql: (statement: string) => Promise<unknown>;
}

/** What every implementation of the store must do. */
export function storeContract(name: string, open: () => Promise<OpenedStore>): void {
	describe(`store contract on ${name}`, () => {
		let opened: OpenedStore;
		beforeAll(async () => {
			opened = await open();
		});
		afterAll(() => opened.close());
		const store = (): Store => opened.store;
		identities(store);
		models(store);
		roundsContract(store);
		asynchronousContract(store);
		reads(store);
	});
}

/** What must hold beyond that where several can reach one database. */
export function sharedStoreContract(name: string, open: () => Promise<SharedStore>): void {
	let opened: SharedStore;
	storeContract(name, async () => {
		opened = await open();
		return { store: opened.store, close: () => Promise.resolve() };
	});

	describe(`shared store contract on ${name}`, () => {
		afterAll(() => opened.close());

		test("nobody changes the audit record", async () => {
			await opened.store.appendAudit(by("test"));
			for (const statement of [`UPDATE "AuditRecord" SET actor = 'me'`, `DELETE FROM "AuditRecord"`, `TRUNCATE "AuditRecord"`]) {
				await expect(opened.sql(statement), statement).rejects.toThrow(/append-only/);
			}
		});

		test("a second coordinator fences the first off", async () => {
			const { store, other } = opened;
			await makeRun(store, "fenced", 1);
			await expect(other.setPhase("fenced", "paused", null)).rejects.toMatchObject({ code: "FENCED" });
			const epoch = (await store.loadRun("fenced")).machine.epoch;
			expect(await other.claimEpoch()).toBe(epoch + 1);
			await expect(store.setPhase("fenced", "paused", null)).rejects.toMatchObject({
				code: "FENCED",
				details: { epoch, newest: epoch + 1 },
			});
			await expect(store.openRound("fenced", planned(TRAIN_1), 1, null)).rejects.toMatchObject({ code: "FENCED" });
			await expect(store.touchClient("fenced-0", 9)).rejects.toMatchObject({ code: "FENCED" });
			await expect(store.loadRun("fenced")).rejects.toMatchObject({ code: "FENCED" });
			await other.setPhase("fenced", "stopped", "by the other one");
			// Readers may go on; and the first may take over again.
			expect(await store.getRun("fenced")).toMatchObject({ phase: "stopped" });
			expect(await store.claimEpoch()).toBe(epoch + 2);
		});
	});
}

function identities(store: () => Store): void {
	const token = (id: string, more: object = {}) =>
		store().createToken({ id, name: id, hash: sha(id), scope: "enrol", expiresAt: null, usesLeft: null, ...more }, by("token.create", id));
	const enrol = (tokenId: string, id: string) =>
		store().enrol(sha(tokenId), { id, name: id, credentialHash: sha(`c ${id}`), installationNonce: "n" });

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
		const run = {
			id: "other",
			name: "name of unique",
			modelId: "model-unique",
			strategy: "toy",
			strategyVersion: 3,
			config,
			settings,
			publicSeed,
			secretSeed: "",
			state: null,
			genesis,
		};
		await expect(store().createRun(run, by("run.create"))).rejects.toMatchObject({ code: "ALREADY_EXISTS" });
		expect(await store().getRun("other")).toBeNull();
	});

	test("a run is found by id and name and listed while it lives", async () => {
		await makeRun(store(), "lives", 0);
		const run = await store().getRun("lives");
		expect(run).toEqual(await store().getRun("name of lives"));
		expect(run).toMatchObject({
			phase: "running",
			config: { rate: 0.1, big: 2n ** 60n },
			settings: SETTINGS,
			commit: 0,
			endedAt: null,
			result: null,
		});
		expect(run).not.toHaveProperty("secretSeed");
		expect(await store().listLiveRuns()).toContain("lives");
		await store().setPhase("lives", "failed", "a reason\0 with a NUL");
		expect(await store().listLiveRuns()).not.toContain("lives");
		expect(await store().getRun("lives")).toMatchObject({
			phase: "failed",
			reason: "a reason\ufffd with a NUL",
			endedAt: expect.any(Date),
		});
		const first = await store().listRuns({ limit: 1 });
		expect(first.items).toHaveLength(1);
		expect((await store().listRuns({ after: first.next!, limit: 1 })).items[0]!.id).not.toBe(first.items[0]!.id);
		await expect(store().loadRun("no such run")).rejects.toMatchObject({ code: "NOT_FOUND" });
		await expect(store().setPhase("no such run", "paused", null)).rejects.toMatchObject({ code: "NOT_FOUND" });
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
		const write = commitOf("looked-up", TRAIN_1, (await store().getRun("looked-up"))!.logHead, [a!], {
			state: { model: weightsOf("new") },
		});
		await store().commit(write);
		expect(await store().openTasksOf(clients[1]!)).toEqual([]);
		expect(await store().lastApplied("looked-up", clients[0]!)).toBe(a);
		expect(await store().settlementsOf(clients[0]!, [a!, b!])).toEqual([{ task: a, outcome: "applied", commit: 1 }]);
		expect((await store().readLog("looked-up", 0, 10)).map(({ commit }) => commit)).toEqual([0, 1]);
		expect(await store().readLog("looked-up", 1, 10)).toEqual([write.record]);
		expect(await store().readAccepted("looked-up", 1)).toEqual(write.record.accepted);
		expect(await store().readAccepted("looked-up", 9)).toEqual([]);
		expect((await store().listTasks("looked-up", TRAIN_1)).map(({ client, slot }) => [client, slot])).toEqual(
			clients.map((client, slot) => [client, slot]),
		);
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
			const write = commitOf("reach", key, head, [task!], {
				state: { model: weightsOf(`state ${round}`) },
				members: [[clients[0]!, { own: weightsOf("member") }]],
			});
			await store().commit(write);
			head = write.record.hash;
		}
		const asset = { digest: sha("asset"), bytes: 8 };
		for (const [i, assets] of [[asset, { bytes: 1 }, 7, null], "none", { digest: sha("no list") }].entries())
			await store().createModel(
				{
					id: `assets-${i}`,
					name: `assets-${i}`,
					weights: sha(`w ${i}`),
					parameters: 4,
					layout: LAYOUT,
					manifest: { kind: "mlp", assets },
				},
				by("model.create"),
			);
		const reachable = new Set(await store().reachableBlobs(2));
		expect([sha("asset"), sha("w 0"), sha("w 2"), sha("no list")].map((digest) => reachable.has(digest))).toEqual([
			true,
			true,
			true,
			false,
		]);
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
