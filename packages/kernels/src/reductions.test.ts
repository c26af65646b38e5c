import { isRondoError } from "@rondo/errors";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { randomFromSeed } from "./random.js";
import { cosine, dot, gram, gramInto, norm, normSquared, REDUCTION_TILE } from "./reductions.js";
import { allocateVector, configureKernels, kernelState, releaseVector, stopKernels } from "./runtime/runtime.js";

type Vector = Float32Array | Float64Array;
type Type = new (length: number) => Vector;

const root = randomFromSeed("reductions");
const types = fc.constantFrom<Type>(Float32Array, Float64Array);
const lengths = fc.oneof(fc.nat(70), fc.constantFrom(4095, 4096, 4097, 8191, 8192, 8193, 12_301, 32_768, 40_007));

/** Numbers of many magnitudes: another order of additions gives other bits. */
function vectorOf(type: Type, length: number, name: number): Vector {
	const words = root.at(name).words(0, new Uint32Array(length));
	const out = new type(length);
	words.forEach((word, i) => {
		out[i] = (word / 2 ** 31 - 1) * 2 ** (word % 24);
	});
	return out;
}

/** Runs `body` on copies in kernel memory that begin `shift` elements off its alignment. */
function inPlace<T>(vectors: readonly Vector[], shift: number, body: (vectors: readonly Vector[]) => T): T {
	const rooms: Vector[] = [];
	try {
		const copies = vectors.map((vector) => {
			const room = allocateVector(vector.constructor as Type, vector.length + shift);
			rooms.push(room);
			const copy = room.subarray(shift);
			copy.set(vector);
			return copy;
		});
		return body(copies);
	} finally {
		rooms.forEach(releaseVector);
	}
}

