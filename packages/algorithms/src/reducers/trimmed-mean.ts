import { trimmedMean as coordinateTrimmedMean } from "@rondo/kernels";
import type { Reducer } from "../contract.js";
import { checkByzantine, Distances } from "../reducing/reducer-kit.js";

/**
 * Coordinate-wise trimmed mean: Yin, Chen, Kannan, Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal
 * Statistical Rates", ICML 2018, arXiv:1803.01498, definition 2: in each coordinate the f least and the f greatest values
 * are left out. The paper cuts a share β of the reports; here it is their number f = `byzantine`.
 *
 * Reports count once, whatever their weights. Needs 2f + 1 reports: then every coordinate lies between honest values. The
 * score is the Euclidean distance of a report to the result. Limit case: of equal reports, that report.
 */
export const trimmedMean: Reducer = {
	name: "trimmed-mean",
	summary: "Mean of each coordinate without its f least and f greatest values (Yin et al., ICML 2018, arXiv:1803.01498).",
	parameters: ["byzantine"],
	check: (args, reports) => checkByzantine("trimmed-mean", args, reports, (f) => 2 * f + 1),
	reduce(stack, [f]) {
		const center = new Float64Array(stack.length);
		const distances = new Distances(stack.count);
		for (const chunk of stack.chunks()) {
			const part = center.subarray(chunk.from, chunk.from + chunk.rows[0]!.length);
			coordinateTrimmedMean(chunk.rows as readonly Float64Array[], f as number, part);
			distances.add(chunk, part);
		}
		return { center, scores: distances.scores() };
	},
};
