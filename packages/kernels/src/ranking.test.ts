import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { addRanks, addSparseRanks, argsort, checkPermutation, inversePermutation, type Rankable, rankSums, topK } from "./ranking.js";
import { allocateVector, configureKernels, kernelState, releaseVector } from "./runtime/runtime.js";

const u32 = (...values: number[]) => Uint32Array.from(values);

/** A fixed stream of uint32 (xorshift32, Marsaglia 2003). */
function stream(seed: number): () => number {
	let state = seed;
	return () => {
		state ^= state << 13;
		state ^= state >>> 17;
		state ^= state << 5;
		return state >>> 0;
	};
}

/** Stable by definition (ECMAScript 2019), and −0 − 0 is 0. */
function naiveOrder(values: Rankable): Uint32Array {
	return Uint32Array.from(Array.from(values.keys()).sort((a, b) => (values[a]! < values[b]! ? -1 : values[a]! > values[b]! ? 1 : 0)));
}

function naiveTop(values: Rankable, k: number, magnitude: boolean): Uint32Array {
	const of = (i: number) => (magnitude ? Math.abs(values[i]!) : values[i]!);
	const order = Array.from(values.keys()).sort((a, b) => (of(a) > of(b) ? -1 : of(a) < of(b) ? 1 : a - b));
	return Uint32Array.from(order.slice(0, k).sort((a, b) => a - b));
}

/** The first position at which `order` is not the stable order, which is the only permutation without one; −1 if there is none. */
function wrongAt(values: Rankable, order: Uint32Array): number {
	const seen = new Uint8Array(values.length);
	for (let p = 0; p < values.length; p++) {
		const i = order[p]!;
		if (seen[i] !== 0) return p;
		seen[i] = 1;
		const before = p === 0 ? i : order[p - 1]!;
		if (p > 0 && !(values[before]! < values[i]! || (values[before]! === values[i]! && before < i))) return p;
	}
	return order.length === values.length ? -1 : values.length;
}

/** Whether `chosen`, ascending, holds the `count` largest, ties to the lower index. */
function isTop(values: Rankable, chosen: Uint32Array, count: number, magnitude: boolean): boolean {
	const of = (i: number) => (magnitude ? Math.abs(values[i]!) : values[i]!);
	const inside = new Set(chosen);
	const least = chosen.reduce((low, i) => Math.min(low, of(i)), Number.POSITIVE_INFINITY);
	let lastTie = -1;
	for (const i of chosen) if (of(i) === least) lastTie = i;
	if (chosen.length !== count || inside.size !== count || chosen.some((i, p) => p > 0 && i <= chosen[p - 1]!)) return false;
	for (let i = 0; i < values.length; i++) if (!inside.has(i) && (of(i) > least || (of(i) === least && i < lastTie))) return false;
	return true;
}

/** Values that meet every branch: signs, both zeros, infinities, denormals, many ties, neighbours. */
const SPECIAL = [
	0,
	-0,
	1,
	-1,
	Number.POSITIVE_INFINITY,
	Number.NEGATIVE_INFINITY,
	1e-45,
	-1e-45,
	5e-324,
	-5e-324,
	1 + 2 ** -52,
	2 ** 32,
	-(2 ** 31),
];
const makers: { readonly [type: string]: (next: () => number, spread: number) => number } = {
	Float32Array: (next, spread) => (spread === 0 ? SPECIAL[next() % SPECIAL.length]! : ((next() % spread) - spread / 2) / 3),
	Float64Array: (next, spread) =>
		spread === 0 ? SPECIAL[next() % SPECIAL.length]! : ((next() % spread) - spread / 2) / 3 + (next() % 3) * 2 ** -40,
	Int32Array: (next, spread) => (spread === 0 ? [0, -1, 1, -(2 ** 31), 2 ** 31 - 1][next() % 5]! : (next() % spread) - 7),
	Uint32Array: (next, spread) => (spread === 0 ? [0, 1, 2 ** 32 - 1, 2 ** 31, 2 ** 31 - 1][next() % 5]! : (next() % spread) + 2 ** 31 - 5),
};
const types = { Float32Array, Float64Array, Int32Array, Uint32Array };

function vectorOf(type: keyof typeof types, length: number, spread: number, seed: number): Rankable {
	// Within a larger buffer, so that the address is not that of the buffer.
	const whole = new types[type](length + 3);
	const next = stream(seed);
	for (let i = 0; i < whole.length; i++) whole[i] = makers[type]!(next, spread);
	return whole.subarray(1, length + 1);
}

