import { dequantizeInt8, INT8_LEVELS, quantizeInt8 } from "@rondo/kernels";
import { quantizedCodec } from "../encoding/codec-quantized.js";

/** Stochastic rounding to 255 levels, 1 byte an element and 1 a block (`quantizedCodec`). */
export const int8 = quantizedCodec("int8", {
	levels: INT8_LEVELS,
	bytes: (count) => count,
	pack: (values, scale, random, from) => new Uint8Array(quantizeInt8(values, scale, random, from).buffer),
	unpack: (bytes, scale) => dequantizeInt8(new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length), scale),
});
