// noise/2: whole groups of 4,096 members by one fast Walsh–Hadamard transform per block of 4,096 parameters.

import { BLOCK, structuredWords } from "./philox";
import { settle, settleFour } from "./settle";

const SIZE: usize = 4096;

// Scratch of one block.
const WORDS: usize = 0;
const ROWS: usize = 1280;
const SPECTRUM: usize = 2048;
const SERIES: usize = SPECTRUM + 4 * SIZE;
const TOTALS: usize = SERIES + 4 * SIZE;

/** Sums and differences of eight vectors `stride` bytes apart, three levels of the transform. */
// @ts-ignore: decorator
@inline
function butterfly8(at: usize, stride: usize): void {
	const a0 = v128.load(at);
	const a1 = v128.load(at + stride);
	const a2 = v128.load(at + 2 * stride);
	const a3 = v128.load(at + 3 * stride);
	const a4 = v128.load(at + 4 * stride);
	const a5 = v128.load(at + 5 * stride);
	const a6 = v128.load(at + 6 * stride);
	const a7 = v128.load(at + 7 * stride);
	const b0 = i32x4.add(a0, a4);
	const b1 = i32x4.add(a1, a5);
	const b2 = i32x4.add(a2, a6);
	const b3 = i32x4.add(a3, a7);
	const b4 = i32x4.sub(a0, a4);
	const b5 = i32x4.sub(a1, a5);
	const b6 = i32x4.sub(a2, a6);
	const b7 = i32x4.sub(a3, a7);
	const c0 = i32x4.add(b0, b2);
	const c1 = i32x4.add(b1, b3);
	const c2 = i32x4.sub(b0, b2);
	const c3 = i32x4.sub(b1, b3);
	const c4 = i32x4.add(b4, b6);
	const c5 = i32x4.add(b5, b7);
	const c6 = i32x4.sub(b4, b6);
	const c7 = i32x4.sub(b5, b7);
	v128.store(at, i32x4.add(c0, c1));
	v128.store(at + stride, i32x4.sub(c0, c1));
	v128.store(at + 2 * stride, i32x4.add(c2, c3));
	v128.store(at + 3 * stride, i32x4.sub(c2, c3));
	v128.store(at + 4 * stride, i32x4.add(c4, c5));
	v128.store(at + 5 * stride, i32x4.sub(c4, c5));
	v128.store(at + 6 * stride, i32x4.add(c6, c7));
	v128.store(at + 7 * stride, i32x4.sub(c6, c7));
}

/**
 * The Walsh–Hadamard transform of 4,096 int32 modulo 2^32. Element x is read from place ((x << 2) | (x >>> 10)) mod 4096 of
 * `spectrum`, which is overwritten, and the result lies in order at `out`: with bits 10 and 11 of the index in the
 * lanes, only the last pass mixes lanes, and it does so by a transposition that also restores the order.
 */
