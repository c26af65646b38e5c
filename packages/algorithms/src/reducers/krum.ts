import type { Reducer } from "../contract.js";
import { krumScores, leastOf } from "../reducing/krum-scores.js";
import { checkByzantine, checkPairs, gramOf, meanOfSelected, squaredDistances } from "../reducing/reducer-kit.js";

/**
 * Krum: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
 * NeurIPS 2017, section 4: the report with the least sum of squared distances to its n − f − 2 nearest others is the
 * result; of equal sums that of the least client id, as in the paper.
 *
 * Reports count once, whatever their weights. Needs 2f + 3 reports for f = `byzantine` malicious ones, in every round that
 * may commit. Scores: `sum`, and `weight` 1 for the chosen report. Distances come from dot products, in one pass. Limit case:
 * of equal reports, that report.
 */
export const krum: Reducer = {
	name: "krum",
	summary: "The report that is nearest to its neighbours (Blanchard et al., NeurIPS 2017).",
	parameters: ["byzantine"],
	check(args, reports) {
		checkByzantine("krum", args, reports, (f) => 2 * f + 3);
		checkPairs("krum", reports);
	},
	reduce(stack, [f]) {
		const everyone = Array.from({ length: stack.count }, (_, i) => i);
		const sums = krumScores(squaredDistances(gramOf(stack), stack.count), stack.count, f as number, everyone);
		const chosen = leastOf(sums, 1);
		return {
			center: meanOfSelected(stack, chosen),
			scores: sums.map((sum, i) => ({ sum, weight: chosen.includes(i) ? 1 : 0 })),
		};
	},
};
