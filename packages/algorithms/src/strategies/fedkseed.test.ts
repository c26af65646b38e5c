import { perturb, randomFromSeed, uniformBelow } from "@rondo/kernels";
import { expect, it } from "vitest";
import { familyOf, OPTIONS, play, signsOf, stepsOf } from "../../test/fedkseed-runs.js";
import { atOf, clientOf, deviceOf, foldOf, memoryData, playRound, quadratic, type Run, runOf, trainerOf } from "../../test/fixture.js";
import { batchOf, devicesOf, EXAMPLES, gap, lossAndGradient, WEIGHTS } from "../../test/problems.js";
import type { Outcome } from "../contract.js";
import { encodePlain } from "../plain.js";
import { type FedKSeedTypes, fedkseed } from "./fedkseed.js";

const D = WEIGHTS.length;
const moved = (weights: readonly number[], scale: number, z: readonly number[]) => weights.map((w, j) => w + scale * z[j]!);
const totalExamples = Object.values(EXAMPLES).reduce((n, { rows }) => n + rows.length, 0);

/** The learning rates of the tests' schedules, from their definitions. */
const RATES: { readonly [schedule: string]: (round: number) => number } = {
	constant: () => 0.125,
	linear: (round) => 0.125 - (0.125 - 0.025) * Math.min(1, (round - 1) / 4),
	cosine: (round) => 0.025 + 0.1 * 0.5 * (1 + Math.cos((Math.PI * Math.min(4, round - 1)) / 4)),
	"inverse-sqrt": (round) => Math.max(0.025, 0.125 / Math.sqrt(1 + (round - 1) / 4)),
};

/** A scalar as it travels, from the definition of its form. */
function traveled(scalars: string, g: number): number {
	if (scalars === "f32") return g;
	if (scalars === "f16") {
		const unit = 2 ** (Math.floor(Math.log2(Math.abs(g))) - 10);
		return unit * Math.round(g / unit);
	}
	return Math.sign(g) * Math.exp(Math.round(8 * Math.log(Math.abs(g))) / 8);
}

/** The paper's equations in float64, one global model per round. Only z and the raw draws come from the kernels. */
function reference(run: Run<FedKSeedTypes>, rounds: number): number[][] {
	const { candidates: K, localSteps, epsilon, sampling, importanceClip, schedule, scalars, rebaseEvery } = run.config;
	let z = Array.from({ length: K }, (_, k) => signsOf(run, k));
	let history = Array.from({ length: K }, () => [0]);
	let coefficient = new Array<number>(K).fill(0);
	let base: number[] = WEIGHTS;
	const modelNow = () => base.map((w, j) => w - coefficient.reduce((sum, a, k) => sum + a * z[k]![j]!, 0));
	const models: number[][] = [];
	for (let round = 1; round <= rounds; round++) {
		const v = history.map((values) => values.reduce((sum, g) => sum + g, 0) / values.length);
		const [low, high] = [Math.min(...v), Math.max(...v)];
		const p = v.map((x) => Math.exp((x - low) / (high - low + 1e-10)));
		const weights = p.map((x) => (sampling === "pro" ? Math.round((255 * x) / Math.max(...p)) : 1));
		const start = modelNow();
		const learningRate = RATES[schedule]!(round);
		for (const [id, { rows }] of Object.entries(EXAMPLES)) {
			let local = start;
			const random = randomFromSeed(`secret of ${id}`).at("task", round, "candidates");
			for (let i = 0; i < localSteps; i++) {
				let ticket = uniformBelow(
					random,
					i,
					weights.reduce((sum, w) => sum + w),
				);
				let k = 0;
				while (ticket >= weights[k]!) ticket -= weights[k++]!;
				const loss = (w: readonly number[]) => lossAndGradient(w, batchOf(id))[0];
				const g = traveled(scalars, (loss(moved(local, epsilon, z[k]!)) - loss(moved(local, -epsilon, z[k]!))) / (2 * epsilon));
				local = moved(local, -learningRate * g, z[k]!);
				coefficient[k]! += (rows.length / totalExamples) * learningRate * g;
				history[k]!.push(Math.min(Math.abs(g), importanceClip));
			}
		}
		models.push(modelNow());
		if (rebaseEvery > 0 && round % rebaseEvery === 0) {
			base = modelNow();
			z = Array.from({ length: K }, (_, k) => signsOf(run, k, round / rebaseEvery));
			history = history.map(() => [0]);
			coefficient = coefficient.map(() => 0);
		}
	}
	return models;
}

