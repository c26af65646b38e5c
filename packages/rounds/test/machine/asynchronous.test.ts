import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { leaseLeftMs } from "../../src/machine/in-flight.js";
import { step } from "../../src/machine/run.js";
import type { RunEffect } from "../../src/machine-types.js";
import { PLAN, World } from "./world.js";

const ASYNC = { ...PLAN, leases: 2, closeAt: 3, quorum: 1, maxStaleness: 2 };
const typesOf = (effects: readonly RunEffect[]): string[] => effects.map((effect) => effect.type);
const trainRound = (world: World) => world.state.open.find((round) => round.kind === "train")!;
const leased = (world: World): string[] =>
	Object.values(trainRound(world).tasks)
		.filter(({ phase }) => phase === "leased")
		.map(({ client }) => client)
		.sort();
const make = (options: ConstructorParameters<typeof World>[0] = {}) => new World({ plan: ASYNC, ...options }).begin();
/** Answers `finish`, then the next `plan`. */
const commit = (world: World): void => {
	world.answer();
	world.answer();
};

describe("an asynchronous round", () => {
	it("hands a returned lease out again at once, closes at closeAt, and may hold one client's reports twice", () => {
		const world = make({ clients: ["a", "b"] });
		expect(leased(world)).toEqual(["a", "b"]);
		for (const _report of [1, 2]) {
			const from = world.effects.length;
			expect(world.reportNewest("a")).toBe("ACCEPTED");
			expect(typesOf(world.effects.slice(from))).toEqual(["accept", "receipt", "fold", "draw", "lease"]);
			expect(leased(world)).toEqual(["a", "b"]);
		}
		const from = world.effects.length;
		world.reportNewest("b");
		expect(typesOf(world.effects.slice(from))).toEqual(["accept", "receipt", "fold", "freeze", "finish"]);
		commit(world);
		expect(world.store.log[0]!.applied.map((task) => world.store.find(task)!.stored.task.client)).toEqual(["a", "a", "b"]);
	});

	it("draws anew for every lease, so that nobody is first for ever", () => {
		const world = make({ clients: ["a", "b", "c", "d"], plan: { ...ASYNC, leases: 1, closeAt: 100 } });
		const seen = Array.from({ length: 12 }, () => {
			const [client] = leased(world) as [string];
			world.reportNewest(client);
			return client;
		});
		expect(new Set(seen).size).toBe(4);
		const turns = world.effects.flatMap((effect) => (effect.type === "draw" ? [effect.turn ?? 0] : []));
		expect(turns.slice(-3)).toEqual([10, 11, 12]);
	});

	it("takes over what is in flight: the report of an older model lands with its staleness", () => {
		const world = make({ clients: ["a", "b"], plan: { ...ASYNC, closeAt: 2 } });
		const slow = world.newest("b");
		for (const _commit of [1, 2]) {
			world.reportNewest("a");
			world.reportNewest("a");
			commit(world);
		}
		expect(trainRound(world)).toMatchObject({ round: 3, commit: 2, phase: "collecting" });
		expect(trainRound(world).tasks[slow]).toMatchObject({ client: "b", phase: "leased", basis: { round: 1, attempt: 1, commit: 0 } });
		expect(world.report("b", slow)).toBe("ACCEPTED");
		expect(world.store.staleness).toEqual([0, 0, 0, 0, 2]);
		expect(world.store.find(slow)!.round.state.round).toBe(3);
		world.reportNewest("a");
		world.answer();
		expect(world.store.settlements().every(([, outcome]) => outcome === "applied")).toBe(true);
		expect(world.store.phase).toBe("completed");
	});

	it("cancels at the commit what would be too stale, and answers it STALE", () => {
		const world = make({ clients: ["a", "b"], settings: { rounds: 9 }, plan: { ...ASYNC, closeAt: 1 } });
		const slow = world.newest("b");
		for (const _commit of [1, 2]) {
			world.reportNewest("a");
			commit(world);
			expect(leased(world)).toContain("b");
		}
		world.reportNewest("a");
		const from = world.effects.length;
		world.answer();
		const effects = world.effects.slice(from);
		expect(typesOf(effects)).toEqual(["commit", "cancel", "settle", "plan"]);
		expect(effects[1]).toMatchObject({ tasks: [{ id: slow }], reason: expect.stringContaining("more than 2 commits after") });
		expect(world.report("b", slow)).toBe("STALE");
		world.answer();
		expect(leased(world)).toEqual(["a", "b"]);
		expect(world.newest("b")).not.toBe(slow);
	});

	it("holds a report while no round collects, and takes it into the next one, checked anew", () => {
		const world = make({ clients: ["a", "b"], plan: { ...ASYNC, closeAt: 1 } });
		world.reportNewest("a");
		expect(trainRound(world).phase).toBe("closing");
		const slow = world.newest("b");
		expect(world.report("b", slow)).toBe("HELD");
		world.answer();
		expect(world.state.carried).toMatchObject({ round: 1, phase: "committed" });
		expect(world.decline("b", slow)).toBe("HELD");
		expect(world.report("b", slow)).toBe("HELD");
		world.answer();
		expect(world.receipts.at(-1)).toMatchObject({ task: slow, code: "ACCEPTED" });
		expect(world.store.staleness).toEqual([0, 1]);
	});

	it("a report that was checked for the round before is not taken on that word", () => {
		const world = make({ clients: ["a", "b"], plan: { ...ASYNC, closeAt: 1 } });
		const task = world.newest("b");
		world.reportNewest("a");
		commit(world);
		const report = { type: "report", task, client: "b", digest: "d", verdict: { ok: true, numExamples: 1 } } as const;
		for (const landing of [undefined, { kind: "train", round: 1, attempt: 1 } as const]) {
			const next = step(world.state, { ...report, ...(landing && { landing }) }, 0);
			expect(next).toEqual({ state: world.state, effects: [{ type: "hold", task }] });
		}
		const landing = { kind: "train", round: 2, attempt: 1 } as const;
		expect(typesOf(step(world.state, { ...report, landing }, 0).effects)).toEqual(["accept", "receipt", "fold", "freeze", "finish"]);
	});

	it("a lease lasts for deadlineMs, in whichever round; who let it run out is not asked again in that round", () => {
		const world = make({ clients: ["a", "b", "c"], plan: { ...ASYNC, closeAt: 2 } });
		const slow = world.newest("b");
		world.wait(6_000);
		world.reportNewest("a");
		world.reportNewest("c");
		commit(world);
		expect(leaseLeftMs(trainRound(world), trainRound(world).tasks[slow]!)).toBe(4_000);
		world.wait(3_000);
		expect(leased(world)).toContain("b");
		const effects = world.tick(1_000);
		expect(typesOf(effects)).toEqual(["endTask", "cancel", "draw", "lease"]);
		expect(effects[0]).toMatchObject({ task: slow, phase: "expired", reason: "no report within 10000 ms" });
		expect(leased(world)).toEqual(["a", "c"]);
		expect(world.report("b", slow)).toBe("STALE");
	});

	it("closes at the deadline with its quorum, and is abandoned with all leases below it", () => {
		const world = make({ clients: ["a", "b"], plan: { ...ASYNC, quorum: 2 } });
		world.reportNewest("a");
		world.wait(9_000);
		const effects = world.tick();
		expect(typesOf(effects)).toEqual(["abandon", "cancel", "settle", "plan"]);
		expect(world.state.carried).toBeUndefined();
		world.answer();
		expect(leased(world)).toEqual(["a", "b"]);
		world.reportNewest("a");
		world.reportNewest("a");
		world.wait(10_000);
		expect(trainRound(world).phase).toBe("closing");
	});

	it("asks a client that declined no more before the next round", () => {
		const world = make({ clients: ["a", "b"] });
		world.decline("b", world.newest("b"));
		expect(leased(world)).toEqual(["a"]);
		for (const _report of [1, 2, 3]) world.reportNewest("a");
		commit(world);
		expect(leased(world)).toEqual(["a", "b"]);
	});

	it("keeps what is in flight while the run is paused, and cancels it when the run is stopped", () => {
		const world = make({ clients: ["a", "b"], plan: { ...ASYNC, closeAt: 1 } });
		const slow = world.newest("b");
		world.command("pause");
		world.reportNewest("a");
		world.answer();
		expect(world.pending).toEqual([]);
		world.wait(60_000);
		expect(world.report("b", slow)).toBe("HELD");
		world.command("resume");
		world.answer();
		expect(world.receipts.at(-1)).toMatchObject({ task: slow, code: "ACCEPTED" });

		const stopped = make({ clients: ["a", "b"], plan: { ...ASYNC, closeAt: 1 } });
		stopped.command("pause");
		stopped.reportNewest("a");
		stopped.answer();
		const from = stopped.effects.length;
		stopped.command("stop");
		expect(typesOf(stopped.effects.slice(from))).toEqual(["cancel", "setPhase"]);
		expect(stopped.report("b", stopped.newest("b"))).toBe("RUN_OVER");
	});

	it("after a crash folds what has landed and offers the rest again, at any moment", () => {
		for (let after = 0; after < 24; after++) {
			const world = make({ clients: ["a", "b"], plan: { ...ASYNC, closeAt: 2 } });
			world.reportNewest("a");
			world.crashAfter = after;
			for (const who of ["a", "a", "a", "b"]) {
				const task = world.outbox(world.client(who)).at(-1);
				if (task !== undefined) world.report(who, task);
				while (world.pending.length > 0) world.answer();
			}
			world.crash();
			world.settleDown();
			expect([after, world.store.phase, world.store.commits]).toEqual([after, "completed", 3]);
		}
	});
});

