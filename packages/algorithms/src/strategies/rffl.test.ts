import { layoutOf } from "@rondo/tensors";
import { describe, expect, it } from "vitest";
import { runOf } from "../../test/fixture.js";
import { gap } from "../../test/problems.js";
import { finished, modelOf, near, position, type Row, type Rows, reputationsOf } from "../../test/rffl-rounds.js";
import { rffl } from "./rffl.js";

describe("the server half", () => {
	const OPTIONS = { gamma: 10, alpha: 0.95, reference: "all", warmupRounds: 10, patience: 1 };

	it("three updates in the plane, worked by hand", () => {
		const run = runOf(rffl, OPTIONS, [0, 0]);
		const { outcome, rows } = finished(run, { base: run.initial }, new Map(), 1, {
			a: { delta: [1, 0] },
			b: { delta: [0.8, 0.6] },
			c: { delta: [-1, 0] },
		});
		// u = (4/15, 1/5), so φ = (4/5, 1, −4/5), and the last one counts as 0.
		const close = (value: number) => expect.closeTo(value, 6);
		expect(reputationsOf(rows)).toEqual({ a: close(4 / 9), b: close(5 / 9), c: 0 });
		expect(Object.fromEntries(outcome.scores!)).toEqual({
			a: { reputation: close(4 / 9), quota: close(0.8), phi: close(0.8), standing: 1 },
			b: { reputation: close(5 / 9), quota: 1, phi: close(1), standing: 1 },
			c: { reputation: 0, quota: 0, phi: 0, standing: 1 },
		});
		// ⌈0.8 · 2⌉ and ⌈1 · 2⌉ elements of u, and none.
		expect(modelOf(run, rows.get("a"))).toEqual([close(1 + 4 / 15), close(1 / 5)]);
		expect(modelOf(run, rows.get("b"))).toEqual([close(0.8 + 4 / 15), close(0.6 + 1 / 5)]);
		expect(modelOf(run, rows.get("c"))).toEqual([-1, 0]);
		expect([...run.store.io.read(outcome.state.base)]).toEqual([close(8 / 15), close(2 / 5)]);
		expect(outcome.metrics).toEqual({ live: 3, probation: 0, removed: 0, clipped: 0 });
	});

	it("leaves a client out of what it is compared with", () => {
		const run = runOf(rffl, { ...OPTIONS, reference: "leave-one-out" }, [0, 0]);
		const { outcome } = finished(run, { base: run.initial }, new Map(), 1, {
			a: { delta: [1, 0] },
			b: { delta: [0.8, 0.6] },
			c: { delta: [-1, 0] },
		});
		const phis = Object.fromEntries([...outcome.scores!].map(([client, { phi }]) => [client, phi]));
		// Against (−0.2, 0.6), (0, 0) and (1.8, 0.6), over their norms.
		expect(phis).toEqual({ a: 0, b: 0, c: 0 });
		const heavy = finished(run, { base: run.initial }, new Map(), 1, { a: { delta: [1, 0], weight: 3 }, b: { delta: [0.6, 0.8] } });
		expect([...heavy.outcome.scores!.values()].map(({ phi }) => phi)).toEqual([expect.closeTo(0.6, 6), expect.closeTo(0.6, 6)]);
	});

	it("weighs by examples first and by reputation then", () => {
		const run = runOf(rffl, { ...OPTIONS, alpha: 0.5 }, [0, 0]);
		const first = finished(run, { base: run.initial }, new Map(), 1, { a: { delta: [1, 0], weight: 3 }, b: { delta: [0, 1] } });
		expect([...run.store.io.read(first.state.base)]).toEqual([1.5, 0.5]);
		const [ra, rb] = [3 / Math.sqrt(10), 1 / Math.sqrt(10)].map((phi, _i, all) => phi / (all[0]! + all[1]!)) as [number, number];
		expect(reputationsOf(first.rows)).toEqual({ a: expect.closeTo(ra, 7), b: expect.closeTo(rb, 7) });
		const second = finished(run, { base: run.initial }, first.rows, 2, {
			a: { delta: [1, 0], weight: 1 },
			b: { delta: [0, 1], weight: 9 },
		});
		expect([...run.store.io.read(second.state.base)]).toEqual([expect.closeTo(2 * ra, 6), expect.closeTo(2 * rb, 6)]);
		const updated = [ra, rb].map((r) => 0.5 * r + (0.5 * r) / Math.sqrt(ra * ra + rb * rb));
		const sum = updated[0]! + updated[1]!;
		expect(reputationsOf(second.rows)).toEqual({ a: expect.closeTo(updated[0]! / sum, 7), b: expect.closeTo(updated[1]! / sum, 7) });
	});

	it("a quota is exactly ⌈q·n⌉ elements of each tensor, ties to the lower index", () => {
		const layout = layoutOf([
			{ name: "one", shape: [] },
			{ name: "five", shape: [5] },
			{ name: "three", shape: [3] },
		]);
		const run = { ...runOf(rffl, OPTIONS, new Array(9).fill(0)), layout };
		const u = [0.5, 1, -1, 1, 0.25, -1, 0, 0, 0.125];
		// The reports of a and b add up to u; a has half of the reputation of b.
		const row = (reputation: number): Row => ({
			model: run.initial,
			reward: null,
			reputation,
			standing: "live",
			reports: 1,
			below: 0,
			reason: "",
		});
		const rows = new Map([
			["a", row(1 / 3)],
			["b", row(2 / 3)],
		]);
		const run1 = { ...run, config: { ...run.config, alpha: 0, reference: "all" as const } };
		const half = finished({ ...run1, config: { ...run1.config, alpha: 1 - 2 ** -40 } }, { base: run.initial }, rows, 2, {
			a: { delta: u },
			b: { delta: u },
		});
		expect(half.outcome.scores!.get("a")!.quota).toBeCloseTo(0.5, 9);
		const rewardOf = (client: string) => modelOf(run, half.rows.get(client)).map((weight, j) => weight - u[j]!);
		expect(rewardOf("b")).toEqual(u);
		// ⌈0.5⌉ = 1 of 1, ⌈2.5⌉ = 3 of 5, ⌈1.5⌉ = 2 of 3, of which one is 0 anyway: the last and the first.
		expect(rewardOf("a")).toEqual([0.5, 1, -1, 1, 0, 0, 0, 0, 0.125]);
	});

	it("altruism raises the smaller quotas and leaves the largest", () => {
		const of = (altruism: number) => {
			const run = runOf(rffl, { ...OPTIONS, altruism }, [0, 0]);
			const { outcome } = finished(run, { base: run.initial }, new Map(), 1, {
				a: { delta: [1, 0] },
				b: { delta: [0.28, 0.96] },
				c: { delta: [0.6, 0.8] },
			});
			return [...outcome.scores!.values()].map(({ quota }) => quota!);
		};
		const [plain, raised] = [of(0), of(2)];
		expect(raised).toEqual(plain.map((q) => expect.closeTo(Math.tanh(2 * q) / Math.tanh(2), 12)));
		expect(plain.filter((q) => q === 1)).toHaveLength(1);
		expect(raised.filter((q) => q === 1)).toHaveLength(1);
	});

	it("brings a change beyond Γ back to it, and calls its sender clipped", () => {
		const run = runOf(rffl, { ...OPTIONS, gamma: 0.5 }, [0, 0]);
		const { outcome, rows } = finished(run, { base: run.initial }, new Map(), 1, { a: { delta: [0.3, 0.4] }, b: { delta: [0.45, 0.6] } });
		expect(outcome.metrics!.clipped).toBe(1);
		expect(reputationsOf(rows)).toEqual({ a: near(0.5), b: near(0.5) });
		expect(gap(modelOf(run, rows.get("b")), [0.6, 0.8])).toBeLessThan(1e-7);
	});

	it("shares reputation among those present; absent clients keep theirs, newcomers start at the mean", () => {
		const run = runOf(rffl, OPTIONS, [0, 0]);
		const three = { a: { delta: [1, 0] }, b: { delta: [0.6, 0.8] }, c: { delta: [0.8, 0.6] } };
		const first = finished(run, { base: run.initial }, new Map(), 1, three);
		const without = finished(run, first.state, first.rows, 2, { a: three.a, b: three.b });
		expect(without.written).toEqual(["a", "b"]);
		expect(without.rows.get("c")).toEqual(first.rows.get("c"));
		const total = (rows: Rows) => [...rows.values()].reduce((sum, { reputation }) => sum + reputation, 0);
		expect(total(without.rows)).toBeCloseTo(1, 12);
		expect(reputationsOf(without.rows)).not.toEqual(reputationsOf(first.rows));

		const later = finished(run, without.state, without.rows, 3, { ...three, d: { delta: [0.8, 0.6] } });
		expect(total(later.rows)).toBeCloseTo(1, 12);
		// At the mean of three, then one step of α towards its φ, like everybody.
		expect(Math.abs(later.rows.get("d")!.reputation - 1 / 4)).toBeLessThan(0.03);
		expect(rffl.task(without.state, undefined, position(run, without.rows, 3))).toEqual({ model: without.state.base, reward: null });
		const initial = { ...run, config: { ...run.config, newcomers: "initial" as const } };
		expect(rffl.task(without.state, undefined, position(initial, without.rows, 3)).model).toEqual(run.initial);
	});

	const HOSTILE = { a: { delta: [1, 0] }, b: { delta: [0.8, 0.6] }, c: { delta: [1, 0.25] }, x: { delta: [-1, 0] } };

	it("removes who stays below the threshold after the warm-up, for good", () => {
		const run = runOf(rffl, { ...OPTIONS, warmupRounds: 2, patience: 2 }, [0, 0]);
		let at = finished(run, { base: run.initial }, new Map(), 1, HOSTILE);
		at = finished(run, at.state, at.rows, 2, HOSTILE);
		expect(at.rows.get("x")).toMatchObject({ standing: "live", reputation: 0, below: 2 });
		expect(rffl.plan(at.state, position(run, at.rows, 3))).not.toHaveProperty("exclude");
		at = finished(run, at.state, at.rows, 3, HOSTILE);
		expect(at.rows.get("x")).toMatchObject({
			standing: "removed",
			reputation: 0,
			reward: null,
			reason: "round 3: reputation 0.000000 below 0.083333",
		});
		expect(at.outcome.scores!.get("x")).toEqual({ reputation: 0, quota: 0, phi: 0, standing: 0 });
		expect(at.outcome.metrics).toEqual({ live: 3, probation: 0, removed: 1, clipped: 0 });
		const plan = rffl.plan(at.state, { ...position(run, at.rows, 4), population: 4 });
		expect(plan).toMatchObject({ exclude: ["x"], leases: 3, closeAt: 3, quorum: 3 });
		// Even a report of it that arrives changes nothing.
		const [withIt, withoutIt] = [HOSTILE, { a: HOSTILE.a, b: HOSTILE.b, c: HOSTILE.c }].map((reports) =>
			finished(run, at.state, at.rows, 4, reports),
		);
		expect(withIt!.outcome).toEqual(withoutIt!.outcome);
		expect(finished(run, at.state, at.rows, 4, { x: HOSTILE.x })).toMatchObject({ state: at.state, written: [] });
		const sum = [...withIt!.rows.values()].reduce((total, { reputation }) => total + reputation, 0);
		expect(sum).toBeCloseTo(1, 12);
	});

	it("one round below the threshold is not enough where patience is two", () => {
		const run = runOf(rffl, { ...OPTIONS, warmupRounds: 0, patience: 2, alpha: 0.5 }, [0, 0]);
		let at = finished(run, { base: run.initial }, new Map(), 1, HOSTILE);
		expect(at.rows.get("x")).toMatchObject({ standing: "live", below: 1 });
		at = finished(run, at.state, at.rows, 2, { ...HOSTILE, x: HOSTILE.a });
		expect(at.rows.get("x")).toMatchObject({ standing: "live", below: 0 });
	});

	it("on probation a client weighs nothing and gets nothing until its reputation recovers", () => {
		const run = runOf(rffl, { ...OPTIONS, warmupRounds: 0, alpha: 0.5, onBelowThreshold: "probation" }, [0, 0]);
		let at = finished(run, { base: run.initial }, new Map(), 1, HOSTILE);
		expect(at.rows.get("x")).toMatchObject({ standing: "probation", reputation: 0, reward: null });
		expect(at.rows.get("x")!.reason).toContain("round 1");
		expect(rffl.plan(at.state, position(run, at.rows, 2))).not.toHaveProperty("exclude");

		const honest = finished(run, at.state, at.rows, 2, { a: HOSTILE.a, b: HOSTILE.b, c: HOSTILE.c });
		at = finished(run, at.state, at.rows, 2, HOSTILE);
		expect(at.state).toEqual(honest.state);
		expect(at.outcome.scores!.get("x")).toEqual({ reputation: 0, quota: 0, phi: 0, standing: 0.5 });
		expect(at.rows.get("a")).toEqual(honest.rows.get("a"));

		const back = finished(run, at.state, at.rows, 3, { ...HOSTILE, x: HOSTILE.a });
		expect(back.rows.get("x")).toMatchObject({ standing: "live", reason: "" });
		expect(back.rows.get("x")!.reputation).toBeGreaterThan(1 / 12);
		expect([...back.rows.values()].reduce((sum, { reputation }) => sum + reputation, 0)).toBeCloseTo(1, 12);
		// Alone with nobody to be compared with, it stays as it is.
		const alone = finished(run, at.state, at.rows, 3, { x: HOSTILE.a });
		expect(alone.rows.get("x")).toMatchObject({ standing: "probation", reputation: 0 });
		expect(alone.outcome.scores!.get("x")).not.toHaveProperty("phi");
	});

	it.each([[null], ["x"], [3], [[]], [{}], [{ base: 7 }], [{ base: "A".repeat(64) }], [{ base: "0".repeat(63) }]])(
		"takes the header %j as one that names no model",
		(header) => {
			const run = runOf(rffl, OPTIONS, [0, 0, 0, 0]);
			const reports = { a: { delta: [1, 0, 0, 0], header }, b: { delta: [0, 1, 0, 0], header: { base: "0".repeat(64) } } };
			const { rows } = finished(run, { base: run.initial }, new Map(), 1, reports);
			expect(rows.get("a")!.reward).toBeNull();
		},
	);

	it("clients without any reputation cannot give each other some", () => {
		const run = runOf(rffl, OPTIONS, [0, 0]);
		const first = finished(run, { base: run.initial }, new Map(), 1, {
			a: { delta: [1, 0], weight: 9 },
			b: { delta: [-1, 0] },
			c: { delta: [0, -1] },
		});
		const { reputation } = first.rows.get("a")!;
		const rows = new Map([...first.rows].map(([client, row]) => [client, { ...row, reputation: client === "a" ? 1 : 0 }]));
		expect(reputation).toBeGreaterThan(0.8);
		const without = finished(run, first.state, rows, 2, { b: { delta: [-1, 0] }, c: { delta: [-1, 0] } });
		expect(reputationsOf(without.rows)).toEqual({ a: 1, b: 0, c: 0 });
		const withIt = finished(run, first.state, rows, 2, { a: { delta: [1, 0] }, b: { delta: [1, 0] } });
		expect(withIt.rows.get("b")!.reputation).toBeCloseTo(0.05 / 1.05, 9);
	});

	it("all updates zero: everybody keeps an equal share", () => {
		const run = runOf(rffl, OPTIONS, [0, 0]);
		const { rows, outcome } = finished(run, { base: run.initial }, new Map(), 1, { a: { delta: [0, 0] }, b: { delta: [0, 0] } });
		expect(reputationsOf(rows)).toEqual({ a: 0.5, b: 0.5 });
		expect(outcome.scores!.get("a")).toEqual({ reputation: 0.5, quota: 1, phi: 0, standing: 1 });
	});
});
