import { RondoError } from "@rondo/errors";

import { type KeyPlane, type KeyRule, MAX_WIDTH, SELECT_WIDTH, withKeys } from "./ranking-passes.js";

/** Vectors that can be ranked: float32, float64, int32 or uint32. */
export type Rankable = Float32Array | Float64Array | Int32Array | Uint32Array;

const SIGN = -(2 ** 31);
const MAGNITUDE = 0x7fffffff;
/** Key of the magnitude +infinity; those of NaN lie above. */
const INFINITE = 0x7f800000;
const AS_THEY_ARE: KeyRule = { mask: -1, flip: 0, base: 0 };

/** Where the high word of a float64 lies in a view of 32-bit words. */
const HIGH = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 1 : 0;

/**
 * Indices of `values` in ascending order of value; stable, so ties go to the lower index, and −0 equals +0. Radix sort
 * by the least significant digit first: O(n) time, and one pass over values that are in order already.
 * @throws NOT_FINITE for a NaN (infinities have their place)
 */
export function argsort(values: Rankable): Uint32Array {
	const order = values instanceof Float64Array ? argsortDoubles(values) : withKeys(bitsOf(values), ruleOf(values, false), orderOf);
	// A NaN's key lies beyond both infinities: if there is one, then one stands at an end.
	if (order.length > 0 && (Number.isNaN(values[order[0]!]) || Number.isNaN(values[order.at(-1)!]))) refuseNaN(values);
	return order;
}

/**
 * The k indices of the largest values, or magnitudes |value|, in ascending order of index; ties go to the lower index,
 * so there are exactly k. Radix select: two passes over the values, and some over those in reach of the threshold.
 * @throws INVALID_ARGUMENT unless k is an integer from 0 to the number of values, NOT_FINITE for a NaN
 */
export function topK(values: Rankable, k: number, by: "value" | "magnitude" = "value"): Uint32Array {
	if (!(Number.isInteger(k) && k >= 0 && k <= values.length))
		throw new RondoError("INVALID_ARGUMENT", `k must be an integer from 0 to ${values.length}, got ${k}`);
	const byMagnitude = by === "magnitude";
	// Rounding to float32 is monotone: it can only make ties, which the exact values then break.
	const rounded = values instanceof Float64Array ? new Float32Array(values) : values;
	const chosen = withKeys(bitsOf(rounded), ruleOf(rounded, byMagnitude), (plane) => {
		if (rounded instanceof Float32Array) {
			const [negative, positive] = byMagnitude ? [0, INFINITE] : [2 ** 31 - INFINITE, 2 ** 31 + INFINITE];
			if (plane.least < negative || plane.most > positive) refuseNaN(values);
		}
		const reach = reachOf(plane, k);
		return values instanceof Float64Array ? allFrom(plane, reach) : chosenFrom(k, plane, reach);
	});
	return values instanceof Float64Array ? exactlyLargest(values, chosen, k, byMagnitude) : chosen;
}

/**
 * Each element's position in `order`, its rank: rank[order[p]] = p.
 * @param order a permutation of 0 … n − 1, as `argsort` makes it or `checkPermutation` passed it
 */
export function inversePermutation(order: Uint32Array): Uint32Array {
	const rank = new Uint32Array(order.length);
	const whole = order.length & -4;
	let p = 0;
	for (; p < whole; p += 4) {
		rank[order[p]!] = p;
		rank[order[p + 1]!] = p + 1;
		rank[order[p + 2]!] = p + 2;
		rank[order[p + 3]!] = p + 3;
	}
	for (; p < order.length; p++) rank[order[p]!] = p;
	return rank;
}

/**
 * Index of the first element of `order` that is n or more, or was there before; −1 when there is none. With −1, an
 * `order` of n elements is a permutation of 0 … n − 1, and a shorter one a choice of distinct elements.
 * @throws INVALID_ARGUMENT unless n is an integer from 0 to 2^32
 */
