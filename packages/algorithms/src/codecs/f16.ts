import type { Codec } from "../contract.js";
import { checkArguments, checkBytes, float32Values, packFloat16, unpackFloat16 } from "../encoding/codec-values.js";

/**
 * IEEE 754 binary16, 2 bytes an element: the nearest number to x · 2^e, with the lane's largest e that keeps absMax · 2^e
 * within 2^15. What is lost is at most 2^-11 of x, and for |x| below 2^-28 · absMax at most 2^-39 · absMax.
 */
export const f16: Codec = {
	name: "f16",
	lossless: false,
	maxBytes(lane) {
		checkArguments(lane.codec, 0);
		return 2 * lane.length;
	},
	encode(values, lane) {
		checkArguments(lane.codec, 0);
		return packFloat16(float32Values(values, lane), lane);
	},
	decode(bytes, lane) {
		checkBytes(bytes, f16.maxBytes(lane), lane);
		return unpackFloat16(bytes, lane);
	},
};
