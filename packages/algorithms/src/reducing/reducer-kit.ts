import { RondoError } from "@rondo/errors";
import { foldInto, gramInto, REDUCTION_TILE } from "@rondo/kernels";
import type { Chunk, Stack } from "../contract.js";
import type { Plain } from "../plain.js";

/** Most reports of which a matrix of all pairs is made. */
export const MAX_PAIRED_REPORTS = 1024;

/** Range of the number of reports that a round may commit with. */
export interface ReportRange {
	readonly least: number;
	readonly most: number;
}

/** A whole number of at least `low` among a reducer's arguments. @throws INVALID_ARGUMENT */
export function wholeArgument(reducer: string, name: string, value: Plain | undefined, low: number): number {
	if (typeof value === "number" && Number.isSafeInteger(value) && value >= low) return value;
	throw new RondoError("INVALID_ARGUMENT", `${reducer}: ${name} must be a whole number of at least ${low}, got ${shown(value)}`);
}

/** A finite number of at least 0 among a reducer's arguments. @throws INVALID_ARGUMENT */
export function numberArgument(reducer: string, name: string, value: Plain | undefined): number {
	if (typeof value === "number" && Number.isFinite(value) && value >= 0) return value;
	throw new RondoError("INVALID_ARGUMENT", `${reducer}: ${name} must be a number of at least 0, got ${shown(value)}`);
}

const shown = (value: Plain | undefined): string => (typeof value === "number" ? String(value) : typeof value);

/** Refuses arguments beyond those that the reducer has. @throws INVALID_ARGUMENT */
export function checkCount(reducer: string, args: readonly Plain[], wanted: number): void {
	if (args.length !== wanted) throw new RondoError("INVALID_ARGUMENT", `${reducer} takes ${wanted} arguments, got ${args.length}`);
}

/**
 * The one argument of a rule that withstands f malicious reports out of `needed(f)`.
 * @throws INVALID_ARGUMENT for f below 1, with which the rule withstands nobody, and for rounds that may be too small
 */
export function checkByzantine(reducer: string, args: readonly Plain[], { least }: ReportRange, needed: (f: number) => number): void {
	checkCount(reducer, args, 1);
	const f = wholeArgument(reducer, "byzantine", args[0], 1);
	if (needed(f) <= least) return;
	throw new RondoError(
		"INVALID_ARGUMENT",
		`${reducer} with byzantine ${f} needs at least ${needed(f)} reports, but a round may commit with ${least} (its quorum)`,
	);
}

/** Refuses more reports than a matrix of all pairs is made of. @throws INVALID_ARGUMENT */
export function checkPairs(reducer: string, { most }: ReportRange, limit = MAX_PAIRED_REPORTS): void {
	if (most <= limit) return;
	throw new RondoError(
		"INVALID_ARGUMENT",
		`${reducer} compares all pairs of reports, at most ${limit} of them, but a round may have ${most} (cohortSize and overSelect)`,
	);
}

/** The dot products of all pairs of reports, row by row; one pass. */
export function gramOf(stack: Stack): Float64Array {
	const products = new Float64Array(stack.count * stack.count);
	for (const { from, rows } of stack.chunks()) gramInto(products, rows as readonly Float64Array[], from);
	return products;
}

/** ‖x_i − x_j‖² of all pairs, row by row, from their dot products; exactly 0 for equal reports. */
export function squaredDistances(products: Float64Array, count: number): Float64Array {
	const out = new Float64Array(count * count);
	for (let i = 0; i < count; i++) {
		for (let j = 0; j < count; j++) {
			const [ii, jj, ij] = [products[i * count + i]!, products[j * count + j]!, products[i * count + j]!];
			// Rounding may leave less than nothing for reports that are nearly equal.
			out[i * count + j] = Math.max(0, ii + jj - 2 * ij);
		}
	}
	return out;
}

/** Euclidean norms, from dot products. */
export const normsOf = (products: Float64Array, count: number): number[] =>
	Array.from({ length: count }, (_, i) => Math.sqrt(products[i * count + i]!));

/** The middle of the numbers; of an even count the mean of the two in the middle. */
export function middleOf(values: ArrayLike<number>): number {
	const sorted = Float64Array.from(values).sort();
	const half = sorted.length >> 1;
	return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** The sum in ascending order, which does not depend on the order of the values. */
export function orderlessSum(values: ArrayLike<number>): number {
	let sum = 0;
	for (const value of Float64Array.from(values).sort()) sum += value;
	return sum;
}

/**
 * Σ factor_i·x_i / divisor as the engine's exact sum makes it: each product is rounded once to the grid, so the order of
 * the reports cannot change a bit. Reports of factor 0 are not read.
 * @param factors not negative, and together at most as many as there are reports: what the grid has room for
 */
export function combine(stack: Stack, factors: ArrayLike<number>, divisor: number): Float64Array {
	const which = Array.from(factors, (_, i) => i).filter((i) => factors[i] !== 0);
	const sum = new Float64Array(stack.length);
	if (which.length === 0) return sum;
	for (const { from, rows } of stack.chunks(which)) {
		rows.forEach((row, k) => {
			foldInto(sum.subarray(from, from + row.length), row, factors[which[k]!]!, stack.grid);
		});
	}
	const unit = stack.grid * divisor;
	for (let j = 0; j < sum.length; j++) sum[j]! /= unit;
	return sum;
}

/** The mean of the reports at these indices, each counted once. */
export function meanOfSelected(stack: Stack, selected: readonly number[]): Float64Array {
	const factors = new Float64Array(stack.count);
	for (const i of selected) factors[i] = 1;
	return combine(stack, factors, selected.length);
}

/** Euclidean distances of the reports to a center that is made chunk by chunk. */
export class Distances {
	readonly #squares: Float64Array;

	constructor(count: number) {
		this.#squares = new Float64Array(count);
	}

	/** @param center of the same elements as the chunk; tiles are summed apart, so that it is all one where chunks end */
	add({ rows }: Chunk, center: Float64Array): void {
		rows.forEach((row, i) => {
			for (let from = 0; from < row.length; from += REDUCTION_TILE) {
				const to = Math.min(from + REDUCTION_TILE, row.length);
				let sum = 0;
				for (let j = from; j < to; j++) {
					const difference = row[j]! - center[j]!;
					sum += difference * difference;
				}
				this.#squares[i]! += sum;
			}
		});
	}

	/** As scores, in the order of the reports. */
	scores(): { readonly distance: number }[] {
		return Array.from(this.#squares, (square) => ({ distance: Math.sqrt(square) }));
	}
}
