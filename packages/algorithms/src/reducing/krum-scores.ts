import { orderlessSum } from "./reducer-kit.js";

/**
 * Krum's scores: for each report the sum of the squared distances to its n − f − 2 nearest others (at least one), of `among`
 * only.
 * @param squares ‖x_i − x_j‖² of all pairs, row by row
 * @param among ascending indices of the n reports that are compared
 */
export function krumScores(squares: Float64Array, count: number, f: number, among: readonly number[]): number[] {
	return among.map((i) => {
		const others = Float64Array.from(
			among.filter((j) => j !== i),
			(j) => squares[i * count + j]!,
		).sort();
		return orderlessSum(others.subarray(0, Math.max(1, among.length - f - 2)));
	});
}

/** Positions of the `wanted` least scores, ascending; of equal ones the first, hence the least client ids. */
export function leastOf(scores: readonly number[], wanted: number): number[] {
	const order = scores.map((_, k) => k).sort((a, b) => scores[a]! - scores[b]! || a - b);
	return order.slice(0, wanted).sort((a, b) => a - b);
}
