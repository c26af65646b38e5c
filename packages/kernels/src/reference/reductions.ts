// The sums of products in plain TypeScript: what the WebAssembly has to agree with, and what runs where there is none.

/** Vectors that kernels reduce. */
export type RealVector = Float32Array | Float64Array;

/**
 * Σ a[i]·b[i] for from ≤ i < to: eight sums, element i in sum (i − from) mod 8, and their tree. Products of float32 are
 * exact, those of float64 rounded.
 */
export function tileSum(a: RealVector, b: RealVector, from: number, to: number): number {
	let s0 = 0;
	let s1 = 0;
	let s2 = 0;
	let s3 = 0;
	let s4 = 0;
	let s5 = 0;
	let s6 = 0;
	let s7 = 0;
	let i = from;
	for (; i + 8 <= to; i += 8) {
		s0 += a[i]! * b[i]!;
		s1 += a[i + 1]! * b[i + 1]!;
		s2 += a[i + 2]! * b[i + 2]!;
		s3 += a[i + 3]! * b[i + 3]!;
		s4 += a[i + 4]! * b[i + 4]!;
		s5 += a[i + 5]! * b[i + 5]!;
		s6 += a[i + 6]! * b[i + 6]!;
		s7 += a[i + 7]! * b[i + 7]!;
	}
	if (i < to) s0 += a[i]! * b[i]!;
	if (i + 1 < to) s1 += a[i + 1]! * b[i + 1]!;
	if (i + 2 < to) s2 += a[i + 2]! * b[i + 2]!;
	if (i + 3 < to) s3 += a[i + 3]! * b[i + 3]!;
	if (i + 4 < to) s4 += a[i + 4]! * b[i + 4]!;
	if (i + 5 < to) s5 += a[i + 5]! * b[i + 5]!;
	if (i + 6 < to) s6 += a[i + 6]! * b[i + 6]!;
	return s0 + s4 + (s2 + s6) + (s1 + s5 + (s3 + s7));
}

/** out[i·n + j] += x_i·x_j for j ≤ i, tile after tile of `tile` elements. */
export function addProducts(out: Float64Array, vectors: readonly RealVector[], tile: number): void {
	const n = vectors.length;
	const length = vectors[0]?.length ?? 0;
	for (let from = 0; from < length; from += tile) {
		const to = Math.min(from + tile, length);
		vectors.forEach((vector, i) => {
			for (let j = 0; j <= i; j++) out[i * n + j]! += tileSum(vector, vectors[j]!, from, to);
		});
	}
}
