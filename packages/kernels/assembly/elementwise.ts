// Kernels of one pass over vectors.

import { APPLY, settle, settleFour } from "./settle";

/** Elements of one tile. */
const TILE: i32 = 16_384;
/** Adding and subtracting it rounds a float64 of at most 2^51 to the nearest integer, ties to even. */
const MAGIC: f64 = 6755399441055744;

/** target[j] = weights[j] − unit·sums[j]. Arguments: target (f32), weights (f32), sums (f64), unit, count. */
export function applySums(args: usize, tile: i32, scratch: usize): void {
	const begin = tile * TILE;
	const count = min(TILE, <i32>load<f64>(args, 32) - begin);
	const target = <usize>load<f64>(args) + 4 * <usize>begin;
	const weights = <usize>load<f64>(args, 8) + 4 * <usize>begin;
	const sums = <usize>load<f64>(args, 16) + 8 * <usize>begin;
	const unit = load<f64>(args, 24);
	let j = 0;
	for (; j + 4 <= count; j += 4) {
		const at = sums + 8 * <usize>j;
		settleFour(APPLY, target, weights, unit, j, v128.load(at), v128.load(at, 16));
	}
	for (; j < count; j++) settle(APPLY, target, weights, unit, j, load<f64>(sums + 8 * <usize>j));
}

// @ts-ignore: decorator
@inline
function onGrid(x: v128, factor: v128): v128 {
	const magic = f64x2.splat(MAGIC);
	return f64x2.sub(f64x2.add(f64x2.mul(x, factor), magic), magic);
}

/** sums[j] += values[j]·factor, rounded to an integer. Arguments: sums (f64), values (f32), factor, count. */
export function foldFloat32(args: usize, tile: i32, scratch: usize): void {
	const begin = tile * TILE;
	const count = min(TILE, <i32>load<f64>(args, 24) - begin);
	const sums = <usize>load<f64>(args) + 8 * <usize>begin;
	const values = <usize>load<f64>(args, 8) + 4 * <usize>begin;
	const factor = load<f64>(args, 16);
	const factors = f64x2.splat(factor);
	let j = 0;
	for (; j + 8 <= count; j += 8) {
		const at = sums + 8 * <usize>j;
		const x = v128.load(values + 4 * <usize>j);
		const y = v128.load(values + 4 * <usize>j, 16);
		const upper = v128.shuffle<i32>(x, x, 2, 3, 2, 3);
		const last = v128.shuffle<i32>(y, y, 2, 3, 2, 3);
		v128.store(at, f64x2.add(v128.load(at), onGrid(f64x2.promote_low_f32x4(x), factors)));
		v128.store(at, f64x2.add(v128.load(at, 16), onGrid(f64x2.promote_low_f32x4(upper), factors)), 16);
		v128.store(at, f64x2.add(v128.load(at, 32), onGrid(f64x2.promote_low_f32x4(y), factors)), 32);
		v128.store(at, f64x2.add(v128.load(at, 48), onGrid(f64x2.promote_low_f32x4(last), factors)), 48);
	}
	for (; j < count; j++) {
		const at = sums + 8 * <usize>j;
		store<f64>(at, load<f64>(at) + (<f64>load<f32>(values + 4 * <usize>j) * factor + MAGIC - MAGIC));
	}
}

/** As `foldFloat32`, values (f64). */
export function foldFloat64(args: usize, tile: i32, scratch: usize): void {
	const begin = tile * TILE;
	const count = min(TILE, <i32>load<f64>(args, 24) - begin);
	const sums = <usize>load<f64>(args) + 8 * <usize>begin;
	const values = <usize>load<f64>(args, 8) + 8 * <usize>begin;
	const factor = load<f64>(args, 16);
	const factors = f64x2.splat(factor);
	let j = 0;
	for (; j + 4 <= count; j += 4) {
		const at = sums + 8 * <usize>j;
		const x = values + 8 * <usize>j;
		v128.store(at, f64x2.add(v128.load(at), onGrid(v128.load(x), factors)));
		v128.store(at, f64x2.add(v128.load(at, 16), onGrid(v128.load(x, 16), factors)), 16);
	}
	for (; j < count; j++) {
		const at = sums + 8 * <usize>j;
		store<f64>(at, load<f64>(at) + (load<f64>(values + 8 * <usize>j) * factor + MAGIC - MAGIC));
	}
}

/**
 * rounded[j] = values[j]·inverse, to the nearest integer, ties to even. Arguments: rounded (i32), values (f32), inverse, count,
 * slots (two f64 for each tile: largest |rounded|, NaN when a value is NaN; Σ |rounded|).
 */
export function roundToUnits(args: usize, tile: i32, scratch: usize): void {
	const begin = tile * TILE;
	const count = min(TILE, <i32>load<f64>(args, 24) - begin);
	const rounded = <usize>load<f64>(args) + 4 * <usize>begin;
	const values = <usize>load<f64>(args, 8) + 4 * <usize>begin;
	const inverse = load<f64>(args, 16);
	const inverses = f64x2.splat(inverse);
	const slot = <usize>load<f64>(args, 32) + 16 * <usize>tile;
	let peaks = f64x2.splat(0);
	let totals = f64x2.splat(0);
	let j = 0;
	for (; j + 4 <= count; j += 4) {
		const x = v128.load(values + 4 * <usize>j);
		const a = f64x2.nearest(f64x2.mul(f64x2.promote_low_f32x4(x), inverses));
		const b = f64x2.nearest(f64x2.mul(f64x2.promote_low_f32x4(v128.shuffle<i32>(x, x, 2, 3, 2, 3)), inverses));
		const p = f64x2.abs(a);
		const q = f64x2.abs(b);
		peaks = f64x2.max(peaks, f64x2.max(p, q));
		totals = f64x2.add(totals, f64x2.add(p, q));
		v128.store(rounded + 4 * <usize>j, v128.shuffle<i64>(i32x4.trunc_sat_f64x2_s_zero(a), i32x4.trunc_sat_f64x2_s_zero(b), 0, 2));
	}
	let peak = max(f64x2.extract_lane(peaks, 0), f64x2.extract_lane(peaks, 1));
	let total = f64x2.extract_lane(totals, 0) + f64x2.extract_lane(totals, 1);
	for (; j < count; j++) {
		const a = nearest(<f64>load<f32>(values + 4 * <usize>j) * inverse);
		peak = max(peak, abs(a));
		total += abs(a);
		store<i32>(rounded + 4 * <usize>j, i32x4.extract_lane(i32x4.trunc_sat_f64x2_s_zero(f64x2.splat(a)), 0));
	}
	store<f64>(slot, peak);
	store<f64>(slot, total, 8);
}
