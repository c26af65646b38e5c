import { describe, expect, it } from "vitest";
import { atOf, deviceOf, memoryData, runOf, trainerOf } from "../../test/fixture.js";
import { batchOf, devicesOf, gap, lossAndGradient, WEIGHTS } from "../../test/problems.js";
import { type Reported, reportRound, type Standing, standingOf } from "../../test/reports.js";
import { encodePlain } from "../plain.js";
import { type ScaffoldTypes, scaffold } from "./scaffold.js";

const OPTIONS = { learningRate: 0.25, batchSize: 100, localEpochs: 3, serverLearningRate: 0.75, cohortSize: 3 };
/** Of ann, bob and cid: who reports in each round. A fourth client never does. */
const ROUNDS = [
	["ann", "bob", "cid"],
	["ann", "cid"],
	["bob", "cid"],
	["ann", "bob"],
	["ann", "bob", "cid"],
];
const POPULATION = 4;

type Slip = "none" | "no correction" | "option I" | "mean of reports";

/** Algorithm 1 in float64, or with a slip. */
function reference(slip: Slip = "none", rounds = ROUNDS): { x: number[]; c: number[] } {
	let x = WEIGHTS.slice();
	let c = x.map(() => 0);
	const own = new Map<string, number[]>();
	for (const cohort of rounds) {
		const nextX = x.slice();
		const nextC = c.slice();
		for (const id of cohort) {
			const ci = own.get(id) ?? x.map(() => 0);
			let y = x.slice();
			for (let step = 0; step < OPTIONS.localEpochs; step++) {
				const [, gradient] = lossAndGradient(y, batchOf(id));
				y = y.map((w, j) => w - OPTIONS.learningRate * (gradient[j]! + (slip === "no correction" ? 0 : c[j]! - ci[j]!)));
			}
			const [, atX] = lossAndGradient(x, batchOf(id));
			const plus = ci.map((v, j) =>
				slip === "option I" ? atX[j]! : v - c[j]! + (x[j]! - y[j]!) / (OPTIONS.localEpochs * OPTIONS.learningRate),
			);
			own.set(id, plus);
			y.forEach((w, j) => {
				nextX[j]! += (OPTIONS.serverLearningRate * (w - x[j]!)) / cohort.length;
				nextC[j]! += (plus[j]! - ci[j]!) / (slip === "mean of reports" ? cohort.length : POPULATION);
			});
		}
		x = nextX;
		c = nextC;
	}
	return { x, c };
}

