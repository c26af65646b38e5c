import type { Chunk, Reducer } from "../contract.js";
import { krumScores, leastOf } from "../reducing/krum-scores.js";
import { checkByzantine, checkPairs, Distances, gramOf, squaredDistances } from "../reducing/reducer-kit.js";

/**
 * Bulyan of Krum: El Mhamdi, Guerraoui, Rouault, "The Hidden Vulnerability of Distributed Learning in Byzantium", ICML 2018,
 * arXiv:1802.07927: Krum chooses a report and takes it out, again and again until n − 2f are chosen; in each
 * coordinate the n − 4f chosen values nearest to their median are averaged.
 *
 * Departs from the paper where it is silent: as reports are taken out, Krum sums over ever fewer neighbours, but over one at
 * least; of equal sums the report with the least sum over all others is chosen; of two values equally near to the median the smaller one comes first. Reports count once, whatever their weights.
 * Needs 4f + 3 reports for f = `byzantine` malicious ones, in every round that may commit. Scores: `chosen`, 1 or 0, and the
 * Euclidean `distance` to the result. Limit case: of equal reports, that report.
 */
export const bulyan: Reducer = {
	name: "bulyan",
	summary: "Means near the median of each coordinate, over reports that Krum chooses (El Mhamdi et al., ICML 2018, arXiv:1802.07927).",
	parameters: ["byzantine"],
	check(args, reports) {
		checkByzantine("bulyan", args, reports, (f) => 4 * f + 3);
		checkPairs("bulyan", reports);
	},
	reduce(stack, args) {
		const f = args[0] as number;
		const chosen = choose(squaredDistances(gramOf(stack), stack.count), stack.count, f);
		const center = new Float64Array(stack.length);
		const distances = new Distances(stack.count);
		for (const chunk of stack.chunks()) {
			const part = center.subarray(chunk.from, chunk.from + chunk.rows[0]!.length);
			nearMedians(
				chosen.map((i) => chunk.rows[i]!),
				stack.count - 4 * f,
				part,
			);
			distances.add(chunk, part);
		}
		return { center, scores: distances.scores().map(({ distance }, i) => ({ chosen: chosen.includes(i) ? 1 : 0, distance })) };
	},
};

/** Ascending indices of the n − 2f reports that Krum chooses one after the other. */
function choose(squares: Float64Array, count: number, f: number): number[] {
	const chosen: number[] = [];
	let rest = Array.from({ length: count }, (_, i) => i);
	while (chosen.length < count - 2 * f) {
		const scores = krumScores(squares, count, f, rest);
		const least = scores[leastOf(scores, 1)[0]!]!;
		// Of one neighbour the two nearest reports have one score: which of them is nearer to all others decides.
		const best = rest.filter((_, k) => scores[k] === least);
		const totals = krumScores(squares, count, -1, rest).filter((_, k) => scores[k] === least);
		const next = best[leastOf(totals, 1)[0]!]!;
		chosen.push(next);
		rest = rest.filter((i) => i !== next);
	}
	return chosen.sort((a, b) => a - b);
}

/** Of each coordinate the mean of the `kept` values nearest to the median, which are neighbours once they are sorted. */
function nearMedians(rows: readonly Chunk["rows"][number][], kept: number, out: Float64Array): void {
	const count = rows.length;
	const sorted = new Float64Array(count);
	for (let j = 0; j < out.length; j++) {
		for (let i = 0; i < count; i++) {
			const value = rows[i]![j]!;
			let at = i;
			for (; at > 0 && sorted[at - 1]! > value; at--) sorted[at] = sorted[at - 1]!;
			sorted[at] = value;
		}
		const middle = (sorted[(count - 1) >> 1]! + sorted[count >> 1]!) / 2;
		let from = 0;
		while (from + kept < count && sorted[from + kept]! - middle < middle - sorted[from]!) from++;
		let sum = 0;
		for (let i = from; i < from + kept; i++) sum += sorted[i]!;
		out[j] = sum / kept;
	}
}