function transform(spectrum: usize, out: usize): void {
	for (let v: usize = 0; v < 128; v++) butterfly8(spectrum + 16 * v, 2048);
	for (let block: usize = 0; block < 8; block++) {
		for (let v: usize = 0; v < 16; v++) butterfly8(spectrum + 2048 * block + 16 * v, 256);
	}
	for (let block: usize = 0; block < 64; block++) {
		const at = spectrum + 256 * block;
		for (let v: usize = 0; v < 64; v += 16) {
			const a0 = v128.load(at + v);
			const a1 = v128.load(at + v, 64);
			const a2 = v128.load(at + v, 128);
			const a3 = v128.load(at + v, 192);
			const b0 = i32x4.add(a0, a2);
			const b1 = i32x4.add(a1, a3);
			const b2 = i32x4.sub(a0, a2);
			const b3 = i32x4.sub(a1, a3);
			v128.store(at + v, i32x4.add(b0, b1));
			v128.store(at + v, i32x4.sub(b0, b1), 64);
			v128.store(at + v, i32x4.add(b2, b3), 128);
			v128.store(at + v, i32x4.sub(b2, b3), 192);
		}
		for (let four: usize = 0; four < 256; four += 64) {
			const a0 = v128.load(at + four);
			const a1 = v128.load(at + four, 16);
			const a2 = v128.load(at + four, 32);
			const a3 = v128.load(at + four, 48);
			const b0 = i32x4.add(a0, a2);
			const b1 = i32x4.add(a1, a3);
			const b2 = i32x4.sub(a0, a2);
			const b3 = i32x4.sub(a1, a3);
			const c0 = i32x4.add(b0, b1);
			const c1 = i32x4.sub(b0, b1);
			const c2 = i32x4.add(b2, b3);
			const c3 = i32x4.sub(b2, b3);
			const p = v128.shuffle<i32>(c0, c1, 0, 4, 1, 5);
			const q = v128.shuffle<i32>(c2, c3, 0, 4, 1, 5);
			const r = v128.shuffle<i32>(c0, c1, 2, 6, 3, 7);
			const s = v128.shuffle<i32>(c2, c3, 2, 6, 3, 7);
			const d0 = v128.shuffle<i64>(p, q, 0, 2);
			const d1 = v128.shuffle<i64>(p, q, 1, 3);
			const d2 = v128.shuffle<i64>(r, s, 0, 2);
			const d3 = v128.shuffle<i64>(r, s, 1, 3);
			const e0 = i32x4.add(d0, d2);
			const e1 = i32x4.add(d1, d3);
			const e2 = i32x4.sub(d0, d2);
			const e3 = i32x4.sub(d1, d3);
			const to = out + ((256 * block + four) >>> 2);
			v128.store(to, i32x4.add(e0, e1));
			v128.store(to, i32x4.sub(e0, e1), 4096);
			v128.store(to, i32x4.add(e2, e3), 8192);
			v128.store(to, i32x4.sub(e2, e3), 12288);
		}
	}
}

/** All ones in the lanes where `bits` has the bit of `bit`. */
// @ts-ignore: decorator
@inline
function whereSet(bits: v128, bit: v128): v128 {
	return i32x4.eq(v128.and(bits, bit), bit);
}

/** a where the mask is 0, −a where it is ones. */
// @ts-ignore: decorator
@inline
function negateWhere(a: v128, mask: v128): v128 {
	return i32x4.sub(v128.xor(a, mask), mask);
}

/** One step of π on eight rows; products modulo 2^16 have the right twelve lower bits. */
// @ts-ignore: decorator
@inline
function permuteStep(x: v128, factor: v128, offset: v128): v128 {
	const y = v128.and(i16x8.add(i16x8.mul(x, factor), offset), i16x8.splat(4095));
	return v128.xor(y, i16x8.shr_u(y, 6));
}

// @ts-ignore: decorator
@inline
function factorOf(words: usize, i: usize): v128 {
	return i16x8.splat(<i16>(2 * (load<u32>(words + 1024 + 4 * i) & 2047) + 1));
}

// @ts-ignore: decorator
@inline
function offsetOf(words: usize, i: usize): v128 {
	return i16x8.splat(<i16>(load<u32>(words + 1024 + 4 * i) >>> 11));
}

/** Which part of a coefficient is transformed: all of it, its lower 16 bits or what is above them. */
const WHOLE: i32 = 0;
const LOWER: i32 = 1;
const UPPER: i32 = 2;

/** The values of rows r … r + 7, negated where t is 0, to their places. */
// @ts-ignore: decorator
@inline
function place(spectrum: usize, rows: usize, values: usize, lane: usize): void {
	store<i32>(spectrum + <usize>load<u16>(rows + 2 * lane), load<i32>(values + 4 * lane));
}

/**
 * The part `part` of each of `count` coefficients, negated where t is 0, to row π(r) of the spectrum, at the place where
 * `transform` reads it. Coefficients are read up to the next multiple of 8.
 */
