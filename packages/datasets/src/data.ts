import type { Batch, Data } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { permutation, type Random } from "@rondo/kernels";

/** What `inMemoryData` serves. The arrays are kept, not copied: do not change them afterwards. */
export interface InMemoryExamples {
	/** One example after the other, all of one width. Bytes are intensities and are served as value / 255. */
	readonly inputs: Float32Array | Uint8Array;
	/** One class index per example. */
	readonly labels: Int32Array;
	/** The examples that belong to this client; default: all. Simulated clients share `inputs` this way. */
	readonly rows?: Uint32Array;
}

const INTENSITY = Float32Array.from({ length: 256 }, (_, byte) => byte / 255);

/**
 * Examples in memory as the contract's `Data`. Epoch e (from 0) comes in the order
 * `permutation(order.at("epoch", e), numExamples)`; every batch is a fresh copy in float32.
 * @throws SHAPE_MISMATCH when the inputs do not divide into one row per label
 * @throws INVALID_ARGUMENT for a row that does not exist
 */
export function inMemoryData(examples: InMemoryExamples): Data {
	const { inputs, labels, rows } = examples;
	const width = labels.length === 0 ? 0 : inputs.length / labels.length;
	if (!Number.isInteger(width) || (width === 0) !== (labels.length === 0) || (labels.length === 0 && inputs.length > 0)) {
		throw new RondoError(
			"SHAPE_MISMATCH",
			`inputs has ${inputs.length} elements, which is not a row for each of the ${labels.length} labels`,
		);
	}
	const outside = rows?.findIndex((row) => row >= labels.length) ?? -1;
	if (outside >= 0) throw new RondoError("INVALID_ARGUMENT", `rows[${outside}] is ${rows?.[outside]}, there are ${labels.length} examples`);
	const numExamples = rows?.length ?? labels.length;

	const batchOf = (chosen: Uint32Array): Batch => {
		const batch = { size: chosen.length, inputs: new Float32Array(chosen.length * width), labels: new Int32Array(chosen.length) };
		for (let i = 0; i < chosen.length; i++) {
			const row = rows === undefined ? chosen[i]! : rows[chosen[i]!]!;
			batch.labels[i] = labels[row]!;
			if (inputs instanceof Uint8Array) {
				for (let j = 0; j < width; j++) batch.inputs[i * width + j] = INTENSITY[inputs[row * width + j]!]!;
			} else batch.inputs.set(inputs.subarray(row * width, (row + 1) * width), i * width);
		}
		return batch;
	};

	function* endless(size: number, order: Random): Generator<Batch, void, undefined> {
		if (numExamples === 0) return;
		for (let epoch = 0; ; epoch++) {
			const drawn = permutation(order.at("epoch", epoch), numExamples);
			for (let from = 0; from < numExamples; from += size) yield batchOf(drawn.subarray(from, from + size));
		}
	}

	return {
		numExamples,
		batches(size, order) {
			if (!Number.isSafeInteger(size) || size < 1)
				throw new RondoError("INVALID_ARGUMENT", `batch size must be a positive integer, got ${size}`);
			return endless(size, order);
		},
	};
}
