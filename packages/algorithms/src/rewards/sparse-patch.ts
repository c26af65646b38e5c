import { RondoError } from "@rondo/errors";
import { packGaps, packMask, unpackGaps, unpackMask } from "@rondo/kernels";
import type { Io } from "../contract.js";
import type { Vec } from "../plain.js";

/** Numbers to add to some elements of a float32 vector: for whoever holds that vector, less to download than the sum. */
export type Patch = {
	/** Which elements: gaps, or from a third of all on a bitmap. */
	readonly positions: Vec<"u8">;
	/** What to add to each, in ascending order of position. */
	readonly values: Vec<"f32">;
};

const isDense = (count: number, length: number): boolean => 3 * count >= length;

/**
 * Stores a patch.
 * @param index positions, strictly ascending, below `length`
 * @param values as many numbers
 * @returns null where the patch is no smaller than the whole vector of `length` float32
 * @throws INVALID_ARGUMENT for positions out of order or range
 */
export function writePatch(io: Io, index: Uint32Array, values: Float32Array, length: number): Patch | null {
	const packed = isDense(index.length, length) ? packMask(index, length) : packGaps(index, length);
	if (packed.length + 4 * values.length >= 4 * length) return null;
	return {
		positions: io.write("u8", packed.length, (from, to) => packed.subarray(from, to)),
		values: io.write("f32", values.length, (from, to) => values.subarray(from, to)),
	};
}

/**
 * A copy of `base` with the patch added, each element rounded to float32 once.
 * @param positions content of `patch.positions`
 * @param values content of `patch.values`
 * @throws BAD_ENCODING for positions that `writePatch` does not write for so many values and this length
 */
export function patched(base: Float32Array, positions: Uint8Array, values: Float32Array): Float32Array {
	if (values.length > base.length)
		throw new RondoError("BAD_ENCODING", `a patch of ${values.length} values for a vector of ${base.length} elements`);
	const dense = isDense(values.length, base.length);
	const index = dense ? unpackMask(positions, base.length) : unpackGaps(positions, values.length, base.length);
	if (index.length !== values.length)
		throw new RondoError("BAD_ENCODING", `a patch has ${index.length} positions for ${values.length} values`);
	const out = base.slice();
	for (let i = 0; i < index.length; i++) out[index[i]!]! += values[i]!;
	return out;
}
