// Sums of products in float64. What is added to what is fixed: tiles of 4,096 elements, eight sums in a tile (element i goes to
// sum i mod 8), their tree, and then tile after tile; only so do threads, blocks and chunks not show in a single bit.

/** Elements of a numerical tile. */
const TILE: i32 = 4096;
/** Numerical tiles of one call. */
const TILES: i32 = 8;

/** Most vectors on one side of a block of the matrix. */
const SIDE: i32 = 32;
/** Elements of those vectors that are held as float64 at a time: what one pass of `multiply` touches stays in the first cache. */
const SPAN: i32 = 256;
/** Bytes of a packed row (two of the eight sums of a vector), of the rows of one side, and of a whole side. */
const ROW: i32 = 2 * SPAN;
const ROWS: i32 = SIDE * ROW;
const PACKED: i32 = 4 * ROWS;
/** Bytes of the running sums of a block for one row, and for all four. */
const SUMS: i32 = 16 * SIDE * SIDE;
const ALL_SUMS: i32 = 4 * SUMS;

/** Two neighbours as float64. */
// @ts-ignore: decorator
@inline
function two<T>(at: usize, pair: i32): v128 {
	return sizeof<T>() == 4 ? f64x2.promote_low_f32x4(v128.load64_zero(at + 8 * <usize>pair)) : v128.load(at + 16 * <usize>pair);
}

/** The tree that makes one sum of eight; all eight are in order. */
// @ts-ignore: decorator
@inline
function total(first: v128, second: v128, third: v128, fourth: v128): f64 {
	const x = f64x2.add(f64x2.add(first, third), f64x2.add(second, fourth));
	return f64x2.extract_lane(x, 0) + f64x2.extract_lane(x, 1);
}

/** Σ a·b of one numerical tile. `scratch` takes 128 bytes. */
function tileSum<T>(a: usize, b: usize, count: i32, scratch: usize): f64 {
	let first = f64x2.splat(0);
	let second = f64x2.splat(0);
	let third = f64x2.splat(0);
	let fourth = f64x2.splat(0);
	const bytes: usize = 8 * sizeof<T>();
	const whole = a + <usize>(count >> 3) * bytes;
	const rest = <usize>(count & 7) * sizeof<T>();
	let end = whole;
	while (true) {
		while (a < end) {
			first = f64x2.add(first, f64x2.mul(two<T>(a, 0), two<T>(b, 0)));
			second = f64x2.add(second, f64x2.mul(two<T>(a, 1), two<T>(b, 1)));
			third = f64x2.add(third, f64x2.mul(two<T>(a, 2), two<T>(b, 2)));
			fourth = f64x2.add(fourth, f64x2.mul(two<T>(a, 3), two<T>(b, 3)));
			a += bytes;
			b += bytes;
		}
		if (end != whole || rest == 0) break;
		// Zeros after the last elements change nothing: no sum is ever -0.
		memory.fill(scratch, 0, 128);
		memory.copy(scratch, a, rest);
		memory.copy(scratch + 64, b, rest);
		a = scratch;
		b = scratch + 64;
		end = a + bytes;
	}
	return total(first, second, third, fourth);
}

// @ts-ignore: decorator
@inline
function dot<T>(args: usize, tile: i32, scratch: usize): void {
	const from = tile * TILES * TILE;
	const a = <usize>load<f64>(args);
	const b = <usize>load<f64>(args, 8);
	const end = min(from + TILES * TILE, <i32>load<f64>(args, 16));
	const slots = <usize>load<f64>(args, 24);
	for (let at = from; at < end; at += TILE) {
		const skip = <usize>at * sizeof<T>();
		store<f64>(slots + 8 * <usize>(at / TILE), tileSum<T>(a + skip, b + skip, min(TILE, end - at), scratch));
	}
}

/** slots[t] = Σ a·b of numerical tile t. Arguments: a (f32), b (f32), count, slots (f64). */
export function dotFloat32(args: usize, tile: i32, scratch: usize): void {
	dot<f32>(args, tile, scratch);
}

/** As `dotFloat32`, a and b (f64). */
export function dotFloat64(args: usize, tile: i32, scratch: usize): void {
	dot<f64>(args, tile, scratch);
}

