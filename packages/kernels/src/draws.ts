import { RondoError } from "@rondo/errors";
import type { Random } from "./random.js";

const MAX_INDEX = 2 ** 32;
const RANGE = 2 ** 53;
/** Words between one attempt of a draw and the next, so that attempts of different draws never share a word. */
const ATTEMPT_STRIDE = 2 ** 33;
/** Standard deviation of the sum of four uniform bytes, each of variance (256² − 1) / 12. */
const BYTE_SUM_DEVIATION = Math.sqrt(21_845);

/** Attempt `attempt` of draw `index`: 53 bits from the words 2·index and 2·index + 1, a stride further each attempt. */
function draw53(random: Random, index: number, attempt: number, words: Uint32Array): number {
	random.words(2 * index + attempt * ATTEMPT_STRIDE, words);
	return (words[0]! & 0x1fffff) * 2 ** 32 + words[1]!;
}

function checkIndex(index: number): void {
	if (!(Number.isInteger(index) && index >= 0 && index < MAX_INDEX))
		throw new RondoError("INVALID_ARGUMENT", `index must be an integer from 0 to 2^32 - 1, got ${index}`);
}

/**
 * Draw number `index` of this node: a multiple of 2^-53 in [0, 1), each equally likely.
 * @throws INVALID_ARGUMENT unless `index` is an integer from 0 to 2^32 − 1
 */
export function uniform01(random: Random, index: number): number {
	checkIndex(index);
	return draw53(random, index, 0, new Uint32Array(2)) / RANGE;
}

/**
 * Draw number `index` of this node: an integer from 0 to bound − 1, each exactly equally likely.
 * @throws INVALID_ARGUMENT unless `bound` is an integer from 1 to 2^53 and `index` one from 0 to 2^32 − 1
 */
export function uniformBelow(random: Random, index: number, bound: number): number {
	checkIndex(index);
	if (!(Number.isInteger(bound) && bound >= 1 && bound <= RANGE))
		throw new RondoError("INVALID_ARGUMENT", `bound must be an integer from 1 to 2^53, got ${bound}`);
	return below(random, index, bound, new Uint32Array(2));
}

function below(random: Random, index: number, bound: number, words: Uint32Array): number {
	const limit = RANGE - (RANGE % bound);
	// Each attempt is accepted with more than one chance in two; the stream has words for 2^20 of them.
	for (let attempt = 0; ; attempt++) {
		const value = draw53(random, index, attempt, words);
		if (value < limit) return value % bound;
	}
}

/**
 * Draw number `index` of this node: a Gaussian-like number of mean 0 and variance 1, within ±3.4506 (the sum of four bytes).
 * @throws INVALID_ARGUMENT unless `index` is an integer from 0 to 2^53 − 1
 */
export function gaussian4(random: Random, index: number): number {
	return fillGaussian4(random, index, new Float64Array(1))[0]!;
}

/**
 * Fills `out` with the draws `from`, `from` + 1, … of `gaussian4` and returns it.
 * @throws INVALID_ARGUMENT unless 0 <= from and from + out.length <= 2^53
 */
export function fillGaussian4(random: Random, from: number, out: Float64Array): Float64Array {
	const words = new Uint32Array(Math.min(out.length, 1024));
	for (let at = 0; at < out.length; at += words.length) {
		const part = random.words(from + at, words.subarray(0, Math.min(words.length, out.length - at)));
		for (let i = 0; i < part.length; i++) {
			const word = part[i]!;
			const sum = (word & 255) + ((word >>> 8) & 255) + ((word >>> 16) & 255) + (word >>> 24);
			out[at + i] = (sum - 510) / BYTE_SUM_DEVIATION;
		}
	}
	return out;
}

/**
 * The numbers 0 to n − 1 in an order drawn from this node, all n! equally likely (Fisher–Yates, from the end).
 * @throws INVALID_ARGUMENT unless `n` is an integer from 0 to 2^32 − 1
 */
export function permutation(random: Random, n: number): Uint32Array {
	if (!(Number.isInteger(n) && n >= 0 && n < MAX_INDEX))
		throw new RondoError("INVALID_ARGUMENT", `n must be an integer from 0 to 2^32 - 1, got ${n}`);
	const order = new Uint32Array(n);
	for (let i = 0; i < n; i++) order[i] = i;
	const words = new Uint32Array(2);
	for (let i = n - 1; i > 0; i--) {
		const j = below(random, i, i + 1, words);
		const moved = order[i]!;
		order[i] = order[j]!;
		order[j] = moved;
	}
	return order;
}

/**
 * Draw number `index` of this node: position j with probability weight_j / total, exactly.
 * @param cumulative running sums of non-negative integer weights, hence ascending; the last is the total, 1 to 2^53 − 1
 * @throws INVALID_ARGUMENT for a total out of range
 */
export function weightedDraw(random: Random, index: number, cumulative: ArrayLike<number>): number {
	const total = cumulative[cumulative.length - 1];
	if (!(Number.isSafeInteger(total) && (total as number) > 0))
		throw new RondoError("INVALID_ARGUMENT", `the last of cumulative must be an integer from 1 to 2^53 - 1, got ${total}`);
	const ticket = uniformBelow(random, index, total as number);
	let low = 0;
	let high = cumulative.length - 1;
	while (low < high) {
		const middle = (low + high) >>> 1;
		if (cumulative[middle]! > ticket) high = middle;
		else low = middle + 1;
	}
	return low;
}
