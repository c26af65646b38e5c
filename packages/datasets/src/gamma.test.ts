import { randomFromSeed } from "@rondo/kernels";
import fc from "fast-check";
import { expect, test } from "vitest";
import { logGammaVariate, portableLog } from "./gamma.js";

test("the portable logarithm is within 3 ulp, or 3e-16 where that is more", () => {
	const check = (x: number): void => {
		const wanted = Math.log(x);
		expect(Math.abs(portableLog(x) - wanted)).toBeLessThanOrEqual(Math.max(3e-16, 3 * 2 ** -52 * Math.abs(wanted)));
	};
	for (const x of [1, 2, 0.5, Math.SQRT2, Math.SQRT1_2, 2 ** -53, 2.3e-308, 1.7e308, 1 - 2 ** -53, 1 + 2 ** -52]) check(x);
	fc.assert(fc.property(fc.double({ min: 2.3e-308, max: 1e308, noNaN: true }), check), { numRuns: 5000 });
	fc.assert(fc.property(fc.double({ min: 0.5, max: 2, noNaN: true }), check), { numRuns: 5000 });
	expect(portableLog(1)).toBe(0);
});

// Gamma(k, 1) has mean k and variance k; 20,000 draws put the sample mean within 4 standard errors all but always.
test.each([0.1, 0.5, 1, 2.5, 30])("variates of shape %f have the moments of the distribution", (shape) => {
	const n = 20_000;
	const random = randomFromSeed("gamma");
	const draws = Float64Array.from({ length: n }, (_, i) => Math.exp(logGammaVariate(shape, random.at(i))));
	const mean = draws.reduce((a, b) => a + b) / n;
	const variance = draws.reduce((a, b) => a + (b - mean) ** 2, 0) / n;
	expect(Math.abs(mean - shape)).toBeLessThan(4 * Math.sqrt(shape / n));
	// Var(s²) ≈ (μ4 − σ⁴)/n with μ4 = 3k² + 6k.
	expect(Math.abs(variance - shape)).toBeLessThan(4 * Math.sqrt((2 * shape * shape + 6 * shape) / n));
});

test("tiny shapes stay finite where the variate itself would underflow", () => {
	const draws = Array.from({ length: 100 }, (_, i) => logGammaVariate(1e-6, randomFromSeed("tiny").at(i)));
	expect(draws.every(Number.isFinite)).toBe(true);
	expect(Math.min(...draws)).toBeLessThan(-1e5);
});
