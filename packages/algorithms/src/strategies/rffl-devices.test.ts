import { RondoError } from "@rondo/errors";
import { describe, expect, it } from "vitest";
import { atOf, clientOf, type Device, memoryStore, type Run, runOf } from "../../test/fixture.js";
import { batchOf, devicesOf, EXAMPLES, gap, lossAndGradient, WEIGHTS } from "../../test/problems.js";
import { finished, modelOf, position, type Rows } from "../../test/rffl-rounds.js";
import type { Outcome } from "../contract.js";
import { decodePlain, encodePlain, type Plain, type Vec, vecOf, vecsIn } from "../plain.js";
import { type RfflTypes, rffl } from "./rffl.js";

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
