const MAX_SWEEPS = 60;

/**
 * Eigenvalues of a symmetric n × n matrix, greatest first, and unit eigenvectors, one after the other: cyclic Jacobi rotations
 * (Golub and Van Loan, Matrix Computations, section 8.5) until all off-diagonal elements are lost beside the diagonal.
 * Sums, products and square roots only, in one fixed order: the same bytes everywhere.
 * @param matrix row by row; not changed
 */
export function eigenOf(matrix: Float64Array, n: number): { readonly values: Float64Array; readonly vectors: readonly Float64Array[] } {
	const a = matrix.slice();
	const v = new Float64Array(n * n);
	for (let i = 0; i < n; i++) v[i * n + i] = 1;
	for (let sweep = 0; sweep < MAX_SWEEPS; sweep++) {
		let rotated = false;
		for (let p = 0; p < n - 1; p++) {
			for (let q = p + 1; q < n; q++) {
				const off = a[p * n + q]!;
				// Adding it to either diagonal element would not change a bit of their geometric mean's size.
				if (Math.abs(off) <= 2 ** -54 * Math.sqrt(Math.abs(a[p * n + p]! * a[q * n + q]!)) || off === 0) continue;
				rotated = true;
				rotate(a, v, n, p, q);
			}
		}
		if (!rotated) break;
	}
	const order = Array.from({ length: n }, (_, k) => k).sort((i, j) => a[j * n + j]! - a[i * n + i]! || i - j);
	return {
		values: Float64Array.from(order, (k) => a[k * n + k]!),
		vectors: order.map((k) => Float64Array.from({ length: n }, (_, i) => v[i * n + k]!)),
	};
}

/** Makes a[p, q] 0. */
function rotate(a: Float64Array, v: Float64Array, n: number, p: number, q: number): void {
	const theta = (a[q * n + q]! - a[p * n + p]!) / (2 * a[p * n + q]!);
	// Of the two roots the smaller one; for a huge theta its square would be infinite, and t 0.
	const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
	const c = 1 / Math.sqrt(t * t + 1);
	const s = t * c;
	for (let k = 0; k < n; k++) {
		const [kp, kq] = [a[k * n + p]!, a[k * n + q]!];
		a[k * n + p] = c * kp - s * kq;
		a[k * n + q] = s * kp + c * kq;
	}
	for (let k = 0; k < n; k++) {
		const [pk, qk] = [a[p * n + k]!, a[q * n + k]!];
		a[p * n + k] = c * pk - s * qk;
		a[q * n + k] = s * pk + c * qk;
		const [vp, vq] = [v[k * n + p]!, v[k * n + q]!];
		v[k * n + p] = c * vp - s * vq;
		v[k * n + q] = s * vp + c * vq;
	}
	a[p * n + q] = 0;
	a[q * n + p] = 0;
}

/**
 * The lower triangular R with R·Rᵀ = matrix (Cholesky), row by row.
 * @param matrix symmetric and positive definite, row by row
 */
export function choleskyOf(matrix: Float64Array, n: number): Float64Array {
	const r = new Float64Array(n * n);
	for (let i = 0; i < n; i++) {
		for (let j = 0; j <= i; j++) {
			let sum = matrix[i * n + j]!;
			for (let k = 0; k < j; k++) sum -= r[i * n + k]! * r[j * n + k]!;
			r[i * n + j] = i === j ? Math.sqrt(sum) : sum / r[j * n + j]!;
		}
	}
	return r;
}
