import type { Batch, Data } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { permutation, type Random } from "@rondo/kernels";

/** What `inMemoryData` serves. The arrays are kept, not copied: do not change them afterwards. */
export interface InMemoryExamples {
	/** One example after the other, all of one width. Bytes are intensities and are served as value / 255. */
	readonly inputs: Float32Array | Int32Array | Uint8Array;
	/** One example after the other, equally many each: class indices, or targets (Float32Array). */
	readonly labels: Int32Array | Float32Array;
	/** Examples in `inputs` and `labels`; default: one label each. */
	readonly count?: number;
	/** The examples that belong to this client; default: all. Simulated clients share `inputs` this way. */
	readonly rows?: Uint32Array;
}

const INTENSITY = Float32Array.from({ length: 256 }, (_, byte) => byte / 255);

/**
 * Examples in memory as the contract's `Data`. Epoch e (from 0) comes in the order
 * `permutation(order.at("epoch", e), numExamples)`; every batch is a fresh copy, in float32 where `inputs` are bytes.
 * @throws SHAPE_MISMATCH when inputs or labels do not divide into equal rows, one per example
 * @throws INVALID_ARGUMENT for a row that does not exist
 */
export function inMemoryData(examples: InMemoryExamples): Data {
	const { inputs, labels, rows, count = labels.length } = examples;
	const width = widthOf("inputs", inputs, count);
	const labelWidth = widthOf("labels", labels, count);
	const outside = rows?.findIndex((row) => row >= count) ?? -1;
	if (outside >= 0) throw new RondoError("INVALID_ARGUMENT", `rows[${outside}] is ${rows?.[outside]}, there are ${count} examples`);
	const numExamples = rows?.length ?? count;

	const batchOf = (chosen: Uint32Array): Batch => {
		const from = rows === undefined ? chosen : chosen.map((row) => rows[row]!);
		return { size: from.length, inputs: gather(inputs, width, from), labels: gather(labels, labelWidth, from) };
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

function widthOf(field: string, values: { readonly length: number }, count: number): number {
	if (!Number.isSafeInteger(count) || count < 0)
		throw new RondoError("INVALID_ARGUMENT", `count must be a non-negative integer, got ${count}`);
	const width = count === 0 ? 0 : values.length / count;
	if (!Number.isInteger(width) || (width === 0) !== (count === 0) || (count === 0 && values.length > 0)) {
		throw new RondoError("SHAPE_MISMATCH", `${field} has ${values.length} elements, which is not a row for each of the ${count} examples`);
	}
	return width;
}

/** Copies rows; bytes become intensities. */
function gather<A extends Float32Array | Int32Array>(values: A | Uint8Array, width: number, rows: Uint32Array): A {
	const length = rows.length * width;
	const out = (values instanceof Int32Array ? new Int32Array(length) : new Float32Array(length)) as A;
	for (const [i, row] of rows.entries()) {
		const from = row * width;
		if (values instanceof Uint8Array) for (let j = 0; j < width; j++) out[i * width + j] = INTENSITY[values[from + j]!]!;
		else out.set(values.subarray(from, from + width), i * width);
	}
	return out;
}
