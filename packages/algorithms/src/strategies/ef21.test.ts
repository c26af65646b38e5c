import { describe, expect, it } from "vitest";
import { atOf, type Device, deviceOf, memoryData, playRound, runOf, trainerOf } from "../../test/fixture.js";
import { batchOf, devicesOf, EXAMPLES, gap, lossAndGradient, WEIGHTS } from "../../test/problems.js";
import { reportRound, type Standing, standingOf } from "../../test/reports.js";
import { topK } from "../codecs/top-k.js";
import { encodePlain } from "../plain.js";
import { type Ef21Types, ef21 } from "./ef21.js";
import { fedavg } from "./fedavg.js";

const OPTIONS = {
	learningRate: 0.25,
	batchSize: 100,
	localEpochs: 2,
	serverLearningRate: 0.75,
	codecShare: 0.25,
	maxAge: 2,
	cohortSize: 3,
};
/** cid is silent for three rounds: counted in rounds 2 and 3, forgotten in round 4, back in round 5. */
const ROUNDS = [["ann", "bob", "cid"], ["ann", "bob"], ["bob"], ["ann", "bob"], ["ann", "cid"]];

const sized = (v: readonly number[], k: number): number[] => {
	const kept = v.map((_, j) => j).sort((a, b) => Math.abs(v[b]!) - Math.abs(v[a]!) || a - b);
	return v.map((x, j) => (kept.indexOf(j) < k ? x : 0));
};

/** The equations in float64, three of twelve elements a report. */
function reference(
	rounds: readonly (readonly string[])[],
	slip: "none" | "no feedback" | "never forgets" | "cohort only" = "none",
	isEqual = false,
): number[] {
	let x = WEIGHTS.slice();
	const g = new Map<string, { value: number[]; weight: number; round: number }>();
	for (const [i, cohort] of rounds.entries()) {
		for (const id of cohort) {
			let y = x.slice();
			for (let step = 0; step < OPTIONS.localEpochs; step++) {
				const [, gradient] = lossAndGradient(y, batchOf(id));
				y = y.map((w, j) => w - OPTIONS.learningRate * gradient[j]!);
			}
			const before = (slip === "no feedback" ? undefined : g.get(id)?.value) ?? x.map(() => 0);
			const sent = sized(
				y.map((w, j) => w - x[j]! - before[j]!),
				3,
			);
			g.set(id, { value: before.map((v, j) => v + sent[j]!), weight: isEqual ? 1 : EXAMPLES[id]!.rows.length, round: i });
		}
		for (const [id, { round }] of g) if (slip !== "never forgets" && i - round > OPTIONS.maxAge) g.delete(id);
		const counted = [...g].filter(([id]) => slip !== "cohort only" || cohort.includes(id)).map(([, estimate]) => estimate);
		const total = counted.reduce((sum, { weight }) => sum + weight, 0);
		x = x.map((w, j) => w + (OPTIONS.serverLearningRate * counted.reduce((sum, { value, weight }) => sum + weight * value[j]!, 0)) / total);
	}
	return x;
}

describe("ef21", () => {
	it.each(["examples", "equal"] as const)("five rounds with changing cohorts agree with the equations, weighting %s", async (weighting) => {
		const run = runOf(ef21, { ...OPTIONS, weighting }, WEIGHTS);
		const devices = devicesOf();
		let at: Standing<Ef21Types> = standingOf(run);
		const seen: unknown[] = [];
		for (const [i, cohort] of ROUNDS.entries()) {
			const last = await reportRound(
				run,
				at,
				i + 1,
				devices.filter(({ id }) => cohort.includes(id)),
				4,
			);
			at = last;
			expect(gap(last.model, reference(ROUNDS.slice(0, i + 1), "none", weighting === "equal"))).toBeLessThan(2e-6);
			seen.push([last.outcome.metrics?.countedClients, last.outcome.metrics?.forgottenClients]);
			// What the device keeps is what the server holds, to the byte.
			for (const id of cohort) expect(last.carries.get(id)?.g).toEqual(last.members.get(id)?.g);
		}
		expect(seen).toEqual([
			[3, 0],
			[3, 0],
			[3, 0],
			[2, 1],
			[3, 0],
		]);
		for (const slip of ["no feedback", "never forgets", "cohort only"] as const)
			expect(gap(reference(ROUNDS, slip), reference(ROUNDS))).toBeGreaterThan(1e-3);
		expect(gap(reference(ROUNDS, "none", true), reference(ROUNDS))).toBeGreaterThan(1e-3);
	});

	it("a device that lost its state goes on as if it had not", async () => {
		const run = runOf(ef21, OPTIONS, WEIGHTS);
		const played = async (isLost: boolean) => {
			let devices = devicesOf();
			let at: Standing<Ef21Types> = standingOf(run);
			for (let round = 1; round <= 4; round++) {
				if (isLost && round === 3) {
					devices = devicesOf();
					at.carries.clear();
				}
				at = await reportRound(run, at, round, devices, 3);
			}
			return at.state;
		};
		expect(await played(true)).toEqual(await played(false));
	});

	it("holds estimates within their bound, whatever is reported", async () => {
		const run = runOf(ef21, { ...OPTIONS, absMax: 0.5 }, WEIGHTS);
		// The most that a report may hold, in every round.
		const forged = WEIGHTS.map((_, j) => (j === 0 ? 1 : 0));
		let at: Standing<Ef21Types> = standingOf(run);
		expect(ef21.plan(at.state, atOf(run)).lanes.difference!.absMax).toBe(1);
		for (let round = 1; round <= 3; round++) {
			const report = {
				client: "mal",
				weight: 1,
				staleness: 0,
				header: null,
				member: at.members.get("mal"),
				lane: (_name: string, from = 0, to?: number) => Float64Array.from(forged.slice(from, to)),
			};
			const members = [...at.members];
			const { state, members: writes } = ef21.finish(
				at.state,
				{ lanes: {}, weight: 1, count: 1, reports: [report] },
				{ ...atOf(run, round), members: () => members },
			);
			expect(run.store.io.read(writes!.get("mal")!.g)[0]).toBe(0.5);
			expect(run.store.io.read(state.sum)[0]).toBe(0.5);
			at = { state, members: new Map([["mal", writes!.get("mal")!]]), carries: new Map() };
		}
		const tooFar = devicesOf().map((device) => ({ ...device, trainer: trainerOf(() => [1, WEIGHTS.map(() => 3)]) }));
		await expect(reportRound(run, standingOf(run), 1, tooFar, 3)).rejects.toMatchObject({ code: "LANE_OUT_OF_BOUND" });
	});

	it("its bounds are the sizes of real messages", async () => {
		const run = runOf(ef21, OPTIONS, WEIGHTS);
		const bounds = ef21.bounds(run.config, run.layout);
		const { members, carries, state, works, plan } = await reportRound(run, standingOf(run), 1, devicesOf(), 3);
		const at = atOf(run);
		expect(encodePlain(ef21.task(state, members.get("ann"), at)).length).toBe(bounds.task);
		expect(encodePlain(ef21.task(state, undefined, at)).length).toBeLessThan(bounds.task);
		expect(encodePlain(carries.get("ann")!).length).toBe(bounds.carry);
		expect(encodePlain(members.get("ann")!).length).toBeLessThanOrEqual(bounds.member!);
		const lane = plan.lanes.difference!;
		for (const work of works)
			expect(topK.encode(work.lanes.difference!, lane, run.shared).length).toBeLessThanOrEqual(bounds.report - encodePlain(null).length);
	});
});

