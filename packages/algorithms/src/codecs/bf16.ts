import { fromBfloat16, toBfloat16 } from "@rondo/kernels";
import type { Codec } from "../contract.js";
import { checkArguments, checkBytes, clampedBits, float32Values } from "../encoding/codec-values.js";
import { arrayFrom, bytesOf } from "../plain.js";

const LARGEST_BFLOAT16 = 0xff * 2 ** 120;

/**
 * bfloat16, the upper half of a float32, 2 bytes an element: the nearest number, off by at most 2^-9 of x however small x
 * is.
 */
export const bf16: Codec = {
	name: "bf16",
	lossless: false,
	maxBytes(lane) {
		checkArguments(lane.codec, 0);
		return 2 * lane.length;
	},
	encode(values, lane) {
		checkArguments(lane.codec, 0);
		const most = Math.min(lane.absMax, LARGEST_BFLOAT16);
		const [nearest] = toBfloat16(Float32Array.of(most)) as Iterable<number>;
		const above = fromBfloat16(Uint16Array.of(nearest!))[0]! > most;
		return bytesOf(clampedBits(toBfloat16(float32Values(values, lane)), above ? nearest! - 1 : nearest!));
	},
	decode(bytes, lane) {
		checkBytes(bytes, bf16.maxBytes(lane), lane);
		return fromBfloat16(arrayFrom("u16", bytes));
	},
};
