// The same numbers as in bench.c, and the names of streams by the specification alone.
import { createHash } from "node:crypto";

export const SEED = "bench";
export const UNIT = 2 ** -30;
export const SCALE = 2 ** -10;
/** Members of a group of noise/2. */
const GROUP = 4096;

/** The finaliser of MurmurHash3 (Appleby, 2011). */
function mixed(x) {
	x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
	x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
	return (x ^ (x >>> 16)) >>> 0;
}

/** Fills `out` with uniform numbers of [-0.5, 0.5) that are multiples of 2^-24. */
export function fillUniform(out, vector = 0) {
	const offset = Math.imul(vector, 0x9e3779b9);
	for (let j = 0; j < out.length; j++) out[j] = ((mixed((j + offset) | 0) >>> 8) - 2 ** 23) / 2 ** 24;
	return out;
}

/** Fills `out` with about normal numbers that are multiples of 2^-22. */
export function fillNormal(out) {
	for (let j = 0; j < out.length; j++) {
		let sum = 0;
		for (let i = 0; i < 4; i++) sum += mixed((4 * j + i) | 0) >>> 10;
		out[j] = (sum - 2 ** 23) / 2 ** 22;
	}
	return out;
}

/** Entries from -50000 to 50000. */
export const ledgerOf = (K) => Int32Array.from({ length: K }, (_, k) => (mixed(k + 1) % 100_001) - 50_000);

/** FNV-1a over 32-bit words. */
export function checksumOf(vector) {
	const words = new Uint32Array(vector.buffer, vector.byteOffset, vector.byteLength / 4);
	let hash = 0x811c9dc5;
	for (let i = 0; i < words.length; i++) hash = Math.imul(hash ^ words[i], 0x01000193);
	return hash >>> 0;
}

function child(key, element) {
	const hash = createHash("sha256").update("rondo-path/1\0").update(key);
	if (typeof element === "string") {
		const text = Buffer.from(element);
		const head = Buffer.from([1, 0, 0, 0, 0]);
		head.writeUInt32LE(text.length, 1);
		return hash.update(head).update(text).digest();
	}
	const encoding = Buffer.alloc(9, 2);
	encoding.writeBigUInt64LE(BigInt(element), 1);
	return hash.update(encoding).digest();
}

const root = () => createHash("sha256").update("rondo-seed/1\0").update(SEED).digest();

/** Key words of the streams of the first `K` members of a family: one each for noise/1, one per group for noise/2. */
export function streamKeys(kind, K) {
	const parent = kind === "noise/1" ? root() : child(root(), kind);
	const count = kind === "noise/1" ? K : Math.ceil(K / GROUP);
	return Buffer.concat(Array.from({ length: count }, (_, k) => child(parent, k).subarray(0, 16)));
}