describe("on quadratics of clients that differ", () => {
	// ½ (w − b)ᵀ A (w − b) with A = L/4 (I + M Mᵀ / ‖M‖²·3): ten weights, largest eigenvalues L of 1, 1, 1 and 20.
	const [d, smoothness] = [10, [1, 1, 1, 20]];
	const noise = (i: number, j: number): number => Math.sin(12.9898 * i + 78.233 * j + 1) * 2;
	const clients = smoothness.map((L, i) => {
		const m = Array.from({ length: d }, (_, j) => noise(i, j));
		const squared = m.reduce((sum, x) => sum + x * x, 0);
		const b = Array.from({ length: d }, (_, j) => 3 * noise(i + 7, j));
		return (w: ArrayLike<number>): number[] => {
			const e = b.map((x, j) => w[j]! - x);
			const along = e.reduce((sum, x, j) => sum + x * m[j]!, 0) / squared;
			return e.map((x, j) => (L / 4) * (x + 3 * along * m[j]!));
		};
	});
	const devices = (): Device[] =>
		clients.map((gradient, i) =>
			deviceOf(
				`c${i}`,
				memoryData([[0]]),
				trainerOf((w) => [1, gradient(w)]),
			),
		);
	const normSquared = (w: ArrayLike<number>): number =>
		Array.from({ length: d }, (_, j) => clients.reduce((sum, gradient) => sum + gradient(w)[j]! / clients.length, 0)).reduce(
			(sum, g) => sum + g * g,
			0,
		);
	// Theorem 1 with the arithmetic mean of the L_i: γ = 1 / (L + mean L · ξ), ξ = (1 + √(1 − α)) / α − 1, α = k/d.
	const step = (share: number): number => {
		const mean = smoothness.reduce((sum, L) => sum + L, 0) / clients.length;
		return 1 / (mean + mean * ((1 + Math.sqrt(1 - share)) / share - 1));
	};
	const share = 0.1;
	const ROUNDS_MADE = 800;

	it("plain top-k stalls and EF21 goes on, with devices that lose their state too", async () => {
		const options = { learningRate: step(share), codecShare: share, cohortSize: 4, absMax: 1024 };
		const plain = runOf(fedavg, { ...options, codec: "top-k" }, new Array(d).fill(1));
		let stalled = 0;
		let state = fedavg.init(atOf(plain));
		for (let round = 1; round <= ROUNDS_MADE; round++) {
			const { outcome, model } = await playRound(plain, state, round, devices());
			state = outcome.state;
			stalled = normSquared(model);
			plain.store.forget();
			state = { model: plain.store.keep("f32", model) };
		}
		const run = runOf(ef21, options, new Array(d).fill(1));
		let at: Standing<Ef21Types> = standingOf(run);
		let reached = 0;
		let there = devices();
		for (let round = 1; round <= ROUNDS_MADE; round++) {
			if (round % 200 === 0) {
				there = devices();
				at.carries.clear();
			}
			const last = await reportRound(run, at, round, there, 4);
			at = last;
			reached = normSquared(last.model);
		}
		// From 5,501: plain top-k stays at 9.4. EF21 comes to what float32 weights leave of changes this small, 6.6e-9.
		expect(stalled).toBeGreaterThan(1);
		expect(reached).toBeLessThan(1e-7);
	}, 60_000);
});
