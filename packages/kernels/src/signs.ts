import { RondoError } from "@rondo/errors";
import type { Random } from "./random.js";

/** Parameters per tile: its 256 KiB of float64 sums stay in the second-level cache while all candidates pass over them. */
const TILE = 32_768;
const TILE_WORDS = TILE / 32 + 1;
/** |Σ ledger·z| stays an exact integer in float64 for up to this many int32 entries. */
const MAX_LEDGER = 2 ** 22;

/**
 * sum[j] += coefficient · z[from + j], where z are the ±1 of `noise/1`. With integer coefficients the sum is exact, and
 * so independent of the order of calls, as long as it stays within ±2^53.
 * @throws NOT_FINITE for the coefficient, INVALID_ARGUMENT for `from`
 */
export function addSigns(sum: Float64Array, coefficient: number, z: Random, from = 0): void {
	if (!Number.isFinite(coefficient)) throw new RondoError("NOT_FINITE", `coefficient must be finite, got ${coefficient}`);
	checkFrom(from, sum.length);
	const words = new Uint32Array(TILE_WORDS);
	for (let at = 0; at < sum.length; at += TILE) {
		const count = Math.min(TILE, sum.length - at);
		addTile(sum, at, count, coefficient, signWords(z, from + at, count, words));
	}
}

/**
 * out[j] = weights[j] + scale · z[from + j]: one float64 addition, then one rounding to float32. `out` may be `weights`.
 * @throws SHAPE_MISMATCH for the lengths, NOT_FINITE for `scale`, INVALID_ARGUMENT for `from`
 */
export function perturb(weights: Float32Array, scale: number, z: Random, out: Float32Array, from = 0): void {
	checkLength("out", out.length, weights.length);
	if (!Number.isFinite(scale)) throw new RondoError("NOT_FINITE", `scale must be finite, got ${scale}`);
	checkFrom(from, weights.length);
	const step = Float64Array.of(-scale, scale);
	const words = new Uint32Array(TILE_WORDS);
	for (let start = 0; start < weights.length; start += TILE) {
		const count = Math.min(TILE, weights.length - start);
		signWords(z, from + start, count, words);
		for (let i = 0, j = start; j < start + count; i++) {
			let bits = words[i]!;
			const end = Math.min(j + 32, start + count);
			for (; j + 4 <= end; j += 4) {
				out[j] = weights[j]! + step[bits & 1]!;
				out[j + 1] = weights[j + 1]! + step[(bits >>> 1) & 1]!;
				out[j + 2] = weights[j + 2]! + step[(bits >>> 2) & 1]!;
				out[j + 3] = weights[j + 3]! + step[(bits >>> 3) & 1]!;
				bits >>>= 4;
			}
			for (; j < end; j++, bits >>>= 1) out[j] = weights[j]! + step[bits & 1]!;
		}
	}
}

/**
 * sum[j] += Σ_k (ledger[k] − had[k]) · z_k[from + j]: brings an exact sum from the ledger it was made from (`had`; absent:
 * all zero) to `ledger`. Entries that did not change cost nothing, and the result is that of a sum made afresh.
 * @param candidate gives z_k; asked once for each entry that changed
 * @throws SHAPE_MISMATCH for the lengths of the ledgers, INVALID_ARGUMENT for `from` or a ledger of more than 2^22 entries
 */
export function addLedger(sum: Float64Array, ledger: Int32Array, candidate: (k: number) => Random, from = 0, had?: Int32Array): void {
	checkFrom(from, sum.length);
	addChanges(sum, changesOf(ledger, candidate, had), from, new Uint32Array(TILE_WORDS));
}

/**
 * out[j] = initial[j] − unit · sum[j]: a float64 product and difference, then one rounding to float32. `out` may be
 * `initial`.
 * @throws SHAPE_MISMATCH for the lengths, INVALID_ARGUMENT unless `unit` is positive and finite
 */
export function applySum(initial: Float32Array, sum: Float64Array, unit: number, out: Float32Array): void {
	checkLength("sum", sum.length, initial.length);
	checkLength("out", out.length, initial.length);
	checkUnit(unit);
	for (let j = 0; j < out.length; j++) out[j] = initial[j]! - unit * sum[j]!;
}

/**
 * out[j] = initial[j] − unit · Σ_k ledger[k] · z_k[from + j]: `addLedger` and `applySum` tile by tile, with the same bytes
 * and no vector of sums. Blocks of parameters are independent: shards call it with their own `from`.
 * @throws SHAPE_MISMATCH for the lengths, INVALID_ARGUMENT for `unit`, `from` or a ledger of more than 2^22 entries
 */
export function rebuild(
	initial: Float32Array,
	ledger: Int32Array,
	unit: number,
	candidate: (k: number) => Random,
	out: Float32Array,
	from = 0,
): void {
	checkLength("out", out.length, initial.length);
	checkUnit(unit);
	checkFrom(from, initial.length);
	const changes = changesOf(ledger, candidate);
	const words = new Uint32Array(TILE_WORDS);
	const tile = new Float64Array(Math.min(TILE, initial.length));
	for (let at = 0; at < initial.length; at += TILE) {
		const end = Math.min(at + TILE, initial.length);
		const sum = tile.subarray(0, end - at).fill(0);
		addChanges(sum, changes, from + at, words);
		applySum(initial.subarray(at, end), sum, unit, out.subarray(at, end));
	}
}

