// Philox4x32-10 on four counters at a time, and the sign words of both kinds of perturbations.

import { addFourSums, stepFourWords } from "./lookups";

const M0: u32 = 0xd2511f53;
const M1: u32 = 0xcd9e8d57;
const WEYL0: u32 = 0x9e3779b9;
const WEYL1: u32 = 0xbb67ae85;

/** Parameters in a block of noise/2, and members in a group. */
export const BLOCK: i32 = 4096;
/** Words of a group's stream from one block to the next, in Philox blocks of four. */
export const STRIDE_BLOCKS: u64 = 128;

// @ts-ignore: decorator
@inline
function low(even: v128, odd: v128): v128 {
	return v128.shuffle<i32>(even, odd, 0, 2, 4, 6);
}

// @ts-ignore: decorator
@inline
function high(even: v128, odd: v128): v128 {
	return v128.shuffle<i32>(even, odd, 1, 3, 5, 7);
}

/** Four blocks whose words 0, 1, 2, 3 are the vectors a, b, c, d, one after the other to `out`. */
// @ts-ignore: decorator
@inline
function storeBlocks(out: usize, a: v128, b: v128, c: v128, d: v128): void {
	const p = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
	const q = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
	const r = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
	const s = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
	v128.store(out, v128.shuffle<i64>(p, q, 0, 2));
	v128.store(out, v128.shuffle<i64>(p, q, 1, 3), 16);
	v128.store(out, v128.shuffle<i64>(r, s, 0, 2), 32);
	v128.store(out, v128.shuffle<i64>(r, s, 1, 3), 48);
}

/** What `eightBlocks` does besides: nothing, sums from tables (`addThirtyTwo`), or steps of weights (`stepThousand`). */
export const ALONE: i32 = 0;
export const WITH_SUMS: i32 = 1;
export const WITH_STEPS: i32 = 2;

/**
 * The Philox blocks `first` … `first` + 7 of the stream of `key` (4 words) into `out`. Lane l of a, b, c, d holds the counter
 * of block l; two sets of four go side by side, because one leaves the processor waiting for its own products (16
 * against 24 G signs/s). The generator keeps the vector units busy and what uses the signs of an earlier call the load and store
 * ports, so an eighth of that is done in each of eight rounds: together they take little more than the longer one.
 * `work` is a constant of each caller.
 */
// @ts-ignore: decorator
@inline
export function eightBlocks(out: usize, key: usize, first: u64, work: i32, to: usize, from: usize, bits: usize, table: usize): void {
	const m0 = i32x4.splat(M0);
	const m1 = i32x4.splat(M1);
	const w0 = i32x4.splat(WEYL0);
	const w1 = i32x4.splat(WEYL1);
	const start = i32x4.splat(<i32>first);
	const upper = i32x4.splat(<i32>(first >> 32));
	let k0 = v128.load32_splat(key);
	let k1 = v128.load32_splat(key, 4);
	let a = i32x4.add(start, i32x4(0, 1, 2, 3));
	let e = i32x4.add(start, i32x4(4, 5, 6, 7));
	// Lanes that wrapped are below the first one: their upper word is one more.
	let b = i32x4.sub(upper, i32x4.lt_u(a, start));
	let f = i32x4.sub(upper, i32x4.lt_u(e, start));
	let c = v128.load32_splat(key, 8);
	let g = c;
	let d = v128.load32_splat(key, 12);
	let h = d;
	for (let round: usize = 0; round < 10; round++) {
		const even0 = i64x2.extmul_low_i32x4_u(a, m0);
		const odd0 = i64x2.extmul_high_i32x4_u(a, m0);
		const even1 = i64x2.extmul_low_i32x4_u(c, m1);
		const odd1 = i64x2.extmul_high_i32x4_u(c, m1);
		const even2 = i64x2.extmul_low_i32x4_u(e, m0);
		const odd2 = i64x2.extmul_high_i32x4_u(e, m0);
		const even3 = i64x2.extmul_low_i32x4_u(g, m1);
		const odd3 = i64x2.extmul_high_i32x4_u(g, m1);
		a = v128.xor(v128.xor(high(even1, odd1), b), k0);
		b = low(even1, odd1);
		c = v128.xor(v128.xor(high(even0, odd0), d), k1);
		d = low(even0, odd0);
		e = v128.xor(v128.xor(high(even3, odd3), f), k0);
		f = low(even3, odd3);
		g = v128.xor(v128.xor(high(even2, odd2), h), k1);
		h = low(even2, odd2);
		k0 = i32x4.add(k0, w0);
		k1 = i32x4.add(k1, w1);
		if (work === WITH_SUMS && round < 8) addFourSums(to + 32 * round, bits + 4 * round, table);
		if (work === WITH_STEPS && round < 8) stepFourWords(to + 512 * round, from + 512 * round, bits + 16 * round, table);
	}
	storeBlocks(out, a, b, c, d);
	storeBlocks(out + 64, e, f, g, h);
}

/** The Philox blocks `first`, `first` + 1, … of the stream of `key` (4 words), 8·`eights` of them, into `out`. */
export function streamBlocks(out: usize, key: usize, first: u64, eights: i32): void {
	for (let i = 0; i < eights; i++) eightBlocks(out + 128 * <usize>i, key, first + 8 * <u64>i, ALONE, 0, 0, 0, 0);
}

