// Passes of a stable radix sort of 32-bit keys. rankKeys has tiles like any kernel. The others are called once for each
// chunk of their input, in order, with the one tile 0: each chunk goes on where the one before it left off, which is what
// makes a pass stable. Bodies are unrolled four times, since a loop's own overhead is a quarter of so short a body's time.

/** Values of one tile of `rankKeys`. */
const TILE: i32 = 16_384;

/**
 * Turns values into keys in place: with m = (b >> 31) & flip, the key of the bits b is ((b & mask) ^ m) − m − base.
 * Arguments: values (pointer to 32-bit words), count, mask, flip, base, results (pointer to 4 u32 per tile: least key,
 * greatest key, 0 if the keys ascend, unused).
 */
export function rankKeys(args: usize, tile: i32, _scratch: usize): void {
	const begin = tile * TILE;
	const count = min(TILE, <i32>load<f64>(args, 8) - begin);
	const values = <usize>load<f64>(args) + 4 * <usize>begin;
	const mask = <i32>load<f64>(args, 16);
	const flip = <i32>load<f64>(args, 24);
	const base = <i32>load<f64>(args, 32);
	const masks = i32x4.splat(mask);
	const flips = i32x4.splat(flip);
	const bases = i32x4.splat(base);
	const whole = count & -4;
	let low = i32x4.splat(-1);
	let high = i32x4.splat(0);
	let descents = i32x4.splat(0);
	// Lanes of the vector before, so that each key meets its predecessor; the first one meets 0.
	let before = i32x4.splat(0);
	for (let i = 0; i < whole; i += 4) {
		const at = values + 4 * <usize>i;
		const bits = v128.load(at);
		const m = v128.and(i32x4.shr_s(bits, 31), flips);
		const keys = i32x4.sub(i32x4.sub(v128.xor(v128.and(bits, masks), m), m), bases);
		v128.store(at, keys);
		low = i32x4.min_u(low, keys);
		high = i32x4.max_u(high, keys);
		descents = v128.or(descents, i32x4.gt_u(v128.shuffle<i32>(before, keys, 3, 4, 5, 6), keys));
		before = keys;
	}
	let least = min(min(<u32>i32x4.extract_lane(low, 0), <u32>i32x4.extract_lane(low, 1)), min(<u32>i32x4.extract_lane(low, 2), <u32>i32x4.extract_lane(low, 3)));
	let most = max(max(<u32>i32x4.extract_lane(high, 0), <u32>i32x4.extract_lane(high, 1)), max(<u32>i32x4.extract_lane(high, 2), <u32>i32x4.extract_lane(high, 3)));
	let descending: u32 = v128.any_true(descents) ? 1 : 0;
	let last = <u32>i32x4.extract_lane(before, 3);
	for (let i = whole; i < count; i++) {
		const at = values + 4 * <usize>i;
		const bits = load<i32>(at);
		const m = (bits >> 31) & flip;
		const key = <u32>(((bits & mask) ^ m) - m - base);
		store<u32>(at, key);
		least = min(least, key);
		most = max(most, key);
		if (key < last) descending = 1;
		last = key;
	}
	const result = <usize>load<f64>(args, 40) + 16 * <usize>tile;
	store<u32>(result, least);
	store<u32>(result, most, 4);
	store<u32>(result, descending, 8);
}

/**
 * Counts how often each value of each digit occurs. Arguments: keys, begin, end, counts (pointer to 2^width u32 per
 * digit), shift (below the first digit), width, digits (1 to 4).
 */
export function rankCount(args: usize, _tile: i32, _scratch: usize): void {
	const keys = <usize>load<f64>(args);
	const end = keys + 4 * <usize>load<f64>(args, 16);
	const counts = <usize>load<f64>(args, 24);
	const shift = <u32>load<f64>(args, 32);
	const width = <u32>load<f64>(args, 40);
	const digits = <i32>load<f64>(args, 48);
	const whole = end - 12;
	let at = keys + 4 * <usize>load<f64>(args, 8);
	for (; at < whole; at += 16) {
		increment(load<u32>(at) >>> shift, counts, width, digits);
		increment(load<u32>(at, 4) >>> shift, counts, width, digits);
		increment(load<u32>(at, 8) >>> shift, counts, width, digits);
		increment(load<u32>(at, 12) >>> shift, counts, width, digits);
	}
	for (; at < end; at += 4) increment(load<u32>(at) >>> shift, counts, width, digits);
}

