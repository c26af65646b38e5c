import { RondoError } from "@rondo/errors";

const M0_LOW = 0x1f53;
const M0_HIGH = 0xd251;
const M0 = 0xd2511f53;
const M1_LOW = 0x8d57;
const M1_HIGH = 0xcd9e;
const M1 = 0xcd9e8d57;
const WEYL0 = 0x9e3779b9;
const WEYL1 = 0xbb67ae85;

/** Rounds of Philox4x32-10. */
export const PHILOX_ROUNDS = 10;

/**
 * Philox4x32-R, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
 * 1, 2, 3" (SC'11): four 32-bit words from a 128-bit counter and a 64-bit key.
 * @throws INVALID_ARGUMENT when the counter has not 4 words, the key not 2, or `rounds` is no positive integer
 */
export function philox4x32(counter: ArrayLike<number>, key: ArrayLike<number>, rounds = PHILOX_ROUNDS): Uint32Array {
	if (counter.length !== 4) throw new RondoError("INVALID_ARGUMENT", `counter must have 4 words, got ${counter.length}`);
	if (key.length !== 2) throw new RondoError("INVALID_ARGUMENT", `key must have 2 words, got ${key.length}`);
	if (!(Number.isInteger(rounds) && rounds >= 1 && rounds <= 64))
		throw new RondoError("INVALID_ARGUMENT", `rounds must be an integer from 1 to 64, got ${rounds}`);
	const out = new Uint32Array(4);
	block(counter[0]!, counter[1]!, counter[2]!, counter[3]!, key[0]!, key[1]!, rounds, out, 0);
	return out;
}

/** The upper half of each 64-bit product is put together from 16-bit halves: `Math.imul` only has the lower half. */
function block(c0: number, c1: number, c2: number, c3: number, k0: number, k1: number, rounds: number, out: Uint32Array, at: number): void {
	for (let r = 0; r < rounds; r++) {
		const a = c0 & 0xffff;
		const b = c0 >>> 16;
		const t = Math.imul(b, M0_LOW) + (Math.imul(a, M0_LOW) >>> 16);
		const u = Math.imul(a, M0_HIGH) + (t & 0xffff);
		const high0 = Math.imul(b, M0_HIGH) + (t >>> 16) + (u >>> 16);
		const c = c2 & 0xffff;
		const d = c2 >>> 16;
		const v = Math.imul(d, M1_LOW) + (Math.imul(c, M1_LOW) >>> 16);
		const w = Math.imul(c, M1_HIGH) + (v & 0xffff);
		const high1 = Math.imul(d, M1_HIGH) + (v >>> 16) + (w >>> 16);
		const low0 = Math.imul(c0, M0);
		c0 = (high1 ^ c1 ^ k0) | 0;
		c1 = Math.imul(c2, M1);
		c2 = (high0 ^ c3 ^ k1) | 0;
		c3 = low0;
		k0 = (k0 + WEYL0) | 0;
		k1 = (k1 + WEYL1) | 0;
	}
	out[at] = c0;
	out[at + 1] = c1;
	out[at + 2] = c2;
	out[at + 3] = c3;
}

/** Philox4x32-10 of `count` counters that follow `block` (its words 0 and 1), into `out` from `at` on, 4 words each. */
export function philoxBlocks(key: Uint32Array, firstBlock: number, count: number, out: Uint32Array, at: number): void {
	const [k0 = 0, k1 = 0, c2 = 0, c3 = 0] = key;
	for (let i = 0; i < count; i++) {
		const index = firstBlock + i;
		block(index | 0, (index / 0x100000000) | 0, c2 | 0, c3 | 0, k0 | 0, k1 | 0, PHILOX_ROUNDS, out, at + 4 * i);
	}
}
