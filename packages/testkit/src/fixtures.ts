import type { Batch, Data, Metrics, Trainer } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { permutation, type Random } from "@rondo/kernels";

/** Examples of a fixture: `labels.length` rows of equal width, row-major. */
export interface Examples {
	readonly inputs: readonly number[] | Float32Array;
	readonly labels: readonly number[] | Int32Array;
}

/** Examples in memory; epoch e comes in the order `permutation(order.at("epoch", e), n)`. */
export function memoryData({ inputs, labels }: Examples): Data {
	const width = inputs.length / Math.max(1, labels.length);
	const take = (rows: Uint32Array): Batch => ({
		size: rows.length,
		inputs: Float32Array.from(Array.from(rows).flatMap((row) => Array.from(inputs.slice(row * width, (row + 1) * width)))),
		labels: Int32Array.from(rows, (row) => labels[row]!),
	});
	return {
		numExamples: labels.length,
		*batches(size, order) {
			for (let epoch = 0; labels.length > 0; epoch++) {
				const rows = permutation(order.at("epoch", epoch), labels.length);
				for (let from = 0; from < rows.length; from += size) yield take(rows.subarray(from, from + size));
			}
		},
	};
}

/** Loss of one example and its gradient with respect to the weights, added to `add`. */
type Example = (weights: ArrayLike<number>, inputs: ArrayLike<number>, row: number, label: number, add: Float64Array) => number;

function trainerOf(description: string, length: number, example: Example): Trainer {
	const mean = (weights: Float32Array, batch: Batch): { loss: number; gradient: Float64Array } => {
		if (weights.length !== length)
			throw new RondoError("SHAPE_MISMATCH", `weights has ${weights.length} elements, ${description} has ${length}`);
		const gradient = new Float64Array(length);
		let loss = 0;
		for (let row = 0; row < batch.size; row++) loss += example(weights, batch.inputs, row, batch.labels[row]!, gradient);
		return { loss: loss / batch.size, gradient: gradient.map((g) => g / batch.size) };
	};
	return {
		description,
		loss: async (weights, batch) => mean(weights, batch).loss,
		gradient: async (weights, batch, out) => {
			const { loss, gradient } = mean(weights, batch);
			out.set(gradient);
			return loss;
		},
		evaluate: async (weights, data): Promise<Metrics> => {
			// Any order will do: one batch is all of the examples.
			for await (const batch of data.batches(Math.max(1, data.numExamples), UNORDERED)) return { loss: mean(weights, batch).loss };
			throw new RondoError("CONFLICT", "there are no examples to evaluate on");
		},
	};
}

const UNORDERED: Random = {
	at: () => UNORDERED,
	words: (_from: number, out: Uint32Array) => out,
};

/**
 * Softmax regression in float64: weights are [inputs][classes] row-major, then the biases; mean cross-entropy, which is
 * convex.
 */
export const softmaxTrainer = (inputs: number, classes: number): Trainer =>
	trainerOf(`softmax regression ${inputs}-${classes}`, (inputs + 1) * classes, (weights, values, row, label, add) => {
		const logits = Array.from({ length: classes }, (_, c) => {
			let logit = weights[inputs * classes + c]!;
			for (let i = 0; i < inputs; i++) logit += values[row * inputs + i]! * weights[i * classes + c]!;
			return logit;
		});
		const top = Math.max(...logits);
		const exps = logits.map((logit) => Math.exp(logit - top));
		const total = exps.reduce((sum, e) => sum + e, 0);
		for (let c = 0; c < classes; c++) {
			const error = exps[c]! / total - (c === label ? 1 : 0);
			for (let i = 0; i < inputs; i++) add[i * classes + c]! += error * values[row * inputs + i]!;
			add[inputs * classes + c]! += error;
		}
		return Math.log(total) - (logits[label]! - top);
	});

/** ½‖w − x‖² in float64, mean over the rows x of a batch; labels are not used. Its minimum is the mean of all rows. */
export const quadraticTrainer = (length: number): Trainer =>
	trainerOf(`quadratic ${length}`, length, (weights, values, row, _label, add) => {
		let loss = 0;
		for (let j = 0; j < length; j++) {
			const error = weights[j]! - values[row * length + j]!;
			add[j]! += error;
			loss += error ** 2 / 2;
		}
		return loss;
	});
