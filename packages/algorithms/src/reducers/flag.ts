import type { Reducer, Stack } from "../contract.js";
import { checkCount, checkPairs, gramOf, middleOf, normsOf, numberArgument, wholeArgument } from "../reducing/reducer-kit.js";
import { choleskyOf, eigenOf } from "../reducing/symmetric.js";

const STEPS = 5;
const EPSILON = 1e-7;
/** Eigenvalues below this part of the greatest are rounding, not a dimension. */
const NULL_PART = 2 ** -40;
const MAX_REPORTS = 256;

/**
 * Flag aggregator: Almasi, Mishra, Vamanan, Ravi, "Flag Aggregator: Scalable Distributed Training under Failures and Augmented
 * Losses using Convex Optimization", ICLR 2024, arXiv:2302.05865. With u_i = x_i / ‖x_i‖ it looks for the subspace U of
 * m = `flagDimensions` dimensions that holds most of the u_i, by iteratively reweighted least squares:
 * w_i ← (|1 − ‖Uᵀu_i‖²| + 1e-7)^(−1/4), U ← the m leading left singular vectors of [w_i u_i], and with
 * λ = `flagPairs` above 0 also of the columns λ/(p(p−1))·w_ij·(u_i − u_j) of all ordered pairs, whose w_ij is made likewise.
 * The result is r · (1/p) Σ U Uᵀ u_i, r the median norm of the reports.
 *
 * The matrices of d rows are never made. With K = [u_i·u_j] and the columns [u_i]·R, where R·Rᵀ = diag(w_i²) + the Laplacian
 * of the pairs' squared factors, U = [u_i]·R·V·S^(−1/2) for the leading eigenpairs (S, V) of Rᵀ·K·R, so each step is algebra of
 * p × p, between one pass for the dot products and one for the result.
 *
 * Departs from the authors' program: it starts from the subspace of equal weights, not from a random one, takes up to 5 steps
 * while Σ √(1 − ‖Uᵀu_i‖²) falls, divides by p instead of m, and multiplies by r, since unit vectors have lost the size of an
 * update. Reports count once, whatever their weights. The score `agreement` is ‖Uᵀu_i‖² with the sign of u_i·result: a
 * flipped report lies in the same subspace. Limit case: of equal reports, that report.
 */
export const flag: Reducer = {
	name: "flag",
	summary: "Projection of normalised reports on the subspace that holds most of them (Almasi et al., ICLR 2024, arXiv:2302.05865).",
	parameters: ["flagDimensions", "flagPairs"],
	check(args, reports) {
		checkCount("flag", args, 2);
		const dimensions = wholeArgument("flag", "flagDimensions", args[0], 1);
		numberArgument("flag", "flagPairs", args[1]);
		wholeArgument("flag", `reports for flagDimensions ${dimensions} (the quorum)`, reports.least, dimensions);
		checkPairs("flag", reports, MAX_REPORTS);
	},
	reduce(stack, args) {
		const { count } = stack;
		const products = gramOf(stack);
		const norms = normsOf(products, count);
		const order = canonicalOrder(products, count);
		const cosines = new Float64Array(count * count);
		order.forEach((i, a) => {
			order.forEach((j, b) => {
				const length = norms[i]! * norms[j]!;
				cosines[a * count + b] = length === 0 ? 0 : a === b ? 1 : products[i * count + j]! / length;
			});
		});
		const { shares, inside } = subspaceMean(cosines, count, args[0] as number, args[1] as number);
		const size = middleOf(norms);
		const factors = new Float64Array(count);
		const scores = new Array<{ readonly agreement: number }>(count);
		order.forEach((i, a) => {
			factors[i] = norms[i] === 0 ? 0 : (size * shares[a]!) / norms[i]!;
			let along = 0;
			for (let b = 0; b < count; b++) along += shares[b]! * cosines[a * count + b]!;
			scores[i] = { agreement: (along < 0 ? -1 : 1) * inside[a]! };
		});
		return { center: signedSum(stack, factors, order), scores };
	},
};

/** Coefficients of (1/p) Σ U Uᵀ u_i on the u_i, and the ‖Uᵀu_i‖². */
interface Projection {
	readonly shares: Float64Array;
	readonly inside: Float64Array;
}

function subspaceMean(cosines: Float64Array, count: number, dimensions: number, pairs: number): Projection {
	let coordinates = project(cosines, count, dimensions, identity(count));
	for (let step = 0; step < STEPS; step++) {
		const next = project(cosines, count, dimensions, weightsOf(coordinates.ofReports, count, pairs));
		if (!(objectiveOf(next.ofReports) < objectiveOf(coordinates.ofReports))) break;
		coordinates = next;
	}
	const { basis, ofReports } = coordinates;
	const shares = new Float64Array(count);
	basis.forEach((b, k) => {
		let sum = 0;
		for (const q of ofReports) sum += q[k]!;
		for (let i = 0; i < count; i++) shares[i]! += (b[i]! * sum) / count;
	});
	return { shares, inside: Float64Array.from(ofReports, squared) };
}

