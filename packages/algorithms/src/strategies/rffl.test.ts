import { RondoError } from "@rondo/errors";
import { layoutOf } from "@rondo/tensors";
import { describe, expect, it } from "vitest";
import { atOf, clientOf, type Device, memoryStore, type Run, runOf } from "../../test/fixture.js";
import { batchOf, devicesOf, EXAMPLES, gap, lossAndGradient, WEIGHTS } from "../../test/problems.js";
import type { At, Outcome, Received } from "../contract.js";
import { decodePlain, encodePlain, type Plain, type Vec, vecOf, vecsIn } from "../plain.js";
import { type RfflTypes, rffl } from "./rffl.js";

type Row = RfflTypes["member"];
type Rows = ReadonlyMap<string, Row>;
type Reports = Readonly<Record<string, { readonly delta: ArrayLike<number>; readonly weight?: number; readonly header?: unknown }>>;

const position = (run: Run<RfflTypes>, rows: Rows, round: number): At<RfflTypes> => ({
	...atOf(run, round),
	members: () => [...rows].sort(([a], [b]) => (a < b ? -1 : 1)),
});

/** What the server half makes of these reports; everything passes through its encoding. */
function finished(run: Run<RfflTypes>, state: RfflTypes["state"], rows: Rows, round: number, reports: Reports) {
	const received = Object.entries(reports)
		.sort(([a], [b]) => (a < b ? -1 : 1))
		.map(
			([client, { delta, weight = 1, header = null }]): Received<RfflTypes> => ({
				client,
				weight,
				staleness: 0,
				header: header as RfflTypes["report"],
				member: rows.get(client),
				lane: (_name, from = 0, to = delta.length) => Float64Array.from(Float32Array.from(delta).subarray(from, to)),
			}),
		);
	const folded = { lanes: {}, weight: 1, count: received.length, reports: received };
	const outcome: Outcome<RfflTypes> = rffl.finish(state, folded, position(run, rows, round));
	const next = new Map(rows);
	for (const [client, row] of outcome.members ?? []) next.set(client, decodePlain(encodePlain(row as Plain)) as unknown as Row);
	return { outcome, state: outcome.state, rows: next as Rows, written: [...(outcome.members ?? new Map()).keys()] };
}

const reputationsOf = (rows: Rows) => Object.fromEntries([...rows].map(([client, { reputation }]) => [client, reputation]));
const modelOf = (run: Run<RfflTypes>, row: Row | undefined) => [...run.store.io.read(row!.model)];
const near = (value: number) => expect.closeTo(value, 12);

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

