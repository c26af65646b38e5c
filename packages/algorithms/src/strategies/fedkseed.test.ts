import { RondoError } from "@rondo/errors";
import { perturb, perturbations, randomFromSeed, uniformBelow } from "@rondo/kernels";
import { expect, it } from "vitest";
import { atOf, clientOf, deviceOf, foldOf, memoryData, playRound, quadratic, type Run, runOf, trainerOf } from "../../test/fixture.js";
import { batchOf, devicesOf, EXAMPLES, gap, lossAndGradient, WEIGHTS } from "../../test/problems.js";
import type { Outcome } from "../contract.js";
import { encodePlain } from "../plain.js";
import { type FedKSeedTypes, fedkseed, samplingWeights } from "./fedkseed.js";

const OPTIONS = { candidates: 16, localSteps: 8, learningRate: 0.125, epsilon: 2 ** -7, batchSize: 100, cohortSize: 3, maxExamples: 64 };
const D = WEIGHTS.length;

const familyOf = (run: Run<FedKSeedTypes>) => perturbations(run.shared.at("z"), run.config.noise);
const signsOf = (run: Run<FedKSeedTypes>, k: number): number[] => {
	const zeros = new Float32Array(run.layout.length);
	perturb(zeros, 1, familyOf(run), k, zeros);
	return [...zeros];
};
const moved = (weights: readonly number[], scale: number, z: readonly number[]) => weights.map((w, j) => w + scale * z[j]!);
const totalExamples = Object.values(EXAMPLES).reduce((n, { rows }) => n + rows.length, 0);

/** The paper's equations in float64, one global model per round. Only z and the raw draws come from the kernels. */
function reference(run: Run<FedKSeedTypes>, rounds: number): number[][] {
	const { candidates: K, localSteps, learningRate, epsilon, sampling, importanceClip } = run.config;
	const z = Array.from({ length: K }, (_, k) => signsOf(run, k));
	const history = Array.from({ length: K }, () => [0]);
	const coefficient = new Array<number>(K).fill(0);
	const modelNow = () => WEIGHTS.map((w, j) => w - coefficient.reduce((sum, a, k) => sum + a * z[k]![j]!, 0));
	const models: number[][] = [];
	for (let round = 1; round <= rounds; round++) {
		const v = history.map((values) => values.reduce((sum, g) => sum + g, 0) / values.length);
		const [low, high] = [Math.min(...v), Math.max(...v)];
		const p = v.map((x) => Math.exp((x - low) / (high - low + 1e-10)));
		const weights = p.map((x) => (sampling === "pro" ? Math.round((255 * x) / Math.max(...p)) : 1));
		const start = modelNow();
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
				const g = (loss(moved(local, epsilon, z[k]!)) - loss(moved(local, -epsilon, z[k]!))) / (2 * epsilon);
				local = moved(local, -learningRate * g, z[k]!);
				coefficient[k]! += (rows.length / totalExamples) * learningRate * g;
				history[k]!.push(Math.min(Math.abs(g), importanceClip));
			}
		}
		models.push(modelNow());
	}
	return models;
}

async function play(
	run: Run<FedKSeedTypes>,
	rounds: number,
	devices = devicesOf(),
): Promise<{ state: FedKSeedTypes["state"]; model: Float32Array }[]> {
	let state = fedkseed.init(atOf(run));
	const played: { state: FedKSeedTypes["state"]; model: Float32Array }[] = [];
	for (let round = 1; round <= rounds; round++) {
		const { outcome, model } = await playRound(run, state, round, devices);
		state = outcome.state;
		played.push({ state, model });
	}
	return played;
}

const PRO = { sampling: "pro", importanceClip: 0.25 };
for (const options of [OPTIONS, { ...OPTIONS, ...PRO }, { ...OPTIONS, noise: "noise/1" }, { ...OPTIONS, ...PRO, noise: "noise/1" }]) {
	it(`three rounds agree with the equations (${JSON.stringify(options)})`, async () => {
		const run = runOf(fedkseed, options, WEIGHTS);
		const expected = reference(run, 3);
		(await play(run, 3)).forEach(({ model }, i) => {
			expect(gap(model, expected[i]!)).toBeLessThan(1e-6);
		});
		expect(gap(expected[2]!, WEIGHTS)).toBeGreaterThan(0.1);
		expect(gap(expected[2]!, expected[1]!)).toBeGreaterThan(0.01);
	});
}

it("pro draws otherwise than uniform once importances differ", async () => {
	const [uniform, pro] = [runOf(fedkseed, OPTIONS, WEIGHTS), runOf(fedkseed, { ...OPTIONS, sampling: "pro" }, WEIGHTS)];
	expect(gap(reference(uniform, 3)[2]!, reference(pro, 3)[2]!)).toBeGreaterThan(1e-3);
});

