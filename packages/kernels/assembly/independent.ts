// noise/1: S[j] = Σ_k ledger[k]·z_k[j], exactly.

import { addFourSums, TILE } from "./lookups";
import { blockOfFour, eightBlocks, streamBlocks, WITH_SUMS } from "./philox";
import { settle, settleFour } from "./settle";

/** Members whose signs are made and looked up together. */
const MEMBERS: usize = 32;

// Scratch of noise/1.
const SUMS: usize = 0;
const TABLES: usize = 8 * TILE;
const BITS: usize = TABLES + 4 * 2048;
const INDEX: usize = BITS + (MEMBERS * TILE) / 8;

/**
 * Eight vectors of 128 signs at `bits`, `stride` apart, become 128 bytes at `out`: bit c of byte 16·s + i is sign 8·i + s of
 * vector c.
 */
// @ts-ignore: decorator
@inline
function transposeBits(out: usize, bits: usize, stride: usize): void {
	let x0 = v128.load(bits);
	let x1 = v128.load(bits + stride);
	let x2 = v128.load(bits + 2 * stride);
	let x3 = v128.load(bits + 3 * stride);
	let x4 = v128.load(bits + 4 * stride);
	let x5 = v128.load(bits + 5 * stride);
	let x6 = v128.load(bits + 6 * stride);
	let x7 = v128.load(bits + 7 * stride);
	let t: v128;
	let m = i8x16.splat(0x0f);
	t = v128.and(v128.xor(i16x8.shr_u(x0, 4), x4), m);
	x4 = v128.xor(x4, t);
	x0 = v128.xor(x0, i16x8.shl(t, 4));
	t = v128.and(v128.xor(i16x8.shr_u(x1, 4), x5), m);
	x5 = v128.xor(x5, t);
	x1 = v128.xor(x1, i16x8.shl(t, 4));
	t = v128.and(v128.xor(i16x8.shr_u(x2, 4), x6), m);
	x6 = v128.xor(x6, t);
	x2 = v128.xor(x2, i16x8.shl(t, 4));
	t = v128.and(v128.xor(i16x8.shr_u(x3, 4), x7), m);
	x7 = v128.xor(x7, t);
	x3 = v128.xor(x3, i16x8.shl(t, 4));
	m = i8x16.splat(0x33);
	t = v128.and(v128.xor(i16x8.shr_u(x0, 2), x2), m);
	x2 = v128.xor(x2, t);
	x0 = v128.xor(x0, i16x8.shl(t, 2));
	t = v128.and(v128.xor(i16x8.shr_u(x1, 2), x3), m);
	x3 = v128.xor(x3, t);
	x1 = v128.xor(x1, i16x8.shl(t, 2));
	t = v128.and(v128.xor(i16x8.shr_u(x4, 2), x6), m);
	x6 = v128.xor(x6, t);
	x4 = v128.xor(x4, i16x8.shl(t, 2));
	t = v128.and(v128.xor(i16x8.shr_u(x5, 2), x7), m);
	x7 = v128.xor(x7, t);
	x5 = v128.xor(x5, i16x8.shl(t, 2));
	m = i8x16.splat(0x55);
	t = v128.and(v128.xor(i16x8.shr_u(x0, 1), x1), m);
	x1 = v128.xor(x1, t);
	x0 = v128.xor(x0, i16x8.shl(t, 1));
	t = v128.and(v128.xor(i16x8.shr_u(x2, 1), x3), m);
	x3 = v128.xor(x3, t);
	x2 = v128.xor(x2, i16x8.shl(t, 1));
	t = v128.and(v128.xor(i16x8.shr_u(x4, 1), x5), m);
	x5 = v128.xor(x5, t);
	x4 = v128.xor(x4, i16x8.shl(t, 1));
	t = v128.and(v128.xor(i16x8.shr_u(x6, 1), x7), m);
	x7 = v128.xor(x7, t);
	x6 = v128.xor(x6, i16x8.shl(t, 1));
	v128.store(out, x0);
	v128.store(out, x1, 16);
	v128.store(out, x2, 32);
	v128.store(out, x3, 48);
	v128.store(out, x4, 64);
	v128.store(out, x5, 80);
	v128.store(out, x6, 96);
	v128.store(out, x7, 112);
}

/** table[m] = Σ_i ±coefficient_i for i = 0 … 7, + where bit i of m is 1; `count` coefficients are there, the rest are 0. */
function fillTable(table: usize, coefficients: usize, count: i32): void {
	let none: i64 = 0;
	for (let i = 0; i < count; i++) none -= <i64>load<i32>(coefficients + 4 * <usize>i);
	store<i64>(table, none);
	for (let i = 0; i < 8; i++) {
		const twice = i < count ? 2 * <i64>load<i32>(coefficients + 4 * <usize>i) : 0;
		const size = <usize>8 << i;
		if (i === 0) store<i64>(table, none + twice, 8);
		else {
			const step = i64x2.splat(twice);
			for (let at: usize = 0; at < size; at += 16) v128.store(table + size + at, i64x2.add(v128.load(table + at), step));
		}
	}
}

