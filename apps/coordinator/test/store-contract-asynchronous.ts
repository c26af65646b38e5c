import { encodePlain, vecOf } from "@rondo/algorithms";
import type { RoundKey, RoundState, TaskId } from "@rondo/rounds";
import { expect, test } from "vitest";
import type { Store } from "../src/store/store.js";
import { commitOf, makeRun, PLAN, planned, reportOf, sha, TRAIN_1, taskOf } from "./store-fixtures.js";

const TRAIN_2: RoundKey = { kind: "train", round: 2, attempt: 1 };
const plan = { ...PLAN, maxStaleness: 3 };
const open = (key: RoundKey, tasks: RoundState["tasks"] = {}): RoundState => ({ ...planned(key), plan, tasks });

/** What tasks that outlive their round ask of a store. */
export function asynchronousContract(store: () => Store): void {
	/** Round 1 of a run, in which the first client has reported and the rest hold leases. */
	async function firstRound(run: string, clients: number) {
		const ids = await makeRun(store(), run, clients);
		await store().openRound(run, open(TRAIN_1), clients, null);
		const tasks = ids.map((client) => taskOf(run, TRAIN_1, client));
		await store().leaseTasks(
			run,
			TRAIN_1,
			ids.map((client, slot) => ({
				id: tasks[slot]!,
				client,
				slot,
				payload: encodePlain(vecOf("f32", 4, sha(`model of ${run}`))),
				carryBasis: null,
				endsAtMs: -slot,
			})),
		);
		await store().accept(run, TRAIN_1, reportOf(tasks[0]!, "fast"));
		return { ids, tasks };
	}

	async function commitFirst(run: string, task: TaskId, carried: readonly TaskId[]): Promise<void> {
		await store().freeze(run, TRAIN_1, [task], sha("set"));
		const write = commitOf(run, TRAIN_1, (await store().getRun(run))!.logHead, [task], { carried });
		await store().commit(write);
		await store().commit(write);
	}

	test("a commit carries leases on, the next round takes them over, and a report counts where it lands", async () => {
		const { ids, tasks } = await firstRound("async", 3);
		const [, slow, slowest] = tasks as [string, string, string];
		const machine = async () => (await store().loadRun("async")).machine;
		expect((await machine()).open[0]!.tasks[slow]).toEqual({ id: slow, client: ids[1], slot: 1, phase: "leased", endsAtMs: -1 });
		await commitFirst("async", tasks[0]!, [slow]);
		expect(await store().getTask(slowest)).toMatchObject({ phase: "expired", outcome: null, reason: expect.stringMatching(/too old/) });
		const between = await machine();
		expect(between.open).toEqual([]);
		expect(between.carried).toEqual({
			...open(TRAIN_1),
			phase: "committed",
			tasks: { [slow]: { id: slow, client: ids[1], slot: 1, phase: "leased", endsAtMs: -1 } },
		});
		// The old model is needed until the task is done, whatever the run has come to.
		expect(await store().reachableBlobs(0)).toContain(sha("model of async"));
		expect(await store().accept("async", TRAIN_1, reportOf(slow, "late"))).toEqual({ kind: "closed" });

		const taken = {
			id: slow,
			client: ids[1]!,
			slot: 1,
			phase: "leased",
			basis: { round: 1, attempt: 1, commit: 0 },
			endsAtMs: 12.5,
		} as const;
		const second = open(TRAIN_2, { [slow]: taken });
		await store().openRound("async", second, 3, null);
		await store().openRound("async", second, 3, null);
		await store().leaseTasks("async", TRAIN_2, []);
		const after = await machine();
		expect(after.open).toEqual([{ ...second, phase: "collecting" }]);
		expect(after).not.toHaveProperty("carried");

		expect(await store().accept("async", TRAIN_2, { ...reportOf(slow, "late"), staleness: 1 })).toEqual({ kind: "accepted", sequence: 0 });
		expect((await store().loadRun("async")).reports).toMatchObject([{ task: slow, staleness: 1, sequence: 0 }]);
		expect(await store().reportsOf("async", TRAIN_2)).toHaveLength(1);
		expect(await store().reportsOf("async", TRAIN_1)).toHaveLength(1);
		await store().freeze("async", TRAIN_2, [slow], sha("set 2"));
		await store().commit(commitOf("async", TRAIN_2, (await store().getRun("async"))!.logHead, [slow], { carried: [] }));
		expect(await store().getTask(slow)).toMatchObject({ key: TRAIN_1, commit: 0, staleness: 1, outcome: "applied", settledCommit: 2 });
		expect((await store().listTasks("async", TRAIN_2)).map(({ id }) => id)).toEqual([slow]);
		expect((await store().listRounds("async", { limit: 10 })).items).toMatchObject([
			{ key: TRAIN_2, leased: 1, accepted: 1, bytesUp: 100 },
			{ key: TRAIN_1, leased: 2, accepted: 1, bytesUp: 100 },
		]);
		expect(await machine()).not.toHaveProperty("carried");
		expect(await store().reachableBlobs(0)).not.toContain(sha("model of async"));
	});

	test("an ended run has nothing in flight; of two reports in one commit the later task is the newer", async () => {
		const { ids, tasks } = await firstRound("async-ended", 2);
		await commitFirst("async-ended", tasks[0]!, [tasks[1]!]);
		expect((await store().loadRun("async-ended")).machine).toHaveProperty("carried");
		await store().setPhase("async-ended", "stopped", null);
		expect((await store().loadRun("async-ended")).machine).not.toHaveProperty("carried");

		const [client] = await makeRun(store(), "async-twice", 1);
		await store().openRound("async-twice", open(TRAIN_1), 1, null);
		const both = [sha("task 1"), sha("task 2"), sha("task 3")].sort();
		for (const [slot, id] of both.entries()) {
			await store().leaseTasks("async-twice", TRAIN_1, [
				{ id, client: client!, slot, payload: encodePlain(null), carryBasis: null, endsAtMs: 0 },
			]);
			await store().accept("async-twice", TRAIN_1, reportOf(id, id));
		}
		await store().freeze("async-twice", TRAIN_1, both, sha("set"));
		await store().commit(commitOf("async-twice", TRAIN_1, (await store().getRun("async-twice"))!.logHead, both, { carried: [] }));
		expect(await store().lastApplied("async-twice", client!)).toBe(both.at(-1));
		expect(await store().lastApplied("async-ended", ids[0]!)).toBe(tasks[0]);
	});
}
