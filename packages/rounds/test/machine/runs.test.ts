import { describe, expect, it } from "vitest";
import { createRun, step } from "../../src/machine/run.js";
import type { RunEffect, RunEvent } from "../../src/machine-types.js";
import { SETTINGS, World } from "./world.js";

const typesOf = (effects: readonly RunEffect[]): string[] => effects.map((effect) => effect.type);

/** Everyone who was drawn reports; then the engine's questions are answered. */
function playRound(world: World, done?: { readonly reason: string }): void {
	for (const id of ["a", "b", "c"]) world.reportNewest(id);
	world.answer(done);
}

describe("createRun", () => {
	it.each([
		["settings.rounds", { rounds: 0 }],
		["settings.maxReplans", { maxReplans: -1 }],
		["settings.minClients", { minClients: 1.5 }],
		["settings.waitForClientsMs", { waitForClientsMs: Number.NaN }],
		["settings.evaluateEvery", { evaluateEvery: Number.POSITIVE_INFINITY }],
		["settings.evaluateDeadlineMs", { evaluateDeadlineMs: 0 }],
	])("refuses %s out of range", (field, bad) => {
		const create = () => createRun({ run: "r", epoch: 1, settings: { ...SETTINGS, ...bad } });
		expect(create).toThrow(
			expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining(`${field} is ${Object.values(bad)[0]}`) }),
		);
	});
});