/** Lengths beyond the smallest at which WebAssembly takes over: one chunk and more, odd tails, nothing of it a multiple of 4. */
const LONG = [511, 512, 515, 2051, 16_384, 16_385, 33_003];
/** 0: special values. The others give keys of 1 to 4 digits, some of which all agree in. */
const SPREADS = [0, 2, 200, 70_000, 2 ** 24, 2 ** 27, 2 ** 31, 2 ** 32];

afterAll(() => configureKernels({ wasm: true }));

describe.each([
	{ kernels: "WebAssembly", wasm: true },
	{ kernels: "TypeScript", wasm: false },
])("argsort and topK in $kernels", ({ wasm }) => {
	describe.each(Object.keys(types) as (keyof typeof types)[])("of %s", (type) => {
		it("equal a stable sort by comparison, whatever the length and the spread of values", async () => {
			await configureKernels({ wasm });
			fc.assert(
				fc.property(
					fc.nat(150),
					fc.constantFrom(...SPREADS),
					fc.integer({ min: 1, max: 2 ** 31 }),
					fc.nat(1000),
					(length, spread, seed, k) => {
						const values = vectorOf(type, length, spread, seed);
						expect(argsort(values)).toEqual(naiveOrder(values));
						const count = k % (length + 1);
						expect(topK(values, count)).toEqual(naiveTop(values, count, false));
						expect(topK(values, count, "magnitude")).toEqual(naiveTop(values, count, true));
					},
				),
			);
			for (const [i, length] of LONG.entries()) {
				for (const spread of SPREADS) {
					const values = vectorOf(type, length, spread, i + spread + 1);
					expect(wrongAt(values, argsort(values))).toBe(-1);
					const count = (i * 977) % length;
					expect(isTop(values, topK(values, count), count, false)).toBe(true);
					expect(isTop(values, topK(values, count, "magnitude"), count, true)).toBe(true);
				}
			}
		});
	});

	it.each([100, 20_000])("finds %i values in order, in reverse, and all equal", async (n) => {
		await configureKernels({ wasm });
		const up = Float32Array.from({ length: n }, (_, i) => Math.floor(i / 2) - 30);
		for (const order of [argsort(up), argsort(Float64Array.from(up))]) expect(wrongAt(up, order)).toBe(-1);
		const down = up.map((value) => -value);
		expect(wrongAt(down, argsort(down))).toBe(-1);
		const equal = new Float32Array(n).fill(-2.5);
		expect(wrongAt(equal, argsort(equal))).toBe(-1);
		expect(topK(equal, 7)).toEqual(u32(0, 1, 2, 3, 4, 5, 6));
		// A single descent, at the seam of two tiles where there are any.
		const seam = Math.min(16_384, n - 1);
		const late = Int32Array.from(up.keys());
		late[seam] = late[seam - 1]! - 1;
		expect(wrongAt(late, argsort(late))).toBe(-1);
	});

	it.each([50, 5000])("refuse a NaN among %i values, of either sign, and name its index", async (n) => {
		await configureKernels({ wasm });
		for (const sign of [0x7fc00000, 0xffc00000]) {
			for (const at of [0, 7, n - 1]) {
				const values = Float32Array.from({ length: n }, (_, i) => (i * 37) % 11);
				new Uint32Array(values.buffer)[at] = sign;
				expect(() => argsort(values)).toThrow(`values must hold no NaN, got one at index ${at}`);
				expect(() => topK(values, 3)).toThrow(`got one at index ${at}`);
				expect(() => topK(values, 0, "magnitude")).toThrow(`got one at index ${at}`);
				expect(() => argsort(Float64Array.from(values))).toThrow(`got one at index ${at}`);
				expect(() => topK(Float64Array.from(values), 3, "magnitude")).toThrow(`got one at index ${at}`);
			}
		}
	});

	it("leave the values as they were", async () => {
		await configureKernels({ wasm });
		expect(kernelState().wasm).toBe(wasm);
		const values = vectorOf("Float32Array", 3001, 1000, 5);
		const before = values.slice();
		argsort(values);
		topK(values, 10);
		expect(values).toEqual(before);
	});
});

