import { dequantizeInt4, INT4_LEVELS, quantizeInt4 } from "@rondo/kernels";
import { quantizedCodec } from "../encoding/codec-quantized.js";

/** Stochastic rounding to 15 levels, half a byte an element and 1 a block (`quantizedCodec`). */
export const int4 = quantizedCodec("int4", {
	levels: INT4_LEVELS,
	bytes: (count) => Math.ceil(count / 2),
	pack: quantizeInt4,
	unpack: dequantizeInt4,
});