describe("commands", () => {
	it("are refused in a phase that does not allow them, with the phase in the message", () => {
		const world = new World();
		expect(world.command("pause")).toBe("CONFLICT");
		expect(world.command("resume")).toBe("CONFLICT");
		expect(world.command("start")).toBeUndefined();
		expect(world.command("start")).toBe("CONFLICT");
		expect(world.command("stop")).toBeUndefined();
		expect(() => world.post({ type: "stop" })).toThrow('run "run-1" is stopped: stop is possible only in phase created, running, paused');
	});

	it("an unknown event is an error", () => {
		const unknown = { type: "reboot" } as unknown as RunEvent;
		expect(() => step(new World().state, unknown, 0)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
	});

	it("stop cancels, abandons, discards, and then ends the run", () => {
		const world = new World().begin();
		world.reportNewest("b");
		expect(typesOf(world.post({ type: "stop" }))).toEqual(["abandon", "cancel", "settle", "setPhase"]);
		expect(world.store.reason).toBe("the run was stopped");
	});

	it("a paused run keeps accepting, may close a round, spends no budget, leases and plans nothing", () => {
		const world = new World();
		world.client("d").connected = false;
		world.begin();
		world.post({ type: "pause", reason: "a blob is missing" });
		expect(world.store.reason).toBe("a blob is missing");
		world.wait(60_000);
		expect(world.state.open[0]!.leftMs).toBe(10_000);
		world.connect(world.client("d"), true);
		expect(world.decline("a", world.newest("a"))).toBe("DECLINED");
		expect(world.newest("d")).toBeUndefined();
		expect(world.reportNewest("b")).toBe("ACCEPTED");
		world.post({ type: "resume" });
		expect(world.state.reason).toBeUndefined();
		expect(world.newest("d")).toBeDefined();
		world.post({ type: "pause" });
		world.reportNewest("c");
		world.reportNewest("d");
		world.answer();
		expect(world.store.commits).toBe(1);
		expect(world.pending).toEqual([]);
		expect(typesOf(world.post({ type: "resume" }))).toEqual(["setPhase", "plan"]);
	});

	it("a plan that arrives while the run is paused is asked for again", () => {
		const world = new World();
		world.post({ type: "start" });
		world.post({ type: "pause" });
		world.answer();
		expect(world.state.open).toEqual([]);
		world.post({ type: "resume" });
		world.answer();
		expect(world.state.open).toHaveLength(1);
	});
});

describe("the end of a run", () => {
	it("completes after its rounds, also while paused", () => {
		const world = new World({ settings: { rounds: 1 } }).begin();
		world.post({ type: "pause" });
		playRound(world);
		expect([world.store.phase, world.store.reason]).toEqual(["completed", "all 1 rounds are done"]);
	});

	it("completes when the strategy is done, with its reason", () => {
		const world = new World().begin();
		playRound(world, { reason: "every count is known" });
		expect([world.store.phase, world.store.reason]).toEqual(["completed", "every count is known"]);
	});

	it("fails when a strategy cannot finish or plan a round, and discards the reports", () => {
		const world = new World().begin();
		for (const id of ["a", "b", "c"]) world.reportNewest(id);
		world.post({ type: "pause" });
		world.fail();
		expect([world.store.phase, world.store.reason]).toEqual([
			"failed",
			"train round 1 cannot be finished: LEDGER_OVERFLOW: unit too small",
		]);
		expect(new Set(world.store.settlements().map(([, outcome]) => outcome))).toEqual(new Set(["discarded"]));

		const unplanned = new World();
		unplanned.post({ type: "start" });
		unplanned.fail();
		expect([unplanned.store.phase, unplanned.store.reason]).toEqual([
			"failed",
			"train round 1 cannot be planned: LEDGER_OVERFLOW: unit too small",
		]);
	});

	it("answers about rounds that are no longer open change nothing", () => {
		const { state } = new World().begin();
		const key = { kind: "train", round: 1, attempt: 1 } as const;
		for (const event of [
			{ type: "finished", key },
			{ type: "finishFailed", key, code: "INTERNAL", message: "late" },
			{ type: "finished", key: { ...key, attempt: 2 } },
			{ type: "present", key: { ...key, round: 7 }, clients: ["a"] },
			{ type: "planned", round: 1, attempt: 1, plan: state.open[0]!.plan },
		] satisfies RunEvent[]) {
			expect(step(state, event, 0)).toEqual({ state, effects: [] });
		}
	});
});

describe("evaluation", () => {
	const evaluators = ["a", "b", "c", "e0"];

	it("follows every n-th commit and the last one, beside training, and closes with one report", () => {
		const world = new World({ clients: evaluators, settings: { rounds: 3, evaluateEvery: 2 } }).begin();
		playRound(world);
		expect(world.state.open.map(({ kind }) => kind)).toEqual([]);
		world.answer();
		playRound(world);
		expect(world.state.open.map(({ kind, round, commit, phase }) => [kind, round, commit, phase])).toEqual([
			["evaluate", 2, 2, "collecting"],
		]);
		world.answer();
		playRound(world);
		expect(world.state.open.map(({ round }) => round)).toEqual([2, 3]);
		expect(world.store.phase).toBe("running");
		for (const task of [...world.client("e0").offers.keys()]) world.report("e0", task);
		world.answer();
		expect([world.state.commit, world.store.phase]).toEqual([3, "running"]);
		world.answer();
		expect([world.state.commit, world.store.phase]).toEqual([3, "completed"]);
	});

	it("is abandoned without an evaluator, which is no miss, and the run completes", () => {
		const world = new World({ clients: ["a", "b", "c"], settings: { rounds: 1, evaluateEvery: 1 } }).begin();
		playRound(world);
		world.wait(7_000);
		expect([world.store.phase, world.state.misses]).toEqual(["completed", 0]);
		expect(world.effects).toContainEqual(expect.objectContaining({ type: "abandon", reason: "nobody evaluated round 1 within 6000 ms" }));
	});

	it("that cannot be finished is abandoned and the run goes on", () => {
		const world = new World({ clients: evaluators, settings: { rounds: 1, evaluateEvery: 1 } }).begin();
		playRound(world, { reason: "converged" });
		world.reportNewest("e0");
		world.fail();
		expect([world.store.phase, world.store.reason]).toEqual(["completed", "converged"]);
	});

	it("is not lost when the coordinator dies right after the commit, and neither is the end of the run", () => {
		const world = new World({ clients: evaluators, settings: { evaluateEvery: 5 } }).begin();
		for (const id of ["a", "b", "c"]) world.reportNewest(id);
		world.crashAfter = 1;
		world.answer({ reason: "converged" });
		expect(world.crashes).toBe(1);
		expect(world.state.open.map(({ kind, round }) => [kind, round])).toEqual([["evaluate", 1]]);
		world.reportNewest("e0");
		world.answer();
		expect([world.store.phase, world.store.reason]).toEqual(["completed", "converged"]);
	});

	it("is not made up for when the store does not say which one was the newest", () => {
		const { evaluated: _unknown, ...state } = new World({ settings: { evaluateEvery: 1 } }).state;
		const loaded = { ...state, phase: "running", commit: 1, rounds: 1 } as const;
		expect(typesOf(step(loaded, { type: "recovered" }, 0).effects)).toEqual(["plan"]);
	});
});

describe("recovery", () => {
	it("asks again who is there for a planned round", () => {
		const world = new World({ settings: { minClients: 9 } }).begin();
		world.crash();
		expect(typesOf(world.effects.slice(-1))).toEqual(["draw"]);
	});

	it("folds, offers and draws for a collecting round", () => {
		const world = new World();
		for (const id of ["c", "d"]) world.client(id).connected = false;
		world.begin();
		world.reportNewest("a");
		const from = world.effects.length;
		world.crash();
		expect(typesOf(world.effects.slice(from))).toEqual(["fold", "offer", "draw"]);
	});

	it("closes a round whose last report was accepted just before", () => {
		const world = new World().begin();
		world.reportNewest("a");
		world.reportNewest("b");
		world.crashAfter = 1;
		expect(world.reportNewest("c")).toBe("CRASH");
		expect(world.state.open[0]!.phase).toBe("closing");
		expect(world.reportNewest("c")).toBe("DUPLICATE");
	});

	it("finishes the frozen set again, and cancels again", () => {
		const world = new World({ plan: { closeAt: 2 } }).begin();
		world.reportNewest("a");
		world.reportNewest("b");
		const from = world.effects.length;
		world.crash();
		expect(typesOf(world.effects.slice(from))).toEqual(["cancel", "finish"]);
	});

	it("does nothing for a run that has not begun or has ended", () => {
		const world = new World();
		expect(world.post({ type: "recovered" })).toEqual([]);
		world.post({ type: "stop" });
		expect(world.post({ type: "recovered" })).toEqual([]);
	});
});
