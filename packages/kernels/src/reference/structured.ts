// noise/2 in plain TypeScript: docs/shared-randomness.md, section 4.

import { BLOCK } from "../perturbations.js";
import { philoxBlocks } from "../philox.js";

const STRIDE_BLOCKS = 128;

/** s (128 words), t (128 words) and q1 … q6 of a block. */
export function blockWords(key: Uint32Array, block: number): Uint32Array {
	const words = new Uint32Array(264);
	philoxBlocks(key, block * STRIDE_BLOCKS, 66, words, 0);
	return words.subarray(0, 262);
}

/** π as a table, from the words q1 … q6. */
export function rowPermutation(q: ArrayLike<number>, out = new Uint16Array(BLOCK)): Uint16Array {
	for (let r = 0; r < BLOCK; r++) out[r] = permutedRow(q, r);
	return out;
}

/** π(row), from the words q1 … q6. */
export function permutedRow(q: ArrayLike<number>, row: number): number {
	let x = row;
	for (let i = 0; i < q.length; i++) {
		x = (x * (2 * (q[i]! & 2047) + 1) + (q[i]! >>> 11)) & 4095;
		x ^= x >>> 6;
	}
	return x;
}

/** The 128 sign words of member `row` of a group in the block of `words`. */
export function memberSigns(words: Uint32Array, row: number, out: Uint32Array, at: number): void {
	const x = permutedRow(words.subarray(256, 262), row);
	const t = (words[128 + (row >>> 5)]! >>> (row & 31)) & 1;
	for (let w = 0; w < 128; w++) {
		let bits = 0;
		for (let i = 0; i < 32; i++) bits |= (parity(x & (32 * w + i)) ^ t) << i;
		out[at + w] = words[w]! ^ bits;
	}
}

function parity(x: number): number {
	let y = x ^ (x >>> 8);
	y ^= y >>> 4;
	y ^= y >>> 2;
	return (y ^ (y >>> 1)) & 1;
}

/** The Walsh–Hadamard transform of 4,096 values in place: out[i] = Σ_x (−1)^parity(x and i)·in[x]. */
export function walshHadamard(values: Float64Array): void {
	for (let half = 1; half < values.length; half *= 2) {
		for (let start = 0; start < values.length; start += 2 * half) {
			for (let i = start; i < start + half; i++) {
				const a = values[i]!;
				const b = values[i + half]!;
				values[i] = a + b;
				values[i + half] = a - b;
			}
		}
	}
}

/** out[i] += Σ_r coefficients[r]·z_r[i] over one group in one block, from its words. */
export function addGroup(out: Float64Array, words: Uint32Array, coefficients: ArrayLike<number>): void {
	const rows = rowPermutation(words.subarray(256, 262));
	const series = new Float64Array(BLOCK);
	for (let r = 0; r < coefficients.length; r++) series[rows[r]!] = bit(words, 128, r) === 1 ? coefficients[r]! : -coefficients[r]!;
	walshHadamard(series);
	for (let i = 0; i < BLOCK; i++) out[i]! += bit(words, 0, i) === 1 ? -series[i]! : series[i]!;
}

/** sums[r] += Σ_i z_r[i]·values[i] over one block, for the first `sums.length` members of a group. */
export function addProjection(sums: Float64Array, words: Uint32Array, values: Float64Array): void {
	const rows = rowPermutation(words.subarray(256, 262));
	const series = values.map((value, i) => (bit(words, 0, i) === 1 ? -value : value));
	walshHadamard(series);
	for (let r = 0; r < sums.length; r++) sums[r]! += bit(words, 128, r) === 1 ? series[rows[r]!]! : -series[rows[r]!]!;
}

const bit = (words: Uint32Array, from: number, i: number): number => (words[from + (i >>> 5)]! >>> (i & 31)) & 1;