/** Philox of four counters a, b, c, d with keys k0, k1, a lane each: word w of lane l goes to `out` + 16·w + 4·l. */
// @ts-ignore: decorator
@inline
function fourBlocks(out: usize, a: v128, b: v128, c: v128, d: v128, k0: v128, k1: v128): void {
	const m0 = i32x4.splat(M0);
	const m1 = i32x4.splat(M1);
	const w0 = i32x4.splat(WEYL0);
	const w1 = i32x4.splat(WEYL1);
	for (let round = 0; round < 10; round++) {
		const even0 = i64x2.extmul_low_i32x4_u(a, m0);
		const odd0 = i64x2.extmul_high_i32x4_u(a, m0);
		const even1 = i64x2.extmul_low_i32x4_u(c, m1);
		const odd1 = i64x2.extmul_high_i32x4_u(c, m1);
		a = v128.xor(v128.xor(high(even1, odd1), b), k0);
		b = low(even1, odd1);
		c = v128.xor(v128.xor(high(even0, odd0), d), k1);
		d = low(even0, odd0);
		k0 = i32x4.add(k0, w0);
		k1 = i32x4.add(k1, w1);
	}
	v128.store(out, a);
	v128.store(out, b, 16);
	v128.store(out, c, 32);
	v128.store(out, d, 48);
}

/** Philox block `index` of four streams, as `fourBlocks` does. Their keys are four vectors at `keys`: word 0 of each, word 1, … */
export function blockOfFour(out: usize, keys: usize, index: u64): void {
	fourBlocks(
		out,
		i32x4.splat(<i32>index),
		i32x4.splat(<i32>(index >> 32)),
		v128.load(keys, 32),
		v128.load(keys, 48),
		v128.load(keys),
		v128.load(keys, 16),
	);
}

/**
 * The randomness of noise/2 for block `block` into `out`: 128 words of s, 128 of t, then q1 … q6 (1,048 bytes used, 1,152
 * written).
 */
export function structuredWords(out: usize, key: usize, block: u64): void {
	streamBlocks(out, key, block * STRIDE_BLOCKS, 9);
}

/** One step of π, with one of q1 … q6. */
// @ts-ignore: decorator
@inline
function permuteRow(row: i32, q: u32): i32 {
	const x = (row * <i32>(2 * (q & 2047) + 1) + <i32>(q >>> 11)) & 4095;
	return x ^ (x >>> 6);
}

/** Makes the s of block `block`, 128 words at `words`, the signs of member `row`. `spare` takes 64 bytes. */
export function memberSigns(words: usize, key: usize, row: i32, block: u64, spare: usize): void {
	const first = block * STRIDE_BLOCKS;
	// Where the words of a block start is a multiple of 128 Philox blocks: the lanes cannot carry into the upper word.
	const a = i32x4.add(i32x4.splat(<i32>first), i32x4.replace_lane(i32x4(64, 65, 32, 0), 2, 32 + (row >>> 7)));
	const b = i32x4.splat(<i32>(first >> 32));
	const c = v128.load32_splat(key, 8);
	const d = v128.load32_splat(key, 12);
	fourBlocks(spare, a, b, c, d, v128.load32_splat(key), v128.load32_splat(key, 4));
	let flip = 0 - ((load<u32>(spare + 8 + 16 * <usize>((row >>> 5) & 3)) >>> (row & 31)) & 1);
	// q1 … q4 are the first lane's words, q5 and q6 begin the second's.
	let x = permuteRow(row, load<u32>(spare));
	x = permuteRow(x, load<u32>(spare, 16));
	x = permuteRow(x, load<u32>(spare, 32));
	x = permuteRow(x, load<u32>(spare, 48));
	x = permuteRow(x, load<u32>(spare, 4));
	x = permuteRow(x, load<u32>(spare, 20));
	// The Walsh function of the low seven bits of x is the same in each vector of 128 signs.
	if (x & 1) flip ^= 0xaaaaaaaa;
	if (x & 2) flip ^= 0xcccccccc;
	if (x & 4) flip ^= 0xf0f0f0f0;
	if (x & 8) flip ^= 0xff00ff00;
	if (x & 16) flip ^= 0xffff0000;
	let walsh = i32x4.splat(flip);
	if (x & 32) walsh = v128.xor(walsh, i32x4(0, -1, 0, -1));
	if (x & 64) walsh = v128.xor(walsh, i32x4(0, 0, -1, -1));
	const upper = <u32>x >>> 7;
	for (let v: u32 = 0; v < 32; v++) {
		const at = words + 16 * <usize>v;
		const odd = popcnt<u32>(upper & v) & 1;
		v128.store(at, v128.xor(v128.load(at), v128.xor(walsh, i32x4.splat(0 - odd))));
	}
}

/**
 * Signs from parameter `from` on: bit i of word w at the result is that of parameter from + 32·w + i. `kind` is 1 or 2,
 * `row` the member's place in its group (noise/2). `area` has room for `count` signs and 1,200 bytes more at either end.
 */
export function signWords(kind: i32, key: usize, row: i32, from: u64, count: i32, area: usize): usize {
	let skip: u64;
	if (kind === 1) {
		skip = from % 128;
		const blocks = (<i32>skip + count + 127) / 128;
		streamBlocks(area, key, from / 128, (blocks + 7) / 8);
	} else {
		skip = from % BLOCK;
		const first = from / BLOCK;
		const blocks = (<i32>skip + count + BLOCK - 1) / BLOCK;
		for (let b = 0; b < blocks; b++) {
			const at = area + 512 * <usize>b;
			streamBlocks(at, key, (first + b) * STRIDE_BLOCKS, 4);
			memberSigns(at, key, row, first + b, area + 512 * <usize>blocks);
		}
	}
	const start = area + 4 * <usize>(skip / 32);
	const shift = <u32>(skip % 32);
	if (shift !== 0) {
		const words = (count + 31) / 32;
		for (let w = 0; w < words; w++) {
			const at = start + 4 * <usize>w;
			store<u32>(at, (load<u32>(at) >>> shift) | (load<u32>(at, 4) << (32 - shift)));
		}
	}
	return start;
}
