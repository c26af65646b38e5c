import { RondoError } from "@rondo/errors";
import { checkPadding, packBits, unpackBits, wordsOf } from "./bit-packing.js";

const MAX_LENGTH = 2 ** 31;
/** (√5 − 1) / 2 */
const GOLDEN = 0.6180339887498949;

/**
 * A set of positions as a bitmap: bit i mod 8 of byte ⌊i / 8⌋ is 1 for each index i. The form for sets of a third of all positions
 * and more, and the faster one; below, see `packGaps`.
 * @param indices strictly ascending, each below `length`
 * @param length number of positions, up to 2^31
 * @returns ⌈length / 8⌉ bytes
 * @throws INVALID_ARGUMENT for `length`, or an index that is too large or not above the one before it
 */
export function packMask(indices: Uint32Array, length: number): Uint8Array {
	checkLength(length);
	const bytes = new Uint8Array(Math.ceil(length / 8));
	let before = -1;
	for (let i = 0; i < indices.length; i++) {
		const index = indices[i]!;
		if (index <= before || index >= length) refuseIndex(indices, i, length);
		bytes[index >>> 3]! |= 1 << (index & 7);
		before = index;
	}
	return bytes;
}

/**
 * The positions of a bitmap that `packMask` made, ascending.
 * @param bytes need not be aligned
 * @throws BAD_ENCODING for another number of bytes than ⌈length / 8⌉, or a one among the bits beyond; INVALID_ARGUMENT for `length`
 */
export function unpackMask(bytes: Uint8Array, length: number): Uint32Array {
	checkLength(length);
	checkPadding(bytes, length, `${length} positions`);
	const words = wordsOf(bytes);
	const indices = new Uint32Array(countOnes(words));
	let count = 0;
	for (let w = 0; w < words.length; w++) {
		for (let word = words[w]!; word !== 0; word &= word - 1) indices[count++] = 32 * w + lowestOne(word);
	}
	return indices;
}

/**
 * A set of positions as the gaps between them, Rice-coded (Rice, "Some practical universal noiseless coding techniques", JPL
 * 1979). The gap before an index is the number of absent positions between it and the one before; with r = `riceBits(count,
 * length)` it is split into a quotient, gap >> r, and r low bits. The bytes are the low bits of all gaps (`packBits`), then the
 * quotients, each as so many zeros and a one (bit order of `packBits`, zeros up to the end of the last byte).
 *
 * A random set takes within 4 % of its information, log2 of the binomial coefficient: 8.1 bits an index for 1 % of all
 * positions, 4.8 for 10 %. Up to a third of all positions no set takes more than its bitmap and one byte.
 * @param indices strictly ascending, each below `length`
 * @param length number of positions, up to 2^31
 * @returns at most `maxGapsBytes(indices.length, length)` bytes
 * @throws INVALID_ARGUMENT for `length`, or an index that is too large or not above the one before it
 */
export function packGaps(indices: Uint32Array, length: number): Uint8Array {
	checkLength(length);
	const count = indices.length;
	if (count > length) throw new RondoError("INVALID_ARGUMENT", `indices has ${count} elements for ${length} positions`);
	const r = riceBits(count, length);
	const lows = new Uint32Array(count);
	const words = new Int32Array(Math.ceil(maxQuotientBits(count, length, r) / 32));
	const mask = (1 << r) - 1;
	let before = -1;
	let bit = 0;
	for (let i = 0; i < count; i++) {
		const index = indices[i]!;
		if (index <= before || index >= length) refuseIndex(indices, i, length);
		const gap = index - before - 1;
		lows[i] = gap & mask;
		bit += gap >>> r;
		words[bit >>> 5]! |= 1 << (bit & 31);
		bit++;
		before = index;
	}
	const low = r === 0 ? new Uint8Array(0) : packBits(lows, r);
	const bytes = new Uint8Array(low.length + Math.ceil(bit / 8));
	bytes.set(low);
	bytes.set(new Uint8Array(words.buffer, 0, bytes.length - low.length), low.length);
	return bytes;
}

/**
 * The indices that `packGaps` packed, strictly ascending and below `length`. No two byte strings give the same indices.
 * @param bytes need not be aligned
 * @throws BAD_ENCODING for bytes that `packGaps` does not make of `count` indices below `length`; INVALID_ARGUMENT for `count` or `length`
 */