/** out = Σ a·b, Σ a², Σ b² of one numerical tile. `scratch` takes 128 bytes. */
function tileSums<T>(a: usize, b: usize, count: i32, out: usize, scratch: usize): void {
	let first = f64x2.splat(0);
	let second = f64x2.splat(0);
	let third = f64x2.splat(0);
	let fourth = f64x2.splat(0);
	let firstA = f64x2.splat(0);
	let secondA = f64x2.splat(0);
	let thirdA = f64x2.splat(0);
	let fourthA = f64x2.splat(0);
	let firstB = f64x2.splat(0);
	let secondB = f64x2.splat(0);
	let thirdB = f64x2.splat(0);
	let fourthB = f64x2.splat(0);
	const bytes: usize = 8 * sizeof<T>();
	const whole = a + <usize>(count >> 3) * bytes;
	const rest = <usize>(count & 7) * sizeof<T>();
	let end = whole;
	while (true) {
		while (a < end) {
			let x = two<T>(a, 0);
			let y = two<T>(b, 0);
			first = f64x2.add(first, f64x2.mul(x, y));
			firstA = f64x2.add(firstA, f64x2.mul(x, x));
			firstB = f64x2.add(firstB, f64x2.mul(y, y));
			x = two<T>(a, 1);
			y = two<T>(b, 1);
			second = f64x2.add(second, f64x2.mul(x, y));
			secondA = f64x2.add(secondA, f64x2.mul(x, x));
			secondB = f64x2.add(secondB, f64x2.mul(y, y));
			x = two<T>(a, 2);
			y = two<T>(b, 2);
			third = f64x2.add(third, f64x2.mul(x, y));
			thirdA = f64x2.add(thirdA, f64x2.mul(x, x));
			thirdB = f64x2.add(thirdB, f64x2.mul(y, y));
			x = two<T>(a, 3);
			y = two<T>(b, 3);
			fourth = f64x2.add(fourth, f64x2.mul(x, y));
			fourthA = f64x2.add(fourthA, f64x2.mul(x, x));
			fourthB = f64x2.add(fourthB, f64x2.mul(y, y));
			a += bytes;
			b += bytes;
		}
		if (end != whole || rest == 0) break;
		memory.fill(scratch, 0, 128);
		memory.copy(scratch, a, rest);
		memory.copy(scratch + 64, b, rest);
		a = scratch;
		b = scratch + 64;
		end = a + bytes;
	}
	store<f64>(out, total(first, second, third, fourth));
	store<f64>(out, total(firstA, secondA, thirdA, fourthA), 8);
	store<f64>(out, total(firstB, secondB, thirdB, fourthB), 16);
}

// @ts-ignore: decorator
@inline
function cosine<T>(args: usize, tile: i32, scratch: usize): void {
	const from = tile * TILES * TILE;
	const a = <usize>load<f64>(args);
	const b = <usize>load<f64>(args, 8);
	const end = min(from + TILES * TILE, <i32>load<f64>(args, 16));
	const slots = <usize>load<f64>(args, 24);
	for (let at = from; at < end; at += TILE) {
		const skip = <usize>at * sizeof<T>();
		tileSums<T>(a + skip, b + skip, min(TILE, end - at), slots + 24 * <usize>(at / TILE), scratch);
	}
}

/**
 * slots[3t] = Σ a·b, slots[3t + 1] = Σ a², slots[3t + 2] = Σ b² of numerical tile t. Arguments: a (f32), b (f32), count,
 * slots (f64).
 */
export function cosineFloat32(args: usize, tile: i32, scratch: usize): void {
	cosine<f32>(args, tile, scratch);
}

/** As `cosineFloat32`, a and b (f64). */
export function cosineFloat64(args: usize, tile: i32, scratch: usize): void {
	cosine<f64>(args, tile, scratch);
}

/** Up to `SPAN` elements as float64, two of every eight in one row; zeros after the last. `spare` takes 64 bytes. */
function pack<T>(values: usize, count: i32, row: usize, spare: usize): void {
	const bytes: usize = 8 * sizeof<T>();
	const whole = values + <usize>(count >> 3) * bytes;
	const rest = <usize>(count & 7) * sizeof<T>();
	let end = whole;
	while (true) {
		while (values < end) {
			v128.store(row, two<T>(values, 0));
			v128.store(row, two<T>(values, 1), ROWS);
			v128.store(row, two<T>(values, 2), 2 * ROWS);
			v128.store(row, two<T>(values, 3), 3 * ROWS);
			row += 16;
			values += bytes;
		}
		if (end != whole || rest == 0) break;
		memory.fill(spare, 0, 64);
		memory.copy(spare, values, rest);
		values = spare;
		end = spare + bytes;
	}
}

