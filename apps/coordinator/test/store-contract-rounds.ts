import { encodePlain } from "@rondo/algorithms";
import { expect, test } from "vitest";
import type { Store } from "../src/store/store.js";
import {
	commitOf,
	lease,
	leaseAll,
	makeRun,
	PLAN,
	planned,
	reportOf,
	SETTINGS,
	sha,
	TRAIN_1,
	taskOf,
	weightsOf,
} from "./store-fixtures.js";

/** The durable effects of the round machine, as every store must do them. */
export function roundsContract(store: () => Store): void {
	test("a loaded run is what was written, at every step of a round", async () => {
		const clients = await makeRun(store(), "steps", 3);
		const machine = async () => (await store().loadRun("steps")).machine;
		await store().openRound("steps", planned(TRAIN_1), 3, null);
		await store().openRound("steps", planned(TRAIN_1), 3, null);
		expect((await machine()).open).toEqual([planned(TRAIN_1)]);
		await lease(store(), "steps", TRAIN_1, clients.slice(0, 2));
		await lease(store(), "steps", TRAIN_1, clients);
		const tasks = Object.fromEntries(
			clients.map((client, slot) => [
				taskOf("steps", TRAIN_1, client),
				{ id: taskOf("steps", TRAIN_1, client), client, slot, phase: "leased" },
			]),
		);
		expect((await machine()).open).toEqual([{ ...planned(TRAIN_1), phase: "collecting", tasks }]);

		const [a, b, c] = clients.map((client) => taskOf("steps", TRAIN_1, client)) as [string, string, string];
		expect(await store().accept("steps", TRAIN_1, reportOf(b, "report of b"))).toEqual({ kind: "accepted", sequence: 0 });
		await store().endTask("steps", c, "declined", "battery");
		await store().endTask("steps", c, "declined", "battery");
		await expect(store().endTask("steps", b, "rejected", "late")).rejects.toMatchObject({ code: "CONFLICT" });
		await store().saveBudgets("steps", TRAIN_1, 12.5, 34.25);
		const snapshot = await store().loadRun("steps");
		expect(snapshot.machine.open[0]).toMatchObject({
			waitLeftMs: 12.5,
			leftMs: 34.25,
			tasks: { [a]: { phase: "leased" }, [b]: { phase: "accepted", digest: sha("report of b") }, [c]: { phase: "declined" } },
		});
		expect(snapshot).toMatchObject({
			secretSeed: sha("secret"),
			initial: weightsOf("steps"),
			state: { model: weightsOf("steps"), momentum: Float32Array.of(1, -2.5), step: 0 },
			rounds: [{ key: TRAIN_1, population: 3, payload: null }],
			reports: [
				{
					task: b,
					client: clients[1],
					digest: sha("report of b"),
					content: reportOf(b, "report of b").content,
					numExamples: 7,
					sequence: 0,
				},
			],
		});

		await expect(store().freeze("steps", TRAIN_1, [a], sha("set"))).rejects.toMatchObject({ code: "CONFLICT" });
		await store().freeze("steps", TRAIN_1, [b], sha("set"));
		await store().freeze("steps", TRAIN_1, [b], sha("set"));
		expect(await store().accept("steps", TRAIN_1, reportOf(a, "too late"))).toEqual({ kind: "closed" });
		await expect(lease(store(), "steps", TRAIN_1, clients)).rejects.toMatchObject({ code: "CONFLICT" });

		const write = commitOf("steps", TRAIN_1, snapshot.row.logHead, [b], {
			state: { step: 1 },
			members: [
				[clients[0]!, { seen: 1 }],
				[clients[1]!, { seen: 2 }],
			],
			scores: { [clients[1]!]: { score: 0.5 } },
		});
		await store().commit(write);
		await store().commit(write);
		const after = await store().loadRun("steps");
		expect(after).toMatchObject({
			state: { step: 1 },
			members: [
				[clients[0], { seen: 1 }],
				[clients[1], { seen: 2 }],
			],
			rounds: [],
			reports: [],
		});
		expect(after.row).toMatchObject({ commit: 1, rounds: 1, misses: 0, logHead: write.record.hash });
		expect(after.machine).toEqual({
			run: "steps",
			incarnation: 1,
			epoch: after.machine.epoch,
			settings: SETTINGS,
			phase: "running",
			commit: 1,
			rounds: 1,
			misses: 0,
			evaluated: 0,
			open: [],
		});
		expect(await store().getTask(b)).toMatchObject({ outcome: "applied", settledCommit: 1, bytesUp: 100, numExamples: 7, key: TRAIN_1 });
		expect(await store().getTask(a)).toMatchObject({ outcome: null, phase: "leased", numExamples: null });
		expect(await store().getTask(c)).toMatchObject({ phase: "declined", reason: "battery" });

		const bytes = { bytesDown: 0, bytesUp: 0 };
		const unscored = { name: expect.any(String), leased: 1, applied: 0, lastRound: null, ...bytes, scoredRound: null, scores: {} };
		const known = [
			{ ...unscored, client: clients[0], member: { seen: 1 } },
			{
				...unscored,
				client: clients[1],
				applied: 1,
				lastRound: 1,
				bytesUp: 100,
				scoredRound: 1,
				scores: { score: 0.5 },
				member: { seen: 2 },
			},
			{ ...unscored, client: clients[2], member: null },
		];
		expect(await store().listRunClients("steps", { limit: 3 })).toEqual({ items: known, next: null });
		expect(await store().listRunClients("steps", { limit: 2 })).toEqual({ items: known.slice(0, 2), next: clients[1] });
		expect(await store().listRunClients("steps", { limit: 2, after: clients[1]! })).toEqual({ items: known.slice(2), next: null });

		// A second commit that forgets a member and one that does not follow.
		const second = { kind: "train", round: 2, attempt: 1 } as const;
		const [next] = await leaseAll(store(), "steps", second, [clients[0]!]);
		await store().accept("steps", second, reportOf(next!, "next"));
		await store().freeze("steps", second, [next!], sha("set 2"));
		await expect(store().commit(commitOf("steps", second, sha("not the head"), [next!]))).rejects.toMatchObject({ code: "CONFLICT" });
		await expect(store().commit(commitOf("steps", second, write.record.hash, [next!, b]))).rejects.toMatchObject({ code: "CONFLICT" });
		await store().commit(
			commitOf("steps", second, write.record.hash, [next!], {
				members: [[clients[0]!, null]],
				scores: { [clients[0]!]: { score: 2, other: 3 } },
				result: { items: ["x"] },
			}),
		);
		expect((await store().listRunClients("steps", { limit: 3 })).items).toMatchObject([
			{ leased: 2, applied: 1, lastRound: 2, scoredRound: 2, scores: { score: 2, other: 3 }, member: null },
			{ lastRound: 1, scoredRound: 1, scores: { score: 0.5 }, member: { seen: 2 } },
			{ scoredRound: null },
		]);
		expect(await store().loadRun("steps")).toMatchObject({
			members: [[clients[1], { seen: 2 }]],
			row: { commit: 2, result: { items: ["x"] } },
			state: { step: 1 },
		});
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
		const kinds = await Promise.all(
			Array.from({ length: 8 }, async (_, i) => (await store().accept("twins", TRAIN_1, reportOf(task!, `twin ${i % 2}`))).kind),
		);
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
			const [acceptance, frozen] = await Promise.allSettled([
				store().accept("race", key, reportOf(second!, "second")),
				store().freeze("race", key, [first!], sha("set")),
			]);
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
		expect((await store().listRounds("evaluated", { limit: 10, kind: "evaluate" })).items).toMatchObject([
			{ phase: "committed", metrics: { accuracy: 0.75 } },
		]);
		expect((await store().listRounds("evaluated", { limit: 10, kind: "train" })).items).toEqual([]);
		// Device state follows training only.
		expect(await store().lastApplied("evaluated", clients[0]!)).toBeNull();
	});
}