/** The Philox blocks of a member of the next group, while 32 sums of this group are made. */
function streamAndSum(out: usize, key: usize, first: u64, sums: usize, index: usize, tables: usize): void {
	eightBlocks(out, key, first, WITH_SUMS, sums, 0, index, tables);
}

/** Two sums as float64: integers within ±2^51, put into the significand of 1.5·2^52. */
// @ts-ignore: decorator
@inline
function asDoubles(sums: usize): v128 {
	return f64x2.sub(i64x2.add(v128.load(sums), i64x2.splat(0x4338000000000000)), f64x2.splat(6755399441055744));
}

/** Parameters j … j + 15: transposeBits has put numbers s and 8 + s of them side by side, 16 sums behind the two before. */
// @ts-ignore: decorator
@inline
function settleSixteen(mode: i32, target: usize, weights: usize, unit: f64, j: i32, sums: usize): void {
	const s0 = asDoubles(sums);
	const s1 = asDoubles(sums + 128);
	const s2 = asDoubles(sums + 256);
	const s3 = asDoubles(sums + 384);
	const s4 = asDoubles(sums + 512);
	const s5 = asDoubles(sums + 640);
	const s6 = asDoubles(sums + 768);
	const s7 = asDoubles(sums + 896);
	settleFour(mode, target, weights, unit, j, v128.shuffle<i64>(s0, s1, 0, 2), v128.shuffle<i64>(s2, s3, 0, 2));
	settleFour(mode, target, weights, unit, j + 4, v128.shuffle<i64>(s4, s5, 0, 2), v128.shuffle<i64>(s6, s7, 0, 2));
	settleFour(mode, target, weights, unit, j + 8, v128.shuffle<i64>(s0, s1, 1, 3), v128.shuffle<i64>(s2, s3, 1, 3));
	settleFour(mode, target, weights, unit, j + 12, v128.shuffle<i64>(s4, s5, 1, 3), v128.shuffle<i64>(s6, s7, 1, 3));
}

/** The signs of a tile for `count` members, one member after the other. */
function makeBits(bits: usize, keys: usize, count: i32, first: u64): void {
	for (let c: usize = 0; c < <usize>count; c++) streamBlocks(bits + (TILE / 8) * c, keys + 16 * c, first, <i32>TILE / 1024);
}

/**
 * noise/1. Arguments: mode, target, weights, unit, count, from, keys (4 words per member), coefficients (int32), members.
 * The members are taken eight at a time: their signs at one parameter are a byte, and a table of 256 sums, in int64, has
 * what they add. So a member costs an eighth of an addition per parameter, and the generator is what remains.
 */
export function ledgerIndependent(args: usize, tile: i32, scratch: usize): void {
	const mode = <i32>load<f64>(args);
	const target = <usize>load<f64>(args, 8);
	const weights = <usize>load<f64>(args, 16);
	const unit = load<f64>(args, 24);
	const count = <i32>load<f64>(args, 32);
	const from = <u64>load<f64>(args, 40);
	const keys = <usize>load<f64>(args, 48);
	const coefficients = <usize>load<f64>(args, 56);
	const members = <i32>load<f64>(args, 64);
	// Tiles start at whole Philox blocks; the first may begin before `from`, where nothing is settled.
	const before = <i32>(from % 128);
	const first = from / 128 + (<u64>tile * <u64>TILE) / 128;
	const sums = scratch + SUMS;
	const bits = scratch + BITS;
	const stride: usize = TILE / 8;
	memory.fill(sums, 0, 8 * TILE);
	const index = scratch + INDEX;
	const tables = scratch + TABLES;
	makeBits(bits, keys, min(<i32>MEMBERS, members), first);
	for (let k = 0; k < members; k += <i32>MEMBERS) {
		const here = min(<i32>MEMBERS, members - k);
		// What lies behind the last member is multiplied by 0.
		const eights = (here + 7) / 8;
		for (let e = 0; e < eights; e++) {
			fillTable(tables + 2048 * <usize>e, coefficients + 4 * <usize>(k + 8 * e), min(8, here - 8 * e));
			for (let chunk: usize = 0; chunk < TILE / 128; chunk++)
				transposeBits(index + TILE * <usize>e + 128 * chunk, bits + 8 * stride * <usize>e + 16 * chunk, stride);
		}
		const next = min(<i32>MEMBERS, members - k - <i32>MEMBERS);
		if (eights === 4 && next === <i32>MEMBERS) {
			for (let e: usize = 0; e < 64; e++)
				streamAndSum(bits + 128 * e, keys + 16 * (<usize>k + MEMBERS + (e >>> 1)), first + 8 * (<u64>e & 1), sums + 256 * e, index + 32 * e, tables);
			continue;
		}
		if (next > 0) makeBits(bits, keys + 16 * (<usize>k + MEMBERS), next, first);
		if (eights === 4) {
			for (let p: usize = 0; p < TILE; p += 4) addFourSums(sums + 8 * p, index + p, tables);
		} else {
			for (let e: usize = 0; e < <usize>eights; e++) {
				for (let p: usize = 0; p < TILE; p++) {
					const sum = sums + 8 * p;
					store<i64>(sum, load<i64>(sum) + load<i64>(tables + 2048 * e + ((<usize>load<u8>(index + TILE * e + p)) << 3)));
				}
			}
		}
	}
	const start = tile * <i32>TILE - before;
	const end = min(<i32>TILE, count - start);
	let p = max(0, -start);
	if (p === 0) {
		for (; p + 128 <= end; p += 128) {
			for (let i = 0; i < 16; i += 2) settleSixteen(mode, target, weights, unit, start + p + 8 * i, sums + 8 * <usize>(p + i));
		}
	}
	for (; p < end; p++) {
		// Where transposeBits has put parameter p.
		const at = (p & ~127) + ((p & 7) << 4) + ((p & 127) >>> 3);
		settle(mode, target, weights, unit, start + p, <f64>load<i64>(sums + 8 * <usize>at));
	}
}

