import { isRondoError } from "@rondo/errors";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { median, trimmedMean } from "./order-statistics.js";
import { randomFromSeed } from "./random.js";
import { allocateVector, configureKernels, kernelState, releaseVector, stopKernels } from "./runtime/runtime.js";

type Vector = Float32Array | Float64Array;
type Type = new (length: number) => Vector;

const root = randomFromSeed("order statistics");
const TYPES: readonly Type[] = [Float32Array, Float64Array];
const types = fc.constantFrom(...TYPES);
const LARGEST = new Map<Type, number>([
	[Float32Array, 3.4028234663852886e38],
	[Float64Array, 1e300],
]);

/** n vectors with ties, zeros of both signs, extremes and subnormals among them. */
function vectorsOf(type: Type, n: number, length: number, name: number): Vector[] {
	return Array.from({ length: n }, (_, i) => {
		const words = root.at(name, i).words(0, new Uint32Array(length));
		const out = new type(length);
		words.forEach((word, j) => {
			const sign = word & 1 ? -1 : 1;
			const kind = (word >>> 1) % 16;
			const value = kind === 0 ? 0 : kind === 1 ? LARGEST.get(type)! : kind === 2 ? 1e-45 : kind < 6 ? kind : (word >>> 5) / 2 ** 20;
			out[j] = sign * value;
		});
		return out;
	});
}

/** The definitions, by sorting each coordinate. */
function definition(vectors: readonly Vector[], trim: number | undefined): Float64Array {
	const n = vectors.length;
	return Float64Array.from(vectors[0]!, (_, j) => {
		const column = vectors.map((vector) => vector[j]! + 0).sort((a, b) => a - b);
		if (trim === undefined) {
			const [a, b] = [column[Math.ceil(n / 2) - 1]!, column[Math.floor(n / 2)]!];
			return n % 2 === 1 ? a : (a + b) / 2 + 0;
		}
		const kept = column.slice(trim, n - trim);
		return kept.reduce((sum, value) => sum + value, 0) / kept.length + 0;
	});
}

const select = (vectors: readonly Vector[], trim: number | undefined, out?: Float64Array): Float64Array =>
	trim === undefined ? median(vectors, out) : trimmedMean(vectors, trim, out);

/** Runs `select` in kernel memory, at addresses that are not aligned. */
function inPlace(vectors: readonly Vector[], trim: number | undefined, shift: number): Float64Array {
	const rooms = vectors.map((vector) => allocateVector(vector.constructor as Type, vector.length + shift));
	const outRoom = allocateVector(Float64Array, vectors[0]!.length + shift + 1);
	try {
		const copies = rooms.map((room, i) => {
			const copy = room.subarray(shift);
			copy.set(vectors[i]!);
			return copy;
		});
		const out = outRoom.fill(77).subarray(shift, shift + vectors[0]!.length);
		select(copies, trim, out);
		expect(outRoom.at(-1)).toBe(77);
		return out.slice();
	} finally {
		[...rooms, outRoom].forEach(releaseVector);
	}
}

/** Code and message of what `body` throws. */
function refusal(body: () => unknown): string {
	try {
		body();
	} catch (error) {
		if (isRondoError(error)) return `${error.code}: ${error.message}`;
		throw error;
	}
	return "accepted";
}

const same = (a: Float64Array, b: Float64Array): boolean =>
	Buffer.compare(new Uint8Array(a.buffer, a.byteOffset, a.byteLength), new Uint8Array(b.buffer, b.byteOffset, b.byteLength)) === 0;

/** A mean of all, a slight cut, the usual tenth, and the median's neighbourhood. */
const cutsOf = (n: number): (number | undefined)[] => [
	undefined,
	...new Set([0, 1, Math.floor(n / 10), Math.floor((n - 1) / 2)].filter((trim) => 2 * trim < n)),
];

const ways: [string, number, boolean][] = [
	["in TypeScript", 1, false],
	["in WebAssembly on 1 thread", 1, true],
	["in WebAssembly on 3 threads", 3, true],
];

