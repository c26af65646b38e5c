import { describe, expect, it } from "vitest";
import { atOf, clientOf, deviceOf, foldOf, memoryData, playRound, quadratic, runOf, trainerOf } from "../../test/fixture.js";
import { batchOf, devicesOf, EXAMPLES, gap, lossAndGradient, WEIGHTS } from "../../test/problems.js";
import { decodePlain, encodePlain } from "../plain.js";
import { fedavg } from "./fedavg.js";
import { fedprox } from "./fedprox.js";

const OPTIONS = { learningRate: 0.25, batchSize: 100, localEpochs: 3, serverLearningRate: 0.75, cohortSize: 3 };

/** The equations in float64: full-batch steps, then w + serverLearningRate · Σ n_i (w_i − w) / Σ n_i. */
function reference(rounds: number, mu: number): number[] {
	let global = WEIGHTS.slice();
	for (let round = 0; round < rounds; round++) {
		const total = Object.values(EXAMPLES).reduce((n, { rows }) => n + rows.length, 0);
		const mean = global.map(() => 0);
		for (const [id, { rows }] of Object.entries(EXAMPLES)) {
			let local = global.slice();
			for (let step = 0; step < OPTIONS.localEpochs; step++) {
				const [, gradient] = lossAndGradient(local, batchOf(id));
				local = local.map((w, j) => w - OPTIONS.learningRate * (gradient[j]! + mu * (w - global[j]!)));
			}
			local.forEach((w, j) => {
				mean[j]! += (rows.length / total) * (w - global[j]!);
			});
		}
		global = global.map((w, j) => w + OPTIONS.serverLearningRate * mean[j]!);
	}
	return global;
}

for (const [name, strategy, options, mu] of [
	["fedavg", fedavg, OPTIONS, 0],
	["fedprox", fedprox, { ...OPTIONS, mu: 0.875 }, 0.875],
] as const) {
	it(`${name}: three rounds agree with the equations`, async () => {
		const run = runOf(strategy as typeof fedavg, options, WEIGHTS);
		let state = run.strategy.init(atOf(run));
		for (let round = 1; round <= 3; round++) {
			const { outcome, model } = await playRound(run, state, round, devicesOf());
			state = outcome.state;
			expect(gap(model, reference(round, mu))).toBeLessThan(1e-6);
		}
		// The trajectories are far enough apart, and from the start, for agreement to mean something.
		expect(gap(reference(3, mu), WEIGHTS)).toBeGreaterThan(0.1);
		expect(gap(reference(3, 0), reference(3, 0.875))).toBeGreaterThan(0.01);
		expect(gap(reference(3, 0.875), reference(3, 1))).toBeGreaterThan(1e-3);
	});
}

it("with mu 0, FedProx sends the very bytes of FedAvg, and with mu 1 it does not", async () => {
	const sent = async (strategy: typeof fedavg, options: object) => {
		const run = runOf(strategy, { ...OPTIONS, batchSize: 2, ...options }, WEIGHTS);
		const { works, model } = await playRound(run, strategy.init(atOf(run)), 1, devicesOf());
		return Buffer.from(encodePlain([...works.map((work) => Float32Array.from(work.lanes.delta!)), model])).toString("hex");
	};
	const asFedAvg = fedprox as unknown as typeof fedavg;
	expect(await sent(asFedAvg, { mu: 0 })).toBe(await sent(fedavg, {}));
	expect(await sent(asFedAvg, { mu: 1 })).not.toBe(await sent(fedavg, {}));
});