/** Members of one tile of the projection. */
const PROJECTED: i32 = 512;

/** What the 16 bytes of a member's signs, 4 words 16 bytes apart, add up to in the 16 tables. */
// @ts-ignore: decorator
@inline
function lookUp(tables: usize, signs: usize): i32 {
	let sum = 0;
	for (let w: usize = 0; w < 4; w++) {
		const bits = load<u32>(signs + 16 * w);
		const four = tables + 4096 * w;
		sum +=
			load<i32>(four + ((bits & 255) << 2)) +
			load<i32>(four + (((bits >>> 8) & 255) << 2), 1024) +
			load<i32>(four + (((bits >>> 16) & 255) << 2), 2048) +
			load<i32>(four + ((bits >>> 24) << 2), 3072);
	}
	return sum;
}

/**
 * γ_k += Σ_j x[j]·z_k[j] of noise/1. Arguments: values (int32 within ±2^23, whole Philox blocks from parameter 128·first on),
 * blocks, first, keys (four vectors for every four members: word 0 of each, word 1, …), members, sums (float64, room for a
 * multiple of 4). Eight parameters at a time make a table of their 256 signed sums, a member's byte of signs looks one up.
 */
export function projectIndependent(args: usize, tile: i32, scratch: usize): void {
	const values = <usize>load<f64>(args);
	const blocks = <i32>load<f64>(args, 8);
	const first = <u64>load<f64>(args, 16);
	const begin = tile * PROJECTED;
	const end = min(<i32>load<f64>(args, 32), begin + PROJECTED);
	const keys = <usize>load<f64>(args, 24);
	const sums = <usize>load<f64>(args, 40);
	const signs = scratch + 16384;
	for (let block = 0; block < blocks; block++) {
		for (let eight: usize = 0; eight < 16; eight++) {
			const x = values + 512 * <usize>block + 32 * eight;
			const table = scratch + 1024 * eight;
			let none = 0;
			for (let i: usize = 0; i < 8; i++) none -= load<i32>(x + 4 * i);
			const two = 2 * load<i32>(x);
			const four = 2 * load<i32>(x, 4);
			v128.store(table, i32x4.add(i32x4.splat(none), i32x4(0, two, four, two + four)));
			for (let i: usize = 2; i < 8; i++) {
				const size = <usize>4 << i;
				const step = i32x4.splat(2 * load<i32>(x + 4 * i));
				for (let at: usize = 0; at < size; at += 16) v128.store(table + size + at, i32x4.add(v128.load(table + at), step));
			}
		}
		for (let k = begin; k < end; k += 4) {
			blockOfFour(signs, keys + 16 * <usize>k, first + <u64>block);
			const at = sums + 8 * <usize>k;
			store<f64>(at, load<f64>(at) + <f64>lookUp(scratch, signs));
			store<f64>(at, load<f64>(at, 8) + <f64>lookUp(scratch, signs + 4), 8);
			store<f64>(at, load<f64>(at, 16) + <f64>lookUp(scratch, signs + 8), 16);
			store<f64>(at, load<f64>(at, 24) + <f64>lookUp(scratch, signs + 12), 24);
		}
	}
}