describe("argsort", () => {
	it("orders float64 that only their last bits tell apart, and integers next to fractions", () => {
		const values = Float64Array.of(1 + 2 ** -52, 1, 1 - 2 ** -53, -1 - 2 ** -52, -1, -0, 0, 5e-324, -5e-324);
		expect(argsort(values)).toEqual(u32(3, 4, 8, 5, 6, 7, 2, 1, 0));
		// 1 − 2^-53 and 1 are both 4 above −3 once the difference is rounded.
		expect(argsort(Float64Array.of(1, 1 - 2 ** -53, -3, 0))).toEqual(u32(2, 3, 1, 0));
		expect(argsort(Float64Array.of(2 ** 53 - 1, 2 ** 53 - 2, 2 ** 53, 2 ** 53 - 3))).toEqual(u32(3, 1, 0, 2));
		expect(argsort(Float64Array.of(2 ** 32, 0, 2 ** 32 - 1, 2 ** 33))).toEqual(u32(1, 2, 0, 3));
		expect(argsort(Float64Array.of(1e300, -1e300, 2 ** 85 + 2 ** 33, 2 ** 85))).toEqual(u32(1, 3, 2, 0));
	});

	it("orders more values than a word has room for beside a digit, and gives their memory back", async () => {
		await configureKernels({ wasm: true });
		const values = new Int32Array(2 ** 23 + 5);
		const next = stream(1);
		for (let i = 0; i < values.length; i++) values[i] = next() >>> 5;
		expect(wrongAt(values, argsort(values))).toBe(-1);
		const behind = allocateVector(Uint8Array, 1e8);
		expect(behind.byteOffset).toBeLessThan(20 * values.length);
		releaseVector(behind);
	});

	it("takes an empty vector and a single value", () => {
		expect(argsort(new Float32Array(0))).toEqual(u32());
		expect(argsort(Float64Array.of(Number.NEGATIVE_INFINITY))).toEqual(u32(0));
		expect(() => argsort(Float64Array.of(Number.NaN))).toThrow("index 0");
	});
});

describe("topK", () => {
	it("breaks ties of float64 that float32 cannot tell apart", () => {
		const values = Float64Array.of(1, 1 + 2 ** -50, -1 - 2 ** -40, 1 + 2 ** -50, 1e300, -1e301, 1 + 2 ** -51);
		expect(topK(values, 2)).toEqual(u32(1, 4));
		expect(topK(values, 3)).toEqual(u32(1, 3, 4));
		expect(topK(values, 1, "magnitude")).toEqual(u32(5));
		expect(topK(values, 4, "magnitude")).toEqual(u32(1, 2, 4, 5));
	});

	it.each([-1, 4, 0.5, Number.NaN])("refuses k = %s of 3", (k) => {
		expect(() => topK(new Float32Array(3), k)).toThrow(`k must be an integer from 0 to 3, got ${k}`);
	});
});

describe("inversePermutation", () => {
	it("undoes a permutation, and is undone by itself", () => {
		fc.assert(
			fc.property(fc.nat(70), fc.integer({ min: 1, max: 2 ** 31 }), (length, seed) => {
				const order = argsort(vectorOf("Uint32Array", length, 2 ** 32, seed));
				const rank = inversePermutation(order);
				expect(Array.from(order, (element) => rank[element])).toEqual([...order.keys()]);
				expect(inversePermutation(rank)).toEqual(order);
			}),
		);
	});
});

describe("checkPermutation", () => {
	it("passes permutations and choices of distinct elements", () => {
		for (const n of [0, 1, 31, 32, 33, 100, 5003]) {
			const order = argsort(vectorOf("Uint32Array", n, 2 ** 32, n + 1));
			expect(checkPermutation(order, n)).toBe(-1);
			expect(checkPermutation(order.subarray(n >> 1), n)).toBe(-1);
		}
		expect(checkPermutation(u32(2 ** 32 - 1, 5), 2 ** 32)).toBe(-1);
	});

	it("names the first element that is out of range or was there before", () => {
		fc.assert(
			fc.property(fc.array(fc.nat(20), { maxLength: 30 }), fc.nat(20), (elements, n) => {
				const seen = new Set<number>();
				const first = elements.findIndex((element) => element >= n || seen.has(element) || !seen.add(element));
				expect(checkPermutation(Uint32Array.from(elements), n)).toBe(first);
			}),
		);
		expect(checkPermutation(u32(0, 33, 1, 32, 33, 2), 34)).toBe(4);
		expect(checkPermutation(u32(0, 2 ** 32 - 1), 40)).toBe(1);
		expect(checkPermutation(u32(0, 1, 1), 3)).toBe(2);
	});

	it.each([-1, 1.5, 2 ** 32 + 1, Number.NaN])("refuses n = %s", (n) => {
		expect(() => checkPermutation(u32(), n)).toThrow(`n must be an integer from 0 to 2^32, got ${n}`);
	});
});

