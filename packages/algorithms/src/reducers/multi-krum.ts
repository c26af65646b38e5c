import type { Reducer } from "../contract.js";
import { krumScores, leastOf } from "../reducing/krum-scores.js";
import { checkByzantine, checkPairs, gramOf, meanOfSelected, squaredDistances } from "../reducing/reducer-kit.js";

/**
 * Multi-Krum: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries: Byzantine Tolerant Gradient
 * Descent", NeurIPS 2017: the mean of the m reports with the least Krum scores. The paper leaves m open; it is
 * n − f − 2 here, the most for which Damaskinos et al., "AggregaThor", MLSys 2019, prove resilience.
 *
 * Reports count once, whatever their weights. Needs 2f + 3 reports for f = `byzantine` malicious ones, in every round that
 * may commit. Scores: `sum` as of Krum, and `weight`, 1/m for reports that are kept. Limit case: with n = f + 3 it is Krum.
 */
export const multiKrum: Reducer = {
	name: "multi-krum",
	summary: "Mean of the n − f − 2 reports that are nearest to their neighbours (Blanchard et al., NeurIPS 2017).",
	parameters: ["byzantine"],
	check(args, reports) {
		checkByzantine("multi-krum", args, reports, (f) => 2 * f + 3);
		checkPairs("multi-krum", reports);
	},
	reduce(stack, args) {
		const f = args[0] as number;
		const everyone = Array.from({ length: stack.count }, (_, i) => i);
		const sums = krumScores(squaredDistances(gramOf(stack), stack.count), stack.count, f, everyone);
		const kept = leastOf(sums, stack.count - f - 2);
		return {
			center: meanOfSelected(stack, kept),
			scores: sums.map((sum, i) => ({ sum, weight: kept.includes(i) ? 1 / kept.length : 0 })),
		};
	},
};
