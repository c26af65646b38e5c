// out = weights + scale·z

import { signWords } from "./philox";

/** Parameters of one tile. */
const TILE: i32 = 32_768;

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
	// Four signs at a time are an index into a table of vectors: faster than making masks of them.
	const table = scratch;
	for (let bits = 0; bits < 16; bits++) {
		for (let lane = 0; lane < 4; lane++) store<f32>(table + 16 * <usize>bits + 4 * <usize>lane, (bits >>> lane) & 1 ? scale : -scale);
	}
	const words = signWords(<i32>load<f64>(args, 40), <usize>load<f64>(args, 48), <i32>load<f64>(args, 56), from, count, scratch + 512);
	const whole = count >>> 5;
	for (let w = 0; w < whole; w++) {
		const bits = load<u32>(words + 4 * <usize>w);
		const x = weights + 128 * <usize>w;
		const y = out + 128 * <usize>w;
		v128.store(y, f32x4.add(v128.load(x), v128.load(table + ((bits << 4) & 0xf0))));
		v128.store(y, f32x4.add(v128.load(x, 16), v128.load(table + (bits & 0xf0))), 16);
		v128.store(y, f32x4.add(v128.load(x, 32), v128.load(table + ((bits >>> 4) & 0xf0))), 32);
		v128.store(y, f32x4.add(v128.load(x, 48), v128.load(table + ((bits >>> 8) & 0xf0))), 48);
		v128.store(y, f32x4.add(v128.load(x, 64), v128.load(table + ((bits >>> 12) & 0xf0))), 64);
		v128.store(y, f32x4.add(v128.load(x, 80), v128.load(table + ((bits >>> 16) & 0xf0))), 80);
		v128.store(y, f32x4.add(v128.load(x, 96), v128.load(table + ((bits >>> 20) & 0xf0))), 96);
		v128.store(y, f32x4.add(v128.load(x, 112), v128.load(table + ((bits >>> 24) & 0xf0))), 112);
	}
	for (let j = 32 * whole; j < count; j++) {
		const bit = (load<u32>(words + 4 * <usize>(j >>> 5)) >>> (j & 31)) & 1;
		store<f32>(out + 4 * <usize>j, load<f32>(weights + 4 * <usize>j) + (bit ? scale : -scale));
	}
}
