import { RondoError } from "@rondo/errors";
import { ceilLog2, powerOfTwo, ROUNDING } from "./float-bits.js";
import type { Random } from "./random.js";

/** Largest code of `quantizeInt8`: the range is symmetric, −128 is no code. */
export const INT8_LEVELS = 127;
/** Largest code of `quantizeInt4`: the range is symmetric, −8 is no code. */
export const INT4_LEVELS = 7;

const MIN_EXPONENT = -149;
const MAX_FLOAT32 = 3.4028234663852886e38;
/** The engine folds a constant of this module into the loops, not an imported one: a fifth of their rate. */
const MAGIC = ROUNDING;
const WORD = 2 ** 32;
/** Random words drawn at a time, 16 KiB. */
const DRAWN = 4096;

/**
 * The smallest power of two s >= 2^-149 with max |value| <= levels · s: the finest scale on which every value has a code.
 * Why a power of two, when max / levels could be a step of down to half the size: value / s is then exact in float64 and code · s
 * in float32, so that the one rounding to a code is the only error, sums of decoded values are integers times s, and what was
 * decoded encodes to the same codes again.
 * @param levels largest code, an integer from 1 to 2^23: `INT8_LEVELS`, `INT4_LEVELS`
 * @throws NOT_FINITE for NaN or an infinity, INVALID_ARGUMENT for `levels`, or a value so large that levels · s would be
 * no float32 (2^128 · levels / (levels + 1) at most, as levels is one less than a power of two)
 */
export function scaleFor(values: Float32Array, levels: number): number {
	if (!(Number.isInteger(levels) && levels >= 1 && levels <= 2 ** 23))
		throw new RondoError("INVALID_ARGUMENT", `levels must be an integer from 1 to 2^23, got ${levels}`);
	// Magnitudes are ordered as their bits are, with NaN above all.
	const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
	let most = 0;
	for (let i = 0; i < bits.length; i++) {
		const magnitude = bits[i]! & 0x7fffffff;
		if (magnitude > most) most = magnitude;
	}
	if (most >= 0x7f800000) refuse(values, MAX_FLOAT32);
	if (most === 0) return powerOfTwo(MIN_EXPONENT);
	const largest = new Float32Array(Int32Array.of(most).buffer)[0]!;
	// The quotient of two numbers of at most 24 bits is never so near a power of two that float64 rounds it there.
	const scale = powerOfTwo(Math.max(MIN_EXPONENT, ceilLog2(largest / levels)));
	if (!(levels * scale <= MAX_FLOAT32)) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`values[${bits.findIndex((word) => (word & 0x7fffffff) === most)}] is of magnitude ${largest}, too large for ${levels} levels in float32`,
		);
	}
	return scale;
}

/**
 * The code of each value: value / scale as an integer from −127 to 127. Without `random` the nearest, ties to even. With it,
 * one of the two next to it, so that the expectation is value / scale: up exactly if word < fraction · 2^32, where
 * fraction = value / scale − ⌊value / scale⌋ and the word for values[i] is number from + i of the node's stream. (A probability is
 * a multiple of 2^-32, so it may exceed the fraction by less than that; it does not for values of at least scale / 512.)
 * @param scale power of two from 2^-149 to 2^121, see `scaleFor`
 * @throws NOT_FINITE for NaN or an infinity, INVALID_ARGUMENT for a value beyond ±127 · scale, `scale` or `from`
 */
export function quantizeInt8(values: Float32Array, scale: number, random?: Random, from = 0): Int8Array {
	const codes = new Int8Array(values.length);
	quantizeInto(codes, values, scale, INT8_LEVELS, random, from);
	return codes;
}

/**
 * codes[i] · scale, exactly.
 * @param scale power of two from 2^-149 to 2^121
 * @throws BAD_ENCODING for the code −128, which `quantizeInt8` never makes, INVALID_ARGUMENT for `scale`
 */
export function dequantizeInt8(codes: Int8Array, scale: number): Float32Array {
	checkScale(scale, INT8_LEVELS);
	const out = new Float32Array(codes.length);
	for (let i = 0; i < out.length; i++) {
		const code = codes[i]!;
		if (code === -128) throw new RondoError("BAD_ENCODING", `codes[${i}] is -128, the codes are from -127 to 127`);
		out[i] = code * scale;
	}
	return out;
}

/**
 * As `quantizeInt8`, with codes from −7 to 7 in two's complement of 4 bits, two in a byte: values[2i] in the low half of
 * byte i, values[2i + 1] in the high half, which stays zero where there is no such value.
 * @param scale power of two from 2^-149 to 2^125, see `scaleFor`
 * @returns ⌈values.length / 2⌉ bytes
 * @throws NOT_FINITE for NaN or an infinity, INVALID_ARGUMENT for a value beyond ±7 · scale, `scale` or `from`
 */
