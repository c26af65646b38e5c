import { describe, expect, it } from "vitest";
import { atOf, playRound, runOf } from "../../test/fixture.js";
import { batchOf, devicesOf, EXAMPLES, gap, lossAndGradient, WEIGHTS } from "../../test/problems.js";
import type { AnyStrategy } from "../contract.js";
import { fedadagrad } from "./fedadagrad.js";
import { fedadam } from "./fedadam.js";
import { fedavg } from "./fedavg.js";
import { fedavgm } from "./fedavgm.js";
import { fedyogi } from "./fedyogi.js";

const LOCAL = { learningRate: 0.25, batchSize: 100, localEpochs: 3, cohortSize: 3 };
const ROUNDS = 4;

/** The mean update of a round in float64: full-batch steps, weighted by numbers of examples. */
function meanUpdate(global: readonly number[]): number[] {
	const total = Object.values(EXAMPLES).reduce((n, { rows }) => n + rows.length, 0);
	const mean = global.map(() => 0);
	for (const [id, { rows }] of Object.entries(EXAMPLES)) {
		let local = global.slice();
		for (let step = 0; step < LOCAL.localEpochs; step++) {
			const [, gradient] = lossAndGradient(local, batchOf(id));
			local = local.map((w, j) => w - LOCAL.learningRate * gradient[j]!);
		}
		local.forEach((w, j) => {
			mean[j]! += (rows.length / total) * (w - global[j]!);
		});
	}
	return mean;
}

type Rule = (weight: number, m: number, v: number, delta: number) => readonly [weight: number, m: number, v: number];

function reference(rule: Rule, startOfV: number): number[] {
	let [w, m, v] = [WEIGHTS.slice(), WEIGHTS.map(() => 0), WEIGHTS.map(() => startOfV)];
	for (let round = 0; round < ROUNDS; round++) {
		const next = meanUpdate(w).map((delta, j) => rule(w[j]!, m[j]!, v[j]!, delta));
		w = next.map(([weight]) => weight);
		m = next.map(([, moment]) => moment);
		v = next.map(([, , second]) => second);
	}
	return w;
}

async function played(strategy: AnyStrategy, options: object): Promise<Float32Array> {
	const run = runOf(strategy as typeof fedavg, { ...LOCAL, ...options }, WEIGHTS);
	let state = run.strategy.init(atOf(run));
	let model = new Float32Array();
	for (let round = 1; round <= ROUNDS; round++) {
		const result = await playRound(run, state, round, devicesOf());
		state = result.outcome.state;
		model = result.model as Float32Array<ArrayBuffer>;
	}
	return model;
}

const [eta, beta1, beta2, tau] = [0.125, 0.625, 0.75, 0.0625];
const moved = (m: number, delta: number): number => beta1 * m + (1 - beta1) * delta;
const adaptive =
	(second: (v: number, square: number) => number): Rule =>
	(w, m, v, delta) => {
		const [first, variance] = [moved(m, delta), second(v, delta ** 2)];
		return [w + (eta * first) / (Math.sqrt(variance) + tau), first, variance];
	};
const RULES = {
	fedavgm: [
		fedavgm,
		{ serverLearningRate: eta, serverMomentum: beta1 },
		(w, m, v, delta) => [w + eta * (beta1 * m + delta), beta1 * m + delta, v],
	],
	fedadagrad: [fedadagrad, { serverLearningRate: eta, beta1, tau }, adaptive((v, square) => v + square)],
	fedadam: [fedadam, { serverLearningRate: eta, beta1, beta2, tau }, adaptive((v, square) => beta2 * v + (1 - beta2) * square)],
	fedyogi: [
		fedyogi,
		{ serverLearningRate: eta, beta1, beta2, tau },
		adaptive((v, square) => v - (1 - beta2) * square * Math.sign(v - square)),
	],
} as const satisfies Record<string, readonly [AnyStrategy, object, Rule]>;

describe.each(Object.entries(RULES))("%s", (name, [strategy, options, rule]) => {
	it("four rounds agree with the equations", async () => {
		const model = await played(strategy, options);
		expect(gap(model, reference(rule, tau ** 2))).toBeLessThan(1e-6);
		expect(gap(model, WEIGHTS)).toBeGreaterThan(0.05);
	});

	it("is none of the others, nor what a slip in the equations would make of it", async () => {
		const wanted = reference(rule, tau ** 2);
		const slips = Object.entries(RULES)
			.filter(([other]) => other !== name)
			.map(([, [, , other]]) => reference(other, tau ** 2));
		if (name !== "fedavgm") {
			// v from 0, the bias of m corrected at its first step, τ under the root.
			slips.push(reference(rule, 0));
			slips.push(reference((w, m, v, delta) => rule(w, m === 0 ? (delta * (1 - (1 - beta1))) / beta1 : m, v, delta), tau ** 2));
		}
		for (const slip of slips) expect(gap(slip, wanted)).toBeGreaterThan(1e-3);
	});

	it("moves with its own defaults, downhill", async () => {
		const before = Object.keys(EXAMPLES).reduce((sum, id) => sum + lossAndGradient(WEIGHTS, batchOf(id))[0], 0);
		const model = await played(strategy, {});
		const after = Object.keys(EXAMPLES).reduce((sum, id) => sum + lossAndGradient(model, batchOf(id))[0], 0);
		expect(after).toBeLessThan(before);
	});
});

it("with momentum 0, FedAvgM has the very bytes of FedAvg", async () => {
	expect(await played(fedavgm, { serverLearningRate: 0.7, serverMomentum: 0 })).toEqual(await played(fedavg, { serverLearningRate: 0.7 }));
	expect(await played(fedavgm, { serverMomentum: 0.1 })).not.toEqual(await played(fedavg, {}));
});

it("FedYogi forgets a large update more slowly than FedAdam", async () => {
	// One weight, an update of 1 and then none: v falls by a quarter under Adam, not at all under Yogi.
	const seconds = (strategy: AnyStrategy): number[] => {
		const run = runOf(strategy as typeof fedadam, { beta2, tau }, [0]);
		let state = run.strategy.init(atOf(run));
		return [1, 0, 0].map((delta) => {
			const folded = { lanes: { delta: Float64Array.of(delta) }, weight: 1, count: 1, reports: [] };
			({ state } = run.strategy.finish(state, folded, atOf(run)));
			return run.store.io.read(state.v)[0]!;
		});
	};
	const start = tau ** 2;
	const [first, second, third] = [beta2 * start + 0.25, beta2 * (beta2 * start + 0.25), beta2 ** 2 * (beta2 * start + 0.25)];
	seconds(fedadam).forEach((v, i) => {
		expect(v).toBeCloseTo([first, second, third][i]!, 6);
	});
	for (const v of seconds(fedyogi)) expect(v).toBeCloseTo(start + 0.25, 6);
});
