import { digestOf } from "@rondo/algorithms";
import { describe, expect, it } from "vitest";
import { step } from "../../src/machine/run.js";
import { taskIdOf } from "../../src/machine/task-id.js";
import { World } from "./world.js";

const lastReceipt = (world: World) => world.receipts.at(-1);

describe("receipts", () => {
	it("ACCEPTED comes after the durable acceptance and before the fold", () => {
		const world = new World().begin();
		const from = world.effects.length;
		world.reportNewest("a");
		expect(world.effects.slice(from).map((effect) => effect.type)).toEqual(["accept", "receipt", "fold"]);
		expect(lastReceipt(world)).toEqual({ task: world.newest("a"), client: "a", code: "ACCEPTED", acceptedDigest: "report of a" });
	});

	it("DUPLICATE and CONFLICT name the accepted digest, while the round is open and long after", () => {
		const world = new World({ settings: { rounds: 1 } }).begin();
		world.reportNewest("a");
		const check = () => {
			expect(world.reportNewest("a")).toBe("DUPLICATE");
			expect(lastReceipt(world)).toMatchObject({ acceptedDigest: "report of a" });
			expect(world.reportNewest("a", { digest: "trained again" })).toBe("CONFLICT");
			expect(lastReceipt(world)).toMatchObject({ acceptedDigest: "report of a" });
			expect(world.decline("a", world.newest("a"))).toBe("CONFLICT");
		};
		check();
		world.reportNewest("b");
		world.reportNewest("c");
		check();
		world.answer();
		expect(world.store.phase).toBe("completed");
		check();
	});

	it("STALE names the current round when the round is closing, closed, or the task has ended", () => {
		const world = new World({ plan: { closeAt: 2 } }).begin();
		const late = world.newest("c");
		world.reportNewest("a", { ok: false });
		expect(world.reportNewest("a")).toBe("STALE");
		world.reportNewest("b");
		world.reportNewest("d");
		expect(world.report("c", late)).toBe("STALE");
		expect(lastReceipt(world)).toMatchObject({ round: 1 });
		expect(world.decline("c", late)).toBe("STALE");
		world.answer();
		expect(world.report("c", late)).toBe("STALE");
		expect(lastReceipt(world)).toEqual({ task: late, client: "c", code: "STALE", round: 2 });
	});

	it("a report for an earlier attempt is STALE, never taken for the new one", () => {
		const world = new World().begin();
		const first = world.newest("a");
		world.wait(10_000);
		world.answer();
		expect(world.newest("a")).not.toBe(first);
		expect(world.report("a", first)).toBe("STALE");
		expect(world.reportNewest("a")).toBe("ACCEPTED");
	});

	it("NOT_SELECTED for another client's task, accepted or not, and for an unknown one", () => {
		const world = new World().begin();
		expect(world.report("b", world.newest("a"))).toBe("NOT_SELECTED");
		world.reportNewest("a");
		expect(world.report("b", world.newest("a"), { digest: "report of a" })).toBe("NOT_SELECTED");
		for (const task of ["", "__proto__", "constructor", "0".repeat(64)]) expect(world.report("b", task)).toBe("NOT_SELECTED");
	});

	it("RUN_OVER for everything but what was accepted", () => {
		const world = new World().begin();
		world.reportNewest("a");
		world.command("stop");
		expect(world.report("b", world.newest("c"))).toBe("RUN_OVER");
		expect(world.report("b", "unknown")).toBe("RUN_OVER");
		expect(world.report("a", world.newest("a"))).toBe("DUPLICATE");
	});

	it("REJECTED says why, ends the task durably first, and somebody else takes the place", () => {
		const world = new World().begin();
		const from = world.effects.length;
		expect(world.reportNewest("a", { ok: false })).toBe("REJECTED");
		expect(lastReceipt(world)).toMatchObject({ error: { code: "NOT_FINITE", message: "lane w[3] is NaN" } });
		expect(world.effects.slice(from).map((effect) => effect.type)).toEqual(["endTask", "receipt", "draw", "lease"]);
		expect(world.newest("d")).toBeDefined();
		expect(world.store.find(world.newest("d"))!.stored.task.slot).toBe(3);
	});

	it("DECLINED lets somebody else take the place", () => {
		const world = new World().begin();
		expect(world.decline("b", world.newest("b"))).toBe("DECLINED");
		expect(world.newest("d")).toBeDefined();
		expect(world.decline("b", world.newest("b"))).toBe("STALE");
	});

	it("a report without a look-up of past tasks is NOT_SELECTED", () => {
		const { state } = new World().begin();
		const report = { type: "report", task: "f".repeat(64), client: "a", digest: "d", verdict: { ok: true, numExamples: 1 } } as const;
		expect(step(state, report, 0).effects).toEqual([
			{ type: "receipt", receipt: { task: report.task, client: "a", code: "NOT_SELECTED" } },
		]);
	});
});

describe("task ids", () => {
	const name = { run: "r", incarnation: 1, track: 0, round: 2, attempt: 1, kind: "train", client: "a", slot: 0 } as const;

	it("are the digest of everything that tells tasks apart", () => {
		expect(taskIdOf(name)).toBe(digestOf({ ...name }));
		expect(taskIdOf(name)).toMatch(/^[0-9a-f]{64}$/);
		const others = [
			{ run: "s" },
			{ incarnation: 2 },
			{ track: 1 },
			{ round: 3 },
			{ attempt: 2 },
			{ kind: "evaluate" as const },
			{ client: "b" },
			{ slot: 1 },
		];
		expect(new Set([name, ...others.map((other) => ({ ...name, ...other }))].map(taskIdOf)).size).toBe(others.length + 1);
	});
});
