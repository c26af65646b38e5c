// Medians and trimmed means of n vectors, coordinate by coordinate: a strip of coordinates is copied to scratch, one row for each
// vector, and the rows are sorted against each other by Batcher's odd-even merging for any n (Batcher, "Sorting networks and their
// applications", 1968; Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M), whose comparators do not depend on the values.

/** Strips of one tile. */
const STRIPS: i32 = 16;

// @ts-ignore: decorator
@inline
function low<T>(a: v128, b: v128): v128 {
	return sizeof<T>() == 4 ? f32x4.pmin(a, b) : f64x2.pmin(a, b);
}

// @ts-ignore: decorator
@inline
function high<T>(a: v128, b: v128): v128 {
	return sizeof<T>() == 4 ? f32x4.pmax(a, b) : f64x2.pmax(a, b);
}

// @ts-ignore: decorator
@inline
function compareAt<T>(first: usize, second: usize): void {
	const a = v128.load(first);
	const b = v128.load(second);
	v128.store(first, low<T>(a, b));
	v128.store(second, high<T>(a, b));
}

/** Two rows: the lesser values into the first, the greater into the second. Unrolled, for a turn of a loop costs as much as a comparator. */
// @ts-ignore: decorator
@inline
function compare<T>(first: usize, second: usize, bytes: usize): void {
	const end = first + bytes;
	while (first + 64 <= end) {
		compareAt<T>(first, second);
		compareAt<T>(first + 16, second + 16);
		compareAt<T>(first + 32, second + 32);
		compareAt<T>(first + 48, second + 48);
		first += 64;
		second += 64;
	}
	while (first < end) {
		compareAt<T>(first, second);
		first += 16;
		second += 16;
	}
}

function sortRows<T>(rows: usize, n: i32, bytes: usize): void {
	for (let run = 1; run < n; run *= 2) {
		for (let apart = run; apart >= 1; apart /= 2) {
			for (let start = apart % run; start + apart < n; start += 2 * apart) {
				const last = min(apart, n - start - apart);
				for (let i = start; i < start + last; i++) {
					// Within one pair of runs only.
					if (i / (2 * run) === (i + apart) / (2 * run)) compare<T>(rows + bytes * <usize>i, rows + bytes * <usize>(i + apart), bytes);
				}
			}
		}
	}
}

/** Copies `count` coordinates of each vector to the rows, zeros behind them, and says whether all of them are finite. */
function fillRows<T>(rows: usize, table: usize, n: i32, from: i32, count: i32, bytes: usize): bool {
	let seen = f64x2.splat(0);
	for (let i = 0; i < n; i++) {
		const row = rows + bytes * <usize>i;
		const used = <usize>count * sizeof<T>();
		memory.copy(row, <usize>load<f64>(table + 8 * <usize>i) + <usize>from * sizeof<T>(), used);
		memory.fill(row + used, 0, bytes - used);
		for (let at: usize = 0; at < bytes; at += 16) {
			const x = v128.load(row + at);
			// 0 times an infinity is NaN, and NaN stays.
			if (sizeof<T>() == 4) seen = f32x4.add(seen, f32x4.mul(x, f32x4.splat(0)));
			else seen = f64x2.add(seen, f64x2.mul(x, f64x2.splat(0)));
		}
	}
	return !v128.any_true(sizeof<T>() == 4 ? f32x4.ne(seen, seen) : f64x2.ne(seen, seen));
}

/** Element j of a row. */
// @ts-ignore: decorator
@inline
function at<T>(row: usize, j: i32): f64 {
	return <f64>load<T>(row + <usize>j * sizeof<T>());
}

/** (a + b) / 2, also where the sum of two float64 is beyond them. */
// @ts-ignore: decorator
@inline
function middle(a: f64, b: f64): f64 {
	const sum = a + b;
	return isFinite(sum) ? sum / 2 : a / 2 + b / 2;
}

/** Of one strip whose rows are sorted. Adding 0 turns -0 into 0. */
function statistics<T>(rows: usize, n: i32, trim: i32, count: i32, bytes: usize, out: usize): void {
	if (trim < 0) {
		const lower = rows + bytes * <usize>((n - 1) >> 1);
		const upper = rows + bytes * <usize>(n >> 1);
		for (let j = 0; j < count; j++) store<f64>(out + 8 * <usize>j, 0 + middle(at<T>(lower, j), at<T>(upper, j)));
		return;
	}
	const kept = n - 2 * trim;
	const first = rows + bytes * <usize>trim;
	let j = 0;
	for (; j + 2 <= count; j += 2) {
		let sums = f64x2.splat(0);
		for (let i = 0; i < kept; i++) {
			const x = first + bytes * <usize>i + <usize>j * sizeof<T>();
			sums = f64x2.add(sums, sizeof<T>() == 4 ? f64x2.promote_low_f32x4(v128.load64_zero(x)) : v128.load(x));
		}
		v128.store(out + 8 * <usize>j, f64x2.add(f64x2.splat(0), f64x2.div(sums, f64x2.splat(<f64>kept))));
	}
	for (; j < count; j++) {
		let sum: f64 = 0;
		for (let i = 0; i < kept; i++) sum += at<T>(first + bytes * <usize>i, j);
		store<f64>(out + 8 * <usize>j, 0 + sum / <f64>kept);
	}
}

// @ts-ignore: decorator
@inline
function select<T>(args: usize, tile: i32, scratch: usize): void {
	const table = <usize>load<f64>(args);
	const n = <i32>load<f64>(args, 8);
	const length = <i32>load<f64>(args, 16);
	const strip = <i32>load<f64>(args, 24);
	const trim = <i32>load<f64>(args, 32);
	const out = <usize>load<f64>(args, 40);
	const bytes = <usize>strip * sizeof<T>();
	const end = min(length, (tile + 1) * STRIPS * strip);
	let finite = true;
	for (let from = tile * STRIPS * strip; from < end; from += strip) {
		const count = min(strip, end - from);
		if (!fillRows<T>(scratch, table, n, from, count, bytes)) finite = false;
		sortRows<T>(scratch, n, bytes);
		statistics<T>(scratch, n, trim, count, bytes, out + 8 * <usize>from);
	}
	store<f64>(<usize>load<f64>(args, 48) + 8 * <usize>tile, finite ? 0 : 1);
}

/**
 * Medians (trim −1) or trimmed means. Arguments: addresses of the n vectors (f64; vectors of f32), n, length, coordinates of a
 * strip (whole vectors of 16 bytes; scratch takes n rows of them), trim, out (f64), flags (f64 for each tile: 1 if some
 * value is not finite).
 */
export function selectFloat32(args: usize, tile: i32, scratch: usize): void {
	select<f32>(args, tile, scratch);
}

/** As `selectFloat32`, vectors of f64. */
export function selectFloat64(args: usize, tile: i32, scratch: usize): void {
	select<f64>(args, tile, scratch);
}