const PRO = { sampling: "pro", importanceClip: 0.25 };
const VARIANTS: readonly object[] = [
	{},
	PRO,
	{ noise: "noise/1" },
	{ ...PRO, noise: "noise/1" },
	{ rebaseEvery: 2 },
	{ ...PRO, noise: "noise/1", rebaseEvery: 2 },
	...Object.keys(RATES).map((schedule) => ({ schedule, scheduleRounds: 4, finalLearningRate: 0.025 })),
];
for (const options of VARIANTS) {
	it(`five rounds agree with the equations (${JSON.stringify(options)})`, async () => {
		const run = runOf(fedkseed, { ...OPTIONS, ...options }, WEIGHTS);
		const expected = reference(run, 5);
		(await play(run, 5)).forEach(({ model }, i) => {
			expect(gap(model, expected[i]!)).toBeLessThan(2e-6);
		});
		expect(gap(expected[4]!, WEIGHTS)).toBeGreaterThan(0.1);
		expect(gap(expected[4]!, expected[3]!)).toBeGreaterThan(0.005);
	});
}

it("schedules and new candidates make a difference", () => {
	const last = [...VARIANTS.slice(4, 5), ...VARIANTS.slice(-4)].map(
		(options) => reference(runOf(fedkseed, { ...OPTIONS, ...options }, WEIGHTS), 5)[4]!,
	);
	last.forEach((one, i) => {
		for (const other of last.slice(i + 1)) expect(gap(one, other)).toBeGreaterThan(1e-3);
	});
});

// A scalar near the middle of two codes may fall to either side in float32: what is compared is the first round's steps.
for (const scalars of ["f16", "byte"] as const) {
	it(`steps are taken with the gradient that travels (${scalars})`, async () => {
		const run = runOf(fedkseed, { ...OPTIONS, scalars }, WEIGHTS);
		const task = fedkseed.task(fedkseed.init(atOf(run)), undefined, atOf(run));
		const device = devicesOf()[0]!;
		const { candidates, gradients } = stepsOf(run, await fedkseed.train(task, clientOf(run, device)));
		let local: readonly number[] = WEIGHTS;
		candidates.forEach((k, i) => {
			const z = signsOf(run, k);
			const loss = (w: readonly number[]) => lossAndGradient(w, batchOf("ann"))[0];
			const g = (loss(moved(local, OPTIONS.epsilon, z)) - loss(moved(local, -OPTIONS.epsilon, z))) / (2 * OPTIONS.epsilon);
			expect(Math.abs(gradients[i]! / traveled(scalars, g) - 1)).toBeLessThan(1e-6);
			expect(Math.abs(gradients[i]! / g - 1)).toBeGreaterThan(1e-6);
			local = moved(local, -OPTIONS.learningRate * gradients[i]!, z);
		});
		expect(candidates).toHaveLength(OPTIONS.localSteps);
	});
}

it("pro draws otherwise than uniform once importances differ", async () => {
	const [uniform, pro] = [runOf(fedkseed, OPTIONS, WEIGHTS), runOf(fedkseed, { ...OPTIONS, sampling: "pro" }, WEIGHTS)];
	expect(gap(reference(uniform, 3)[2]!, reference(pro, 3)[2]!)).toBeGreaterThan(1e-3);
});

it("on ½‖w‖² the scalar gradient is z·w, and g·z averages to the gradient", async () => {
	const weights = [0.5, -0.25, 1.5, 0.125];
	const run = runOf(fedkseed, { candidates: 65_536, localSteps: 10_000, learningRate: 1e-12, epsilon: 2 ** -6 }, weights);
	const device = deviceOf("a", memoryData([[0, 0, 0, 0]]), trainerOf(quadratic));
	const task = fedkseed.task(fedkseed.init(atOf(run)), undefined, atOf(run));
	const { candidates, gradients } = stepsOf(run, await fedkseed.train(task, clientOf(run, device)));
	const mean = [0, 0, 0, 0];
	candidates.forEach((k, i) => {
		const z = signsOf(run, k);
		// All numbers are dyadic and the learning rate moves no weight: float64 makes no error here.
		expect(gradients[i]).toBe(z.reduce((sum, sign, j) => sum + sign * weights[j]!, 0));
		z.forEach((sign, j) => {
			mean[j]! += (gradients[i]! * sign) / candidates.length;
		});
	});
	const squares = weights.reduce((sum, w) => sum + w * w, 0);
	weights.forEach((w, j) => {
		expect(Math.abs(mean[j]! - w)).toBeLessThan(3 * Math.sqrt((squares - w * w) / candidates.length));
	});
});

