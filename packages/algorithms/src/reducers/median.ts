import { median as coordinateMedian } from "@rondo/kernels";
import type { Reducer } from "../contract.js";
import { checkCount, Distances } from "../reducing/reducer-kit.js";

/**
 * Coordinate-wise median: Yin, Chen, Kannan, Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical
 * Rates", ICML 2018, arXiv:1803.01498, definition 1; of an even number the mean of the two middle values.
 *
 * Reports count once, whatever their weights. As long as fewer than half of the reports are malicious, every coordinate
 * lies between honest values. The score is the Euclidean distance of a report to the median. Limit case: of one report,
 * or of equal ones, that report.
 */
export const median: Reducer = {
	name: "median",
	summary: "Median of each coordinate (Yin et al., ICML 2018, arXiv:1803.01498).",
	parameters: [],
	check: (args) => checkCount("median", args, 0),
	reduce(stack) {
		const center = new Float64Array(stack.length);
		const distances = new Distances(stack.count);
		for (const chunk of stack.chunks()) {
			const part = center.subarray(chunk.from, chunk.from + chunk.rows[0]!.length);
			coordinateMedian(chunk.rows as readonly Float64Array[], part);
			distances.add(chunk, part);
		}
		return { center, scores: distances.scores() };
	},
};