describe("votes", () => {
	const R1 = u32(2, 0, 3, 5, 1, 4);
	const R2 = u32(4, 2, 0, 3, 1, 5);
	const R3 = u32(0, 2, 5, 3, 4, 1);

	it.each([Float64Array, Uint32Array])("sum ranks in %o", (type) => {
		expect([R1, R2, R3].map((order) => [...inversePermutation(order)])).toEqual([
			[1, 4, 0, 2, 5, 3],
			[2, 4, 1, 3, 0, 5],
			[0, 5, 1, 3, 4, 2],
		]);
		const sum = new type(6);
		for (const order of [R1, R2, R3]) addRanks(sum, order);
		expect([...sum]).toEqual([3, 13, 2, 8, 9, 10]);
		expect(argsort(sum)).toEqual(u32(2, 0, 3, 4, 5, 1));
	});

	it("hold against one reversed ballot of three", () => {
		const honest = rankSums(6, 3);
		addRanks(honest, R1);
		addRanks(honest, R2);
		expect([...honest]).toEqual([3, 8, 1, 5, 5, 8]);
		const reversed = argsort(Int32Array.from(honest, (value) => -value));
		expect(reversed).toEqual(u32(1, 5, 3, 4, 0, 2));
		addRanks(honest, reversed);
		expect([...honest]).toEqual([7, 8, 6, 7, 8, 9]);
		expect(argsort(honest)).toEqual(u32(2, 0, 3, 1, 4, 5));
	});

	it("are the same in any order of ballots, and without one that was taken out again", () => {
		fc.assert(
			fc.property(fc.nat(40), fc.integer({ min: 1, max: 2 ** 30 }), (n, seed) => {
				const ballots = Array.from({ length: 5 }, (_, i) => argsort(vectorOf("Uint32Array", n, 2 ** 32, seed + i)));
				for (const type of [Float64Array, Uint32Array]) {
					const sum = new type(n);
					for (const ballot of ballots) addRanks(sum, ballot);
					const other = new type(n);
					for (const ballot of ballots.toReversed()) addRanks(other, ballot);
					expect(other).toEqual(sum);
					addRanks(other, ballots[0]!, -1);
					const rest = new type(n);
					for (const ballot of ballots.slice(1)) for (const [rank, element] of ballot.entries()) rest[element]! += rank;
					expect(other).toEqual(rest);
				}
			}),
		);
	});

	it("give the sent elements the ranks of a full ballot, and the others 0", () => {
		for (const type of [Float64Array, Uint32Array]) {
			for (const m of [0, 1, 2, 3, 4, 5, 6]) {
				const sum = new type(6);
				addSparseRanks(sum, R1.subarray(6 - m));
				expect([...sum]).toEqual(Array.from(inversePermutation(R1), (rank) => (rank < 6 - m ? 0 : rank)));
				addSparseRanks(sum, R1.subarray(6 - m), 2);
				expect([...sum]).toEqual(Array.from(inversePermutation(R1), (rank) => (rank < 6 - m ? 0 : 3 * rank)));
			}
		}
	});

	it("fit what they are summed in", () => {
		expect(rankSums(1_000_000, 25)).toBeInstanceOf(Uint32Array);
		expect(rankSums(3, 2 ** 31 - 1)).toBeInstanceOf(Uint32Array);
		expect(rankSums(3, 2 ** 31)).toBeInstanceOf(Float64Array);
		expect(rankSums(0, 1)).toHaveLength(0);
		// 2^20 ballots that all rank the same element highest of 2^32.
		const sum = Float64Array.of((2 ** 20 - 1) * (2 ** 32 - 1));
		sum[0]! += 2 ** 32 - 1;
		expect(BigInt(sum[0]!)).toBe(2n ** 20n * (2n ** 32n - 1n));
	});

	it("refuse other lengths, times that are no integer, and sums that would not be exact", () => {
		expect(() => addRanks(new Float64Array(5), R1)).toThrow("order has 6 elements, expected 5");
		expect(() => addSparseRanks(new Float64Array(5), R1)).toThrow("top has 6 elements, expected at most 5");
		expect(() => addRanks(new Float64Array(6), R1, 0.5)).toThrow("times must be an integer, got 0.5");
		expect(() => rankSums(1.5, 3)).toThrow("n must be an integer from 0 to 2^32, got 1.5");
		expect(() => rankSums(2 ** 32, 2 ** 22)).toThrow("got 4194304");
		expect(() => rankSums(10, 0)).toThrow("got 0");
	});
});