/** The definition, one element at a time. */
function definition(a: Vector, b: Vector): number {
	let total = 0;
	for (let from = 0; from < a.length; from += 4096) {
		const s = [0, 0, 0, 0, 0, 0, 0, 0] as [number, number, number, number, number, number, number, number];
		for (let i = from; i < Math.min(from + 4096, a.length); i++) s[i % 8]! += a[i]! * b[i]!;
		total += s[0] + s[4] + (s[2] + s[6]) + (s[1] + s[5] + (s[3] + s[7]));
	}
	return total;
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

const same = (a: ArrayLike<number>, b: ArrayLike<number>): boolean =>
	a.length === b.length && Array.prototype.every.call(a, (value: number, i: number) => Object.is(value, b[i]));

const all = (a: Vector, b: Vector) => [dot(a, b), normSquared(a), norm(b), cosine(a, b)];

describe("in TypeScript", () => {
	beforeAll(() => configureKernels({ wasm: false }));
	afterAll(() => configureKernels({ wasm: true }));

	it("follows the definition", () => {
		fc.assert(
			fc.property(types, lengths, fc.nat(1000), (type, length, name) => {
				const a = vectorOf(type, length, name);
				const b = vectorOf(type, length, name + 1);
				expect(dot(a, b)).toBe(definition(a, b));
				expect(normSquared(a)).toBe(definition(a, a));
				expect(norm(a)).toBe(Math.sqrt(definition(a, a)));
			}),
			{ numRuns: 40 },
		);
	});

	it("keeps to its error bound", () => {
		for (const length of [1, 100, 4096, 200_003]) {
			const a = vectorOf(Float32Array, length, 1);
			const b = vectorOf(Float32Array, length, 2);
			// Float32s here are multiples of 2^-31, so their products are of 2^-62.
			let exact = 0n;
			let size = 0n;
			for (let i = 0; i < length; i++) {
				const product = BigInt(a[i]! * 2 ** 31) * BigInt(b[i]! * 2 ** 31);
				exact += product;
				size += product < 0n ? -product : product;
			}
			const error = BigInt(dot(a, b) * 2 ** 62) - exact;
			const roundings = 513n + BigInt(Math.ceil(length / 4096));
			expect((error < 0n ? -error : error) * 2n ** 53n).toBeLessThanOrEqual(roundings * size);
			expect(size).toBeGreaterThan(0n);
		}
	});
});

describe.each([1, 3])("WebAssembly on %i threads", (threads) => {
	beforeAll(() => configureKernels({ threads }));
	afterAll(() => stopKernels());

	/** What `body` gives in plain TypeScript and in WebAssembly. */
	async function bothWays<T>(body: () => T): Promise<{ reference: T; wasm: T }> {
		await configureKernels({ wasm: false });
		const reference = body();
		await configureKernels({ wasm: true });
		return { reference, wasm: body() };
	}

	it("is there", () => {
		expect(kernelState()).toMatchObject({ wasm: true, shared: true, threads });
	});

	it("reduces two vectors to the same bits, staged and in place", async () => {
		await fc.assert(
			fc.asyncProperty(types, lengths, fc.nat(1000), fc.nat(3), async (type, length, name, shift) => {
				const a = vectorOf(type, length, name);
				const b = vectorOf(type, length, name + 1);
				const { reference, wasm } = await bothWays(() => all(a, b));
				expect(same(wasm, reference)).toBe(true);
				expect(
					same(
						inPlace([a, b], shift, ([x, y]) => all(x!, y!)),
						reference,
					),
				).toBe(true);
				expect(inPlace([a], shift, ([x]) => dot(x!, b))).toBe(reference[0]);
			}),
			{ numRuns: 60 },
		);
	});

	it("reduces vectors of several chunks to the same bits", async () => {
		for (const type of [Float32Array, Float64Array]) {
			const a = vectorOf(type, 530_003, 1);
			const b = vectorOf(type, 530_003, 2);
			const { reference, wasm } = await bothWays(() => [...all(a, b), ...gram([a, b, a])]);
			expect(same(wasm, reference)).toBe(true);
			expect(
				same(
					inPlace([a, b], 1, ([x, y]) => [...all(x!, y!), ...gram([x!, y!, x!])]),
					reference,
				),
			).toBe(true);
			expect(reference[0]).toBe(definition(a, b));
		}
	});

	it("has the dot product of each pair in the matrix", async () => {
		await fc.assert(
			fc.asyncProperty(
				types,
				fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constantFrom(31, 32, 33, 66)),
				fc.oneof(fc.nat(40), fc.constantFrom(255, 257, 4097, 8205)),
				fc.nat(3),
				async (type, n, length, shift) => {
					const vectors = Array.from({ length: n }, (_, i) => vectorOf(type, length, i));
					const { reference, wasm } = await bothWays(() => gram(vectors));
					const pairs = vectors.flatMap((a) => vectors.map((b) => dot(a, b)));
					expect(same(reference, pairs)).toBe(true);
					expect(same(wasm, pairs)).toBe(true);
					expect(same(inPlace(vectors, shift, gram), pairs)).toBe(true);
				},
			),
			{ numRuns: 20 },
		);
	});

	it("has it for so many vectors that threads share blocks only", async () => {
		const vectors = Array.from({ length: 163 }, (_, i) => vectorOf(Float32Array, 4101, i));
		const { reference, wasm } = await bothWays(() => gram(vectors));
		expect(same(wasm, reference)).toBe(true);
		const parts = new Float64Array(163 * 163);
		for (const from of [0, 4096])
			gramInto(
				parts,
				vectors.map((vector) => vector.subarray(from, from + 4096)),
				from,
			);
		expect(same(parts, reference)).toBe(true);
		expect(reference[5 * 163 + 162]).toBe(dot(vectors[5]!, vectors[162]!));
	});

	it("adds chunks up to the matrix of the whole vectors", () => {
		fc.assert(
			fc.property(
				types,
				fc.integer({ min: 1, max: 6 }),
				fc.integer({ min: 1, max: 30_000 }),
				fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 8, maxLength: 8 }),
				(type, n, length, steps) => {
					const vectors = Array.from({ length: n }, (_, i) => vectorOf(type, length, i));
					const out = new Float64Array(n * n);
					let from = 0;
					for (const step of steps) {
						const to = Math.min(from + step * REDUCTION_TILE, length);
						gramInto(
							out,
							vectors.map((vector) => vector.subarray(from, to)),
							from,
						);
						if (to === length) break;
						from = to;
					}
					expect(same(out, gram(vectors))).toBe(true);
				},
			),
			{ numRuns: 20 },
		);
	});

	it.each([10, 5000])("names what is not finite among %i elements", (length) => {
		for (const type of [Float32Array, Float64Array]) {
			for (const [bad, text] of [
				[Number.NaN, "NaN"],
				[Number.NEGATIVE_INFINITY, "-Infinity"],
			] as const) {
				const good = vectorOf(type, length, 1);
				const spoilt = vectorOf(type, length, 2);
				spoilt[length - 1] = bad;
				expect(refusal(() => dot(spoilt, good))).toBe(`NOT_FINITE: a[${length - 1}] must be finite, got ${text}`);
				expect(refusal(() => dot(good, spoilt))).toBe(`NOT_FINITE: b[${length - 1}] must be finite, got ${text}`);
				expect(refusal(() => norm(spoilt))).toBe(`NOT_FINITE: a[${length - 1}] must be finite, got ${text}`);
				expect(refusal(() => cosine(new type(length), spoilt))).toBe(`NOT_FINITE: b[${length - 1}] must be finite, got ${text}`);
				expect(refusal(() => gram([good, good, spoilt]))).toContain(`NOT_FINITE: vectors[2][${length - 1}] must be finite, got ${text}`);
				const out = Float64Array.of(1, 2, 2, 3);
				expect(refusal(() => gramInto(out, [good, spoilt], 0))).toContain("NOT_FINITE: vectors[1]");
				expect([...out]).toEqual([1, 2, 2, 3]);
			}
		}
		expect(refusal(() => dot(new Float64Array(length).fill(1e200), new Float64Array(length).fill(1e200)))).toBe(
			"NOT_FINITE: sums of products of a and b are beyond float64: scale them down",
		);
	});
});

