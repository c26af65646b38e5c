import { RondoError } from "@rondo/errors";
import { gaussian4, portableExp, portableLog, type Random, uniform01 } from "@rondo/kernels";

/** A positive quantity that differs from draw to draw; a number is always itself. */
export type Distribution =
	| number
	| { readonly uniform: readonly [least: number, most: number] }
	/** Its logarithm is normal with deviation `sigma`. */
	| { readonly lognormal: { readonly median: number; readonly sigma: number } }
	| { readonly exponential: { readonly mean: number } };

/** One draw, a pure function of `random`. */
export function drawFrom(distribution: Distribution, random: Random): number {
	if (typeof distribution === "number") return distribution;
	if ("uniform" in distribution) {
		const [least, most] = distribution.uniform;
		return least + (most - least) * uniform01(random, 0);
	}
	if ("lognormal" in distribution) return distribution.lognormal.median * portableExp(distribution.lognormal.sigma * gaussian4(random, 0));
	return -distribution.exponential.mean * portableLog(1 - uniform01(random, 0));
}

/** @throws INVALID_ARGUMENT that names `field` and the value */
export function checkDistribution(field: string, distribution: Distribution, least = 0): void {
	const check = (name: string, value: number, from: number): void => {
		if (!(value >= from && Number.isFinite(value)))
			throw new RondoError("INVALID_ARGUMENT", `${name} must be a number of at least ${from}, got ${String(value)}`, {
				details: { field: name, value },
			});
	};
	if (typeof distribution === "number") check(field, distribution, least);
	else if ("uniform" in distribution) {
		check(`${field}.uniform[0]`, distribution.uniform[0], least);
		check(`${field}.uniform[1]`, distribution.uniform[1], distribution.uniform[0]);
	} else if ("lognormal" in distribution) {
		check(`${field}.lognormal.median`, distribution.lognormal.median, Math.max(least, Number.MIN_VALUE));
		check(`${field}.lognormal.sigma`, distribution.lognormal.sigma, 0);
	} else check(`${field}.exponential.mean`, distribution.exponential.mean, Math.max(least, Number.MIN_VALUE));
}
