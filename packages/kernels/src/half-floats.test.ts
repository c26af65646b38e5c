import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from "./half-floats.js";

/** The number that a format of 16 bits with `fractionBits` of fraction means, from its definition in IEEE 754 section 3.4. */
function meaning(bits: number, fractionBits: number): number {
	const exponentBits = 15 - fractionBits;
	const bias = 2 ** (exponentBits - 1) - 1;
	const sign = bits >> 15 === 1 ? -1 : 1;
	const exponent = (bits >> fractionBits) % 2 ** exponentBits;
	const fraction = (bits % 2 ** fractionBits) / 2 ** fractionBits;
	if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
	return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias);
}

const bitsOf = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);
const fromBits = (bits: readonly number[]): Float32Array => new Float32Array(Uint32Array.from(bits).buffer);
/** Index and elements of the first difference, none when the arrays are equal: for arrays too large for the matcher to be quick. */
const differences = (got: Uint16Array, wanted: Uint16Array): number[] => {
	const i = wanted.findIndex((bits, at) => bits !== got[at]);
	return got.length === wanted.length && i < 0 ? [] : [i, got[i]!, wanted[i]!];
};
const ALL = Uint16Array.from({ length: 65_536 }, (_, bits) => bits);

describe.each([
	{ name: "float16", encode: toFloat16, decode: fromFloat16, fractionBits: 10, largest: 65_504, tiniest: 2 ** -24 },
	{ name: "bfloat16", encode: toBfloat16, decode: fromBfloat16, fractionBits: 7, largest: 255 * 2 ** 120, tiniest: 2 ** -133 },
])("$name", ({ name, encode, decode, fractionBits, largest, tiniest }) => {
	const infinity = 0x8000 - 2 ** fractionBits;

	it("decodes all 65,536 patterns as the standard defines", () => {
		const decoded = decode(ALL);
		const wrong = ALL.filter((bits) => !Object.is(decoded[bits], meaning(bits, fractionBits)));
		expect(wrong).toEqual(new Uint16Array(0));
		expect(decoded[1]).toBe(tiniest);
		expect(decoded[infinity - 1]).toBe(largest);
	});

	it("keeps sign and payload of a NaN", () => {
		const nans = ALL.filter((bits) => (bits & 0x7fff) > infinity);
		expect(nans.length).toBe(2 * (2 ** fractionBits - 1));
		const words = bitsOf(decode(nans));
		for (const [i, bits] of nans.entries()) {
			expect([words[i]! >>> 31, words[i]! & 0x7fffff]).toEqual([bits >> 15, (bits % 2 ** fractionBits) << (23 - fractionBits)]);
		}
	});

	it("encodes what it decoded to the same bits", () => {
		const finite = ALL.filter((bits) => (bits & 0x7fff) < infinity);
		expect(finite.length).toBe(2 * infinity);
		expect(differences(encode(decode(finite)), finite)).toEqual([]);
	});

	it("rounds to the nearest, at every boundary between two numbers to the even one", () => {
		// Boundaries are float32 numbers for both formats. Between two of them rounding is monotonic, see below.
		const magnitudes = ALL.subarray(0, infinity - 1);
		const numbers = decode(ALL.subarray(0, infinity));
		for (const sign of [1, -1]) {
			const boundary = Float32Array.from(magnitudes, (i) => (sign * (numbers[i]! + numbers[i + 1]!)) / 2);
			const words = bitsOf(boundary);
			const top = sign === 1 ? 0 : 0x8000;
			const inward = new Float32Array(words.map((word) => word - 1).buffer);
			const outward = new Float32Array(words.map((word) => word + 1).buffer);
			expect(
				differences(
					encode(boundary),
					magnitudes.map((i) => top + i + (i % 2)),
				),
			).toEqual([]);
			expect(
				differences(
					encode(inward),
					magnitudes.map((i) => top + i),
				),
			).toEqual([]);
			expect(
				differences(
					encode(outward),
					magnitudes.map((i) => top + i + 1),
				),
			).toEqual([]);
		}
	});

	it("is monotonic and odd, for values of all magnitudes", () => {
		const finite = fc.float({ noNaN: true, min: Math.fround(-largest), max: Math.fround(largest) });
		fc.assert(
			fc.property(finite, finite, (a, b) => {
				const [low, high] = decode(encode(Float32Array.of(Math.min(a, b), Math.max(a, b))));
				expect(low).toBeLessThanOrEqual(high!);
				const [plus, minus] = encode(Float32Array.of(a, -a));
				expect(plus! ^ minus!).toBe(0x8000);
			}),
			{ numRuns: 2000 },
		);
	});

	it("keeps signed zeros and subnormals, and rounds to zero from half the smallest", () => {
		const half = tiniest / 2;
		expect([...encode(Float32Array.of(0, -0, tiniest, -tiniest, half, -half, half * 1.5, 2 ** -149))]).toEqual([
			0, 0x8000, 1, 0x8001, 0, 0x8000, 1, 0,
		]);
	});

	it("reads an array that is a part of another, of any length", () => {
		const whole = Float32Array.from({ length: 70 }, (_, i) => (i - 35) / 8);
		const encoded = encode(whole);
		for (let length = 0; length <= 9; length++) {
			for (const from of [0, 1, 2, 3, 61]) {
				expect(encode(whole.subarray(from, from + length))).toEqual(encoded.slice(from, from + length));
				expect(decode(encoded.subarray(from, from + length))).toEqual(whole.slice(from, from + length));
			}
		}
	});

	it("refuses what would become infinite, and what is not finite", () => {
		// Half a unit above the largest number is where rounding reaches infinity.
		const limit = largest + 2 ** (Math.floor(Math.log2(largest)) - fractionBits - 1);
		const [below] = fromBits([bitsOf(Float32Array.of(limit))[0]! - 1]);
		expect([...encode(Float32Array.of(below!, -below!))]).toEqual([infinity - 1, 0x8000 + infinity - 1]);
		for (const value of [limit, -limit, Math.fround(3.4028234663852886e38)]) {
			expect(() => encode(Float32Array.of(1, 2, value))).toThrow(
				expect.objectContaining({
					code: "INVALID_ARGUMENT",
					message: `values[2] is ${value}, beyond the range of ${name}, whose largest number is ${largest}`,
				}),
			);
		}
		for (const bits of [0x7f800000, 0xff800000, 0x7f800001, 0x7fc00000, 0x7fffffff, 0xffffffff, 0xffff8000]) {
			expect(() => encode(fromBits([0, bits]))).toThrow(expect.objectContaining({ code: "NOT_FINITE" }));
		}
	});
});

it("has the known patterns", () => {
	const values = Float32Array.of(1, -2, 0.333251953125, 6.103515625e-5, 3.140625);
	expect([...toFloat16(values)].map((bits) => bits.toString(16))).toEqual(["3c00", "c000", "3555", "400", "4248"]);
	expect([...toBfloat16(values)].map((bits) => bits.toString(16))).toEqual(["3f80", "c000", "3eab", "3880", "4049"]);
});
