import { PHILOX_ROUNDS } from "../philox.js";
import type { GraphWriter } from "./graph-writer.js";

/**
 * The operators that Philox is made of. `bitwise`: uint64 Mul, BitShift, BitwiseAnd and BitwiseXor (opset 18), which the cpu
 * provider of ONNX Runtime has. `plain`: Add, Sub, Mul and Div of uint32 and a table, for providers without operators on bits.
 */
export type GraphArithmetic = "bitwise" | "plain";

/** Multipliers in the order of their results: the product with M1 goes into words 0 and 1, that with M0 into words 2 and 3. */
const MULTIPLIERS = [0xcd9e8d57, 0xd2511f53] as const;
const WEYL = [0x9e3779b9, 0xbb67ae85] as const;
const BYTES = [1, 2 ** 8, 2 ** 16, 2 ** 24] as const;

/**
 * Philox4x32-10 of `count` counters (`low`, `high`, key[2], key[3]) with the key (key[0], key[1]).
 * @param key name of uint32 [4]
 * @param low name of uint32 [1, 1, count]
 * @param high name of uint32 [1, 1, 1] or [1, 1, count]
 * @returns name of uint32 [count, 4]
 */
export function philoxGraph(g: GraphWriter, key: string, low: string, high: string, count: number, arithmetic: GraphArithmetic): string {
	const [n0 = "", n1 = "", n2 = "", n3 = ""] = g.split(g.reshape(key, 1, 4, 1), 1, [1, 1, 1, 1]);
	const wide = (value: string): string => g.op("Expand", [value, g.int64(1, 1, count)]);
	// State: words 0 and 2 in one tensor, 1 and 3 in the other, so that each operator does both halves of a round.
	const even = g.op("Concat", [low, wide(n2)], { axis: 1 });
	const odd = g.op("Concat", [wide(high), wide(n3)], { axis: 1 });
	const weyl = Uint32Array.from({ length: 2 * PHILOX_ROUNDS }, (_, i) => Math.imul(WEYL[i % 2]!, i >> 1));
	const keys = g.op("Add", [g.op("Concat", [n0, n1], { axis: 1 }), g.constant("uint32", [PHILOX_ROUNDS, 2, 1], weyl)]);
	const rounds = arithmetic === "bitwise" ? bitwiseRounds : plainRounds;
	const state = rounds(g, even, odd, keys);
	// [odd or even, half, counter] to [counter, word]
	return g.reshape(g.op("Transpose", [g.op("Concat", state, { axis: 0 })], { perm: [2, 1, 0] }), count, 4);
}

function bitwiseRounds(g: GraphWriter, even32: string, odd32: string, keys32: string): [string, string] {
	const keys = g.split(g.cast(keys32, "uint64"), 0, Array(PHILOX_ROUNDS).fill(1));
	const multipliers = g.constant("uint64", [1, 2, 1], BigUint64Array.from(MULTIPLIERS, BigInt));
	const shift = g.constant("uint64", [1], BigUint64Array.of(32n));
	const mask = g.constant("uint64", [1], BigUint64Array.of(0xffffffffn));
	const swap = g.constant("int32", [2], Int32Array.of(1, 0));
	let even = g.cast(even32, "uint64");
	let odd = g.cast(odd32, "uint64");
	for (const key of keys) {
		const product = g.op("Mul", [g.op("Gather", [even, swap], { axis: 1 }), multipliers]);
		const high = g.op("BitShift", [product, shift], { direction: "RIGHT" });
		even = g.op("BitwiseXor", [g.op("BitwiseXor", [high, odd]), key]);
		odd = g.op("BitwiseAnd", [product, mask]);
	}
	return [g.cast(even, "uint32"), g.cast(odd, "uint32")];
}

/**
 * With 16-bit halves c = b·2^16 + a and M = H·2^16 + L no sum leaves 32 bits:
 * t = b·L + ⌊a·L / 2^16⌋, u = a·H + t mod 2^16, high = b·H + ⌊t / 2^16⌋ + ⌊u / 2^16⌋. Exclusive or is looked up for two bytes at a time.
 */
function plainRounds(g: GraphWriter, even0: string, odd0: string, keys: string): [string, string] {
	const half = g.uint32(2 ** 16);
	const two = (of: (m: number) => number): string => g.constant("uint32", [1, 2, 1], Uint32Array.from(MULTIPLIERS, of));
	const multipliers = two((m) => m);
	const multiplierHigh = two((m) => m >>> 16);
	const multiplierLow = two((m) => m & 0xffff);
	const powers = g.constant("uint32", [4, 1, 1], Uint32Array.from(BYTES));
	const byte = g.uint32(256);
	const table = g.constant(
		"uint32",
		[65_536],
		Uint32Array.from({ length: 65_536 }, (_, i) => (i >> 8) ^ (i & 255)),
	);
	const swap = g.constant("int32", [2], Int32Array.of(1, 0));
	const bytes = (value: string): string => g.divMod(g.op("Div", [value, powers]), byte)[1];
	const xor = (a: string, b: string): string => g.gather(table, g.cast(g.op("Add", [g.op("Mul", [a, byte]), b]), "int32"));
	const roundKeys = g.split(keys, 0, Array(PHILOX_ROUNDS).fill(1));
	let even = even0;
	let odd = odd0;
	for (const key of roundKeys) {
		const c = g.op("Gather", [even, swap], { axis: 1 });
		const [b, a] = g.divMod(c, half);
		const carry = g.op("Div", [g.op("Mul", [a, multiplierLow]), half]);
		const [tHigh, tLow] = g.divMod(g.op("Add", [g.op("Mul", [b, multiplierLow]), carry]), half);
		const u = g.op("Div", [g.op("Add", [g.op("Mul", [a, multiplierHigh]), tLow]), half]);
		const high = g.op("Add", [g.op("Add", [g.op("Mul", [b, multiplierHigh]), tHigh]), u]);
		const mixed = xor(xor(bytes(high), bytes(odd)), bytes(key));
		const [m0 = "", m1 = "", m2 = "", m3 = ""] = g.split(g.op("Mul", [mixed, powers]), 0, [1, 1, 1, 1]);
		even = g.op("Add", [g.op("Add", [m0, m1]), g.op("Add", [m2, m3])]);
		odd = g.op("Mul", [c, multipliers]);
	}
	return [even, odd];
}