describe("scaffold", () => {
	it("five rounds with changing cohorts agree with the equations", async () => {
		const run = runOf(scaffold, OPTIONS, WEIGHTS);
		const devices = devicesOf();
		let at: Standing<ScaffoldTypes> = standingOf(run);
		let last: Reported<ScaffoldTypes> | undefined;
		for (const [i, cohort] of ROUNDS.entries()) {
			last = await reportRound(
				run,
				at,
				i + 1,
				devices.filter(({ id }) => cohort.includes(id)),
				POPULATION,
			);
			at = last;
			const { x, c } = reference("none", ROUNDS.slice(0, i + 1));
			expect(gap(last.model, x)).toBeLessThan(2e-6);
			expect(gap(run.store.io.read(last.state.control), c)).toBeLessThan(2e-6);
			expect(last.outcome.metrics).toEqual({ freshClients: i === 0 ? 3 : 0, lostClients: 0 });
			expect(last.outcome.done).toBeUndefined();
		}
		for (const slip of ["no correction", "option I", "mean of reports"] as const)
			expect(gap(reference(slip).x, reference().x)).toBeGreaterThan(1e-3);
	});

	it("reaches the optimum of the mean loss where FedAvg's local steps lead beside it", async () => {
		// ½ a (w − b)² each; the mean of the two is least at Σ a·b / Σ a = 1.6, where neither gradient is 0.
		const curves = [
			["flat", 1, 0],
			["steep", 4, 2],
		] as const;
		const devices = curves.map(([id, a, b]) =>
			deviceOf(
				id,
				memoryData([[0]]),
				trainerOf((w) => [0.5 * a * (w[0]! - b) ** 2, [a * (w[0]! - b)]]),
			),
		);
		const run = runOf(scaffold, { learningRate: 0.125, localEpochs: 10, cohortSize: 2 }, [0.5]);
		const end = async (keepsState: boolean): Promise<number> => {
			let at: Standing<ScaffoldTypes> = standingOf(run);
			let model = 0;
			for (let round = 1; round <= 60; round++) {
				const last = await reportRound(run, at, round, devices, 2);
				[model] = last.model as unknown as [number];
				at = keepsState ? last : { ...standingOf(run), state: { ...standingOf(run).state, model: last.state.model } };
			}
			return model;
		};
		expect(Math.abs((await end(true)) - 1.6)).toBeLessThan(1e-5);
		expect(Math.abs((await end(false)) - 1.6)).toBeGreaterThan(0.2);
	});

	it("counts clients that lost their state, whatever they say later, and ends the run beyond the share", async () => {
		const run = runOf(scaffold, { ...OPTIONS, maxLostShare: 0.25 }, WEIGHTS);
		const devices = devicesOf();
		const first = await reportRound(run, standingOf(run), 1, devices, POPULATION);
		first.carries.delete("bob");
		const second = await reportRound(run, first, 2, devices, POPULATION);
		expect(second.outcome.metrics).toEqual({ freshClients: 1, lostClients: 1 });
		expect(second.outcome.done).toBeUndefined();
		const third = await reportRound(run, second, 3, devices.slice(0, 2), POPULATION);
		expect(third.outcome.metrics).toEqual({ freshClients: 0, lostClients: 1 });
		third.carries.delete("bob");
		third.carries.delete("cid");
		const fourth = await reportRound(run, third, 4, devices, POPULATION);
		expect(fourth.outcome.metrics).toEqual({ freshClients: 2, lostClients: 2 });
		expect(fourth.outcome.done).toEqual({
			reason:
				"2 of 4 clients have lost their control variates, more than the share maxLostShare of 0.25: the server's is no longer their mean",
		});
	});

	it("a client that joins later changes the divisor, not the sum", async () => {
		const run = runOf(scaffold, OPTIONS, WEIGHTS);
		const devices = devicesOf();
		const first = await reportRound(run, standingOf(run), 1, devices.slice(0, 2), 2);
		const second = await reportRound(run, first, 2, devices, 3);
		const sum = run.store.io.read(second.state.total);
		const own = devices.map(({ id, store }) => store.io.read(second.carries.get(id)!.control));
		expect(
			gap(
				sum,
				sum.map((_, j) => own.reduce((total, c) => total + c[j]!, 0)),
			),
		).toBeLessThan(1e-6);
		expect(
			gap(
				run.store.io.read(second.state.control),
				sum.map((x) => x / 3),
			),
		).toBeLessThan(1e-7);
	});

	it("its bounds are the sizes of real messages", async () => {
		const run = runOf(scaffold, OPTIONS, WEIGHTS);
		const bounds = scaffold.bounds(run.config, run.layout);
		const { works, members, carries, state } = await reportRound(run, standingOf(run), 1, devicesOf(), POPULATION);
		expect(encodePlain(scaffold.task(state, undefined, atOf(run))).length).toBe(bounds.task);
		expect(encodePlain(carries.get("ann")!).length).toBe(bounds.carry);
		expect(encodePlain(members.get("ann")!).length).toBe(bounds.member);
		expect(Object.values(works[0]!.lanes).reduce((bytes, lane) => bytes + 4 * lane.length, 1)).toBe(bounds.report);
		expect(bounds.download).toBe(8 * WEIGHTS.length);
	});
});
