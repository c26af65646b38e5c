import type { Batch, Data, Trainer } from "@rondo/algorithms";
import type { SimulatedClient } from "../src/device.js";

/** Squared distance to the inputs, halved: its minimum is the mean of all inputs. Float64 inside. */
export const quadratic: Trainer = {
	async loss(weights, batch) {
		return loss(weights, batch);
	},
	async gradient(weights, batch, out) {
		for (let j = 0; j < out.length; j++) {
			let sum = 0;
			for (let i = 0; i < batch.size; i++) sum += weights[j]! - batch.inputs[i * weights.length + j]!;
			out[j] = sum / batch.size;
		}
		return loss(weights, batch);
	},
	evaluate: () => Promise.reject(new Error("unused")),
};

export function loss(weights: Float32Array, { size, inputs }: Pick<Batch, "size" | "inputs">): number {
	let sum = 0;
	for (let i = 0; i < inputs.length; i++) sum += (inputs[i]! - weights[i % weights.length]!) ** 2;
	return sum / 2 / size;
}

/** Endless batches that are all the rows. */
export function rowsOf(width: number, inputs: readonly number[]): Data {
	const batch: Batch = { size: inputs.length / width, inputs: Float32Array.from(inputs), labels: new Int32Array(inputs.length / width) };
	return {
		numExamples: batch.size,
		*batches() {
			for (;;) yield batch;
		},
	};
}

/** Clients "c0", "c1", …; client i has i + 1 rows around (i, −i, 1). */
export const clientsOf = (count: number): SimulatedClient[] =>
	Array.from({ length: count }, (_, i) => ({
		id: `c${i}`,
		trainer: quadratic,
		data: rowsOf(3, Array.from({ length: i + 1 }, (_row, r) => [i + r / 8, -i, 1]).flat()),
	}));