type Change = readonly [coefficient: number, z: Random];

function changesOf(ledger: Int32Array, candidate: (k: number) => Random, had?: Int32Array): Change[] {
	if (ledger.length > MAX_LEDGER) throw new RondoError("INVALID_ARGUMENT", `ledger has ${ledger.length} entries, more than ${MAX_LEDGER}`);
	if (had !== undefined) checkLength("had", had.length, ledger.length);
	const changes: Change[] = [];
	for (let k = 0; k < ledger.length; k++) {
		const change = ledger[k]! - (had?.[k] ?? 0);
		if (change !== 0) changes.push([change, candidate(k)]);
	}
	return changes;
}

function addChanges(sum: Float64Array, changes: readonly Change[], from: number, words: Uint32Array): void {
	for (let at = 0; at < sum.length; at += TILE) {
		const count = Math.min(TILE, sum.length - at);
		for (const [coefficient, z] of changes) addTile(sum, at, count, coefficient, signWords(z, from + at, count, words));
	}
}

/** Fills `words` so that bit i of word w is the sign of parameter from + 32·w + i; `count` is at most a tile. */
function signWords(z: Random, from: number, count: number, words: Uint32Array): Uint32Array {
	const shift = from % 32;
	const needed = Math.ceil((count + shift) / 32);
	z.words((from - shift) / 32, words.subarray(0, needed));
	if (shift !== 0) for (let i = 0; i < needed; i++) words[i] = (words[i]! >>> shift) | ((words[i + 1] ?? 0) << (32 - shift));
	return words;
}

/**
 * The table of ±coefficient makes the loop branch-free: random signs defeat every branch predictor. Unrolled it does
 * 580–760 Mparam/s with the words made, four at a time 430–570 (Node 20, a tile of 32,768).
 */
function addTile(sum: Float64Array, start: number, count: number, coefficient: number, words: Uint32Array): void {
	const step = Float64Array.of(-coefficient, coefficient);
	const whole = count >>> 5;
	for (let i = 0, j = start; i < whole; i++, j += 32) {
		const w = words[i]!;
		sum[j]! += step[w & 1]!;
		sum[j + 1]! += step[(w >>> 1) & 1]!;
		sum[j + 2]! += step[(w >>> 2) & 1]!;
		sum[j + 3]! += step[(w >>> 3) & 1]!;
		sum[j + 4]! += step[(w >>> 4) & 1]!;
		sum[j + 5]! += step[(w >>> 5) & 1]!;
		sum[j + 6]! += step[(w >>> 6) & 1]!;
		sum[j + 7]! += step[(w >>> 7) & 1]!;
		sum[j + 8]! += step[(w >>> 8) & 1]!;
		sum[j + 9]! += step[(w >>> 9) & 1]!;
		sum[j + 10]! += step[(w >>> 10) & 1]!;
		sum[j + 11]! += step[(w >>> 11) & 1]!;
		sum[j + 12]! += step[(w >>> 12) & 1]!;
		sum[j + 13]! += step[(w >>> 13) & 1]!;
		sum[j + 14]! += step[(w >>> 14) & 1]!;
		sum[j + 15]! += step[(w >>> 15) & 1]!;
		sum[j + 16]! += step[(w >>> 16) & 1]!;
		sum[j + 17]! += step[(w >>> 17) & 1]!;
		sum[j + 18]! += step[(w >>> 18) & 1]!;
		sum[j + 19]! += step[(w >>> 19) & 1]!;
		sum[j + 20]! += step[(w >>> 20) & 1]!;
		sum[j + 21]! += step[(w >>> 21) & 1]!;
		sum[j + 22]! += step[(w >>> 22) & 1]!;
		sum[j + 23]! += step[(w >>> 23) & 1]!;
		sum[j + 24]! += step[(w >>> 24) & 1]!;
		sum[j + 25]! += step[(w >>> 25) & 1]!;
		sum[j + 26]! += step[(w >>> 26) & 1]!;
		sum[j + 27]! += step[(w >>> 27) & 1]!;
		sum[j + 28]! += step[(w >>> 28) & 1]!;
		sum[j + 29]! += step[(w >>> 29) & 1]!;
		sum[j + 30]! += step[(w >>> 30) & 1]!;
		sum[j + 31]! += step[(w >>> 31) & 1]!;
	}
	for (let j = start + 32 * whole, bits = words[whole]!; j < start + count; j++, bits >>>= 1) sum[j]! += step[bits & 1]!;
}

function checkFrom(from: number, length: number): void {
	if (!Number.isSafeInteger(from) || from < 0 || !Number.isSafeInteger(from + length)) {
		throw new RondoError("INVALID_ARGUMENT", `from must be an integer of which ${length} parameters remain below 2^53, got ${from}`);
	}
}

function checkUnit(unit: number): void {
	if (!(Number.isFinite(unit) && unit > 0)) throw new RondoError("INVALID_ARGUMENT", `unit must be a positive finite number, got ${unit}`);
}

function checkLength(field: string, length: number, wanted: number): void {
	if (length !== wanted) throw new RondoError("SHAPE_MISMATCH", `${field} has ${length} elements, expected ${wanted}`);
}
