import { RondoError } from "@rondo/errors";
import { fromFloat16, portableExp, portableLog, toFloat16 } from "@rondo/kernels";

/** How a scalar travels: float32, half precision, or one byte on a logarithmic scale. */
export type ScalarKind = "f32" | "f16" | "byte";

/** All kinds, the most precise first. */
export const SCALAR_KINDS: readonly ScalarKind[] = ["f32", "f16", "byte"];

/** The typed array that holds scalars of a kind as they travel. */
export type PackedScalars = { f32: Float32Array; f16: Uint16Array; byte: Uint8Array };

/** Steps of the byte's exponent per factor e. */
const STEPS = 8;
/** Exponents go from −63 to 63 and are stored as 1 to 127. */
const BIAS = 64;
const NEGATIVE = 0x80;

/** Magnitude of each code below 128: 0, then e^((code − 64)/8). */
const MAGNITUDES = Float32Array.from({ length: NEGATIVE }, (_, code) => (code === 0 ? 0 : portableExp((code - BIAS) / STEPS)));
const SMALLEST = MAGNITUDES[1]!;

/** Largest magnitude that a byte stands for: e^(63/8), 2630 and a little. */
export const MAX_BYTE_SCALAR = MAGNITUDES[NEGATIVE - 1]!;

/**
 * One byte per number: the sign, and round(8·ln|x|) in seven bits, 0 for zero. The code of Just One Byte (Zelikman, Huang,
 * Liang, Haber, Goodman, arXiv 2306.10015) has steps of 1/16 and exponents of ±127, which with the sign are 510 symbols, hence
 * nine bits; with steps of 1/8 it is a byte. From e^(−63/8) = 3.8e-4 to e^(63/8) = 2630 the relative error is at most
 * e^(1/16) − 1 = 6.45 %; larger numbers become the largest, smaller ones the smallest or 0, whichever is nearer.
 * @throws NOT_FINITE for NaN and infinities
 */
export function toByte(values: ArrayLike<number>): Uint8Array {
	const codes = new Uint8Array(values.length);
	for (let i = 0; i < codes.length; i++) {
		const magnitude = Math.abs(values[i]!);
		if (!(magnitude < Number.POSITIVE_INFINITY)) throw new RondoError("NOT_FINITE", `number ${i} is ${values[i]}`);
		if (magnitude < SMALLEST / 2) continue;
		const exponent = Math.max(1 - BIAS, Math.min(BIAS - 1, Math.round(STEPS * portableLog(magnitude))));
		codes[i] = (values[i]! < 0 ? NEGATIVE : 0) + exponent + BIAS;
	}
	return codes;
}

/**
 * The float32 numbers that bytes of `toByte` stand for; `toByte` of them gives the bytes back.
 * @throws BAD_ENCODING for a negative zero, which `toByte` never makes
 */
export function fromByte(codes: Uint8Array): Float32Array {
	const values = new Float32Array(codes.length);
	for (let i = 0; i < codes.length; i++) {
		const code = codes[i]!;
		if (code === NEGATIVE) throw new RondoError("BAD_ENCODING", `scalar ${i} is a negative zero, which has no code`);
		values[i] = code > NEGATIVE ? -MAGNITUDES[code - NEGATIVE]! : MAGNITUDES[code]!;
	}
	return values;
}

/**
 * Scalars as they travel.
 * @throws NOT_FINITE for NaN and infinities unless they are float32; INVALID_ARGUMENT for what is beyond half precision (65520)
 */
export function packScalars<K extends ScalarKind>(kind: K, values: Float32Array): PackedScalars[K] {
	const pack: { readonly [P in ScalarKind]: () => PackedScalars[P] } = {
		f32: () => values,
		f16: () => toFloat16(values),
		byte: () => toByte(values),
	};
	return pack[kind]() as PackedScalars[K];
}

/**
 * The float32 numbers that packed scalars stand for; half floats may hold infinities and NaN.
 * @throws INVALID_ARGUMENT when `packed` is not the array of this kind; BAD_ENCODING as `fromByte`
 */
export function unpackScalars(kind: ScalarKind, packed: unknown): Float32Array {
	if (kind === "f32" && packed instanceof Float32Array) return packed;
	if (kind === "f16" && packed instanceof Uint16Array) return fromFloat16(packed);
	if (kind === "byte" && packed instanceof Uint8Array) return fromByte(packed);
	const wanted = { f32: "Float32Array", f16: "Uint16Array", byte: "Uint8Array" }[kind];
	throw new RondoError("INVALID_ARGUMENT", `scalars of kind ${kind} must be a ${wanted}`);
}

/** The number that is left of `value` when it travels as `kind`. */
export const roundScalar = (kind: ScalarKind, value: number): number => unpackScalars(kind, packScalars(kind, Float32Array.of(value)))[0]!;