// @ts-ignore: decorator
@inline
function increment(key: u32, counts: usize, width: u32, digits: i32): void {
	const low: u32 = (1 << width) - 1;
	const size: usize = 4 << width;
	incrementOne(counts, key & low);
	if (digits > 1) {
		incrementOne(counts + size, (key >>> width) & low);
		if (digits > 2) {
			incrementOne(counts + 2 * size, (key >>> (2 * width)) & low);
			if (digits > 3) incrementOne(counts + 3 * size, (key >>> (3 * width)) & low);
		}
	}
}

// @ts-ignore: decorator
@inline
function incrementOne(counts: usize, digit: u32): void {
	const at = counts + 4 * <usize>digit;
	store<u32>(at, load<u32>(at) + 1);
}

/** The place of the next element with the digit, which then moves on by one. */
// @ts-ignore: decorator
@inline
function place(starts: usize, digit: u32): usize {
	const at = starts + 4 * <usize>digit;
	const next = load<u32>(at);
	store<u32>(at, next + 1);
	return <usize>next;
}

/**
 * First pass, from keys to pairs: index in the low word, key in the high one. Arguments: keys, begin, end, starts (pointer
 * to 2^width u32), shift, width, pairs (pointer to u64).
 */
export function rankSpread(args: usize, _tile: i32, _scratch: usize): void {
	const keys = <usize>load<f64>(args);
	const end = <u32>load<f64>(args, 16);
	const starts = <usize>load<f64>(args, 24);
	const shift = <u32>load<f64>(args, 32);
	const low: u32 = (1 << <u32>load<f64>(args, 40)) - 1;
	const pairs = <usize>load<f64>(args, 48);
	let i = <u32>load<f64>(args, 8);
	for (; i + 3 < end; i += 4) {
		const at = keys + 4 * <usize>i;
		spread(load<u32>(at), i, starts, shift, low, pairs);
		spread(load<u32>(at, 4), i + 1, starts, shift, low, pairs);
		spread(load<u32>(at, 8), i + 2, starts, shift, low, pairs);
		spread(load<u32>(at, 12), i + 3, starts, shift, low, pairs);
	}
	for (; i < end; i++) spread(load<u32>(keys + 4 * <usize>i), i, starts, shift, low, pairs);
}

// @ts-ignore: decorator
@inline
function spread(key: u32, i: u32, starts: usize, shift: u32, low: u32, pairs: usize): void {
	store<u64>(pairs + 8 * place(starts, (key >>> shift) & low), ((<u64>key) << 32) | i);
}

/** A pass from pairs to pairs. Arguments: pairs, begin, end, starts, shift, width, pairs to write. */
export function rankMove(args: usize, _tile: i32, _scratch: usize): void {
	const from = <usize>load<f64>(args);
	const end = from + 8 * <usize>load<f64>(args, 16);
	const starts = <usize>load<f64>(args, 24);
	const shift = 32 + <u64>load<f64>(args, 32);
	const low: u32 = (1 << <u32>load<f64>(args, 40)) - 1;
	const to = <usize>load<f64>(args, 48);
	const whole = end - 24;
	let at = from + 8 * <usize>load<f64>(args, 8);
	for (; at < whole; at += 32) {
		move(load<u64>(at), starts, shift, low, to);
		move(load<u64>(at, 8), starts, shift, low, to);
		move(load<u64>(at, 16), starts, shift, low, to);
		move(load<u64>(at, 24), starts, shift, low, to);
	}
	for (; at < end; at += 8) move(load<u64>(at), starts, shift, low, to);
}

// @ts-ignore: decorator
@inline
function move(pair: u64, starts: usize, shift: u64, low: u32, to: usize): void {
	store<u64>(to + 8 * place(starts, <u32>(pair >>> shift) & low), pair);
}

/**
 * The pass before the last, from pairs to words that hold the last digit in their upper bits and the index in the others:
 * half of what pairs write and the last pass reads. Arguments: as `rankMove`, then the shift of the last digit; words
 * (pointer to u32) instead of pairs to write.
 */
export function rankPack(args: usize, _tile: i32, _scratch: usize): void {
	const from = <usize>load<f64>(args);
	const end = from + 8 * <usize>load<f64>(args, 16);
	const starts = <usize>load<f64>(args, 24);
	const shift = 32 + <u64>load<f64>(args, 32);
	const width = <u32>load<f64>(args, 40);
	const to = <usize>load<f64>(args, 48);
	const lastShift = 32 + <u64>load<f64>(args, 56);
	const whole = end - 24;
	let at = from + 8 * <usize>load<f64>(args, 8);
	for (; at < whole; at += 32) {
		pack(load<u64>(at), starts, shift, width, to, lastShift);
		pack(load<u64>(at, 8), starts, shift, width, to, lastShift);
		pack(load<u64>(at, 16), starts, shift, width, to, lastShift);
		pack(load<u64>(at, 24), starts, shift, width, to, lastShift);
	}
	for (; at < end; at += 8) pack(load<u64>(at), starts, shift, width, to, lastShift);
}

