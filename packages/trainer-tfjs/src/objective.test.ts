import type { Batch, Trainer } from "@rondo/algorithms";
import { layoutOf } from "@rondo/tensors";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, test } from "vitest";
import type { LayersArchitecture } from "./architecture.js";
import { createTfjsTrainer, type TfjsTrainerOptions } from "./trainer.js";

// Keeps TensorFlow.js from advertising its native package on the console.
tf.enableProdMode();

function optionsOf(model: tf.LayersModel, loss: NonNullable<TfjsTrainerOptions["loss"]>): TfjsTrainerOptions {
	const layout = layoutOf(model.trainableWeights.map(({ name, shape }) => ({ name, shape: shape as number[] })));
	return { architecture: model.toJSON(null, false) as unknown as LayersArchitecture, layout, loss, backend: "cpu" };
}

async function using(options: TfjsTrainerOptions, body: (trainer: Trainer) => Promise<void>): Promise<void> {
	const trainer = await createTfjsTrainer(options);
	try {
		await body(trainer);
	} finally {
		await trainer.dispose?.();
	}
}

const dataOf = (batch: Batch) => ({ numExamples: batch.size, batches: () => [batch] });

describe("token ids", () => {
	const embedding = () => tf.layers.embedding({ inputDim: 5, outputDim: 3, inputShape: [2] });
	const logits = () => tf.layers.dense({ units: 5 });
	const batch = { size: 2, inputs: Int32Array.of(0, 4, 2, 2), labels: Int32Array.of(4, -100, 2, 0) };

	test.each([
		["first layer", () => tf.sequential({ layers: [embedding(), logits()] })],
		["first layer of a nested model", () => tf.sequential({ layers: [tf.sequential({ layers: [embedding()] }), logits()] })],
	])("are what a model takes whose %s is an embedding", async (_, model) => {
		const options = optionsOf(model(), "causal-lm");
		await using(options, async (trainer) => {
			const weights = Float32Array.from({ length: options.layout.length }, (_, i) => Math.sin(i));
			expect(await trainer.loss(weights, batch)).toBeGreaterThan(0.1);
			const given = (change: object) => expect(trainer.loss(weights, { ...batch, ...change })).rejects;
			await given({ inputs: new Float32Array(4) }).toThrow("batch.inputs must be token ids (Int32Array)");
			await given({ inputs: Int32Array.of(0, 4, 5, 2) }).toThrow("batch.inputs[2] is 5, the model has 5 tokens");
			await given({ inputs: Int32Array.of(0, 4, 2, -100) }).toThrow("batch.inputs[3] is -100");
			await given({ labels: Int32Array.of(1, 2) }).toThrow("batch.labels has 2 elements, the model wants [2, 2] = 4");
		});
	});

	test("a batch in which no label counts has loss and gradient 0, and cannot be evaluated on", async () => {
		const options = optionsOf(tf.sequential({ layers: [embedding(), logits()] }), "softmax-cross-entropy");
		await using(options, async (trainer) => {
			const weights = Float32Array.from({ length: options.layout.length }, (_, i) => Math.sin(i));
			const out = new Float32Array(weights.length).fill(7);
			const ignored = { ...batch, labels: new Int32Array(4).fill(-100) };
			expect(await trainer.gradient(weights, ignored, out)).toBe(0);
			expect(out.every((g) => g === 0)).toBe(true);
			await expect(trainer.evaluate(weights, dataOf(ignored))).rejects.toThrow("none of the labels of data's 2 examples counts");
		});
	});
});

describe("targets", () => {
	const model = (activation: "linear" | "sigmoid") =>
		tf.sequential({ layers: [tf.layers.dense({ units: 2, inputShape: [1], activation })] });
	// Outputs are x and 2x.
	const weights = Float32Array.of(1, 2, 0, 0);
	const batch = { size: 2, inputs: Float32Array.of(3, -1), labels: Float32Array.of(1, 0, 0.5, 1) };

	test("mse is the mean over all outputs, and has no accuracy", async () => {
		await using(optionsOf(model("linear"), "mse"), async (trainer) => {
			const wanted = (2 ** 2 + 6 ** 2 + 1.5 ** 2 + 3 ** 2) / 4;
			expect(await trainer.loss(weights, batch)).toBeCloseTo(wanted, 5);
			const metrics = await trainer.evaluate(weights, dataOf(batch));
			expect(Object.keys(metrics)).toEqual(["loss"]);
			expect(metrics.loss).toBeCloseTo(wanted, 5);
			const given = (labels: Batch["labels"]) => expect(trainer.loss(weights, { ...batch, labels })).rejects;
			await given(new Int32Array(4)).toThrow("batch.labels must be targets (Float32Array)");
			await given(Float32Array.of(1, 2, 3, Number.NaN)).toThrow("batch.labels[3] must be a finite number, got NaN");
		});
	});

	test("binary cross-entropy of a final sigmoid is computed from its logits, under mse the sigmoid stays", async () => {
		const crossEntropy = (y: number, t: number) => Math.log1p(Math.exp(-Math.abs(y))) + Math.max(y, 0) - t * y;
		const wanted = (crossEntropy(3, 1) + crossEntropy(6, 0) + crossEntropy(-1, 0.5) + crossEntropy(-2, 1)) / 4;
		for (const end of ["linear", "sigmoid"] as const) {
			await using(optionsOf(model(end), "binary-cross-entropy"), async (trainer) => {
				expect(await trainer.loss(weights, batch)).toBeCloseTo(wanted, 6);
				// The sigmoid of 600 is 1 in float32, its logarithm of 1 − 1 none.
				expect(await trainer.loss(weights, { size: 1, inputs: Float32Array.of(300), labels: Float32Array.of(1, 0) })).toBe(300);
				await expect(trainer.loss(weights, { ...batch, labels: Float32Array.of(0, 1, 1.5, 0) })).rejects.toThrow(
					"batch.labels[2] must be from 0 to 1, got 1.5",
				);
			});
		}
		await using(optionsOf(model("sigmoid"), "mse"), async (trainer) => {
			expect(await trainer.loss(weights, { size: 1, inputs: Float32Array.of(0), labels: Float32Array.of(0, 1) })).toBeCloseTo(0.25, 6);
		});
	});
});
