import { describe, expect, it } from "vitest";
import type { RunEffect } from "../../src/machine-types.js";
import { World } from "./world.js";

const typesOf = (effects: readonly RunEffect[]): string[] => effects.map((effect) => effect.type);
const find = <Type extends RunEffect["type"]>(effects: readonly RunEffect[], type: Type) =>
	effects.find((effect): effect is Extract<RunEffect, { type: Type }> => effect.type === type);
const trainRound = (world: World) => world.state.open.find((round) => round.kind === "train");

describe("drawing a cohort", () => {
	it("leases the first clients of the draw, excluded ones left out", () => {
		const world = new World({ plan: { leases: 2, closeAt: 2, exclude: ["a"] } }).begin();
		const tasks = find(world.effects, "lease")!.tasks;
		expect(tasks.map(({ client, slot }) => [client, slot])).toEqual([
			["b", 0],
			["c", 1],
		]);
		expect(trainRound(world)).toMatchObject({ round: 1, attempt: 1, commit: 0, phase: "collecting", leftMs: 10_000 });
	});

	it("waits for minClients, then makes do with the quorum, and never fails for lack of clients", () => {
		const world = new World({ settings: { minClients: 4 }, plan: { quorum: 2 } });
		for (const id of ["b", "c", "d"]) world.client(id).connected = false;
		world.begin();
		expect(trainRound(world)!.phase).toBe("planned");
		world.connect(world.client("b"), true);
		world.wait(9_000);
		expect(trainRound(world)).toMatchObject({ phase: "planned", leftMs: 10_000 });
		expect(typesOf(world.tick(2_000))).toContain("lease");

		const alone = new World({ settings: { minClients: 1, maxReplans: 0 } });
		for (const id of ["b", "c", "d"]) alone.client(id).connected = false;
		alone.begin();
		alone.wait(100_000);
		expect(trainRound(alone)!.phase).toBe("planned");
		alone.connect(alone.client("d"), true);
		expect(trainRound(alone)!.phase).toBe("collecting");
	});

	it("tops the cohort up with clients that come later, each at most once", () => {
		const world = new World();
		for (const id of ["c", "d"]) world.client(id).connected = false;
		world.begin();
		world.connect(world.client("d"), true);
		world.connect(world.client("c"), true);
		world.connect(world.client("b"), true);
		const tasks = Object.values(trainRound(world)!.tasks);
		expect(tasks.map(({ client, slot }) => [client, slot])).toEqual([
			["a", 0],
			["b", 1],
			["d", 2],
		]);
	});
});

describe("closing a round", () => {
	it("closes early at closeAt, freezes in client-id order, cancels who is left, and settles after the commit", () => {
		const world = new World({ plan: { closeAt: 2 } }).begin();
		world.reportNewest("c");
		const from = world.effects.length;
		world.reportNewest("a");
		const effects = world.effects.slice(from);
		expect(typesOf(effects)).toEqual(["accept", "receipt", "fold", "freeze", "cancel", "finish"]);
		expect(find(effects, "freeze")!.tasks.map((task) => world.store.find(task)!.stored.task.client)).toEqual(["a", "c"]);
		expect(find(effects, "cancel")!.tasks.map(({ client }) => client)).toEqual(["b"]);
		const before = world.effects.length;
		world.answer();
		expect(typesOf(world.effects.slice(before))).toEqual(["commit", "settle", "plan"]);
		expect(find(world.effects.slice(before), "settle")).toMatchObject({ outcome: "applied", commit: 1 });
		expect(world.state).toMatchObject({ commit: 1, rounds: 1, misses: 0 });
	});

	it("closes when all have reported, although fewer than closeAt were there", () => {
		const world = new World();
		for (const id of ["c", "d"]) world.client(id).connected = false;
		world.begin();
		world.reportNewest("a");
		world.reportNewest("b");
		expect(trainRound(world)!.phase).toBe("closing");
	});

	it("closes when those who have not reported ended and nobody can take their place", () => {
		const world = new World({ clients: ["a", "b", "c"] }).begin();
		world.decline("c", world.newest("c"));
		world.reportNewest("a");
		expect(trainRound(world)!.phase).toBe("collecting");
		world.reportNewest("b");
		expect(trainRound(world)!.phase).toBe("closing");
	});

	it("closes with the quorum at the deadline, not before", () => {
		const world = new World().begin();
		world.reportNewest("a");
		world.reportNewest("b");
		world.wait(9_000);
		expect(trainRound(world)!.phase).toBe("collecting");
		world.wait(1_000);
		expect(trainRound(world)!.phase).toBe("closing");
	});
});

