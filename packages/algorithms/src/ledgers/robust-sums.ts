import { norm } from "@rondo/kernels";
import type { Received } from "../contract.js";

/** Entries that are read of all reports at once. */
const TILE = 4096;
/** Entries beyond so many median magnitudes are cut; of a Gaussian sample 4 % are. */
const MEDIANS = 3;

/** What robust sums take of a report. */
type Reported = Pick<Received, "lane">;

/** The ⌈n/2⌉-th smallest: with half of the numbers from honest clients it is no larger than some of theirs. */
function lowerMedian(values: Float64Array): number {
	return values.length === 0 ? 0 : Float64Array.from(values).sort()[(values.length - 1) >> 1]!;
}

/**
 * The mean over clients of a sparse lane, where each entry is trimmed over the clients that have it: after Yin, Chen,
 * Ramchandran, Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML 2018, arXiv:1803.01498,
 * who have dense gradients. Of the u nonzero values of an entry the ⌈trim·u⌉ smallest and largest are left out (fewer than half),
 * and the mean of the rest counts for all u: out = u/m · mean. Before that every value is cut to three times the median
 * magnitude of all nonzero values of the round, since an entry of one or two clients has nobody to be outvoted by. So no entry
 * is beyond three medians, which are honest magnitudes as long as honest clients have most of the values, and one of m clients
 * moves what it shares with one other by at most 3/m medians. Weights count nothing, as they are claims too.
 * @param reports in client-id order
 * @param length of the lane
 * @param trim share to leave out at each end, from 0 to 0.5
 */
export function trimmedSparseMean(reports: readonly Reported[], name: string, length: number, trim: number): Float64Array {
	const cut = MEDIANS * medianMagnitude(reports, name);
	const out = new Float64Array(length);
	const column = new Float64Array(reports.length);
	for (let from = 0; from < length; from += TILE) {
		const to = Math.min(length, from + TILE);
		const tiles = reports.map((report) => report.lane(name, from, to));
		for (let k = from; k < to; k++) {
			let users = 0;
			for (const tile of tiles) {
				const value = tile[k - from]!;
				if (value !== 0) column[users++] = Math.max(-cut, Math.min(cut, value));
			}
			if (users === 0) continue;
			const values = column.subarray(0, users).sort();
			const left = Math.min((users - 1) >> 1, Math.ceil(trim * users));
			let sum = 0;
			for (let i = left; i < users - left; i++) sum += values[i]!;
			out[k] = (users / reports.length) * (sum / (users - 2 * left));
		}
	}
	return out;
}

/**
 * The mean over clients of a lane, each client's scaled down to a Euclidean norm of `cap` where it is longer, and all with
 * the same weight: after Sun, Kairouz, Suresh, McMahan, "Can You Really Backdoor Federated Learning?", 2019, arXiv:1911.07963.
 * What one of m clients adds has a norm of at most cap/m, whatever it claims.
 * @param reports in client-id order
 * @param length of the lane
 * @param cap 0: the median of the clients' norms, the lower one of two
 */
export function cappedMean(reports: readonly Reported[], name: string, length: number, cap: number): Float64Array {
	const norms = Float64Array.from(reports, (report) => norm(report.lane(name)));
	const most = cap === 0 ? lowerMedian(norms) : cap;
	const out = new Float64Array(length);
	reports.forEach((report, i) => {
		const scale = norms[i]! > most ? most / norms[i]! : 1;
		const values = report.lane(name);
		for (let k = 0; k < length; k++) out[k]! += scale * values[k]!;
	});
	return out.map((sum) => sum / reports.length);
}

/** Median over all clients of the magnitudes of their nonzero values. */
function medianMagnitude(reports: readonly Reported[], name: string): number {
	const magnitudes = reports.map((report) =>
		report
			.lane(name)
			.filter((value) => value !== 0)
			.map(Math.abs),
	);
	const all = new Float64Array(magnitudes.reduce((sum, { length }) => sum + length, 0));
	let at = 0;
	for (const part of magnitudes) {
		all.set(part, at);
		at += part.length;
	}
	return lowerMedian(all);
}
