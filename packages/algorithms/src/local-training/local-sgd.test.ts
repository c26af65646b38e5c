import { expect, test } from "vitest";
import { clientOf, deviceOf, memoryData, quadratic, runOf, trainerOf } from "../../test/fixture.js";
import type { Batch, LocalTraining, Optimizer, Trainer } from "../contract.js";
import { fedavg } from "../strategies/fedavg.js";
import { localSgd } from "./local-sgd.js";

const data = memoryData([
	[1, -2],
	[0.3, 5],
	[-4, 0.7],
	[2, 2],
	[9, -1],
]);
const options = { learningRate: 0.3, batchSize: 2, localEpochs: 2 };
const start = Float32Array.of(0.1, -0.2);
const clientWith = (trainer: Trainer, rows = data) =>
	clientOf(runOf(fedavg, {}, [...start]), deviceOf("a", rows, trainer), 1, new AbortController().signal);

/** Trains on the "device" in float32 throughout; counts what is open and refuses what `localSgd` must not ask for. */
function deviceTrainer(failAt = Number.POSITIVE_INFINITY) {
	const seen = { open: 0, steps: 0, optimizers: [] as Optimizer[], batches: [] as Batch[] };
	const trainer: Trainer = {
		...trainerOf(quadratic),
		gradient: () => Promise.reject(new Error("the gradient was asked for")),
		begin: async (from, optimizer): Promise<LocalTraining> => {
			const weights = from.slice();
			seen.open++;
			seen.optimizers.push(optimizer);
			return {
				step: async (given, learningRate) => {
					const batch = given as Batch;
					seen.batches.push(batch);
					if (++seen.steps === failAt) return Number.NaN;
					const [loss, gradient] = quadratic(weights, batch);
					for (const [j, g] of gradient.entries()) weights[j] = Math.fround(weights[j]! - Math.fround(learningRate * Math.fround(g)));
					return loss;
				},
				read: async (out) => out.set(weights),
				dispose: async () => {
					seen.open--;
				},
			};
		},
	};
	return { trainer, seen };
}

test("a trainer that can train takes the same steps on the device", async () => {
	const { trainer, seen } = deviceTrainer();
	const onDevice = await localSgd(start, clientWith(trainer), options);
	const batches: Batch[] = [];
	const plain: Trainer = {
		...trainerOf(quadratic),
		gradient: (weights, batch, out) => {
			batches.push(batch);
			return trainerOf(quadratic).gradient(weights, batch, out);
		},
	};
	const wanted = await localSgd(start, clientWith(plain), options);
	expect(seen).toEqual({ open: 0, steps: 6, optimizers: [{ kind: "sgd" }], batches });
	for (const j of [0, 1]) expect(onDevice.weights[j]).toBeCloseTo(wanted.weights[j]!, 5);
	expect(onDevice.meanLoss).toBeCloseTo(wanted.meanLoss, 5);
	expect([...wanted.weights]).not.toEqual([...start]);
	expect(start).toEqual(Float32Array.of(0.1, -0.2));
});

test("with adjust every gradient passes the strategy, whatever the trainer can do", async () => {
	const { trainer, seen } = deviceTrainer();
	const { gradient } = trainerOf(quadratic);
	let adjusted = 0;
	const trained = await localSgd(start, clientWith({ ...trainer, gradient }), options, (g) => {
		adjusted++;
		g.fill(1);
	});
	expect([adjusted, seen.open, seen.steps]).toEqual([6, 0, 0]);
	for (const j of [0, 1]) expect(trained.weights[j]).toBeCloseTo(start[j]! - 6 * 0.3, 5);
});

test("training on the device ends when a step fails, and does not begin without examples", async () => {
	const { trainer, seen } = deviceTrainer(3);
	await expect(localSgd(start, clientWith(trainer), options)).rejects.toMatchObject({
		code: "NOT_FINITE",
		message: "the loss of local step 3 of 6 is NaN",
	});
	expect([seen.open, seen.steps]).toEqual([0, 3]);
	await expect(localSgd(start, clientWith(trainer, memoryData([])), options)).rejects.toMatchObject({ code: "CONFLICT" });
	expect(seen.optimizers).toHaveLength(1);
});
