import { normSquared, REDUCTION_TILE } from "@rondo/kernels";
import type { Reducer } from "../contract.js";
import { checkCount, combine, middleOf, numberArgument } from "../reducing/reducer-kit.js";

/**
 * Norm bound: each report is scaled down to a Euclidean norm of at most `normBound`, then the weighted mean is taken: Sun,
 * Kairouz, Suresh, McMahan, "Can You Really Backdoor Federated Learning?", arXiv:1911.07963, whose bound is a constant.
 * With 0 it is the median of the norms of the round's reports.
 *
 * It keeps weights, so a client may still claim many examples: `maxExamples` limits that. It bounds what one report does, not
 * what many do. The scores are the report's `norm`, and `clip`, the factor it was scaled by. Limit case: a bound that no
 * report exceeds gives the mean, byte for byte.
 */
export const normBound: Reducer = {
	name: "norm-bound",
	summary: "Weighted mean of reports that are scaled down to a norm (Sun et al., arXiv:1911.07963).",
	parameters: ["normBound"],
	check(args) {
		checkCount("norm-bound", args, 1);
		numberArgument("norm-bound", "normBound", args[0]);
	},
	reduce(stack, args) {
		const squares = new Float64Array(stack.count);
		for (const { rows } of stack.chunks()) {
			rows.forEach((row, i) => {
				// Tile by tile, so that it is all one where chunks end.
				for (let at = 0; at < row.length; at += REDUCTION_TILE) squares[i]! += normSquared(row.subarray(at, at + REDUCTION_TILE));
			});
		}
		const norms = squares.map(Math.sqrt);
		const bound = args[0] === 0 ? middleOf(norms) : (args[0] as number);
		const clips = Array.from(norms, (norm) => (norm <= bound ? 1 : bound / norm));
		let total = 0;
		for (const weight of stack.weights) total += weight;
		const factors = clips.map((clip, i) => clip * stack.weights[i]!);
		return { center: combine(stack, factors, total), scores: clips.map((clip, i) => ({ norm: norms[i]!, clip })) };
	},
};