export function checkPermutation(order: Uint32Array, n: number): number {
	if (!(Number.isInteger(n) && n >= 0 && n <= 2 ** 32))
		throw new RondoError("INVALID_ARGUMENT", `n must be an integer from 0 to 2^32, got ${n}`);
	const seen = new Int32Array(Math.ceil(n / 32));
	const whole = order.length & -2;
	let p = 0;
	for (; p < whole; p += 2) {
		const a = order[p]!;
		if (a >= n) return p;
		const ofA = seen[a >>> 5]!;
		if ((ofA >>> a) & 1) return p;
		seen[a >>> 5] = ofA | (1 << a);
		const b = order[p + 1]!;
		if (b >= n) return p + 1;
		const ofB = seen[b >>> 5]!;
		if ((ofB >>> b) & 1) return p + 1;
		seen[b >>> 5] = ofB | (1 << b);
	}
	if (p < order.length && (order[p]! >= n || (seen[order[p]! >>> 5]! >>> order[p]!) & 1)) return p;
	return -1;
}

/**
 * Zeros to sum ranks in, for up to `ballots` ballots on n elements: uint32 where ballots · (n − 1) stays below 2^32,
 * for it takes half the memory and two thirds of the time (25 ballots of 10^6 in 47 ms, not 67), else float64, exact up
 * to 2^53, which 2^20 ballots on 2^32 elements do not exceed.
 * @throws INVALID_ARGUMENT unless n is an integer from 0 to 2^32 and ballots one from 1, with ballots · (n − 1) ≤ 2^53
 */
export function rankSums(n: number, ballots: number): Float64Array | Uint32Array {
	if (!(Number.isInteger(n) && n >= 0 && n <= 2 ** 32))
		throw new RondoError("INVALID_ARGUMENT", `n must be an integer from 0 to 2^32, got ${n}`);
	if (!(Number.isInteger(ballots) && ballots >= 1 && ballots * (n - 1) <= 2 ** 53))
		throw new RondoError(
			"INVALID_ARGUMENT",
			`ballots must be an integer from 1, with ranks below ${n} that add up to at most 2^53, got ${ballots}`,
		);
	return ballots * (n - 1) < 2 ** 32 ? new Uint32Array(n) : new Float64Array(n);
}

/**
 * sum[order[p]] += times · p: a ballot's ranks, lowest first, go into the vote (Mozaffari, Shejwalkar, Houmansadr 2023,
 * "Every Vote Counts: Ranking-Based Training of Federated Learning to Resist Poisoning Attacks"). The sums are exact
 * integers, so no order of ballots can change a bit, and −1 takes a ballot out again.
 * @param sum from `rankSums`; `order` must have passed `checkPermutation` for its length
 * @throws SHAPE_MISMATCH for the lengths, INVALID_ARGUMENT unless `times` is an integer
 */
export function addRanks(sum: Float64Array | Uint32Array, order: Uint32Array, times = 1): void {
	if (order.length !== sum.length) throw new RondoError("SHAPE_MISMATCH", `order has ${order.length} elements, expected ${sum.length}`);
	addFrom(sum, order, 0, times);
}

/**
 * sum[top[i]] += times · (n − m + i): the ballot of a client that sent only the m highest of n elements, in ascending
 * order, which so get the ranks they have in a full ballot; the others get 0.
 * @param sum from `rankSums`, n long; `top` must have passed `checkPermutation` for n
 * @throws SHAPE_MISMATCH if `top` is the longer, INVALID_ARGUMENT unless `times` is an integer
 */
export function addSparseRanks(sum: Float64Array | Uint32Array, top: Uint32Array, times = 1): void {
	if (top.length > sum.length) throw new RondoError("SHAPE_MISMATCH", `top has ${top.length} elements, expected at most ${sum.length}`);
	addFrom(sum, top, sum.length - top.length, times);
}

function addFrom(sum: Float64Array | Uint32Array, order: Uint32Array, first: number, times: number): void {
	if (!Number.isSafeInteger(times)) throw new RondoError("INVALID_ARGUMENT", `times must be an integer, got ${times}`);
	if (times !== 1) for (let p = 0; p < order.length; p++) sum[order[p]!]! += times * (first + p);
	else if (sum instanceof Float64Array) addToDoubles(sum, order, first);
	else addToWords(sum, order, first);
}