/** An orthonormal basis of the subspace, each vector by its coefficients on the u_i, and the coordinates Uᵀu_i. */
interface Subspace {
	readonly basis: readonly Float64Array[];
	readonly ofReports: readonly Float64Array[];
}

/** The leading left singular vectors of [u_i]·R for R·Rᵀ = `weights`. */
function project(cosines: Float64Array, n: number, dimensions: number, weights: Float64Array): Subspace {
	const root = choleskyOf(weights, n);
	const { values, vectors } = eigenOf(congruent(cosines, root, n), n);
	const real = vectors.slice(0, dimensions).filter((_, k) => values[k]! > NULL_PART * values[0]!);
	const basis = real.map((vector, k) => {
		const length = Math.sqrt(values[k]!);
		return Float64Array.from({ length: n }, (_, i) => {
			let sum = 0;
			for (let j = 0; j <= i; j++) sum += root[i * n + j]! * vector[j]!;
			return sum / length;
		});
	});
	const ofReports = Array.from({ length: n }, (_, i) =>
		Float64Array.from(basis, (b) => {
			let sum = 0;
			for (let j = 0; j < n; j++) sum += b[j]! * cosines[i * n + j]!;
			return sum;
		}),
	);
	return { basis, ofReports };
}

/** Rᵀ·K·R. */
function congruent(k: Float64Array, root: Float64Array, n: number): Float64Array {
	const half = new Float64Array(n * n);
	for (let i = 0; i < n; i++) {
		for (let j = 0; j < n; j++) {
			let sum = 0;
			for (let l = j; l < n; l++) sum += k[i * n + l]! * root[l * n + j]!;
			half[i * n + j] = sum;
		}
	}
	const out = new Float64Array(n * n);
	for (let i = 0; i < n; i++) {
		for (let j = 0; j <= i; j++) {
			let sum = 0;
			for (let l = i; l < n; l++) sum += root[l * n + i]! * half[l * n + j]!;
			out[i * n + j] = sum;
			out[j * n + i] = sum;
		}
	}
	return out;
}

/** diag(w_i²), and for λ > 0 the Laplacian of the squared factors of the pairs, of which each occurs in both orders. */
function weightsOf(coordinates: readonly Float64Array[], n: number, lambda: number): Float64Array {
	const out = new Float64Array(n * n);
	for (let i = 0; i < n; i++) out[i * n + i] = squaredWeight(squared(coordinates[i]!));
	if (lambda === 0 || n < 2) return out;
	const scale = lambda / (n * (n - 1));
	for (let i = 0; i < n; i++) {
		for (let j = 0; j < i; j++) {
			const apart = squared(coordinates[i]!.map((x, k) => x - coordinates[j]![k]!));
			const factor = 2 * scale * scale * squaredWeight(apart);
			out[i * n + i]! += factor;
			out[j * n + j]! += factor;
			out[i * n + j]! -= factor;
			out[j * n + i]! -= factor;
		}
	}
	return out;
}

/** The square of (|1 − inside| + 1e-7)^(−1/4). */
const squaredWeight = (inside: number): number => 1 / Math.sqrt(Math.abs(1 - inside) + EPSILON);

const squared = (vector: Float64Array): number => vector.reduce((sum, x) => sum + x * x, 0);

const objectiveOf = (coordinates: readonly Float64Array[]): number =>
	coordinates.reduce((sum, vector) => sum + Math.sqrt(Math.abs(1 - squared(vector))), 0);

function identity(n: number): Float64Array {
	const out = new Float64Array(n * n);
	for (let i = 0; i < n; i++) out[i * n + i] = 1;
	return out;
}

/**
 * An order of the reports that does not depend on whose they are: by norm, then by their sorted dot products. The algebra rounds
 * differently in another order.
 */
function canonicalOrder(products: Float64Array, count: number): number[] {
	const rows = Array.from({ length: count }, (_, i) => [products[i * count + i]!, ...products.slice(i * count, (i + 1) * count).sort()]);
	return rows.map((_, i) => i).sort((i, j) => difference(rows[i]!, rows[j]!) || i - j);
}

function difference(a: readonly number[], b: readonly number[]): number {
	for (let k = 0; k < a.length; k++) if (a[k] !== b[k]) return a[k]! - b[k]!;
	return 0;
}

/** Σ factors_i·x_i in float64, in the given order. */
function signedSum(stack: Stack, factors: Float64Array, order: readonly number[]): Float64Array {
	const sum = new Float64Array(stack.length);
	for (const { from, rows } of stack.chunks()) {
		for (const i of order) {
			const factor = factors[i]!;
			const row = rows[i]!;
			if (factor !== 0) for (let j = 0; j < row.length; j++) sum[from + j]! += factor * row[j]!;
		}
	}
	return sum;
}