export function quantizeInt4(values: Float32Array, scale: number, random?: Random, from = 0): Uint8Array {
	const codes = new Int8Array(values.length + (values.length & 1));
	quantizeInto(codes, values, scale, INT4_LEVELS, random, from);
	const bytes = new Uint8Array(codes.length / 2);
	for (let i = 0; i < bytes.length; i++) bytes[i] = (codes[2 * i]! & 15) | (codes[2 * i + 1]! << 4);
	return bytes;
}

/**
 * code · scale for each of the `count` codes of `quantizeInt4`, exactly.
 * @param scale power of two from 2^-149 to 2^125
 * @throws BAD_ENCODING for another number of bytes than ⌈count / 2⌉, the code −8 or bits beyond the last code, INVALID_ARGUMENT
 * for `scale` or `count`
 */
export function dequantizeInt4(bytes: Uint8Array, scale: number, count: number): Float32Array {
	checkScale(scale, INT4_LEVELS);
	if (!(Number.isSafeInteger(count) && count >= 0))
		throw new RondoError("INVALID_ARGUMENT", `count must be a non-negative integer, got ${count}`);
	if (bytes.length !== Math.ceil(count / 2))
		throw new RondoError("BAD_ENCODING", `${count} codes of 4 bits take ${Math.ceil(count / 2)} bytes, got ${bytes.length}`);
	const out = new Float32Array(count);
	const pairs = Math.floor(count / 2);
	for (let i = 0; i < pairs; i++) {
		const byte = bytes[i]!;
		const low = (byte << 28) >> 28;
		const high = (byte << 24) >> 28;
		if (low === -8 || high === -8)
			throw new RondoError("BAD_ENCODING", `byte ${i} is ${byte}: it has the code -8, the codes are from -7 to 7`);
		out[2 * i] = low * scale;
		out[2 * i + 1] = high * scale;
	}
	if (pairs < bytes.length) {
		const byte = bytes[pairs]!;
		if (byte > 15 || byte === 8)
			throw new RondoError("BAD_ENCODING", `byte ${pairs} is ${byte}: it must be one code from -7 to 7 and four zero bits`);
		out[2 * pairs] = ((byte << 28) >> 28) * scale;
	}
	return out;
}

function quantizeInto(
	codes: Int8Array,
	values: Float32Array,
	scale: number,
	levels: number,
	random: Random | undefined,
	from: number,
): void {
	checkScale(scale, levels);
	const good =
		random === undefined ? nearest(codes, values, 1 / scale, levels) : stochastic(codes, values, WORD / scale, levels, random, from);
	if (!good) refuse(values, levels * scale);
}

/** Whether every value is within the range. */
function nearest(codes: Int8Array, values: Float32Array, inverse: number, levels: number): boolean {
	for (let i = 0; i < values.length; i++) {
		const x = values[i]! * inverse;
		if (!(Math.abs(x) <= levels)) return false;
		codes[i] = x + MAGIC - MAGIC;
	}
	return true;
}

/** Whether every value is within the range. */
function stochastic(codes: Int8Array, values: Float32Array, inverse: number, levels: number, random: Random, from: number): boolean {
	const words = new Uint32Array(Math.min(DRAWN, values.length));
	const limit = levels * WORD;
	for (let start = 0; start < values.length; start += DRAWN) {
		const count = Math.min(DRAWN, values.length - start);
		random.words(from + start, count === words.length ? words : words.subarray(0, count));
		for (let j = 0; j < count; j++) {
			const units = values[start + j]! * inverse;
			if (!(Math.abs(units) <= limit)) return false;
			// Up exactly if word < fraction · 2^32, without a branch that no processor could predict: the sum passes the next
			// multiple of 2^32 in that case alone, and everything here is an integer below 2^40 once it is rounded up.
			codes[start + j] = Math.floor((Math.ceil(units) + (WORD - 1 - words[j]!)) / WORD);
		}
	}
	return true;
}

function checkScale(scale: number, levels: number): void {
	if (!(scale >= powerOfTwo(MIN_EXPONENT) && levels * scale <= MAX_FLOAT32 && powerOfTwo(ceilLog2(scale)) === scale))
		throw new RondoError("INVALID_ARGUMENT", `scale must be a power of two from 2^-149, and ${levels} times it a float32, got ${scale}`);
}

/** For values of which one is beyond ±`most`. */
function refuse(values: Float32Array, most: number): never {
	const index = values.findIndex((value) => !(Math.abs(value) <= most));
	const value = values[index]!;
	if (!Number.isFinite(value)) throw new RondoError("NOT_FINITE", `values[${index}] must be finite, got ${value}`);
	throw new RondoError("INVALID_ARGUMENT", `values[${index}] is ${value}, beyond ±${most}, the largest code times the scale`);
}