/** Adds the products of 4 packed rows with 2 others to 4 × 2 running sums: all that fits the registers. */
function multiply(left: usize, right: usize, bytes: i32, sums: usize): void {
	let s00 = v128.load(sums);
	let s01 = v128.load(sums, 16);
	let s10 = v128.load(sums, 16 * SIDE);
	let s11 = v128.load(sums, 16 * SIDE + 16);
	let s20 = v128.load(sums, 32 * SIDE);
	let s21 = v128.load(sums, 32 * SIDE + 16);
	let s30 = v128.load(sums, 48 * SIDE);
	let s31 = v128.load(sums, 48 * SIDE + 16);
	const end = left + <usize>bytes;
	while (left < end) {
		const x = v128.load(right);
		const y = v128.load(right, ROW);
		const a = v128.load(left);
		s00 = f64x2.add(s00, f64x2.mul(a, x));
		s01 = f64x2.add(s01, f64x2.mul(a, y));
		const b = v128.load(left, ROW);
		s10 = f64x2.add(s10, f64x2.mul(b, x));
		s11 = f64x2.add(s11, f64x2.mul(b, y));
		const c = v128.load(left, 2 * ROW);
		s20 = f64x2.add(s20, f64x2.mul(c, x));
		s21 = f64x2.add(s21, f64x2.mul(c, y));
		const d = v128.load(left, 3 * ROW);
		s30 = f64x2.add(s30, f64x2.mul(d, x));
		s31 = f64x2.add(s31, f64x2.mul(d, y));
		left += 16;
		right += 16;
	}
	v128.store(sums, s00);
	v128.store(sums, s01, 16);
	v128.store(sums, s10, 16 * SIDE);
	v128.store(sums, s11, 16 * SIDE + 16);
	v128.store(sums, s20, 32 * SIDE);
	v128.store(sums, s21, 32 * SIDE + 16);
	v128.store(sums, s30, 48 * SIDE);
	v128.store(sums, s31, 48 * SIDE + 16);
}

/** Packs elements of vectors first … last − 1 of the table. */
// @ts-ignore: decorator
@inline
function packSide<T>(table: usize, first: i32, last: i32, at: i32, count: i32, to: usize, spare: usize): void {
	for (let i = first; i < last; i++) {
		pack<T>(<usize>load<f64>(table + 8 * <usize>i) + <usize>at * sizeof<T>(), count, to + <usize>((i - first) * ROW), spare);
	}
}

// @ts-ignore: decorator
@inline
function gram<T>(args: usize, tile: i32, scratch: usize): void {
	const table = <usize>load<f64>(args);
	const n = <i32>load<f64>(args, 8);
	const count = <i32>load<f64>(args, 16);
	const tiles = <i32>load<f64>(args, 24);
	const blocks = (n + SIDE - 1) / SIDE;
	const side = ((n + blocks - 1) / blocks + 3) & -4;
	const pairs = (blocks * (blocks + 1)) / 2;
	const group = tile / pairs;
	let column = tile - group * pairs;
	let row = 0;
	while (column > row) column -= ++row;
	const out = <usize>load<f64>(args, 32) + 8 * <usize>group * <usize>n * <usize>n;

	const top = row * side;
	const bottom = min(n, top + side);
	const begin = column * side;
	const end = min(n, begin + side);
	const sums = scratch;
	const left = sums + ALL_SUMS;
	const right = row == column ? left : left + PACKED;
	// Beyond both sides: rows that only fill up a group of four are garbage that nobody reads.
	const spare = left + 2 * PACKED;
	const stop = min(count, (group + 1) * tiles * TILE);
	for (let from = group * tiles * TILE; from < stop; from += TILE) {
		for (let p = 0; p < 4; p++) memory.fill(sums + <usize>(p * SUMS), 0, 16 * SIDE * ((bottom - top + 3) & -4));
		const last = min(stop, from + TILE);
		for (let at = from; at < last; at += SPAN) {
			const elements = min(SPAN, last - at);
			const bytes = ((elements + 7) >> 3) << 4;
			packSide<T>(table, top, bottom, at, elements, left, spare);
			if (row != column) packSide<T>(table, begin, end, at, elements, right, spare);
			for (let p = 0; p < 4; p++) {
				for (let i = 0; i < bottom - top; i += 4) {
					const width = row == column ? min(i + 4, bottom - top) : end - begin;
					for (let j = 0; j < width; j += 2) {
						const rows = <usize>(p * ROWS);
						multiply(left + rows + i * ROW, right + rows + j * ROW, bytes, sums + <usize>(p * SUMS + 16 * (i * SIDE + j)));
					}
				}
			}
		}
		for (let i = top; i < bottom; i++) {
			for (let j = begin; j < (row == column ? i + 1 : end); j++) {
				const four = sums + <usize>(16 * ((i - top) * SIDE + j - begin));
				const sum = total(v128.load(four), v128.load(four, SUMS), v128.load(four, 2 * SUMS), v128.load(four, 3 * SUMS));
				const slot = out + 8 * (<usize>i * <usize>n + <usize>j);
				store<f64>(slot, load<f64>(slot) + sum);
			}
		}
	}
}

/**
 * out[g·n² + i·n + j] += Σ x_i·x_j, j ≤ i, for each numerical tile of group g in turn. A group has `tiles` of them. With
 * b = ⌈n / 32⌉ blocks of vectors, b(b + 1)/2 calls do one group, each a pair of blocks. Arguments: addresses of the n vectors
 * (f64; vectors of f32), n, count, tiles, out (f64).
 */
export function gramFloat32(args: usize, tile: i32, scratch: usize): void {
	gram<f32>(args, tile, scratch);
}

/** As `gramFloat32`, vectors of f64. */
export function gramFloat64(args: usize, tile: i32, scratch: usize): void {
	gram<f64>(args, tile, scratch);
}
