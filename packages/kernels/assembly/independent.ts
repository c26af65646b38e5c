// noise/1: S[j] = Σ_k ledger[k]·z_k[j], exactly.

import { blockOfFour, streamBlocks } from "./philox";
import { settle } from "./settle";

/** Parameters of one tile of noise/1. Sums, signs and tables are 40 KiB: 10.4 G signs/s; in 24 KiB, with 1,024, 9.7. */
const TILE: usize = 2048;
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

// @ts-ignore: decorator
@inline
function addFour(sum: usize, index: usize, tables: usize): void {
	const first = load<i64>(tables + ((<usize>load<u8>(index)) << 3));
	const second = load<i64>(tables + ((<usize>load<u8>(index, TILE)) << 3), 2048);
	const third = load<i64>(tables + ((<usize>load<u8>(index, 2 * TILE)) << 3), 4096);
	const fourth = load<i64>(tables + ((<usize>load<u8>(index, 3 * TILE)) << 3), 6144);
	store<i64>(sum, load<i64>(sum) + first + second + third + fourth);
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
	for (let k = 0; k < members; k += <i32>MEMBERS) {
		const here = min(<i32>MEMBERS, members - k);
		for (let c = 0; c < here; c++) streamBlocks(bits + stride * <usize>c, keys + 16 * <usize>(k + c), first, <i32>TILE / 1024);
		// What lies behind the last member is multiplied by 0.
		const eights = (here + 7) / 8;
		for (let e = 0; e < eights; e++) {
			fillTable(scratch + TABLES + 2048 * <usize>e, coefficients + 4 * <usize>(k + 8 * e), min(8, here - 8 * e));
			for (let chunk: usize = 0; chunk < TILE / 128; chunk++)
				transposeBits(scratch + INDEX + TILE * <usize>e + 128 * chunk, bits + 8 * stride * <usize>e + 16 * chunk, stride);
		}
		const index = scratch + INDEX;
		const tables = scratch + TABLES;
		// Four at a time: a loop of WebAssembly costs a check of the stack in every turn.
		if (eights === 4) {
			for (let p: usize = 0; p < TILE; p += 4) {
				addFour(sums + 8 * p, index + p, tables);
				addFour(sums + 8 * p + 8, index + p + 1, tables);
				addFour(sums + 8 * p + 16, index + p + 2, tables);
				addFour(sums + 8 * p + 24, index + p + 3, tables);
			}
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
	for (let p = max(0, -start); p < end; p++) {
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
