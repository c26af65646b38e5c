import { describe, expect, it } from "vitest";
import { gaussians } from "../../test/stack.js";
import { choleskyOf, eigenOf } from "./symmetric.js";

/** X·Xᵀ of a random n × rank matrix. */
function positive(seed: string, n: number, rank: number): Float64Array {
	const x = gaussians(seed, n * rank);
	return Float64Array.from({ length: n * n }, (_, at) => {
		const [i, j] = [Math.floor(at / n), at % n];
		let sum = 0;
		for (let k = 0; k < rank; k++) sum += x[i * rank + k]! * x[j * rank + k]!;
		return sum;
	});
}

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);

describe("eigenvectors", () => {
	it("of a worked matrix", () => {
		const { values, vectors } = eigenOf(Float64Array.of(2, 1, 1, 2), 2);
		expect(values[0]).toBeCloseTo(3, 14);
		expect(values[1]).toBeCloseTo(1, 14);
		expect(Math.abs(vectors[0]![0]!)).toBeCloseTo(Math.SQRT1_2, 14);
		expect(vectors[0]![0]! * vectors[0]![1]!).toBeCloseTo(0.5, 14);
		expect(vectors[1]![0]! * vectors[1]![1]!).toBeCloseTo(-0.5, 14);
	});

	it.each([
		[1, 1],
		[7, 7],
		[20, 20],
		[20, 4],
	])("of %i × %i of rank %i are orthonormal, ordered, and solve A·v = λ·v", (n, rank) => {
		const matrix = positive(`eigen ${n}`, n, rank);
		const before = matrix.slice();
		const { values, vectors } = eigenOf(matrix, n);
		expect(matrix).toEqual(before);
		vectors.forEach((v, k) => {
			for (let i = 0; i < n; i++)
				expect(Math.abs(dot(matrix.slice(i * n, (i + 1) * n), v) - values[k]! * v[i]!)).toBeLessThan(1e-12 * values[0]! + 1e-12);
			vectors.forEach((w, l) => {
				expect(Math.abs(dot(v, w) - (k === l ? 1 : 0))).toBeLessThan(1e-12);
			});
			if (k > 0) expect(values[k]).toBeLessThanOrEqual(values[k - 1]!);
			if (k >= rank) expect(Math.abs(values[k]!)).toBeLessThan(1e-11 * values[0]!);
		});
	});

	it("of zeros, and of a diagonal with a tiny element, end", () => {
		expect([...eigenOf(new Float64Array(9), 3).values]).toEqual([0, 0, 0]);
		expect([...eigenOf(Float64Array.of(1e-300, 0, 0, 4), 2).values]).toEqual([4, 1e-300]);
	});
});

it("the Cholesky factor is lower triangular and gives the matrix back", () => {
	const n = 12;
	const matrix = positive("cholesky", n, n);
	const r = choleskyOf(matrix, n);
	for (let i = 0; i < n; i++) {
		for (let j = 0; j < n; j++) {
			if (j > i) expect(r[i * n + j]).toBe(0);
			expect(dot(r.slice(i * n, (i + 1) * n), r.slice(j * n, (j + 1) * n))).toBeCloseTo(matrix[i * n + j]!, 11);
		}
	}
});