function scatter(spectrum: usize, words: usize, buffer: usize, coefficients: usize, count: i32, part: i32): void {
	if (count < <i32>SIZE) memory.fill(spectrum, 0, 4 * SIZE);
	const f0 = factorOf(words, 0);
	const f1 = factorOf(words, 1);
	const f2 = factorOf(words, 2);
	const f3 = factorOf(words, 3);
	const f4 = factorOf(words, 4);
	const f5 = factorOf(words, 5);
	const o0 = offsetOf(words, 0);
	const o1 = offsetOf(words, 1);
	const o2 = offsetOf(words, 2);
	const o3 = offsetOf(words, 3);
	const o4 = offsetOf(words, 4);
	const o5 = offsetOf(words, 5);
	const values = buffer + 16;
	for (let r = 0; r < count; r += 8) {
		const at = coefficients + 4 * <usize>r;
		let a = v128.load(at);
		let b = v128.load(at, 16);
		if (part === LOWER) {
			a = v128.and(a, i32x4.splat(0xffff));
			b = v128.and(b, i32x4.splat(0xffff));
		} else if (part === UPPER) {
			a = i32x4.shr_s(a, 16);
			b = i32x4.shr_s(b, 16);
		}
		const bits = i32x4.splat(~<i32>load<u8>(words + 512 + (<usize>r >>> 3)));
		v128.store(values, negateWhere(a, whereSet(bits, i32x4(1, 2, 4, 8))));
		v128.store(values, negateWhere(b, whereSet(bits, i32x4(16, 32, 64, 128))), 16);
		let x = i16x8.add(i16x8.splat(<i16>r), i16x8(0, 1, 2, 3, 4, 5, 6, 7));
		x = permuteStep(permuteStep(permuteStep(x, f0, o0), f1, o1), f2, o2);
		x = permuteStep(permuteStep(permuteStep(x, f3, o3), f4, o4), f5, o5);
		v128.store(buffer, v128.or(v128.and(i16x8.shl(x, 4), i16x8.splat(0x3ffc)), v128.and(i16x8.shr_u(x, 8), i16x8.splat(12))));
		if (r + 8 <= count) {
			place(spectrum, buffer, values, 0);
			place(spectrum, buffer, values, 1);
			place(spectrum, buffer, values, 2);
			place(spectrum, buffer, values, 3);
			place(spectrum, buffer, values, 4);
			place(spectrum, buffer, values, 5);
			place(spectrum, buffer, values, 6);
			place(spectrum, buffer, values, 7);
		} else for (let lane = 0; lane < count - r; lane++) place(spectrum, buffer, values, <usize>lane);
	}
}

/** Four elements of the series of a block, negated where s is 1, settled as whole sums. */
// @ts-ignore: decorator
@inline
function settleSigned(mode: i32, target: usize, weights: usize, unit: f64, j: i32, series: usize, bits: v128, bit: v128): void {
	const sums = negateWhere(v128.load(series), whereSet(bits, bit));
	const upper = v128.shuffle<i32>(sums, sums, 2, 3, 2, 3);
	settleFour(mode, target, weights, unit, j, f64x2.convert_low_i32x4_s(sums), f64x2.convert_low_i32x4_s(upper));
}

/** The series of a whole block, whose first parameter is number `start` of the job, is all there is to its sums. */
function settleBlock(mode: i32, target: usize, weights: usize, unit: f64, start: i32, series: usize, words: usize): void {
	for (let w = 0; w < 128; w++) {
		const bits = v128.load32_splat(words + 4 * <usize>w);
		const at = series + 128 * <usize>w;
		const j = start + 32 * w;
		settleSigned(mode, target, weights, unit, j, at, bits, i32x4(1, 2, 4, 8));
		settleSigned(mode, target, weights, unit, j + 4, at + 16, bits, i32x4(0x10, 0x20, 0x40, 0x80));
		settleSigned(mode, target, weights, unit, j + 8, at + 32, bits, i32x4(0x100, 0x200, 0x400, 0x800));
		settleSigned(mode, target, weights, unit, j + 12, at + 48, bits, i32x4(0x1000, 0x2000, 0x4000, 0x8000));
		settleSigned(mode, target, weights, unit, j + 16, at + 64, bits, i32x4(0x10000, 0x20000, 0x40000, 0x80000));
		settleSigned(mode, target, weights, unit, j + 20, at + 80, bits, i32x4(0x100000, 0x200000, 0x400000, 0x800000));
		settleSigned(mode, target, weights, unit, j + 24, at + 96, bits, i32x4(0x1000000, 0x2000000, 0x4000000, 0x8000000));
		settleSigned(mode, target, weights, unit, j + 28, at + 112, bits, i32x4(0x10000000, 0x20000000, 0x40000000, 0x80000000));
	}
}

