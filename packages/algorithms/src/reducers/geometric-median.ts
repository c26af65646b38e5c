import type { Reducer } from "../contract.js";
import { distancesToMean } from "../reducing/combinations.js";
import { checkCount, checkPairs, combine, gramOf, middleOf, normsOf, orderlessSum, squaredDistances } from "../reducing/reducer-kit.js";

/** Weiszfeld's steps end when no share of a report changes by more than this part of the largest. */
const TOLERANCE = 2 ** -30;
const MAX_STEPS = 200;
/** Distances below this part of the reports' median norm count as that much: ν of the paper. */
const SMOOTHING = 2 ** -20;

/**
 * Geometric median: the point with the least sum of Euclidean distances to the reports, by the smoothed Weiszfeld algorithm
 * of Pillutla, Kakade, Harchaoui, "Robust Aggregation for Federated Learning" (RFA), IEEE Transactions on Signal Processing
 * 2022, arXiv:1912.13445, Algorithm 2: β_i ← 1 / max(ν, ‖z − x_i‖), z ← Σ β_i x_i / Σ β_i from the mean on.
 *
 * Every such z is a mean of reports, so its distances follow from those between the reports: one pass for the dot products,
 * the steps on small matrices, one pass for the result. Departs from the paper: reports count once, because a weight is a
 * client's own claim; ν is a part of the median norm, so that the scale of the reports does not matter; the steps go on until
 * the shares settle, 200 of them at most, since they cost no pass. Holds while fewer than half of the reports are malicious.
 * Scores: `weight`, the share of a report in the result, and its `distance` to it. Limit case: of equal reports, that report.
 */
export const geometricMedian: Reducer = {
	name: "geometric-median",
	summary: "Point of the least sum of distances to the reports, by smoothed Weiszfeld steps (Pillutla et al., arXiv:1912.13445).",
	parameters: [],
	check(args, reports) {
		checkCount("geometric-median", args, 0);
		checkPairs("geometric-median", reports);
	},
	reduce(stack) {
		const { count } = stack;
		const products = gramOf(stack);
		const squares = squaredDistances(products, count);
		const floor = SMOOTHING * middleOf(normsOf(products, count));
		let factors: Float64Array = new Float64Array(count).fill(1);
		let distances = distancesToMean(squares, factors);
		for (let step = 0; step < MAX_STEPS; step++) {
			const next = pulls(distances, floor);
			const settled = next.every((factor, i) => Math.abs(factor - factors[i]!) <= TOLERANCE);
			factors = next;
			distances = distancesToMean(squares, factors);
			if (settled) break;
		}
		const total = orderlessSum(factors);
		return {
			center: combine(stack, factors, total),
			scores: Array.from(factors, (factor, i) => ({ weight: factor / total, distance: distances[i]! })),
		};
	},
};

/** 1 / max(ν, distance), scaled so that the largest is 1. A floor of 0: most reports are 0, and those that are where z is decide. */
function pulls(distances: Float64Array, floor: number): Float64Array {
	const least = Math.max(
		floor,
		distances.reduce((low, distance) => Math.min(low, distance), Number.POSITIVE_INFINITY),
	);
	return distances.map((distance) => (distance <= least ? 1 : least / distance));
}
