import { RondoError } from "@rondo/errors";
import { ceilLog2, powerOfTwo, ROUNDING } from "./float-bits.js";
import { type Operand, runtime } from "./runtime/runtime.js";

/** Most reports of one exact sum: with it the sum of weights, multiples of 2^-32 up to 1 each, is exact too. */
export const MAX_REPORTS = 2 ** 20;

/** The engine folds a constant of this module into the loops, not an imported one: a fifth of their rate. */
const MAGIC = ROUNDING;
const WEIGHT_UNIT = 2 ** 32;
const MAX_EXPONENT = 900;
/** Elements of a tile of the kernel, and about how long it takes. */
const FOLD_TILE = 16_384;
const FOLD_US = 8;

/**
 * Units per 1 of the grid on which up to `reports` values of at most `absMax`, weighted by at most 1, add up exactly in
 * float64: the power of two 2^(51 − ⌈log2(absMax · reports)⌉). Each value is rounded once to a whole number of units,
 * partial sums are integers of at most 2^51 and some, and so no order, shard or retraction can change a bit.
 * @throws INVALID_ARGUMENT for an `absMax` that is not positive, or too far from 1, or `reports` outside 1 to 2^20
 */
export function gridOf(absMax: number, reports: number): number {
	if (!(Number.isFinite(absMax) && absMax > 0))
		throw new RondoError("INVALID_ARGUMENT", `absMax must be a positive finite number, got ${absMax}`);
	if (!(Number.isInteger(reports) && reports >= 1 && reports <= MAX_REPORTS)) {
		throw new RondoError("INVALID_ARGUMENT", `reports must be an integer from 1 to ${MAX_REPORTS}, got ${reports}`);
	}
	const exponent = ceilLog2(absMax * reports);
	if (Math.abs(exponent) > MAX_EXPONENT)
		throw new RondoError("INVALID_ARGUMENT", `absMax must be within 2^±${MAX_EXPONENT} of 1, got ${absMax}`);
	return powerOfTwo(51 - exponent);
}

/**
 * weight / maxExamples, rounded to a multiple of 2^-32 in (0, 1] so that sums of weights are exact.
 * @throws INVALID_ARGUMENT unless 0 < weight <= maxExamples, both finite
 */
export function normalizedWeight(weight: number, maxExamples: number): number {
	if (!(Number.isFinite(maxExamples) && maxExamples > 0))
		throw new RondoError("INVALID_ARGUMENT", `maxExamples must be a positive finite number, got ${maxExamples}`);
	if (!(weight > 0 && weight <= maxExamples))
		throw new RondoError("INVALID_ARGUMENT", `weight must be above 0 and at most ${maxExamples}, got ${weight}`);
	return Math.max(1, Math.round((weight / maxExamples) * WEIGHT_UNIT)) / WEIGHT_UNIT;
}

/** Index of the first element that is NaN, infinite or beyond ±absMax; −1 when there is none. */
export function checkRange(values: Float64Array | Float32Array, absMax: number): number {
	for (let j = 0; j < values.length; j++) if (!(Math.abs(values[j]!) <= absMax)) return j;
	return -1;
}

/**
 * sum[j] += w · values[j] in whole units of the grid. The values must have passed `checkRange`; w = 1 in lanes that are
 * summed, −w takes the same report out again.
 * @throws SHAPE_MISMATCH for the lengths
 */
export function foldInto(sum: Float64Array, values: Float64Array | Float32Array, w: number, grid: number): void {
	if (values.length !== sum.length) throw new RondoError("SHAPE_MISMATCH", `values has ${values.length} elements, expected ${sum.length}`);
	// Exact: the grid is a power of two.
	const factor = w * grid;
	const wasm = runtime();
	// Copying a sum in and out would cost more than adding to it here.
	if (wasm?.holds(sum)) {
		const kernel = values instanceof Float32Array ? "foldFloat32" : "foldFloat64";
		const operands: Operand[] = [
			{ vector: sum, access: "update" },
			{ vector: values, access: "read" },
		];
		wasm.chunks(operands, sum.length, ([target, source], _from, count) => {
			wasm.run(kernel, [target!, source!, factor, count], Math.ceil(count / FOLD_TILE), FOLD_US);
		});
		return;
	}
	// Inlined on purpose: through a function per element it runs at less than half the rate.
	for (let j = 0; j < values.length; j++) sum[j]! += values[j]! * factor + MAGIC - MAGIC;
}

/**
 * Σ w·x / Σ w from a sum in grid units: one rounding.
 * @throws INVALID_ARGUMENT unless `weightSum` is positive and finite
 */
export function meanOf(sum: Float64Array, grid: number, weightSum: number): Float64Array {
	if (!(Number.isFinite(weightSum) && weightSum > 0))
		throw new RondoError("INVALID_ARGUMENT", `weightSum must be a positive finite number, got ${weightSum}`);
	return divided(sum, grid * weightSum);
}

/** Σ x from a sum in grid units; exact. */
export function sumOf(sum: Float64Array, grid: number): Float64Array {
	return divided(sum, grid);
}

function divided(sum: Float64Array, divisor: number): Float64Array {
	const out = new Float64Array(sum.length);
	for (let j = 0; j < out.length; j++) out[j] = sum[j]! / divisor;
	return out;
}