// @ts-ignore: decorator
@inline
function pack(pair: u64, starts: usize, shift: u64, width: u32, to: usize, lastShift: u64): void {
	const low: u32 = (1 << width) - 1;
	const word = (<u32>(pair >>> lastShift) << (32 - width)) | <u32>pair;
	store<u32>(to + 4 * place(starts, <u32>(pair >>> shift) & low), word);
}

/** The last pass, from words of `rankPack` to indices. Arguments: words, begin, end, starts, shift (unused), width, indices (pointer to u32). */
export function rankUnpack(args: usize, _tile: i32, _scratch: usize): void {
	const words = <usize>load<f64>(args);
	const end = words + 4 * <usize>load<f64>(args, 16);
	const starts = <usize>load<f64>(args, 24);
	const room = 32 - <u32>load<f64>(args, 40);
	const to = <usize>load<f64>(args, 48);
	const whole = end - 12;
	let at = words + 4 * <usize>load<f64>(args, 8);
	for (; at < whole; at += 16) {
		unpack(load<u32>(at), starts, room, to);
		unpack(load<u32>(at, 4), starts, room, to);
		unpack(load<u32>(at, 8), starts, room, to);
		unpack(load<u32>(at, 12), starts, room, to);
	}
	for (; at < end; at += 4) unpack(load<u32>(at), starts, room, to);
}

// @ts-ignore: decorator
@inline
function unpack(word: u32, starts: usize, room: u32, to: usize): void {
	store<u32>(to + 4 * place(starts, word >>> room), word & ((1 << room) - 1));
}

/** The last pass, from pairs to indices. Arguments: pairs, begin, end, starts, shift, width, indices (pointer to u32). */
export function rankFinish(args: usize, _tile: i32, _scratch: usize): void {
	const from = <usize>load<f64>(args);
	const end = from + 8 * <usize>load<f64>(args, 16);
	const starts = <usize>load<f64>(args, 24);
	const shift = 32 + <u64>load<f64>(args, 32);
	const low: u32 = (1 << <u32>load<f64>(args, 40)) - 1;
	const to = <usize>load<f64>(args, 48);
	const whole = end - 24;
	let at = from + 8 * <usize>load<f64>(args, 8);
	for (; at < whole; at += 32) {
		finish(load<u64>(at), starts, shift, low, to);
		finish(load<u64>(at, 8), starts, shift, low, to);
		finish(load<u64>(at, 16), starts, shift, low, to);
		finish(load<u64>(at, 24), starts, shift, low, to);
	}
	for (; at < end; at += 8) finish(load<u64>(at), starts, shift, low, to);
}

// @ts-ignore: decorator
@inline
function finish(pair: u64, starts: usize, shift: u64, low: u32, to: usize): void {
	store<u32>(to + 4 * place(starts, <u32>(pair >>> shift) & low), <u32>pair);
}

/**
 * Appends the indices of the keys from `least` on. Arguments: keys, begin, end, least, indices (pointer to u32, with room
 * for one more than there will be), number (pointer to u32: how many there are so far).
 */
export function rankCollect(args: usize, _tile: i32, _scratch: usize): void {
	const keys = <usize>load<f64>(args);
	const end = <u32>load<f64>(args, 16);
	const least = <u32>load<f64>(args, 24);
	const indices = <usize>load<f64>(args, 32);
	const number = <usize>load<f64>(args, 40);
	let to = indices + 4 * <usize>load<u32>(number);
	let i = <u32>load<f64>(args, 8);
	// Written always, kept by moving on: which keys qualify defeats a branch predictor.
	for (; i + 3 < end; i += 4) {
		const at = keys + 4 * <usize>i;
		store<u32>(to, i);
		to += 4 * <usize>(load<u32>(at) >= least);
		store<u32>(to, i + 1);
		to += 4 * <usize>(load<u32>(at, 4) >= least);
		store<u32>(to, i + 2);
		to += 4 * <usize>(load<u32>(at, 8) >= least);
		store<u32>(to, i + 3);
		to += 4 * <usize>(load<u32>(at, 12) >= least);
	}
	for (; i < end; i++) {
		store<u32>(to, i);
		to += 4 * <usize>(load<u32>(keys + 4 * <usize>i) >= least);
	}
	store<u32>(number, <u32>((to - indices) >>> 2));
}
