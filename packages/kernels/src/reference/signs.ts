// The kernels of perturbations in plain TypeScript: what the WebAssembly has to agree with, and what runs where there is none.

import { BLOCK, type Family } from "../perturbations.js";
import { philoxBlocks } from "../philox.js";
import { addGroup, addProjection, blockWords, memberSigns } from "./structured.js";

/** Parameters per tile, a multiple of a block: its 256 KiB of float64 sums stay in the second-level cache while all members pass over them. */
const TILE = 32_768;
const TILE_WORDS = TILE / 32 + BLOCK / 16;

/** Fills `words` so that bit i of word w is that of parameter from + 32·w + i of member k; `count` is at most a tile. */
function signWords(family: Family, k: number, from: number, count: number, words: Uint32Array): Uint32Array {
	const { stream, row } = family.locate(k);
	const key = family.key(stream);
	const step = family.kind === "noise/1" ? 128 : BLOCK;
	const skip = from % step;
	const first = (from - skip) / step;
	const pieces = Math.ceil((skip + count) / step);
	if (family.kind === "noise/1") philoxBlocks(key, first, pieces, words, 0);
	else for (let i = 0; i < pieces; i++) memberSigns(blockWords(key, first + i), row, words, 128 * i);
	const start = skip >>> 5;
	const shift = skip & 31;
	const needed = Math.ceil(count / 32);
	for (let i = 0; i < needed && skip > 0; i++) {
		const word = words[start + i]!;
		words[i] = shift === 0 ? word : (word >>> shift) | (words[start + i + 1]! << (32 - shift));
	}
	return words;
}

const newWords = () => new Uint32Array(TILE_WORDS);

/** out = weights + scale·z_k; `scale` is a float32. */
export function perturb(weights: Float32Array, scale: number, family: Family, k: number, out: Float32Array, from: number): void {
	const step = Float64Array.of(-scale, scale);
	const words = newWords();
	for (let start = 0; start < weights.length; start += TILE) {
		const count = Math.min(TILE, weights.length - start);
		signWords(family, k, from + start, count, words);
		for (let i = 0, j = start; j < start + count; i++) {
			let bits = words[i]!;
			const end = Math.min(j + 32, start + count);
			for (; j < end; j++, bits >>>= 1) out[j] = weights[j]! + step[bits & 1]!;
		}
	}
}

/** sum[j] += Σ coefficients[i]·z_(members[i])[from + j]. */
export function addTerms(sum: Float64Array, members: Uint32Array, coefficients: Int32Array, family: Family, from: number): void {
	const words = newWords();
	for (let at = 0; at < sum.length; at += TILE) {
		const tile = sum.subarray(at, Math.min(at + TILE, sum.length));
		for (let i = 0; i < members.length; i++) {
			addTile(tile, coefficients[i]!, signWords(family, members[i]!, from + at, tile.length, words));
		}
	}
}

/** As `addTerms`, of whole groups of `noise/2`: coefficients[4096·g + r] belongs to row r of group groups[g]. */
export function addGroups(sum: Float64Array, groups: readonly number[], coefficients: Int32Array, family: Family, from: number): void {
	eachBlock(sum.length, from, (block, begin, end, start) => {
		const totals = new Float64Array(BLOCK);
		groups.forEach((group, g) => {
			addGroup(totals, blockWords(family.key(group), block), coefficients.subarray(BLOCK * g, BLOCK * (g + 1)));
		});
		for (let i = begin; i < end; i++) sum[start + i]! += totals[i]!;
	});
}

/** Calls back for each block that [from, from + length) meets: its elements begin … end − 1 are the job's from start + begin on. */
function eachBlock(length: number, from: number, body: (block: number, begin: number, end: number, start: number) => void): void {
	const skip = from % BLOCK;
	for (let start = -skip; start < length; start += BLOCK) {
		body((from + start) / BLOCK, Math.max(0, -start), Math.min(BLOCK, length - start), start);
	}
}

/** out[k] += Σ_j rounded[j]·z_k[from + j] for all k below out.length. */
export function project(rounded: Int32Array, family: Family, out: Float64Array, from: number): void {
	if (family.kind === "noise/2") {
		eachBlock(rounded.length, from, (block, begin, end, start) => {
			const values = new Float64Array(BLOCK);
			for (let i = begin; i < end; i++) values[i] = rounded[start + i]!;
			for (let k = 0; k < out.length; k += BLOCK) {
				addProjection(out.subarray(k, Math.min(k + BLOCK, out.length)), blockWords(family.key(k / BLOCK), block), values);
			}
		});
		return;
	}
	const words = newWords();
	for (let at = 0; at < rounded.length; at += TILE) {
		const count = Math.min(TILE, rounded.length - at);
		for (let k = 0; k < out.length; k++) {
			signWords(family, k, from + at, count, words);
			let sum = 0;
			for (let j = 0; j < count; j++) sum += (words[j >>> 5]! >>> (j & 31)) & 1 ? rounded[at + j]! : -rounded[at + j]!;
			out[k]! += sum;
		}
	}
}

/**
 * The table of ±coefficient makes the loop branch-free: random signs defeat every branch predictor. Four at a time it runs
 * at 430–570 Mparam/s (Node 20, a tile of 32,768).
 */
function addTile(sum: Float64Array, coefficient: number, words: Uint32Array): void {
	const step = Float64Array.of(-coefficient, coefficient);
	const count = sum.length;
	for (let i = 0, j = 0; j < count; i++) {
		let bits = words[i]!;
		const end = Math.min(j + 32, count);
		for (; j + 4 <= end; j += 4) {
			sum[j]! += step[bits & 1]!;
			sum[j + 1]! += step[(bits >>> 1) & 1]!;
			sum[j + 2]! += step[(bits >>> 2) & 1]!;
			sum[j + 3]! += step[(bits >>> 3) & 1]!;
			bits >>>= 4;
		}
		for (; j < end; j++, bits >>>= 1) sum[j]! += step[bits & 1]!;
	}
}
