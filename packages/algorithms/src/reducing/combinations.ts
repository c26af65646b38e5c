import { orderlessSum } from "./reducer-kit.js";

/**
 * Euclidean distances of points to their weighted mean z = Σ f_i x_i / Σ f_i, from the distances between them:
 * ‖x_k − z‖² = Σ_i a_i ‖x_k − x_i‖² − ½ Σ_ij a_i a_j ‖x_i − x_j‖² for shares a that add up to 1. The order of the points
 * does not matter.
 * @param squares ‖x_i − x_j‖² of all pairs, row by row
 * @param factors f, not negative, not all 0
 */
export function distancesToMean(squares: Float64Array, factors: Float64Array): Float64Array {
	const total = orderlessSum(factors);
	const shares = factors.map((factor) => factor / total);
	const pulls = products(squares, shares);
	const spread = orderlessSum(shares.map((share, k) => share * pulls[k]!)) / 2;
	return pulls.map((pull) => Math.sqrt(Math.max(0, pull - spread)));
}

/**
 * Euclidean distances of points to v = Σ a_i x_i, for any a, from their dot products: ‖x_k − v‖² = x_k·x_k − 2 x_k·v + v·v.
 * The order of the points does not matter.
 * @param dots x_i·x_j of all pairs, row by row
 */
export function distancesToCombination(dots: Float64Array, a: Float64Array): Float64Array {
	const withCenter = products(dots, a);
	const center = orderlessSum(a.map((share, k) => share * withCenter[k]!));
	return withCenter.map((product, k) => Math.sqrt(Math.max(0, dots[k * a.length + k]! - 2 * product + center)));
}

/** Σ_i a_i·matrix[k, i] for every k. */
function products(matrix: Float64Array, a: Float64Array): Float64Array {
	const count = a.length;
	return a.map((_, k) => orderlessSum(a.map((share, i) => share * matrix[k * count + i]!)));
}
