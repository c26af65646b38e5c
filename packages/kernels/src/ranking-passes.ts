import { allocateVector, type Runtime, releaseVector, runtime } from "./runtime/runtime.js";

/**
 * How 32-bit values become integers that order as they do: with m = (b >> 31) & `flip`, the key of the bits b is
 * ((b & `mask`) ^ m) − m − `base`, taken as uint32.
 */
export interface KeyRule {
	readonly mask: number;
	readonly flip: number;
	readonly base: number;
}

/** The uint32 keys of n values, and the passes over them of which ranking is made. Only the newest plane may be used. */
export interface KeyPlane {
	/** The keys themselves, as int32 with the same bits. */
	readonly keys: Int32Array;
	readonly least: number;
	readonly most: number;
	readonly ascending: boolean;
	/** Subtracts `least` from every key, which moves neither order nor ties. */
	rebase(): void;
	/**
	 * How often each value of each digit occurs: 2^width numbers for the digit that starts at bit `shift`, then those of the
	 * next higher one, and so on. Valid until the next call; `sort` reads what the caller leaves in it.
	 */
	count(shift: number, width: number, digits: number): Int32Array;
	/**
	 * The stable order by the digits given by number, the lowest first; where `count` left the counts, each digit has the
	 * position at which each of its values starts.
	 */
	sort(width: number, digits: readonly number[]): Uint32Array;
	/** The indices of the `number` keys that are `least` or more, ascending. */
	collect(least: number, number: number): Uint32Array;
}

/**
 * Widest digit of a sort: of more buckets the first-level cache holds too few lines. In C, 10^6 float32 take 10 to 15 ms in
 * three passes of 11 bits, and 7 to 8 in four of 8.
 */
export const MAX_WIDTH = 9;
/** Width of the first digit of a selection, which is only counted. */
export const SELECT_WIDTH = 11;

/**
 * Values from which WebAssembly pays for its copies: 10^6 float32 sort in 10 ms, by the TypeScript below in 38, and 513 in
 * 13 µs against 28 (one thread, Node 20).
 */
const WASM_FROM = 512;
/** Beyond, the pairs of a sort ask for more than 2 GiB of kernel memory. */
const WASM_TO = 2 ** 26;
/** Values per tile of rankKeys. */
const TILE = 16_384;
/** Values per call of the other kernels: few, since a function that runs is not replaced by its optimised version. */
const CHUNK = 65_536;
/** Words of the workspace before the keys: one for a number, then counts from the 16th on. */
const HEADER = 4096;
const COUNTS = 16;
/** Words of workspace that are kept (64 MiB, 3 million values): it comes zeroed, which takes a seventh of the time of a sort. */
const MAX_KEPT = 2 ** 24;
let kept: Int32Array | undefined;

/** Calls `body` with the keys of 32-bit values; it must not keep the plane, nor make another one. */
export function withKeys<T>(bits: Int32Array, rule: KeyRule, body: (plane: KeyPlane) => T): T {
	const kernels = bits.length >= WASM_FROM && bits.length <= WASM_TO ? runtime() : undefined;
	const words = kernels && workspace(kernels, HEADER + 5 * padded(bits.length));
	if (kernels === undefined || words === undefined) return body(ownPlane(bits, rule));
	try {
		return body(kernelPlane(kernels, words, bits, rule));
	} finally {
		if (words.length > MAX_KEPT) {
			releaseVector(words);
			kept = undefined;
		}
	}
}

/** Whole cache lines: a pair that straddles two costs twice. */
const padded = (n: number): number => Math.ceil(n / 16) * 16;

/** Kernel memory; undefined where there is no room in it, or none that stays in place. */
function workspace(kernels: Runtime, length: number): Int32Array | undefined {
	if (kept !== undefined && kept.length >= length) return kept;
	if (kept !== undefined) releaseVector(kept);
	const words = allocateVector(Int32Array, length);
	kept = kernels.holds(words) ? words : undefined;
	return kept;
}