/** totals[i] += scale·(±series[i]), negated where s is 1, for a whole block. */
function addSeries(totals: usize, series: usize, words: usize, scale: f64): void {
	const factor = f64x2.splat(scale);
	for (let i: usize = 0; i < SIZE; i += 4) {
		const bits = i32x4.splat(load<u32>(words + ((i >>> 5) << 2)) >>> (<u32>i & 31));
		const sums = negateWhere(v128.load(series + 4 * i), whereSet(bits, i32x4(1, 2, 4, 8)));
		const upper = v128.shuffle<i32>(sums, sums, 2, 3, 2, 3);
		const at = totals + 8 * i;
		v128.store(at, f64x2.add(v128.load(at), f64x2.mul(factor, f64x2.convert_low_i32x4_s(sums))));
		v128.store(at, f64x2.add(v128.load(at, 16), f64x2.mul(factor, f64x2.convert_low_i32x4_s(upper))), 16);
	}
}

/**
 * S[j] = Σ_k ledger[k]·z_k[j]. Arguments: mode, target, weights, unit, count, from, keys (4 words per group), coefficients
 * (int32), members, wide. `wide` is 1 when Σ|ledger| of some group may reach 2^31: then the halves of the coefficients are
 * transformed one after the other.
 */
export function ledgerStructured(args: usize, tile: i32, scratch: usize): void {
	const mode = <i32>load<f64>(args);
	const target = <usize>load<f64>(args, 8);
	const weights = <usize>load<f64>(args, 16);
	const unit = load<f64>(args, 24);
	const count = <i32>load<f64>(args, 32);
	const from = <u64>load<f64>(args, 40);
	const keys = <usize>load<f64>(args, 48);
	const coefficients = <usize>load<f64>(args, 56);
	const members = <i32>load<f64>(args, 64);
	const wide = load<f64>(args, 72) !== 0;
	const block = from / BLOCK + tile;
	const start = tile * BLOCK - <i32>(from % BLOCK);
	const begin = max(0, -start);
	const end = min(BLOCK, count - start);
	const words = scratch + WORDS;
	const series = scratch + SERIES;
	if (members <= BLOCK && !wide && begin === 0 && end === BLOCK) {
		structuredWords(words, keys, block);
		scatter(scratch + SPECTRUM, words, scratch + ROWS, coefficients, members, WHOLE);
		transform(scratch + SPECTRUM, series);
		settleBlock(mode, target, weights, unit, start, series, words);
		return;
	}
	const totals = scratch + TOTALS;
	memory.fill(totals, 0, 8 * SIZE);
	for (let group = 0; group * BLOCK < members; group++) {
		const here = min(BLOCK, members - group * BLOCK);
		structuredWords(words, keys + 16 * <usize>group, block);
		const last = wide ? UPPER : WHOLE;
		for (let part = wide ? LOWER : WHOLE; part <= last; part++) {
			scatter(scratch + SPECTRUM, words, scratch + ROWS, coefficients + 4 * <usize>(group * BLOCK), here, part);
			transform(scratch + SPECTRUM, series);
			addSeries(totals, series, words, part === UPPER ? 65536 : 1);
		}
	}
	let i = begin;
	for (; i < end && i % 4 !== 0; i++) settle(mode, target, weights, unit, start + i, load<f64>(totals + 8 * <usize>i));
	for (; i + 4 <= end; i += 4) {
		const at = totals + 8 * <usize>i;
		settleFour(mode, target, weights, unit, start + i, v128.load(at), v128.load(at, 16));
	}
	for (; i < end; i++) settle(mode, target, weights, unit, start + i, load<f64>(totals + 8 * <usize>i));
}

/** Rows π(r) … π(r + 7) as byte offsets into a series, eight uint16 to `buffer`. */
// @ts-ignore: decorator
@inline
function offsetsOf(buffer: usize, words: usize, r: i32): void {
	let x = i16x8.add(i16x8.splat(<i16>r), i16x8(0, 1, 2, 3, 4, 5, 6, 7));
	for (let i: usize = 0; i < 6; i++) x = permuteStep(x, factorOf(words, i), offsetOf(words, i));
	v128.store(buffer, i16x8.shl(x, 2));
}

// @ts-ignore: decorator
@inline
function gatherFour(series: usize, offsets: usize): v128 {
	let four = v128.load32_zero(series + <usize>load<u16>(offsets));
	four = v128.load32_lane(series + <usize>load<u16>(offsets, 2), four, 1);
	four = v128.load32_lane(series + <usize>load<u16>(offsets, 4), four, 2);
	return v128.load32_lane(series + <usize>load<u16>(offsets, 6), four, 3);
}