it("turns importances into chances as the paper does", () => {
	const ones = new Float64Array(4).fill(1);
	const weights = samplingWeights(Float64Array.of(0, 10, 40, 1000), ones);
	expect([...weights]).toEqual([94, 95, 98, 255]);
	const total = weights.reduce((sum, w) => sum + w);
	expect(
		gap(
			[...weights].map((w) => w / total),
			[0.1733, 0.1751, 0.1804, 0.4712],
		),
	).toBeLessThan(0.001);
	expect([...samplingWeights(Float64Array.of(5, 10, 15, 20), Float64Array.of(1, 2, 3, 4))]).toEqual([255, 255, 255, 255]);
	expect([...samplingWeights(Float64Array.of(7), Float64Array.of(3))]).toEqual([255]);
});

it("on ½‖w‖² the scalar gradient is z·w, and g·z averages to the gradient", async () => {
	const weights = [0.5, -0.25, 1.5, 0.125];
	const run = runOf(fedkseed, { candidates: 65_536, localSteps: 10_000, learningRate: 1e-12, epsilon: 2 ** -6 }, weights);
	const device = deviceOf("a", memoryData([[0, 0, 0, 0]]), trainerOf(quadratic));
	const task = fedkseed.task(fedkseed.init(atOf(run)), undefined, atOf(run));
	const [candidates, gradients] = (await fedkseed.train(task, clientOf(run, device))).header;
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
		const [candidates, gradients] = work.header;
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

const INDEPENDENT = { ...OPTIONS, noise: "noise/1" };

it("with structured candidates devices keep nothing and assemble the same bytes as the server", async () => {
	const run = runOf(fedkseed, OPTIONS, WEIGHTS);
	const devices = devicesOf();
	const { state, model } = (await play(run, 4, devices)).at(-1)!;
	const task = fedkseed.task(state, undefined, atOf(run, 5));
	for (const device of [devices[0]!, devicesOf()[0]!]) expect(await fedkseed.assemble!(task, clientOf(run, device, 5))).toEqual(model);
	expect(devices[0]!.cache.size).toBe(0);
});

it("a device that goes on, one that joins late, and one that lost its cache or its blobs assemble the same bytes as the server", async () => {
	const run = runOf(fedkseed, INDEPENDENT, WEIGHTS);
	const devices = devicesOf();
	const played = await play(run, 4, devices);
	const { state, model } = played.at(-1)!;
	const task = fedkseed.task(state, undefined, atOf(run, 5));
	const assembled = async (device: (typeof devices)[number]) => fedkseed.assemble!(task, clientOf(run, device, 5));

	expect(devices[0]!.cache.size).toBe(1);
	expect(await assembled(devices[0]!)).toEqual(model);
	expect(await assembled(devicesOf()[0]!)).toEqual(model);
	devices[1]!.cache.clear();
	expect(await assembled(devices[1]!)).toEqual(model);
	for (const key of devices[2]!.cache.keys()) devices[2]!.cache.set(key, { ledger: null, sum: 7 });
	expect(await assembled(devices[2]!)).toEqual(model);

	const lost = devices[0]!;
	const client = clientOf(run, lost, 5);
	lost.store.forget();
	const reading: typeof client.read = (vec) =>
		vec.dtype === "f64" ? Promise.reject(new RondoError("NOT_FOUND", "the blob is gone")) : client.read(vec);
	expect(await fedkseed.assemble!(task, { ...client, read: reading })).toEqual(model);
	await expect(fedkseed.assemble!(task, { ...client, read: () => Promise.reject(new TypeError("defect")) })).rejects.toThrow("defect");
});

it("another run seed does not meet the cache of the first", async () => {
	const devices = devicesOf();
	const [one, two] = [runOf(fedkseed, INDEPENDENT, WEIGHTS, "one"), runOf(fedkseed, INDEPENDENT, WEIGHTS, "two")];
	await play(one, 2, devices);
	const shared = await play(two, 2, devices);
	const fresh = await play(runOf(fedkseed, INDEPENDENT, WEIGHTS, "two"), 2);
	expect(shared.map(({ model }) => model)).toEqual(fresh.map(({ model }) => model));
});

it("skips steps without a usable gradient and counts them", async () => {
	const run = runOf(fedkseed, { ...OPTIONS, localSteps: 6, maxAbsGradient: 100 }, WEIGHTS);
	const task = fedkseed.task(fedkseed.init(atOf(run)), undefined, atOf(run));
	// Losses come in pairs, above and below: steps 2, 3 and 5 are unusable.
	const losses = [1, 1.5, Number.NaN, 1, 1, Number.POSITIVE_INFINITY, 2, 1, 9, 1, 1, 1];
	let call = 0;
	const trainer = { ...devicesOf()[0]!.trainer, loss: async () => losses[call++ % losses.length]! };
	const work = await fedkseed.train(task, clientOf(run, { ...devicesOf()[0]!, trainer }));
	const [candidates, gradients] = work.header;
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
	const [candidates, gradients] = works[0]!.header;
	expect(gap(model, moved(WEIGHTS, -OPTIONS.learningRate * gradients[0]!, signsOf(run, candidates[0]!)))).toBeLessThan(1e-7);
	expect(outcome.publish).toEqual(outcome.state.ledger);
	expect(outcome.metrics).toMatchObject({ changedCandidates: 1 });
	expect(foldOf(run, works, fedkseed.plan(fedkseed.init(atOf(run)), atOf(run))).lanes.a![candidates[0]!]).not.toBe(0);
});