/** Passes in WebAssembly, on a copy in kernel memory. */
function kernelPlane(kernels: Runtime, words: Int32Array, bits: Int32Array, rule: KeyRule): KeyPlane {
	const n = bits.length;
	const address = words.byteOffset;
	const counts = address + 4 * COUNTS;
	const from = address + 4 * HEADER;
	const pairsA = from + 4 * padded(n);
	const pairsB = pairsA + 8 * padded(n);
	const keys = words.subarray(HEADER, HEADER + n);
	keys.set(bits);
	const transform = ({ mask, flip, base }: KeyRule) => {
		const tiles = Math.ceil(n / TILE);
		kernels.run("rankKeys", [from, n, mask, flip, base, pairsA], tiles, 4);
		let least = 0xffffffff;
		let most = 0;
		let ascending = true;
		const results = new Uint32Array(words.buffer, pairsA, 4 * tiles);
		for (let at = 0; at < results.length; at += 4) {
			if (results[at]! < most || results[at + 2] !== 0) ascending = false;
			least = Math.min(least, results[at]!);
			most = Math.max(most, results[at + 1]!);
		}
		return { least, most, ascending };
	};
	const inOrder = (name: string, source: number, rest: readonly number[]) => {
		for (let begin = 0; begin < n; begin += CHUNK) kernels.run(name, [source, begin, Math.min(begin + CHUNK, n), ...rest], 1, 0);
	};
	let range = transform(rule);
	return {
		keys,
		get least() {
			return range.least;
		},
		get most() {
			return range.most;
		},
		get ascending() {
			return range.ascending;
		},
		rebase() {
			range = transform({ mask: -1, flip: 0, base: range.least | 0 });
		},
		count(shift, width, digits) {
			const table = words.subarray(COUNTS, COUNTS + (digits << width)).fill(0);
			inOrder("rankCount", from, [counts, shift, width, digits]);
			return table;
		},
		sort(width, digits) {
			const pass = (name: string, source: number, digit: number, to: number, rest: readonly number[] = []) =>
				inOrder(name, source, [counts + 4 * (digit << width), digit * width, width, to, ...rest]);
			const last = digits.at(-1)!;
			const packs = digits.length > 2 && n <= 2 ** (32 - width);
			let [source, to] = [pairsA, pairsB];
			pass("rankSpread", from, digits[0]!, source);
			for (const digit of digits.slice(1, packs ? -2 : -1)) {
				pass("rankMove", source, digit, to);
				[source, to] = [to, source];
			}
			// The indices take the place of the keys.
			if (packs) {
				pass("rankPack", source, digits.at(-2)!, to, [last * width]);
				pass("rankUnpack", to, last, from);
			} else if (digits.length > 1) pass("rankFinish", source, last, from);
			else {
				// After the only pass they just leave their pairs: sorted by a digit of no bits.
				words[0] = 0;
				inOrder("rankFinish", source, [address, 0, 0, from]);
			}
			return copyOf(from);
		},
		collect(least, number) {
			words[0] = 0;
			inOrder("rankCollect", from, [least, pairsA, address]);
			return copyOf(pairsA, number);
		},
	};

	function copyOf(at: number, length = n): Uint32Array {
		const copy = new Uint32Array(length);
		copy.set(new Uint32Array(words.buffer, at, length));
		return copy;
	}
}

/** The same in TypeScript. */
function ownPlane(bits: Int32Array, rule: KeyRule): KeyPlane {
	const n = bits.length;
	const keys = new Int32Array(n);
	let table = new Int32Array(0);
	let range = transformed(bits, rule, keys);
	return {
		keys,
		get least() {
			return range.least;
		},
		get most() {
			return range.most;
		},
		get ascending() {
			return range.ascending;
		},
		rebase() {
			range = transformed(keys, { mask: -1, flip: 0, base: range.least }, keys);
		},
		count(shift, width, digits) {
			table = new Int32Array(digits << width);
			for (let digit = 0; digit < digits; digit++) count(keys, shift + digit * width, table.subarray(digit << width, (digit + 1) << width));
			return table;
		},
		sort(width, digits) {
			let [fromKeys, toKeys] = [keys, new Int32Array(n)];
			let [from, to] = [new Int32Array(n), new Int32Array(n)];
			for (let i = 0; i < n; i++) from[i] = i;
			for (const digit of digits) {
				scatter(fromKeys, from, digit * width, table.subarray(digit << width, (digit + 1) << width), toKeys, to);
				[fromKeys, toKeys, from, to] = [toKeys, fromKeys, to, from];
			}
			return new Uint32Array(from.buffer);
		},
		collect(least, number) {
			const indices = new Uint32Array(number);
			for (let i = 0, p = 0; p < number; i++) if (keys[i]! >>> 0 >= least) indices[p++] = i;
			return indices;
		},
	};
}

function transformed(
	bits: Int32Array,
	{ mask, flip, base }: KeyRule,
	keys: Int32Array,
): { least: number; most: number; ascending: boolean } {
	let least = 0xffffffff;
	let most = 0;
	let before = 0;
	let ascending = true;
	for (let i = 0; i < bits.length; i++) {
		const b = bits[i]!;
		const m = (b >> 31) & flip;
		const key = (((b & mask) ^ m) - m - base) >>> 0;
		keys[i] = key;
		if (key < least) least = key;
		if (key > most) most = key;
		if (key < before) ascending = false;
		before = key;
	}
	return { least, most, ascending };
}

/** `counts` has a number for each value of the digit that starts at bit `shift`: a power of two of them. */
function count(keys: Int32Array, shift: number, counts: Int32Array): void {
	const low = counts.length - 1;
	for (let i = 0; i < keys.length; i++) counts[(keys[i]! >>> shift) & low]!++;
}

function scatter(fromKeys: Int32Array, from: Int32Array, shift: number, starts: Int32Array, toKeys: Int32Array, to: Int32Array): void {
	const low = starts.length - 1;
	for (let i = 0; i < fromKeys.length; i++) {
		const key = fromKeys[i]!;
		const d = (key >>> shift) & low;
		const p = starts[d]!;
		starts[d] = p + 1;
		toKeys[p] = key;
		to[p] = from[i]!;
	}
}