describe.each(ways)("%s", (_way, threads, wasm) => {
	beforeAll(() => configureKernels({ threads, wasm }));
	afterAll(async () => {
		await stopKernels();
		await configureKernels({ threads: 1, wasm: true });
	});

	it("is where it should be", () => {
		expect(kernelState()).toMatchObject({ threads, wasm });
	});

	it("follows the definitions for every number of vectors up to 70", () => {
		for (const type of TYPES) {
			for (let n = 1; n <= 70; n++) {
				const vectors = vectorsOf(type, n, 13 + (n % 4), n);
				const before = vectors.map((vector) => vector.slice());
				for (const trim of cutsOf(n)) expect(same(select(vectors, trim), definition(vectors, trim)), `n ${n}, trim ${trim}`).toBe(true);
				expect(vectors).toEqual(before);
			}
		}
	});

	it.each([100, 128, 129, 255, 300, 513, 1025, 16_384, 16_385])("follows the definitions for %i vectors", (n) => {
		for (const type of TYPES) {
			const vectors = vectorsOf(type, n, n > 1000 ? 3 : 21, n);
			for (const trim of [undefined, 0, Math.floor(n / 10)]) expect(same(select(vectors, trim), definition(vectors, trim))).toBe(true);
		}
	});

	it("sorts every pattern of two values", () => {
		// A network that sorts these sorts everything (Knuth 5.3.4, the 0-1 principle).
		for (const n of [5, 6, 7, 8, 10, 12, 14]) {
			const vectors = Array.from({ length: n }, (_, i) => Float32Array.from({ length: 2 ** n }, (_, pattern) => (pattern >>> i) & 1));
			const ones = Array.from({ length: 2 ** n }, (_, pattern) => vectors.reduce((sum, vector) => sum + vector[pattern]!, 0));
			const middle = ones.map((k) => (2 * k < n ? 0 : 2 * k > n ? 1 : 0.5));
			expect(same(median(vectors), Float64Array.from(middle)), `n ${n}`).toBe(true);
			for (let trim = 0; 2 * trim < n; trim++) {
				const kept = n - 2 * trim;
				const wanted = ones.map((k) => Math.max(0, Math.min(kept, k - trim)) / kept);
				expect(same(trimmedMean(vectors, trim), Float64Array.from(wanted)), `n ${n}, trim ${trim}`).toBe(true);
			}
		}
	});

	it("does not depend on the order of the vectors", () => {
		fc.assert(
			fc.property(
				types,
				fc.integer({ min: 2, max: 40 }),
				fc.integer({ min: 1, max: 40 }),
				fc.nat(1000),
				fc.nat(),
				(type, n, length, name, seed) => {
					const vectors = vectorsOf(type, n, length, name);
					const keys = root.at("shuffle", seed % 1000).words(0, new Uint32Array(n));
					const shuffled = vectors.map((vector, i) => ({ vector, key: keys[i]! })).sort((a, b) => a.key - b.key);
					for (const trim of cutsOf(n)) {
						const first = select(vectors, trim);
						const second = select(
							shuffled.map(({ vector }) => vector),
							trim,
						);
						expect(same(second, first)).toBe(true);
						expect(first.some((value) => Object.is(value, -0))).toBe(false);
					}
				},
			),
			{ numRuns: 25 },
		);
	});

	it("gives the same in place and staged, in one chunk and in several", () => {
		fc.assert(
			fc.property(
				types,
				fc.constantFrom(1, 2, 5, 9, 13, 17, 25, 40),
				fc.constantFrom(1, 3, 255, 1023, 1025, 2049, 5003),
				fc.nat(3),
				(type, n, length, shift) => {
					const vectors = vectorsOf(type, n, length, length);
					for (const trim of [undefined, Math.floor((n - 1) / 3)]) {
						const wanted = definition(vectors, trim);
						expect(same(select(vectors, trim), wanted)).toBe(true);
						expect(same(inPlace(vectors, trim, shift), wanted)).toBe(true);
					}
				},
			),
			{ numRuns: 12 },
		);
		const vectors = vectorsOf(Float32Array, 9, 130_001, 1);
		const wanted = definition(vectors, undefined);
		expect(same(median(vectors), wanted)).toBe(true);
	});

	it("names the value that is not finite", () => {
		for (const type of TYPES) {
			for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
				for (const n of [1, 6, 11]) {
					for (const length of [1, 4, 1026]) {
						for (const i of [0, n >> 1, n - 1]) {
							const vectors = vectorsOf(type, n, length, 3);
							const j = length - 1 - (i % 2) * (length > 1 ? 1 : 0);
							vectors[i]![j] = bad;
							const wanted = `NOT_FINITE: vectors[${i}][${j}] must be finite, got ${bad}`;
							expect(refusal(() => median(vectors))).toBe(wanted);
							expect(refusal(() => trimmedMean(vectors, 0))).toBe(wanted);
						}
					}
				}
			}
		}
	});

	it("takes NaNs of either sign for what they are", () => {
		for (const bits of [0x7fc00000, 0xffc00000, 0x7f800001, 0xffffffff]) {
			const vectors = vectorsOf(Float32Array, 7, 9, 3);
			new Uint32Array(vectors[4]!.buffer)[8] = bits;
			expect(refusal(() => median(vectors))).toBe("NOT_FINITE: vectors[4][8] must be finite, got NaN");
		}
	});

	it("finds the middle of two large numbers, and says where a sum is too large", () => {
		const large = Float64Array.of(1.5e308, -1.5e308, 5e-324);
		const larger = Float64Array.of(1.7e308, -1.7e308, 1e-323);
		expect([...median([large, larger])]).toEqual([1.6e308, -1.6e308, 1e-323]);
		expect(refusal(() => trimmedMean([large, larger, large], 0))).toBe(
			"NOT_FINITE: the sum of the kept vectors[·][0] is beyond float64: scale them down",
		);
		const small = Float64Array.of(-5e-324);
		// Halves and thirds of the least negative number are zeros.
		expect(Object.is(median([small, Float64Array.of(-0)])[0], 0)).toBe(true);
		expect(Object.is(trimmedMean([small, Float64Array.of(0), Float64Array.of(0)], 0)[0], 0)).toBe(true);
	});
});