describe("cosine", () => {
	it("is exactly 1 for equal vectors, -1 for opposite ones and 0 beside a zero vector", () => {
		fc.assert(
			fc.property(types, fc.integer({ min: 1, max: 9000 }), fc.nat(1000), (type, length, name) => {
				const a = vectorOf(type, length, name);
				expect(cosine(a, a.slice())).toBe(1);
				expect(
					cosine(
						a,
						a.map((value) => -value),
					),
				).toBe(-1);
				expect(cosine(a, new type(length))).toBe(0);
				expect(cosine(new type(length), a)).toBe(0);
			}),
			{ numRuns: 20 },
		);
		expect(cosine(new Float32Array(0), new Float32Array(0))).toBe(0);
	});

	it("stays within 1 and does not lose large or small vectors", () => {
		expect(cosine(Float64Array.of(3, 4), Float64Array.of(4, 3))).toBe(0.96);
		for (const scale of [2 ** 500, 2 ** -500]) {
			const value = cosine(Float64Array.of(3 * scale, 4 * scale), Float64Array.of(4 * scale, 3 * scale));
			expect(value).toBeCloseTo(0.96, 14);
		}
		for (let k = 1; k < 400; k++) {
			const a = vectorOf(Float64Array, 5, k);
			const value = cosine(
				a,
				a.map((x) => x / 3),
			);
			expect(value).toBeLessThanOrEqual(1);
			expect(value).toBeGreaterThan(1 - 1e-15);
		}
	});
});

describe("bad arguments", () => {
	const a = new Float32Array(4);
	it.each<[string, () => unknown, string]>([
		["lengths", () => dot(a, new Float32Array(3)), "SHAPE_MISMATCH: b has 3 elements, expected 4"],
		["types", () => cosine<Vector>(a, new Float64Array(4)), "INVALID_ARGUMENT: b must be a Float32Array like a, got a Float64Array"],
		["a vector's length", () => gram([a, a, new Float32Array(5)]), "SHAPE_MISMATCH: vectors[2] has 5 elements, expected 4"],
		[
			"a vector's type",
			() => gram<Vector>([a, new Float64Array(4)]),
			"INVALID_ARGUMENT: vectors[1] must be a Float32Array like vectors[0], got a Float64Array",
		],
		["out", () => gramInto(new Float64Array(3), [a, a], 0), "SHAPE_MISMATCH: out has 3 elements, expected 4"],
		["from", () => gramInto(new Float64Array(1), [a], 4), "INVALID_ARGUMENT: from must be a multiple of 4096, got 4"],
		["a negative from", () => gramInto(new Float64Array(1), [a], -4096), "INVALID_ARGUMENT: from must be a multiple of 4096, got -4096"],
	])("names %s", (_name, call, message) => {
		expect(refusal(call)).toBe(message);
	});

	it("has an empty matrix for no vectors", () => {
		expect(gram([])).toEqual(new Float64Array(0));
	});
});
