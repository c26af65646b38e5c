import { powerOfTwo } from "./float-bits.js";

/** ln 2 = LN2_HIGH + LN2_LOW, where LN2_HIGH is a multiple of 2^-40: its products with exponents are exact. */
const LN2_HIGH = 762_123_384_785 / 2 ** 40;
const LN2_LOW = 7.371002565167799e-13;
/** 1/3!, 1/4!, … 1/13!: beyond, a term of |r| ≤ ln(2)/2 is below 2^-57. */
const INVERSE_FACTORIALS = [6, 24, 120, 720, 5040, 40_320, 362_880, 3_628_800, 39_916_800, 479_001_600, 6_227_020_800]
	.map((f) => 1 / f)
	.reverse();

/**
 * e^x with an error below 2 ulp, by additions, multiplications and scaling alone, hence the same bits on every machine:
 * ECMAScript leaves `Math.exp` to the implementation, and engines and their versions differ in the last bit.
 */
export function portableExp(x: number): number {
	if (Number.isNaN(x)) return x;
	if (x > 709.8) return Number.POSITIVE_INFINITY;
	if (x < -745.2) return 0;
	const k = Math.round(x * Math.LOG2E);
	const high = x - k * LN2_HIGH;
	const low = k * LN2_LOW;
	const r = high - low;
	// What the subtraction dropped.
	const rest = high - r - low;
	let series = 0;
	for (const factor of INVERSE_FACTORIALS) series = series * r + factor;
	const y = 1 + (r + (rest + r * r * (0.5 + r * series)));
	// In two steps, because 2^k itself need not be representable; only the second can round, when the result is subnormal.
	const half = Math.trunc(k / 2);
	return y * powerOfTwo(half) * powerOfTwo(k - half);
}
