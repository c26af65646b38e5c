// ECMAScript leaves Math.exp, Math.log and Math.tanh to the implementation, and engines and their versions differ in the last bit.
// The functions here add, multiply, divide and scale by powers of two, each of which IEEE 754 defines to the bit, and are
// therefore the same on every machine and in every language.

/** ln 2 = LN2_HIGH + LN2_LOW, where LN2_HIGH is a multiple of 2^-40: its products with exponents are exact. */
const LN2_HIGH = 762_123_384_785 / 2 ** 40;
const LN2_LOW = 7.371002565167799e-13;

/** 2^k at k + 1024, for k from −1024 to 1023. Putting the same numbers together from their bits makes the logarithm half as fast. */
const POWERS = new Float64Array(2048);
for (let i = 0, power = 5.562684646268003e-309; i < POWERS.length; i++, power *= 2) POWERS[i] = power;

const view = new DataView(new ArrayBuffer(8));

/**
 * e^x with an error below 1 ulp (below 1.5 ulp for a subnormal result).
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
	// r^3/3! and on, up to r^13/13!: the next term is below 2^-57.
	const series =
		1 / 6 +
		r *
			(1 / 24 +
				r *
					(1 / 120 +
						r *
							(1 / 720 +
								r *
									(1 / 5040 +
										r *
											(1 / 40_320 +
												r *
													(1 / 362_880 + r * (1 / 3_628_800 + r * (1 / 39_916_800 + r * (1 / 479_001_600 + r * (1 / 6_227_020_800))))))))));
	const y = 1 + (r + (rest + r * r * (0.5 + r * series)));
	// In two steps, because 2^k itself need not be representable; only the second can round, when the result is subnormal.
	const half = Math.trunc(k / 2);
	return y * POWERS[half + 1024]! * POWERS[k - half + 1024]!;
}

/**
 * The natural logarithm of x with an error below 1 ulp; −∞ for zeros, NaN for negative numbers.
 */
export function portableLog(x: number): number {
	if (!(x > 0 && x < Number.POSITIVE_INFINITY)) return x === 0 ? Number.NEGATIVE_INFINITY : x > 0 ? x : Number.NaN;
	const subnormal = x < 2.2250738585072014e-308;
	const normal = subnormal ? x * 18_014_398_509_481_984 : x;
	view.setFloat64(0, normal);
	// The exponent, one more for fractions above that of √2 (0x6a09e and on), so that normal = 2^exponent·(1 + f), 1 + f from √½ to √2.
	const exponent = ((view.getInt32(0) + 0x95f61) >> 20) - 1023;
	const f = normal * POWERS[1024 - exponent]! - 1;
	const k = subnormal ? exponent - 54 : exponent;
	// log(1 + f) = 2·atanh(s) = 2s + s·series(s²), and 2s = f − s·f = f − f²/2 + s·f²/2: the quotient, which is rounded, only touches
	// terms that are small beside f. The term after the last one here, 2/23·z^11, is below 2^-60 of the result.
	const s = f / (2 + f);
	const z = s * s;
	const series =
		z *
		(2 / 3 +
			z * (2 / 5 + z * (2 / 7 + z * (2 / 9 + z * (2 / 11 + z * (2 / 13 + z * (2 / 15 + z * (2 / 17 + z * (2 / 19 + z * (2 / 21))))))))));
	const square = 0.5 * f * f;
	return k * LN2_HIGH - (square - (s * (square + series) + k * LN2_LOW) - f);
}

/**
 * The hyperbolic tangent of x with an error below 1.1 ulp; odd to the bit, and never beyond ±1.
 */
export function portableTanh(x: number): number {
	const magnitude = Math.abs(x);
	// Half a unit in the last place of 1 is more than 2·e^-40. Comes first for the sake of infinities.
	if (magnitude > 20) return x < 0 ? -1 : 1;
	if (magnitude >= 0.875) {
		const result = 1 - 2 / (portableExp(2 * magnitude) + 1);
		return x < 0 ? -result : result;
	}
	// The subtraction at the end would lose its sign.
	if (x === 0) return x;
	// Lambert's continued fraction (1768) x / (1 + z / (3 + z / (5 + …))), z = x², down to 17 and cleared of its inner quotients:
	// within 2^-58 of tanh here. As x less a correction of at most a fifth of x, so that its rounding hardly counts.
	const z = x * x;
	const numerator = z * (11_486_475 + z * (810_810 + z * (12_870 + z * 44)));
	const denominator = 34_459_425 + z * (16_216_200 + z * (945_945 + z * (13_860 + z * 45)));
	return x - x * (numerator / denominator);
}
