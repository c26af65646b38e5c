import { describe, expect, it } from "vitest";
import { type Device, deviceOf, memoryData, runOf, trainerOf } from "../../test/fixture.js";
import { gap } from "../../test/problems.js";
import { reportRound, type Standing, standingOf } from "../../test/reports.js";
import { accumulated, type FedNovaTypes, fednova } from "./fednova.js";

/** ½ a (w − b)² in each of two weights, whatever the batch; few examples, or many. */
const CLIENTS = [
	["few", 3, [1, 2], [0.5, -1]],
	["many", 20, [2, 0.5], [2, 1]],
	["some", 8, [0.5, 1], [-1, 3]],
] as const;
const devices = (): Device[] =>
	CLIENTS.map(([id, count, a, b]) =>
		deviceOf(
			id,
			memoryData(Array.from({ length: count }, () => [0])),
			trainerOf((w) => [1, a.map((curve, j) => curve * (w[j]! - b[j]!))]),
		),
	);
const START = [1, 1.5];
const OPTIONS = {
	learningRate: 0.125,
	batchSize: 2,
	localEpochs: 2,
	serverLearningRate: 0.75,
	cohortSize: 3,
	localMomentum: 0.5,
	maxExamples: 32,
};

/** The equations in float64, the norm of a by its definition: what each gradient counts, added up. */
function reference(
	rounds: number,
	{ learningRate, localEpochs, batchSize, serverLearningRate, localMomentum }: typeof OPTIONS,
	isNormalised = true,
): number[] {
	let x: number[] = [...START];
	const n = CLIENTS.reduce((sum, [, count]) => sum + count, 0);
	for (let round = 0; round < rounds; round++) {
		const parts = CLIENTS.map(([, count, a, b]) => {
			const steps = localEpochs * Math.ceil(count / batchSize);
			let y = x.slice();
			let v = y.map(() => 0);
			let norm = 0;
			for (let step = 0; step < steps; step++) {
				v = v.map((velocity, j) => localMomentum * velocity + a[j]! * (y[j]! - b[j]!));
				y = y.map((w, j) => w - learningRate * v[j]!);
				for (let later = step; later < steps; later++) norm += localMomentum ** (later - step);
			}
			return { share: count / n, norm: isNormalised ? norm : 1, delta: y.map((w, j) => w - x[j]!) };
		});
		const effective = parts.reduce((sum, { share, norm }) => sum + share * norm, 0);
		x = x.map(
			(w, j) => w + serverLearningRate * effective * parts.reduce((sum, { share, norm, delta }) => sum + (share * delta[j]!) / norm, 0),
		);
	}
	return x;
}

async function played(rounds: number, options: object): Promise<Float32Array> {
	const run = runOf(fednova, { ...OPTIONS, ...options }, START);
	let at: Standing<FedNovaTypes> = standingOf(run);
	let model: Float32Array = new Float32Array();
	for (let round = 1; round <= rounds; round++) {
		const last = await reportRound(run, at, round, devices(), 3);
		at = last;
		model = last.model;
	}
	return model;
}

describe("fednova", () => {
	it.each([0, 0.5])("four rounds agree with the equations, momentum %f", async (localMomentum) => {
		const options = { ...OPTIONS, localMomentum };
		expect(gap(await played(4, { localMomentum }), reference(4, options))).toBeLessThan(2e-6);
		expect(gap(reference(4, options), reference(4, options, false))).toBeGreaterThan(0.01);
		expect(gap(reference(4, options), START)).toBeGreaterThan(0.1);
	});

	it("adds up what gradients count, in closed form", () => {
		for (const momentum of [0, 0.25, 0.9, 0.999]) {
			for (const steps of [1, 2, 7, 300]) {
				let [count, total] = [0, 0];
				for (let step = 0; step < steps; step++) {
					count = momentum * count + 1;
					total += count;
				}
				expect(accumulated(steps, momentum) / total).toBeCloseTo(1, 9);
			}
		}
	});

	it("comes near the optimum of the weighted loss, where FedAvg favours clients that take many steps", async () => {
		const optimum = START.map(
			(_, j) => CLIENTS.reduce((sum, [, n, a, b]) => sum + n * a[j]! * b[j]!, 0) / CLIENTS.reduce((sum, [, n, a]) => sum + n * a[j]!, 0),
		);
		const small = { learningRate: 0.004, localEpochs: 2, localMomentum: 0, serverLearningRate: 1 };
		const nova = await played(300, small);
		const plain = reference(300, { ...OPTIONS, ...small }, false);
		expect(gap(nova, optimum)).toBeLessThan(0.05);
		expect(gap(plain, optimum)).toBeGreaterThan(5 * gap(nova, optimum));
	});
});