interface Deed {
	readonly do: "report" | "vanish" | "return" | "tick" | "answer";
	readonly who: number;
}

const deed: fc.Arbitrary<Deed> = fc.record({
	do: fc.oneof(
		{ weight: 8, arbitrary: fc.constant("report" as const) },
		{ weight: 5, arbitrary: fc.constant("answer" as const) },
		{ weight: 2, arbitrary: fc.constantFrom("vanish" as const, "return", "tick") },
	),
	who: fc.nat(4),
});

it("no task is lost or counted twice, and every buffer closes although clients vanish", () => {
	let stale = 0;
	const plans = fc.record({
		leases: fc.integer({ min: 1, max: 4 }),
		closeAt: fc.integer({ min: 1, max: 5 }),
		maxStaleness: fc.nat(4),
	});
	fc.assert(
		fc.property(plans, fc.array(deed, { maxLength: 120, size: "max" }), (plan, deeds) => {
			const settings = { rounds: 8, maxReplans: 100, minClients: 1 };
			const world = make({ clients: ["a", "b", "c", "d", "f"], settings, plan: { ...ASYNC, ...plan, quorum: 1 } });
			for (const { do: what, who } of deeds) {
				const client = world.clients[who]!;
				const task = world.outbox(client).at(-1);
				if (what === "report" && task !== undefined && client.connected) world.report(client.id, task);
				if (what === "vanish" || what === "return") world.connect(client, what === "return");
				if (what === "tick") world.tick();
				if (what === "answer") world.answer();
			}
			// Everybody but one client leaves for good. It alone fills the buffers: those of others are not waited for.
			for (const client of world.clients) world.connect(client, client.id === "c");
			for (let turn = 0; !world.ended; turn++) {
				expect(turn, JSON.stringify(world.state)).toBeLessThan(400);
				while (world.pending.length > 0) world.answer();
				const task = world.outbox(world.client("c")).at(-1);
				if (task === undefined) world.tick();
				else world.report("c", task);
			}
			expect(world.store.phase).toBe("completed");
			const applied = world.store.log.flatMap((entry) => entry.applied);
			expect(new Set(applied).size).toBe(applied.length);
			for (const entry of world.store.log) expect(entry.applied.length).toBeLessThanOrEqual(plan.closeAt);
			expect(
				world.store
					.settlements()
					.filter(([, outcome]) => outcome === "applied")
					.map(([task]) => task)
					.sort(),
			).toEqual([...applied].sort());
			const accepted = world.receipts.filter(({ code }) => code === "ACCEPTED").map(({ task }) => task);
			expect(new Set(accepted).size).toBe(accepted.length);
			expect(accepted.length).toBe(world.store.settlements().length);
			stale += world.store.staleness.filter((staleness) => staleness > 0).length;
		}),
		{ numRuns: 60 },
	);
	// Some 130 in a run of the test: the property has something to hold for.
	expect(stale).toBeGreaterThan(20);
});