/** at[0 … 3] += scale·values, negated where bit 0 … 3 of `bits` is 0. */
// @ts-ignore: decorator
@inline
function addMembers(at: usize, values: v128, scale: v128, bits: v128, bit: v128): void {
	const signed = negateWhere(values, i32x4.ne(v128.and(bits, bit), bit));
	const upper = v128.shuffle<i32>(signed, signed, 2, 3, 2, 3);
	v128.store(at, f64x2.add(v128.load(at), f64x2.mul(scale, f64x2.convert_low_i32x4_s(signed))));
	v128.store(at, f64x2.add(v128.load(at, 16), f64x2.mul(scale, f64x2.convert_low_i32x4_s(upper))), 16);
}

/** Parameters i … i + 3 of a block, one part of each, negated where s is 1. */
// @ts-ignore: decorator
@inline
function signedValues(values: usize, words: usize, i: usize, part: i32): v128 {
	let x = v128.load(values + 4 * i);
	if (part === LOWER) x = v128.and(x, i32x4.splat(4095));
	else if (part === UPPER) x = i32x4.shr_s(x, 12);
	const bits = i32x4.splat(load<u32>(words + ((i >>> 5) << 2)) >>> (<u32>i & 31));
	return negateWhere(x, whereSet(bits, i32x4(1, 2, 4, 8)));
}

/**
 * γ_k += Σ_j x[j]·z_k[j]. Arguments: values (int32 within ±2^23, whole blocks from parameter 4096·first on), blocks, first,
 * keys (4 words per group), members, sums (float64, `members` rounded up to a multiple of 8 for each tile), tiles, wide. Tile
 * t takes the blocks t, t + tiles, … into its own sums. `wide` is 1 when some |x| may reach 2^19: then x is transformed in
 * two parts, 12 bits and the rest.
 */
export function projectStructured(args: usize, tile: i32, scratch: usize): void {
	const values = <usize>load<f64>(args);
	const blocks = <i32>load<f64>(args, 8);
	const first = <u64>load<f64>(args, 16);
	const keys = <usize>load<f64>(args, 24);
	const members = <i32>load<f64>(args, 32);
	const room = <usize>((members + 7) & ~7);
	const sums = <usize>load<f64>(args, 40) + 8 * room * <usize>tile;
	const tiles = <i32>load<f64>(args, 48);
	const wide = load<f64>(args, 56) !== 0;
	const words = scratch + WORDS;
	const buffer = scratch + ROWS;
	const spectrum = scratch + SPECTRUM;
	const series = scratch + SERIES;
	for (let block = tile; block < blocks; block += tiles) {
		const x = values + 4 * SIZE * <usize>block;
		for (let group = 0; group * BLOCK < members; group++) {
			const here = min(BLOCK, members - group * BLOCK);
			structuredWords(words, keys + 16 * <usize>group, first + <u64>block);
			const last = wide ? UPPER : WHOLE;
			for (let part = wide ? LOWER : WHOLE; part <= last; part++) {
				for (let v: usize = 0; v < 1024; v += 4) {
					const a = signedValues(x, words, v, part);
					const b = signedValues(x, words, v + 1024, part);
					const c = signedValues(x, words, v + 2048, part);
					const d = signedValues(x, words, v + 3072, part);
					const p = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
					const q = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
					const r = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
					const s = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
					const at = spectrum + 16 * v;
					v128.store(at, v128.shuffle<i64>(p, q, 0, 2));
					v128.store(at, v128.shuffle<i64>(p, q, 1, 3), 16);
					v128.store(at, v128.shuffle<i64>(r, s, 0, 2), 32);
					v128.store(at, v128.shuffle<i64>(r, s, 1, 3), 48);
				}
				transform(spectrum, series);
				const scale = f64x2.splat(part === UPPER ? 4096 : 1);
				for (let r = 0; r < here; r += 8) {
					offsetsOf(buffer, words, r);
					const bits = i32x4.splat(<i32>load<u8>(words + 512 + (<usize>r >>> 3)));
					const at = sums + 8 * <usize>(group * BLOCK + r);
					addMembers(at, gatherFour(series, buffer), scale, bits, i32x4(1, 2, 4, 8));
					addMembers(at + 32, gatherFour(series, buffer + 8), scale, bits, i32x4(16, 32, 64, 128));
				}
			}
		}
	}
}
