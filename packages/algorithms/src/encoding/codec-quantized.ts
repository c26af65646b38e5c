import { RondoError } from "@rondo/errors";
import { ceilLog2, powerOfTwo, type Random, scaleFor } from "@rondo/kernels";
import type { Codec, Lane } from "../contract.js";
import { checkArguments, checkBytes, clamped, float32Values } from "./codec-values.js";

/** Elements that share a scale: even, so that two 4-bit codes of one byte do. */
export const QUANTIZED_BLOCK = 1024;

const MIN_EXPONENT = -149;

/** How a block of codes is made and read, on a scale that is a power of two. */
export interface CodeForm {
	/** Largest code. */
	readonly levels: number;
	bytes(count: number): number;
	/** @param from number of the block's first element, which its random words start at */
	pack(values: Float32Array, scale: number, random: Random, from: number): Uint8Array;
	/** @throws BAD_ENCODING for bytes that `pack` does not make */
	unpack(bytes: Uint8Array, scale: number, count: number): Float32Array;
}

/**
 * A codec of stochastic rounding to the multiples of a scale that each block of 1,024 elements has for itself: after
 * Alistarh, Grubic, Li, Tomioka, Vojnovic, "QSGD: Communication-Efficient SGD via Gradient Quantization and Encoding",
 * NeurIPS 2017, arXiv:1610.02132, with equal steps up to the block's largest magnitude instead of its norm. The expectation
 * of what is decoded is the value. The scale is the smallest power of two on which all of the block has codes, so that the
 * one rounding is the only error, and it takes one byte: the number of halvings of the lane's largest scale.
 *
 * Where absMax is no power of two, a value within the last step below it is rounded down to a multiple of the scale, because
 * what is decoded must not exceed absMax: lanes that must be free of bias have a power of two as absMax.
 * The bytes are those of all scales, then the codes.
 */
export function quantizedCodec(name: string, form: CodeForm): Codec {
	const { levels } = form;
	const blocksOf = ({ length }: Lane): number => Math.ceil(length / QUANTIZED_BLOCK);
	/** Exponent of the scale that ±absMax has a code on. */
	const topOf = ({ absMax }: Lane): number => Math.max(MIN_EXPONENT, ceilLog2(absMax / levels));
	const mostHalvings = (top: number): number => Math.min(255, top - MIN_EXPONENT);
	const codec: Codec = {
		name,
		lossless: false,
		maxBytes(lane) {
			checkArguments(lane.codec, 0);
			return blocksOf(lane) + form.bytes(lane.length);
		},
		encode(given, lane, random) {
			const values = float32Values(given, lane);
			const bytes = new Uint8Array(codec.maxBytes(lane));
			const top = topOf(lane);
			const least = top - mostHalvings(top);
			let at = blocksOf(lane);
			for (let from = 0; from < values.length; from += QUANTIZED_BLOCK) {
				const block = values.subarray(from, from + QUANTIZED_BLOCK);
				const exponent = Math.max(least, ceilLog2(scaleFor(block, levels)));
				const scale = powerOfTwo(exponent);
				bytes[from / QUANTIZED_BLOCK] = top - exponent;
				const most = Math.floor(lane.absMax / scale);
				const codes = form.pack(most < levels ? clamped(block.slice(), most * scale) : block, scale, random, from);
				bytes.set(codes, at);
				at += codes.length;
			}
			return bytes;
		},
		decode(bytes, lane) {
			checkBytes(bytes, codec.maxBytes(lane), lane);
			const values = new Float32Array(lane.length);
			const top = topOf(lane);
			let at = blocksOf(lane);
			for (let from = 0; from < values.length; from += QUANTIZED_BLOCK) {
				const halvings = bytes[from / QUANTIZED_BLOCK]!;
				if (halvings > mostHalvings(top))
					throw new RondoError(
						"BAD_ENCODING",
						`the scale of block ${from / QUANTIZED_BLOCK} is 2^${top - halvings}, below the least float32`,
					);
				const count = Math.min(QUANTIZED_BLOCK, values.length - from);
				const size = form.bytes(count);
				values.set(form.unpack(bytes.subarray(at, at + size), powerOfTwo(top - halvings), count), from);
				at += size;
			}
			return values;
		},
	};
	return codec;
}