it("the rebuilt model is the weighted mean of the clients' final weights", async () => {
	const run = runOf(fedkseed, { ...OPTIONS, batchSize: 2, maxExamples: 12 }, WEIGHTS);
	const [first] = await play(run, 1);
	const { works, model } = await playRound(run, first!.state, 2, devicesOf());
	const mean = new Float64Array(D);
	for (const work of works) {
		const local = first!.model.slice();
		const { candidates, gradients } = stepsOf(run, work);
		candidates.forEach((k, i) => {
			perturb(local, -OPTIONS.learningRate * gradients[i]!, familyOf(run), k, local);
		});
		mean.forEach((_, j) => {
			mean[j]! += (work.numExamples / totalExamples) * local[j]!;
		});
	}
	expect(gap(model, mean)).toBeLessThan(1e-6);
	expect(gap(model, first!.model)).toBeGreaterThan(0.01);
});

it("gives the same bytes whatever the order of the reports", async () => {
	const outcomes: Outcome<FedKSeedTypes>[] = [];
	for (const sampling of ["uniform", "pro"]) {
		for (const order of [
			[0, 1, 2],
			[2, 0, 1],
			[1, 2, 0],
			[2, 1, 0],
		]) {
			const run = runOf(fedkseed, { ...OPTIONS, sampling }, WEIGHTS);
			const [first] = await play(run, 1);
			const { outcome } = await playRound(run, first!.state, 2, devicesOf(), (works) => order.map((i) => works[i]!));
			outcomes.push(outcome);
			if (order[0] !== 0) expect(encodePlain(outcome.state)).toEqual(encodePlain(outcomes.at(-2)!.state));
		}
	}
});

it("skips steps without a usable gradient and counts them", async () => {
	const run = runOf(fedkseed, { ...OPTIONS, localSteps: 6, maxAbsGradient: 100 }, WEIGHTS);
	const task = fedkseed.task(fedkseed.init(atOf(run)), undefined, atOf(run));
	// Losses come in pairs, above and below: steps 2, 3 and 5 are unusable.
	const losses = [1, 1.5, Number.NaN, 1, 1, Number.POSITIVE_INFINITY, 2, 1, 9, 1, 1, 1];
	let call = 0;
	const trainer = { ...devicesOf()[0]!.trainer, loss: async () => losses[call++ % losses.length]! };
	const work = await fedkseed.train(task, clientOf(run, { ...devicesOf()[0]!, trainer }));
	const { candidates, gradients } = stepsOf(run, work);
	expect([...gradients]).toEqual([-32, 64, 0]);
	expect(candidates).toHaveLength(3);
	expect(work.metrics).toEqual({ loss: (1.25 + 1.5 + 1) / 3, skippedSteps: 3 });

	const diverged = { ...trainer, loss: async () => Number.NaN };
	await expect(fedkseed.train(task, clientOf(run, { ...devicesOf()[0]!, trainer: diverged }))).rejects.toThrow(
		expect.objectContaining({ code: "NOT_FINITE", message: expect.stringContaining("none of 6 steps") }),
	);
	const empty = deviceOf("e", memoryData([]), trainer);
	await expect(fedkseed.train(task, clientOf(run, empty))).rejects.toThrow(expect.objectContaining({ code: "CONFLICT" }));
	await expect(fedkseed.train(task, clientOf(run, devicesOf()[0]!, 1, AbortSignal.abort()))).rejects.toThrow(
		expect.objectContaining({ code: "CANCELLED" }),
	);
});

it("one step of one client moves the weights by −learningRate · g · z", async () => {
	const run = runOf(fedkseed, { ...OPTIONS, localSteps: 1, cohortSize: 1 }, WEIGHTS);
	const { works, model, outcome } = await playRound(run, fedkseed.init(atOf(run)), 1, devicesOf().slice(0, 1));
	const { candidates, gradients } = stepsOf(run, works[0]!);
	expect(gap(model, moved(WEIGHTS, -OPTIONS.learningRate * gradients[0]!, signsOf(run, candidates[0]!)))).toBeLessThan(1e-7);
	expect(outcome.publish).toEqual(outcome.state.ledger);
	expect(outcome.metrics).toMatchObject({ changedCandidates: 1 });
	expect(foldOf(run, works, fedkseed.plan(fedkseed.init(atOf(run)), atOf(run))).lanes.a![candidates[0]!]).not.toBe(0);
});
