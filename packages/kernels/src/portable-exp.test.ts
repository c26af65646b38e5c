import { describe, expect, it } from "vitest";
import { portableExp } from "./portable-exp.js";
import { randomFromSeed } from "./random.js";

/** Distance in representable numbers, for results of one sign. */
function ulps(a: number, b: number): number {
	const [x, y] = new BigInt64Array(Float64Array.of(a, b).buffer);
	return Math.abs(Number(x! - y!));
}

describe("portableExp", () => {
	it.each([
		["everywhere", 1490],
		["near zero", 4],
		["very near zero", 2 ** -20],
	])("is within 2 ulp of Math.exp %s", (_where, range) => {
		const words = randomFromSeed("exp").words(0, new Uint32Array(200_000));
		let worst = 0;
		for (const word of words) {
			const x = (word / 2 ** 32 - 0.5) * range;
			worst = Math.max(worst, ulps(portableExp(x), Math.exp(x)));
		}
		// Math.exp of V8 (fdlibm) is itself off by up to 1.
		expect(worst).toBeLessThanOrEqual(2);
	});

	it("is exact where e^x is, and at the ends", () => {
		expect(portableExp(0)).toBe(1);
		expect(portableExp(-0)).toBe(1);
		expect(portableExp(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY);
		expect(portableExp(Number.NEGATIVE_INFINITY)).toBe(0);
		expect(portableExp(Number.NaN)).toBeNaN();
		expect(portableExp(709.782712893384)).toBeLessThan(Number.POSITIVE_INFINITY);
		expect(portableExp(709.7827128933841)).toBe(Number.POSITIVE_INFINITY);
		expect(portableExp(-745.1332191019411)).toBe(Number.MIN_VALUE);
		expect(portableExp(-745.1332191019412)).toBe(0);
		expect(portableExp(1e300)).toBe(Number.POSITIVE_INFINITY);
		expect(portableExp(-1e300)).toBe(0);
	});
});