describe("bad arguments", () => {
	const a = new Float32Array(4);
	it.each<[string, () => unknown, string]>([
		["no vectors", () => median([]), "INVALID_ARGUMENT: vectors must be one or more, got none"],
		["no vectors to trim", () => trimmedMean([], 0), "INVALID_ARGUMENT: vectors must be one or more, got none"],
		["lengths", () => median([a, new Float32Array(3)]), "SHAPE_MISMATCH: vectors[1] has 3 elements, expected 4"],
		[
			"types",
			() => median<Vector>([a, new Float64Array(4)]),
			"INVALID_ARGUMENT: vectors[1] must be a Float32Array like vectors[0], got a Float64Array",
		],
		["out", () => median([a], new Float64Array(5)), "SHAPE_MISMATCH: out has 5 elements, expected 4"],
		[
			"too large a trim",
			() => trimmedMean([a, a], 1),
			"INVALID_ARGUMENT: trim must be an integer from 0 to below half of 2 vectors, got 1",
		],
		["a negative trim", () => trimmedMean([a], -1), "INVALID_ARGUMENT: trim must be an integer from 0 to below half of 1 vectors, got -1"],
		[
			"half a trim",
			() => trimmedMean([a, a, a], 0.5),
			"INVALID_ARGUMENT: trim must be an integer from 0 to below half of 3 vectors, got 0.5",
		],
	])("names %s", (_name, call, message) => {
		expect(refusal(call)).toBe(message);
	});

	it("writes into out and takes vectors without elements", () => {
		const out = new Float64Array(4);
		expect(trimmedMean([a, a.map(() => 3), a.map(() => 1)], 1, out)).toBe(out);
		expect([...out]).toEqual([1, 1, 1, 1]);
		expect(median([new Float32Array(0)])).toEqual(new Float64Array(0));
	});
});