// Two functions, for a loop over both kinds of array is slower than either; four elements at a time, for with one the loop
// takes longer than what it does: 25 ballots of 10^6 take 193 ms into float64, unrolled 67.
function addToDoubles(sum: Float64Array, order: Uint32Array, first: number): void {
	const whole = order.length & -4;
	let p = 0;
	for (; p < whole; p += 4) {
		sum[order[p]!]! += first + p;
		sum[order[p + 1]!]! += first + p + 1;
		sum[order[p + 2]!]! += first + p + 2;
		sum[order[p + 3]!]! += first + p + 3;
	}
	for (; p < order.length; p++) sum[order[p]!]! += first + p;
}

function addToWords(sum: Uint32Array, order: Uint32Array, first: number): void {
	const whole = order.length & -4;
	let p = 0;
	for (; p < whole; p += 4) {
		sum[order[p]!]! += first + p;
		sum[order[p + 1]!]! += first + p + 1;
		sum[order[p + 2]!]! += first + p + 2;
		sum[order[p + 3]!]! += first + p + 3;
	}
	for (; p < order.length; p++) sum[order[p]!]! += first + p;
}

function bitsOf(values: Float32Array | Int32Array | Uint32Array): Int32Array {
	return new Int32Array(values.buffer, values.byteOffset, values.length);
}

/** A float is sign and magnitude: its mask drops the sign bit, its flip negates the rest of a negative one, and −0 meets +0. */
function ruleOf(values: Float32Array | Int32Array | Uint32Array, byMagnitude: boolean): KeyRule {
	if (values instanceof Uint32Array) return AS_THEY_ARE;
	const isFloat = values instanceof Float32Array;
	const mask = isFloat ? MAGNITUDE : -1;
	if (byMagnitude) return { mask, flip: isFloat ? 0 : -1, base: 0 };
	return { mask, flip: isFloat ? -1 : 0, base: SIGN };
}

function refuseNaN(values: Rankable): void {
	for (let i = 0; i < values.length; i++)
		if (Number.isNaN(values[i])) throw new RondoError("NOT_FINITE", `values must hold no NaN, got one at index ${i}`);
}

function identity(n: number): Uint32Array {
	const order = new Uint32Array(n);
	for (let i = 0; i < n; i++) order[i] = i;
	return order;
}

const bitLength = (key: number): number => 32 - Math.clz32(key);

/** The stable order of the keys; digits in which all of them agree cost no pass. */
function orderOf(plane: KeyPlane): Uint32Array {
	const n = plane.keys.length;
	if (plane.ascending) return identity(n);
	const passes = Math.ceil(bitLength(plane.most - plane.least) / MAX_WIDTH);
	if (bitLength(plane.most) > passes * MAX_WIDTH) plane.rebase();
	const width = Math.ceil(bitLength(plane.most) / passes);
	const table = plane.count(0, width, passes);
	const digits: number[] = [];
	for (let digit = 0; digit < passes; digit++) {
		const starts = table.subarray(digit << width, (digit + 1) << width);
		if (!starts.includes(n)) digits.push(digit);
		let sum = 0;
		for (let d = 0; d < starts.length; d++) {
			const count = starts[d]!;
			starts[d] = sum;
			sum += count;
		}
	}
	return plane.sort(width, digits);
}

/** Where the k largest keys are. */
interface Reach {
	/** Ascending: the k largest and at most those that share the threshold's leading bits. */
	readonly indices: Uint32Array;
	/** The k-th largest key. */
	readonly threshold: number;
	/** How many of those equal to the threshold are among the k largest. */
	readonly ties: number;
}

function reachOf(plane: KeyPlane, k: number): Reach {
	const { keys } = plane;
	let shift = Math.max(0, bitLength(plane.most) - SELECT_WIDTH);
	const first = descend(plane.count(shift, SELECT_WIDTH, 1), k);
	const indices = plane.collect(first.digit * 2 ** shift, first.above + first.count);
	let threshold = first.digit;
	let ties = k - first.above;
	while (shift > 0) {
		const width = Math.min(SELECT_WIDTH, shift);
		const prefix = threshold;
		const upper = shift;
		shift -= width;
		const counts = new Int32Array(1 << width);
		for (let p = 0; p < indices.length; p++) {
			const key = keys[indices[p]!]!;
			if (key >>> upper === prefix) counts[(key >>> shift) & (counts.length - 1)]!++;
		}
		const next = descend(counts, ties);
		threshold = threshold * 2 ** width + next.digit;
		ties -= next.above;
	}
	return { indices, threshold, ties };
}

