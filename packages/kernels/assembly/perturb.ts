// out = weights + scale·z

import { stepWord } from "./lookups";
import { BLOCK, eightBlocks, memberSigns, signWords, STRIDE_BLOCKS, streamBlocks, WITH_STEPS } from "./philox";

/** Parameters of one tile. */
const TILE: i32 = 32_768;

/** Signs of eight Philox blocks. */
const AT_ONCE: i32 = 1024;

/** The next 1,024 signs, while a step is taken with these. */
function streamAndStep(next: usize, key: usize, first: u64, out: usize, weights: usize, words: usize, table: usize): void {
	eightBlocks(next, key, first, WITH_STEPS, out, weights, words, table);
}

/** Takes steps of `count` parameters with sign words that are there. */
function stepAll(out: usize, weights: usize, count: i32, words: usize, table: usize, scale: f32): void {
	const whole = count >>> 5;
	for (let w: usize = 0; w < <usize>whole; w++) stepWord(out + 128 * w, weights + 128 * w, load<u32>(words + 4 * w), table);
	for (let j = 32 * whole; j < count; j++) {
		const bit = (load<u32>(words + 4 * <usize>(j >>> 5)) >>> (j & 31)) & 1;
		store<f32>(out + 4 * <usize>j, load<f32>(weights + 4 * <usize>j) + (bit ? scale : -scale));
	}
}

/**
 * Arguments: weights, out (pointers to f32), count, from (parameter index of the first), scale, kind, key (pointer to 4
 * words), row. Scratch: 16 vectors of ±scale, and sign words.
 */
export function perturb(args: usize, tile: i32, scratch: usize): void {
	const begin = tile * TILE;
	const count = min(TILE, <i32>load<f64>(args, 16) - begin);
	const weights = <usize>load<f64>(args) + 4 * <usize>begin;
	const out = <usize>load<f64>(args, 8) + 4 * <usize>begin;
	const from = <u64>load<f64>(args, 24) + begin;
	const scale = <f32>load<f64>(args, 32);
	const kind = <i32>load<f64>(args, 40);
	const key = <usize>load<f64>(args, 48);
	const row = <i32>load<f64>(args, 56);
	const table = scratch;
	for (let bits = 0; bits < 16; bits++) {
		for (let lane = 0; lane < 4; lane++) store<f32>(table + 16 * <usize>bits + 4 * <usize>lane, (bits >>> lane) & 1 ? scale : -scale);
	}
	// Whole blocks of signs, the next ones made while a step is taken with these; what is before and behind them is done at once.
	const independent = kind === 1;
	const unit: u64 = independent ? 128 : BLOCK;
	const size = independent ? AT_ONCE : BLOCK;
	const stride: u64 = independent ? AT_ONCE / 128 : STRIDE_BLOCKS;
	const spare = scratch + 512;
	let done = min(count, <i32>((unit - (from % unit)) % unit));
	if (done > 0) stepAll(out, weights, done, signWords(kind, key, row, from, done, scratch + 2048), table, scale);
	if (done + size <= count) {
		let block = (from + done) / unit;
		let at = independent ? block : block * STRIDE_BLOCKS;
		let words = scratch + 1024;
		let next = words + 512;
		streamBlocks(words, key, at, size / AT_ONCE);
		if (!independent) memberSigns(words, key, row, block, spare);
		for (; done + 2 * size <= count; done += size) {
			at += stride;
			for (let part = 0; part < size; part += AT_ONCE) {
				const here = <usize>4 * <usize>(done + part);
				const bytes = <usize>part >>> 3;
				streamAndStep(next + bytes, key, at + <u64>(part >>> 7), out + here, weights + here, words + bytes, table);
			}
			if (!independent) memberSigns(next, key, row, ++block, spare);
			const used = words;
			words = next;
			next = used;
		}
		stepAll(out + 4 * <usize>done, weights + 4 * <usize>done, size, words, table, scale);
		done += size;
	}
	const rest = count - done;
	if (rest > 0) {
		const words = signWords(kind, key, row, from + done, rest, scratch + 2048);
		stepAll(out + 4 * <usize>done, weights + 4 * <usize>done, rest, words, table, scale);
	}
}
