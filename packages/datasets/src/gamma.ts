import { type Random, uniform01 } from "@rondo/kernels";

/**
 * Natural logarithm of a positive normal number with + - * / only, which IEEE 754 fixes bit for bit; ECMAScript leaves
 * `Math.log` to the engine. Error below 3 ulp or 3e-16, whichever is larger (measured in gamma.test.ts).
 */
export function portableLog(x: number): number {
	let mantissa = x;
	let exponent = 0;
	for (; mantissa > Math.SQRT2; exponent++) mantissa /= 2;
	for (; mantissa < Math.SQRT1_2; exponent--) mantissa *= 2;
	// ln m = 2 artanh(t), t = (m - 1) / (m + 1), |t| < 0.172: 11 terms leave less than 2^-53 of the sum.
	const t = (mantissa - 1) / (mantissa + 1);
	let series = 0;
	for (let k = 21; k >= 1; k -= 2) series = series * t * t + 1 / k;
	return 2 * t * series + exponent * Math.LN2;
}

/**
 * Natural logarithm of a Gamma(`shape`, 1) variate, a pure function of `random`, equal on every machine.
 * G. Marsaglia, W. W. Tsang, "A Simple Method for Generating Gamma Variables" (ACM TOMS 26, 2000), with normal variates
 * by Marsaglia's polar method; below shape 1 their section 6: gamma(shape + 1) · u^(1/shape). It stays in logarithms
 * because small shapes underflow: at shape 0.001 most variates are below 1e-300.
 * @param shape > 0
 */
export function logGammaVariate(shape: number, random: Random): number {
	let index = 0;
	// (0, 1], so that its logarithm exists.
	const uniform = (): number => 1 - uniform01(random, index++);
	const normal = (): number => {
		for (;;) {
			const a = 2 * uniform() - 1;
			const b = 2 * uniform() - 1;
			const s = a * a + b * b;
			if (s > 0 && s < 1) return a * Math.sqrt((-2 * portableLog(s)) / s);
		}
	};
	const boost = shape < 1 ? portableLog(uniform()) / shape : 0;
	const d = (shape < 1 ? shape + 1 : shape) - 1 / 3;
	const c = 1 / Math.sqrt(9 * d);
	for (;;) {
		const x = normal();
		const root = 1 + c * x;
		if (root <= 0) continue;
		const v = root * root * root;
		if (portableLog(uniform()) < 0.5 * x * x + d - d * v + d * portableLog(v)) return portableLog(d * v) + boost;
	}
}