/** The digit that the k-th largest has, how many have it, and how many have a higher one. */
function descend(counts: Int32Array, k: number): { digit: number; count: number; above: number } {
	let digit = counts.length - 1;
	let above = 0;
	for (; digit > 0 && above + counts[digit]! < k; digit--) above += counts[digit]!;
	return { digit, count: counts[digit]!, above };
}

function chosenFrom(k: number, { keys }: KeyPlane, { indices, threshold, ties }: Reach): Uint32Array {
	const chosen = new Uint32Array(k);
	for (let i = 0, p = 0, left = ties; p < k; i++) {
		const key = keys[indices[i]!]! >>> 0;
		if (key > threshold || (key === threshold && left-- > 0)) chosen[p++] = indices[i]!;
	}
	return chosen;
}

/** The k largest and all that equal the least of them. */
function allFrom({ keys }: KeyPlane, { indices, threshold }: Reach): Uint32Array {
	return indices.filter((i) => keys[i]! >>> 0 >= threshold);
}

function exactlyLargest(values: Float64Array, near: Uint32Array, k: number, byMagnitude: boolean): Uint32Array {
	if (near.length === k) return near;
	// Stable in descending order: ties stay with the lower index.
	const order = argsort(Float64Array.from(near, (i) => (byMagnitude ? -Math.abs(values[i]!) : -values[i]!)));
	return order
		.subarray(0, k)
		.map((p) => near[p]!)
		.sort();
}

function argsortDoubles(values: Float64Array): Uint32Array {
	let least = Number.POSITIVE_INFINITY;
	let before = Number.NEGATIVE_INFINITY;
	let ascending = true;
	for (let i = 0; i < values.length; i++) {
		const value = values[i]!;
		if (!(value >= before)) ascending = false;
		if (value < least) least = value;
		before = value;
	}
	if (ascending) return identity(values.length);
	const offsets = offsetsFrom(least, values);
	if (offsets !== undefined) return withKeys(offsets, AS_THEY_ARE, orderOf);
	refuseNaN(values);
	const { high, low } = planesOf(values);
	const byLow = withKeys(low, AS_THEY_ARE, orderOf);
	for (let i = 0; i < byLow.length; i++) low[i] = high[byLow[i]!]!;
	const order = withKeys(low, AS_THEY_ARE, orderOf);
	for (let i = 0; i < order.length; i++) order[i] = byLow[order[i]!]!;
	return order;
}

/**
 * The values less their least, as uint32 where all of them fit, as sums of ranks do. `least` plus the offset has to give
 * the value back, so values that the difference rounds to one integer are never taken for equal.
 */
function offsetsFrom(least: number, values: Float64Array): Int32Array | undefined {
	const offsets = new Int32Array(values.length);
	for (let i = 0; i < values.length; i++) {
		const value = values[i]!;
		const offset = (value - least) >>> 0;
		if (least + offset !== value) return undefined;
		offsets[i] = offset;
	}
	return offsets;
}

/** The high and low words of 64-bit integers that order as the values do; −0 becomes +0. */
function planesOf(values: Float64Array): { high: Int32Array; low: Int32Array } {
	const n = values.length;
	const copy = new Float64Array(n);
	for (let i = 0; i < n; i++) copy[i] = values[i]! + 0;
	const words = new Int32Array(copy.buffer);
	const high = new Int32Array(n);
	const low = new Int32Array(n);
	for (let i = 0; i < n; i++) {
		const word = words[2 * i + HIGH]!;
		const negative = word >> 31;
		high[i] = word ^ (negative | SIGN);
		low[i] = words[2 * i + 1 - HIGH]! ^ negative;
	}
	return { high, low };
}