describe("fedavg", () => {
	it("takes localEpochs · ⌈n / batchSize⌉ steps in an order that only the device knows, and counts them", async () => {
		const run = runOf(fedavg, { ...OPTIONS, batchSize: 4, localEpochs: 2 }, WEIGHTS);
		const task = fedavg.task({ model: run.initial }, undefined, atOf(run));
		const [, , cid] = devicesOf();
		const progress: string[] = [];
		const sizes: number[] = [];
		const trainer = { ...cid!.trainer, gradient: trainerOf(lossAndGradient).gradient };
		const seen: typeof trainer = {
			...trainer,
			gradient: (weights, batch, out) => {
				sizes.push(batch.size);
				return trainer.gradient(weights, batch, out);
			},
		};
		const client = {
			...clientOf(run, { ...cid!, trainer: seen }),
			progress: (done: number, total: number) => progress.push(`${done}/${total}`),
		};
		const work = await fedavg.train(task, client);
		expect(sizes).toEqual([4, 2, 4, 2]);
		expect(progress).toEqual(["1/4", "2/4", "3/4", "4/4"]);
		expect(work).toMatchObject({ header: null, numExamples: 6, metrics: { loss: expect.any(Number) } });

		const again = await fedavg.train(task, clientOf(run, devicesOf()[2]!));
		expect(again.lanes.delta).toEqual(work.lanes.delta);
		const otherSecret = await fedavg.train(task, clientOf(run, { ...devicesOf()[2]!, id: "other" }));
		expect(otherSecret.lanes.delta).not.toEqual(work.lanes.delta);
	});

	it("one client with one full-batch step is gradient descent", async () => {
		const run = runOf(fedavg, { learningRate: 0.5, batchSize: 8, cohortSize: 1 }, [3, -1]);
		const device = deviceOf(
			"a",
			memoryData([
				[1, 0],
				[2, 0.5],
			]),
			trainerOf(quadratic),
		);
		const { model } = await playRound(run, fedavg.init(atOf(run)), 1, [device]);
		expect([...model]).toEqual([3 - 0.5 * 1.5, -1 - 0.5 * -1.25]);
	});

	it("its bounds are the sizes of real messages", () => {
		const run = runOf(fedavg, {}, WEIGHTS);
		const bounds = fedavg.bounds(run.config, run.layout);
		const task = encodePlain(fedavg.task({ model: run.initial }, undefined, atOf(run)));
		expect(bounds).toEqual({ task: task.length, download: 4 * WEIGHTS.length, report: 1 + 4 * WEIGHTS.length });
		expect(decodePlain(task)).toEqual({ model: run.initial });
	});

	it("refuses to train without examples, on a loss that is not finite, or when cancelled", async () => {
		const run = runOf(fedavg, {}, [1, 2]);
		const task = { model: run.initial };
		const train = (rows: number[][], loss: number, signal?: AbortSignal) =>
			fedavg.train(
				task,
				clientOf(
					run,
					deviceOf(
						"a",
						memoryData(rows),
						trainerOf(() => [loss, [0, 0]]),
					),
					1,
					signal,
				),
			);
		await expect(train([], 1)).rejects.toThrow(
			expect.objectContaining({ code: "CONFLICT", message: "client a has no examples to train on" }),
		);
		await expect(train([[0, 0]], Number.NaN)).rejects.toThrow(expect.objectContaining({ code: "NOT_FINITE" }));
		await expect(train([[0, 0]], 1, AbortSignal.abort())).rejects.toThrow(expect.objectContaining({ code: "CANCELLED" }));
		await expect(train([[0, 0]], 1)).resolves.toMatchObject({ numExamples: 1 });
	});

	it("says so when the data ends early", async () => {
		const run = runOf(fedavg, { batchSize: 1 }, [1, 2]);
		const device = deviceOf("a", { numExamples: 3, batches: () => [] }, trainerOf(quadratic));
		await expect(fedavg.train({ model: run.initial }, clientOf(run, device))).rejects.toThrow("the data ended after 0 of 3 local steps");
	});

	it("leaves task, state and initial weights as they were", async () => {
		const run = runOf(fedavg, OPTIONS, WEIGHTS);
		const state = Object.freeze(fedavg.init(atOf(run)));
		const { works, plan } = await playRound(run, state, 1, devicesOf());
		const before = run.store.io.read(run.initial);
		fedavg.finish(state, Object.freeze(foldOf(run, works, plan)), atOf(run));
		expect(run.store.io.read(run.initial)).toEqual(before);
		expect([...before]).toEqual(WEIGHTS);
	});
});