describe("missing the quorum", () => {
	it("replans: abandons, cancels, discards what was accepted, and asks for the next attempt", () => {
		const world = new World().begin();
		world.reportNewest("a");
		world.wait(9_000);
		const effects = world.tick();
		expect(typesOf(effects)).toEqual(["abandon", "cancel", "settle", "plan"]);
		expect(find(effects, "abandon")).toMatchObject({ misses: 1, reason: "round 1 got 1 of the 2 reports of its quorum within 10000 ms" });
		expect(find(effects, "settle")).toMatchObject({ outcome: "discarded", commit: 0 });
		expect(find(effects, "plan")).toMatchObject({ round: 1, attempt: 2 });
	});

	it("skips: commits nothing and goes on with the next round", () => {
		const world = new World({ plan: { onMiss: "skip" } }).begin();
		world.reportNewest("a");
		world.wait(9_000);
		const effects = world.tick();
		expect(typesOf(effects)).toEqual(["commit", "cancel", "settle", "plan"]);
		expect(find(effects, "commit")).toMatchObject({ skip: true, applied: [], misses: 1 });
		expect(find(effects, "settle")).toMatchObject({ outcome: "discarded" });
		expect(find(effects, "plan")).toMatchObject({ round: 2, attempt: 2 });
		expect(world.state).toMatchObject({ commit: 1, rounds: 1, misses: 1 });
	});

	it.each(["replan", "skip"] as const)("fails the run after maxReplans in a row and says why (%s)", (onMiss) => {
		const world = new World({ settings: { maxReplans: 1 }, plan: { onMiss } }).begin();
		world.wait(10_000);
		world.answer();
		world.reportNewest("b");
		world.wait(10_000);
		expect(world.store.phase).toBe("failed");
		expect(world.store.reason).toBe(
			`2 attempts in a row missed the quorum (maxReplans is 1); in the last one round ${onMiss === "skip" ? 2 : 1} got 1 of the 2 reports of its ` +
				"quorum within 10000 ms: connect more clients, lower the quorum or raise the deadline, and submit the run again",
		);
		expect(world.store.settlements().map(([, outcome]) => outcome)).toEqual(["discarded"]);
	});

	it("skipped rounds in a row add up", () => {
		const world = new World({ settings: { maxReplans: 2, rounds: 9 }, plan: { onMiss: "skip" } }).begin();
		for (const misses of [1, 2]) {
			world.wait(10_000);
			expect([world.state.misses, world.store.phase]).toEqual([misses, "running"]);
			world.answer();
		}
		world.wait(10_000);
		expect([world.state.commit, world.store.phase]).toEqual([2, "failed"]);
	});

	it("a commit makes the count start again", () => {
		const world = new World({ settings: { maxReplans: 1, rounds: 2 } }).begin();
		for (const _round of [1, 2]) {
			world.wait(10_000);
			world.answer();
			for (const id of ["a", "b", "c"]) world.reportNewest(id);
			world.answer();
			if (!world.ended) world.answer();
		}
		expect(world.store.phase).toBe("completed");
		expect(world.store.log.map(({ key }) => [key.round, key.attempt])).toEqual([
			[1, 2],
			[2, 2],
		]);
	});
});

describe("budgets", () => {
	it("spend at most two intervals in one tick, and nothing when the clock goes back", () => {
		const world = new World().begin();
		world.tick(3_600_000);
		expect(trainRound(world)!.leftMs).toBe(8_000);
		world.tick(-7_200_000);
		expect(trainRound(world)!.leftMs).toBe(8_000);
		world.tick(1_000);
		expect(trainRound(world)!.leftMs).toBe(7_000);
	});

	it("are saved when they cross a step of five seconds and stay whole milliseconds", () => {
		const world = new World({ plan: { deadlineMs: 12_000 } }).begin();
		const saved: number[] = [];
		for (let tick = 0; tick < 11; tick++)
			saved.push(...world.tick(1_000).flatMap((effect) => (effect.type === "saveBudgets" ? [effect.leftMs] : [])));
		expect(saved).toEqual([10_000, 5_000]);
		world.tick(0.7);
		world.tick(0.7);
		expect(trainRound(world)!.leftMs).toBe(999);
	});

	it("refuse a time that is not finite", () => {
		const world = new World().begin();
		expect(() => world.tick(Number.NaN)).toThrow(
			expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining("NaN") }),
		);
	});
});