describe("both halves", () => {
	const OPTIONS = {
		learningRate: 0.5,
		lrDecay: 0.75,
		batchSize: 100,
		localEpochs: 2,
		gamma: 0.4,
		alpha: 0.75,
		cohortSize: 3,
		warmupRounds: 1,
		thresholdFactor: 0,
	};

	/** A device's task, done by a client that has what `has` lets through. */
	async function train(
		run: Run<RfflTypes>,
		device: Device,
		task: RfflTypes["task"],
		round: number,
		has: (vec: Vec) => boolean = () => true,
	) {
		const read: Vec[] = [];
		const client = clientOf(run, device, round);
		const work = await rffl.train(decodePlain(encodePlain(task)) as unknown as RfflTypes["task"], {
			...client,
			read: async (vec) => {
				read.push(vec);
				if (!has(vec)) throw new RondoError("NOT_FOUND", "gone");
				return client.read(vec);
			},
		});
		return { work, read };
	}

	/** Rounds of three devices; `has` decides by device and round what is still on it. */
	async function played(
		rounds: number,
		has: (id: string, round: number) => (vec: Vec) => boolean = () => () => true,
		options: object = OPTIONS,
	) {
		const run = runOf(rffl, options, WEIGHTS);
		const devices = devicesOf();
		let state = rffl.init(atOf(run));
		let rows: Rows = new Map();
		const scores: Outcome["scores"][] = [];
		const read = new Map<string, readonly Vec[]>();
		for (let round = 1; round <= rounds; round++) {
			const reports: Record<string, { delta: ArrayLike<number>; weight: number; header: unknown }> = {};
			for (const device of devices.filter(({ id }) => rows.get(id)?.standing !== "removed")) {
				const task = rffl.task(state, rows.get(device.id), position(run, rows, round));
				const { work, read: vecs } = await train(run, device, task, round, has(device.id, round));
				read.set(`${device.id} ${round}`, vecs);
				reports[device.id] = { delta: work.lanes.delta!, weight: work.numExamples, header: work.header };
			}
			const next = finished(run, state, rows, round, reports);
			({ state, rows } = next);
			scores.push(next.outcome.scores);
		}
		return { run, state, rows, scores, read };
	}

	/** The equations, in float64 and without any of the code under test. */
	function reference(rounds: number, against: "leave-one-out" | "all", thresholdFactor: number) {
		const ids = Object.keys(EXAMPLES);
		const models = new Map(ids.map((id) => [id, WEIGHTS.slice()]));
		const reputation = new Map(ids.map((id) => [id, 0]));
		const removed = new Set<string>();
		let base = WEIGHTS.slice();
		for (let round = 1; round <= rounds; round++) {
			const live = ids.filter((id) => !removed.has(id));
			const deltas = new Map<string, number[]>();
			for (const id of live) {
				let w = models.get(id)!.slice();
				for (let step = 0; step < OPTIONS.localEpochs; step++) {
					const [, gradient] = lossAndGradient(w, batchOf(id));
					w = w.map((value, j) => value - OPTIONS.learningRate * OPTIONS.lrDecay ** (round - 1) * gradient[j]!);
				}
				const delta = w.map((value, j) => value - models.get(id)![j]!);
				const length = Math.hypot(...delta);
				deltas.set(
					id,
					delta.map((value) => value * Math.min(1, OPTIONS.gamma / length)),
				);
			}
			const raw = new Map(live.map((id) => [id, round === 1 ? EXAMPLES[id]!.rows.length : reputation.get(id)!]));
			const total = [...raw.values()].reduce((a, b) => a + b);
			const share = (id: string) => raw.get(id)! / total;
			const sum = (some: readonly string[]) => WEIGHTS.map((_, j) => some.reduce((s, id) => s + share(id) * deltas.get(id)![j]!, 0));
			const u = sum(live);
			for (const id of live) {
				const others = live.filter((other) => against === "all" || other !== id);
				if (!others.some((other) => share(other) > 0)) continue;
				const rest = sum(others);
				const delta = deltas.get(id)!;
				const product = delta.reduce((s, value, j) => s + value * rest[j]!, 0);
				const phi = Math.max(0, product / Math.hypot(...delta) / Math.hypot(...rest));
				reputation.set(id, OPTIONS.alpha * reputation.get(id)! + (1 - OPTIONS.alpha) * phi);
			}
			const scale = () => {
				const all = ids.filter((id) => !removed.has(id)).reduce((s, id) => s + reputation.get(id)!, 0);
				for (const id of ids) reputation.set(id, removed.has(id) ? 0 : reputation.get(id)! / all);
			};
			scale();
			if (round > OPTIONS.warmupRounds) for (const id of live) if (reputation.get(id)! < thresholdFactor / live.length) removed.add(id);
			scale();
			const top = Math.max(...reputation.values());
			for (const id of live) {
				const keep = Math.ceil((reputation.get(id)! / top) * u.length);
				const kept = new Set(
					u
						.map((_, j) => j)
						.sort((a, b) => Math.abs(u[b]!) - Math.abs(u[a]!) || a - b)
						.slice(0, keep),
				);
				models.set(
					id,
					models.get(id)!.map((w, j) => w + deltas.get(id)![j]! + (kept.has(j) ? u[j]! : 0)),
				);
			}
			base = base.map((w, j) => w + 2 * u[j]!);
		}
		return { models, reputation, removed, base };
	}

	it.each([
		["leave-one-out", 0, []],
		["all", 0.9, ["ann"]],
	] as const)("four rounds agree with the equations, compared with %s", async (against, thresholdFactor, out) => {
		const options = { ...OPTIONS, patience: 1, reference: against, thresholdFactor };
		for (const rounds of [1, 2, 3, 4]) {
			const [{ run, rows, state }, wanted] = [await played(rounds, undefined, options), reference(rounds, against, thresholdFactor)];
			for (const [id, row] of rows) {
				expect(row.reputation, `${id}, round ${rounds}`).toBeCloseTo(wanted.reputation.get(id)!, 5);
				expect(row.standing === "removed").toBe(wanted.removed.has(id));
				expect(gap(modelOf(run, row), wanted.models.get(id)!), `${id}, round ${rounds}`).toBeLessThan(1e-5);
			}
			expect(gap(run.store.io.read(state.base), wanted.base)).toBeLessThan(1e-5);
		}
		const { models, removed } = reference(4, against, thresholdFactor);
		// The models differ from each other and from the start, so that agreement means something.
		expect(gap(models.get("ann")!, models.get("bob")!)).toBeGreaterThan(0.1);
		expect(gap(models.get("cid")!, WEIGHTS)).toBeGreaterThan(0.1);
		expect([...removed]).toEqual(out);
	});

	it("a client that kept its model downloads the reward, one that lost it the model: the bytes are the same", async () => {
		const kept = await played(4);
		const { base } = (await played(2)).rows.get("ann")!.reward!;
		// In round 3 ann has nothing of its own left; the coordinator never had it.
		const forgetful = await played(4, (id, round) => (vec) => id !== "ann" || round !== 3 || vec.sha256 !== base);
		expect(kept.read.get("ann 3")!.map(({ sha256 }) => sha256)).toHaveLength(3);
		expect(forgetful.read.get("ann 3")!.map(({ sha256 }) => sha256)).toEqual([base, (await played(2)).rows.get("ann")!.model.sha256]);
		expect(encodePlain([...forgetful.rows].flat() as unknown as Plain)).toEqual(encodePlain([...kept.rows].flat() as unknown as Plain));
		expect(forgetful.state).toEqual(kept.state);
	});

	it("what it reads: base and reward, or base and model when the base is gone, or the model when nothing was kept", async () => {
		const { run, rows, state } = await played(2);
		const [id, row] = [...rows].find(([, { reward }]) => reward !== null)!;
		const task = rffl.task(state, row, position(run, rows, 3));
		const device = devicesOf().find((one) => one.id === id)!;
		// What round 2 left on the device.
		const before = await played(1);
		const trained = async (has: (vec: Vec) => boolean, cached: boolean) => {
			const fresh: Device = { ...device, cache: new Map(), store: memoryStore() };
			if (cached) await train(run, fresh, rffl.task(before.state, before.rows.get(id), position(before.run, before.rows, 2)), 2);
			const { work, read } = await train(run, fresh, task, 3, has);
			return { delta: [...work.lanes.delta!], header: work.header, read: read.map(({ sha256 }) => sha256) };
		};
		const { base, positions, values } = row.reward!;
		const patched = await trained(({ sha256 }) => sha256 !== row.model.sha256, true);
		expect(patched.read).toEqual([base, positions.sha256, values.sha256]);
		const dense = await trained(({ sha256 }) => sha256 !== base, true);
		expect(dense.read).toEqual([base, row.model.sha256]);
		const empty = await trained(() => true, false);
		expect(empty.read).toEqual([row.model.sha256]);
		expect({ ...patched, read: [] }).toEqual({ ...dense, read: [] });
		expect({ ...patched, read: [] }).toEqual({ ...empty, read: [] });
		expect(positions.length + 4 * values.length).toBeLessThan(4 * WEIGHTS.length);
	});

	it("a reward that does not lead to the model's digest is thrown away", async () => {
		const { run, rows, state } = await played(2);
		const [id, row] = [...rows].find(([, { reward }]) => reward !== null)!;
		const device = { ...devicesOf().find((one) => one.id === id)! };
		const before = await played(1);
		await train(run, device, rffl.task(before.state, before.rows.get(id), position(before.run, before.rows, 2)), 2);
		const values = run.store.keep(
			"f32",
			run.store.io.read(row.reward!.values).map((value) => value + 1),
		);
		for (const reward of [
			{ ...row.reward!, values },
			{ ...row.reward!, positions: values as unknown as Vec<"u8"> },
		]) {
			const { read } = await train(
				run,
				{ ...device, cache: new Map(device.cache) },
				{ ...rffl.task(state, row, position(run, rows, 3)), reward },
				3,
			);
			expect(read.at(-1)).toEqual(row.model);
		}
	});

	it("clips its own change to Γ, and decays the learning rate from round to round", async () => {
		const device = devicesOf()[0]!;
		const norm = (delta: ArrayLike<number>) => Math.hypot(...Array.from(delta));
		const change = async (options: object, round: number) => {
			const run = runOf(rffl, { ...OPTIONS, ...options }, WEIGHTS);
			const { work } = await train(run, device, { model: run.initial, reward: null }, round);
			return { length: norm(work.lanes.delta!), metrics: work.metrics!, delta: work.lanes.delta! };
		};
		const free = await change({ gamma: 100 }, 1);
		expect(free.length).toBeGreaterThan(0.3);
		const tight = await change({ gamma: 0.125 }, 1);
		expect(tight.length).toBeCloseTo(0.125, 6);
		expect(tight.metrics.updateNorm).toBeCloseTo(free.length, 6);
		const oneStep = { gamma: 100, localEpochs: 1 };
		expect((await change(oneStep, 3)).length).toBeCloseTo((await change(oneStep, 1)).length * 0.75 ** 2, 6);
	});

	it("its bounds hold the largest messages, and rows of all kinds", async () => {
		const { run, rows, state } = await played(3);
		const bounds = rffl.bounds(run.config, run.layout);
		for (const row of rows.values()) {
			const task = rffl.task(state, row, position(run, rows, 4));
			expect(encodePlain(task).length).toBeLessThanOrEqual(bounds.task);
			expect(vecsIn(task).reduce((sum, { length, dtype }) => sum + length * (dtype === "u8" ? 1 : 4), 0)).toBeLessThanOrEqual(
				bounds.download,
			);
		}
		const digest = "f".repeat(64);
		const largest = {
			model: vecOf("f32", WEIGHTS.length, digest),
			reward: { base: digest, positions: vecOf("u8", WEIGHTS.length, digest), values: vecOf("f32", WEIGHTS.length, digest) },
			reputation: Math.PI / 4,
			standing: "probation",
			reports: 2 ** 31,
			below: 2 ** 31,
			reason: `round ${2 ** 31 - 1}: reputation 0.123456 below 0.123457`,
		};
		expect(encodePlain(largest).length).toBeLessThanOrEqual(bounds.member!);
		expect(bounds.report).toBe(encodePlain({ base: digest }).length + 4 * WEIGHTS.length);
	});
});
