// Medians and trimmed means in plain TypeScript: what the WebAssembly has to agree with, and what runs where there is none.

import type { RealVector } from "./reductions.js";

/** Coordinates whose values are gathered at a time: each vector is read a piece after the other, not an element. */
const BLOCK = 64;
/** Up to this many values are sorted by insertion. */
const MAX_INSERTION = 48;

/**
 * out[j] = the median (`trim` −1) or trimmed mean of vectors[i][j] over i; false, and `out` is not all written, when some
 * value is not finite.
 */
export function select(vectors: readonly RealVector[], trim: number, out: Float64Array): boolean {
	const n = vectors.length;
	const columns = new Float64Array(BLOCK * n);
	for (let from = 0; from < out.length; from += BLOCK) {
		const size = Math.min(BLOCK, out.length - from);
		let seen = 0;
		for (let i = 0; i < n; i++) {
			const vector = vectors[i]!;
			for (let j = 0; j < size; j++) {
				const value = vector[from + j]!;
				seen += value * 0;
				columns[j * n + i] = value;
			}
		}
		if (seen !== 0) return false;
		for (let j = 0; j < size; j++) {
			const column = columns.subarray(j * n, j * n + n);
			sort(column);
			// Adding 0 turns -0 into 0.
			out[from + j] = 0 + (trim < 0 ? middle(column[(n - 1) >> 1]!, column[n >> 1]!) : mean(column, trim));
		}
	}
	return true;
}

function sort(column: Float64Array): void {
	if (column.length > MAX_INSERTION) {
		column.sort();
		return;
	}
	for (let i = 1; i < column.length; i++) {
		const value = column[i]!;
		let j = i;
		for (; j > 0 && column[j - 1]! > value; j--) column[j] = column[j - 1]!;
		column[j] = value;
	}
}

/** (a + b) / 2, also where the sum of two float64 is beyond them. */
function middle(a: number, b: number): number {
	const sum = a + b;
	return Number.isFinite(sum) ? sum / 2 : a / 2 + b / 2;
}

function mean(column: Float64Array, trim: number): number {
	let sum = 0;
	for (let i = trim; i < column.length - trim; i++) sum += column[i]!;
	return sum / (column.length - 2 * trim);
}