export function unpackGaps(bytes: Uint8Array, count: number, length: number): Uint32Array {
	checkLength(length);
	checkCount(count, length);
	const r = riceBits(count, length);
	const lowBytes = Math.ceil((count * r) / 8);
	// Before anything is allocated: `count` may come from the same hostile hand.
	if (bytes.length > maxGapsBytes(count, length) || bytes.length < lowBytes + Math.ceil(count / 8))
		throw new RondoError("BAD_ENCODING", `${bytes.length} bytes are not the gaps of ${count} indices below ${length}`);
	const indices = r === 0 ? new Uint32Array(count) : unpackBits(bytes.subarray(0, lowBytes), r, count);
	const words = wordsOf(bytes.subarray(lowBytes));
	const step = 2 ** r;
	let found = 0;
	let bitBefore = -1;
	let before = -1;
	for (let w = 0; w < words.length; w++) {
		for (let word = words[w]!; word !== 0; word &= word - 1) {
			if (found === count) throw new RondoError("BAD_ENCODING", `the gaps of more than ${count} indices`);
			const bit = 32 * w + lowestOne(word);
			// The quotients end within the bytes, and so this stays below 2^53.
			before += 1 + (bit - bitBefore - 1) * step + indices[found]!;
			if (before >= length) throw new RondoError("BAD_ENCODING", `index ${found} is ${before}, but there are ${length} positions`);
			indices[found++] = before;
			bitBefore = bit;
		}
	}
	if (found !== count) throw new RondoError("BAD_ENCODING", `the gaps of ${found} indices, expected ${count}`);
	// The last quotient ends with a one, so a last byte of zeros was appended.
	if (bytes.length > lowBytes && bytes[bytes.length - 1] === 0)
		throw new RondoError("BAD_ENCODING", "the gaps are followed by a byte of zeros");
	return indices;
}

/**
 * Most bytes that `packGaps` makes of `count` indices below `length`.
 * @throws INVALID_ARGUMENT unless 0 <= count <= length <= 2^31, both integers
 */
export function maxGapsBytes(count: number, length: number): number {
	checkLength(length);
	checkCount(count, length);
	const r = riceBits(count, length);
	return Math.ceil((count * r) / 8) + Math.ceil(maxQuotientBits(count, length, r) / 8);
}

/** The gaps add up to length − count at most, their quotients to that over 2^r, and each quotient ends with a one. */
function maxQuotientBits(count: number, length: number, r: number): number {
	return count === 0 ? 0 : count + Math.floor((length - count) / 2 ** r);
}

/**
 * The number of low bits that makes the expected code of a random set shortest. Gaps are nearly geometric: P(gap >= g) = x^g
 * with x = 1 − count/length; r + 1 bits beat r as long as x^(2^r) exceeds the golden ratio's inverse (Kiely, "Selecting the
 * Golomb parameter in Rice coding", JPL 2004). Float64 multiplications, hence the same number everywhere.
 */
function riceBits(count: number, length: number): number {
	if (count === 0) return 0;
	let r = 0;
	for (let x = 1 - count / length; x > GOLDEN; x *= x) r++;
	return r;
}

function countOnes(words: Int32Array): number {
	let ones = 0;
	for (let w = 0; w < words.length; w++) {
		let word = words[w]!;
		word -= (word >>> 1) & 0x55555555;
		word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
		ones += Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
	}
	return ones;
}

/** Number of the lowest bit that is 1; one of them must be. */
function lowestOne(word: number): number {
	return 31 - Math.clz32(word & -word);
}

function checkLength(length: number): void {
	if (!(Number.isInteger(length) && length >= 0 && length <= MAX_LENGTH))
		throw new RondoError("INVALID_ARGUMENT", `length must be an integer from 0 to 2^31, got ${length}`);
}

function checkCount(count: number, length: number): void {
	if (!(Number.isInteger(count) && count >= 0 && count <= length))
		throw new RondoError("INVALID_ARGUMENT", `count must be an integer from 0 to ${length}, got ${count}`);
}

function refuseIndex(indices: Uint32Array, i: number, length: number): never {
	const index = indices[i]!;
	throw new RondoError(
		"INVALID_ARGUMENT",
		index >= length
			? `indices[${i}] is ${index}, but there are ${length} positions`
			: `indices[${i}] is ${index}, not above the ${indices[i - 1]} before it`,
	);
}
