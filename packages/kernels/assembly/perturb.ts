// out = weights + scale·z

import { stepWord } from "./lookups";
import { eightBlocks, signWords, streamBlocks, WITH_STEPS } from "./philox";

/** Parameters of one tile. */
const TILE: i32 = 32_768;

/** Signs of eight Philox blocks. */
const AT_ONCE: i32 = 1024;

/** The next 1,024 signs, while a step is taken with these. */
function streamAndStep(next: usize, key: usize, first: u64, out: usize, weights: usize, words: usize, table: usize): void {
	eightBlocks(next, key, first, WITH_STEPS, out, weights, words, table);
}

/**
 * Arguments: weights, out (pointers to f32), count, from (parameter index of the first), scale, kind, key (pointer to 4
 * words), row. Scratch: sign words, and 16 vectors of ±scale.
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
	const table = scratch;
	for (let bits = 0; bits < 16; bits++) {
		for (let lane = 0; lane < 4; lane++) store<f32>(table + 16 * <usize>bits + 4 * <usize>lane, (bits >>> lane) & 1 ? scale : -scale);
	}
	let done = 0;
	if (kind === 1 && from % 128 === 0) {
		let words = scratch + 512;
		let next = scratch + 1024;
		streamBlocks(words, key, from / 128, 1);
		for (; done + AT_ONCE <= count; done += AT_ONCE) {
			streamAndStep(next, key, (from + done + AT_ONCE) / 128, out + 4 * <usize>done, weights + 4 * <usize>done, words, table);
			const used = words;
			words = next;
			next = used;
		}
	}
	const words = signWords(kind, key, <i32>load<f64>(args, 56), from + done, count - done, scratch + 2048);
	const x = weights + 4 * <usize>done;
	const y = out + 4 * <usize>done;
	const rest = count - done;
	const whole = rest >>> 5;
	for (let w: usize = 0; w < <usize>whole; w++) stepWord(y + 128 * w, x + 128 * w, load<u32>(words + 4 * w), table);
	for (let j = 32 * whole; j < rest; j++) {
		const bit = (load<u32>(words + 4 * <usize>(j >>> 5)) >>> (j & 31)) & 1;
		store<f32>(y + 4 * <usize>j, load<f32>(x + 4 * <usize>j) + (bit ? scale : -scale));
	}
}
