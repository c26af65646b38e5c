import { RondoError } from "@rondo/errors";
import { topK as largest, maxGapsBytes, packGaps, packMask, unpackGaps, unpackMask } from "@rondo/kernels";
import type { Codec } from "../contract.js";
import { bytesOfValue, countOf, float32Values, packValues, sparseArguments, unpackValues } from "../encoding/codec-values.js";

const GAPS = 0;
const MASK = 1;

/**
 * The k = ⌈share · n⌉ elements of largest magnitude, ties to the lower index; the others decode to 0. Arguments: the share,
 * and "f32" (default) or "f16" for the values. The bytes are a 0 and the packed gaps between the indices, or a 1 and a
 * bitmap where that is smaller, and then the k values. Sparsification by magnitude: Aji & Heafield, EMNLP 2017,
 * arXiv:1704.05021; here without their residual, so what is left out is lost. It is biased, contracts the squared error to
 * (1 − k/n) of the vector's, and may hold a run away from the optimum where clients' data differ; with share 1 it is f32.
 */
export const topK: Codec = {
	name: "top-k",
	lossless: false,
	maxBytes(lane) {
		const { share, values } = sparseArguments(lane.codec);
		const count = countOf(share, lane);
		return 1 + Math.min(maxGapsBytes(count, lane.length), Math.ceil(lane.length / 8)) + bytesOfValue(values) * count;
	},
	encode(given, lane) {
		const { share, values: type } = sparseArguments(lane.codec);
		const values = float32Values(given, lane);
		const indices = largest(values, countOf(share, lane), "magnitude");
		const gaps = packGaps(indices, lane.length);
		const isMask = Math.ceil(lane.length / 8) < gaps.length;
		const positions = isMask ? packMask(indices, lane.length) : gaps;
		const kept = new Float32Array(indices.length);
		for (let i = 0; i < kept.length; i++) kept[i] = values[indices[i]!]!;
		const packed = packValues(kept, type, lane);
		const bytes = new Uint8Array(1 + positions.length + packed.length);
		bytes[0] = isMask ? MASK : GAPS;
		bytes.set(positions, 1);
		bytes.set(packed, 1 + positions.length);
		return bytes;
	},
	decode(bytes, lane) {
		const { share, values: type } = sparseArguments(lane.codec);
		const count = countOf(share, lane);
		const end = bytes.length - bytesOfValue(type) * count;
		if (end < 1 || bytes.length > topK.maxBytes(lane))
			throw new RondoError("BAD_ENCODING", `${bytes.length} bytes are not ${count} of ${lane.length} elements`);
		const positions = bytes.subarray(1, end);
		const indices = indicesOf(bytes[0]!, positions, count, lane.length);
		const kept = unpackValues(bytes.subarray(end), type, lane);
		const values = new Float32Array(lane.length);
		for (let i = 0; i < count; i++) values[indices[i]!] = kept[i]!;
		return values;
	},
};

function indicesOf(form: number, positions: Uint8Array, count: number, length: number): Uint32Array {
	if (form === GAPS) return unpackGaps(positions, count, length);
	if (form !== MASK) throw new RondoError("BAD_ENCODING", `byte 0 is ${form}: it must be ${GAPS} for gaps or ${MASK} for a bitmap`);
	const indices = unpackMask(positions, length);
	if (indices.length !== count) throw new RondoError("BAD_ENCODING", `the bitmap has ${indices.length} ones, expected ${count}`);
	return indices;
}
