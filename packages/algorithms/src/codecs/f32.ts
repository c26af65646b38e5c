import { RondoError } from "@rondo/errors";
import type { Codec } from "../contract.js";
import { arrayFrom, bytesOf } from "../plain.js";

/**
 * Little-endian float32, 4 bytes an element: exact for values that are float32 already, rounded to nearest otherwise.
 * The encoded bytes share memory with a Float32Array that is given.
 * @throws SHAPE_MISMATCH when the values have not the lane's length
 */
export const f32: Codec = {
	name: "f32",
	lossless: false,
	maxBytes: (lane) => 4 * lane.length,
	range: (_lane, from, to) => [4 * from, 4 * to],
	encode(values, lane) {
		if (values.length !== lane.length)
			throw new RondoError("SHAPE_MISMATCH", `the lane has ${lane.length} elements, the values ${values.length}`);
		return bytesOf(values instanceof Float32Array ? values : Float32Array.from(values));
	},
	decode(bytes, lane) {
		if (bytes.byteLength !== 4 * lane.length) {
			throw new RondoError(
				"BAD_ENCODING",
				`a lane of ${lane.length} float32 elements takes ${4 * lane.length} bytes, got ${bytes.byteLength}`,
			);
		}
		return arrayFrom("f32", bytes);
	},
};
