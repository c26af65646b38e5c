import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dequantizeInt4, dequantizeInt8, INT4_LEVELS, INT8_LEVELS, quantizeInt4, quantizeInt8, scaleFor } from "./quantize.js";
import { type Random, randomFromSeed } from "./random.js";

const MAX = 3.4028234663852886e38;
const random = randomFromSeed("quantize");
const refused = (code: string) => expect.objectContaining({ code });

/** A stream whose words are `words`, from the start on. */
const streamOf = (words: readonly number[]): Random => ({
	at: () => streamOf(words),
	words: (from, out) => out.map((_, i) => (out[i] = words[from + i]!)),
});

/** An exact number: numerator / 2^shift. */
function rational(value: number): { numerator: bigint; shift: number } {
	let shift = 0;
	for (; !Number.isInteger(value); shift++) value *= 2;
	return { numerator: BigInt(value), shift };
}

/** The rule of the documentation in big integers: up iff word < fraction · 2^32; without a word, to the nearest, ties to even. */
function codeOf(value: number, scale: number, word?: number): number {
	const { numerator, shift } = rational(value / scale);
	const unit = 1n << BigInt(shift);
	const floor = numerator >> BigInt(shift);
	const fraction = numerator - floor * unit;
	const up = word === undefined ? 2n * fraction + (floor & 1n) > unit : BigInt(word) * unit < fraction << 32n;
	return Number(floor + (up ? 1n : 0n));
}

const nibblesOf = (bytes: Uint8Array): number[] => [...bytes].flatMap((byte) => [byte & 15, byte >> 4]).map((n) => (n > 7 ? n - 16 : n));

const formats = [
	{
		name: "int8",
		levels: INT8_LEVELS,
		codes: (...args: Parameters<typeof quantizeInt8>) => [...quantizeInt8(...args)],
		roundTrip: (values: Float32Array, scale: number) => dequantizeInt8(quantizeInt8(values, scale), scale),
	},
	{
		name: "int4",
		levels: INT4_LEVELS,
		codes: (...args: Parameters<typeof quantizeInt8>) => nibblesOf(quantizeInt4(...args)).slice(0, args[0].length),
		roundTrip: (values: Float32Array, scale: number) => dequantizeInt4(quantizeInt4(values, scale), scale, values.length),
	},
] as const;

describe.each(formats)("$name", ({ levels, codes, roundTrip }) => {
	/** Values in units, of all magnitudes and with many ties, and the exponent of a scale. */
	const units = fc.array(
		fc.oneof(
			fc.float({ min: -levels, max: levels, noNaN: true }),
			fc.integer({ min: -2 * levels, max: 2 * levels }).map((i) => i / 2),
		),
		{ maxLength: 33 },
	);
	const exponent = fc.integer({ min: -100, max: 100 });

	it("rounds to the nearest code, ties to even", () => {
		fc.assert(
			fc.property(units, exponent, (values, e) => {
				const scaled = Float32Array.from(values, (v) => v * 2 ** e);
				expect(codes(scaled, 2 ** e)).toEqual([...scaled].map((v) => codeOf(v, 2 ** e)));
			}),
			{ numRuns: 500 },
		);
	});

	it("rounds by the word of the stream exactly as documented", () => {
		const words = fc.array(fc.integer({ min: 0, max: 0xffffffff }), { minLength: 40, maxLength: 40 });
		fc.assert(
			fc.property(units, exponent, words, fc.integer({ min: 0, max: 5 }), (values, e, stream, from) => {
				const scaled = Float32Array.from(values, (v) => v * 2 ** e);
				expect(codes(scaled, 2 ** e, streamOf(stream), from)).toEqual([...scaled].map((v, i) => codeOf(v, 2 ** e, stream[from + i]!)));
			}),
			{ numRuns: 500 },
		);
	});

	it("moves up for as many words as the fraction says, on both sides of zero", () => {
		const boundaries: [number, number][] = [
			// value / scale, and the number of words, from 0 on, for which it goes up.
			[0.5, 2 ** 31],
			[-0.5, 2 ** 31],
			[3.25, 2 ** 30],
			[-3.25, 3 * 2 ** 30],
			[2 ** -32, 1],
			[-(2 ** -32), 2 ** 32 - 1],
			[1.5 * 2 ** -31, 3],
			// Not multiples of 2^-32, the second so near one that 1 − 2^-32 − 2^-55 is not a float64.
			[2 ** -40, 1],
			[-(2 ** -32 - 2 ** -55), 2 ** 32],
		];
		for (const [value, ups] of boundaries) {
			const values = Float32Array.of(value, value);
			const floor = Math.floor(value);
			expect(codes(values, 1, streamOf([ups - 1, Math.min(ups, 2 ** 32 - 1)]))).toEqual([floor + 1, ups === 2 ** 32 ? floor + 1 : floor]);
		}
		for (const whole of [0, -0, 1, -1, levels, -levels]) {
			expect(codes(Float32Array.of(whole, whole), 1, streamOf([0, 2 ** 32 - 1]))).toEqual([whole + 0, whole + 0]);
		}
	});

	it("takes word from + i for value i, across the batches in which words are drawn", () => {
		const values = Float32Array.from({ length: 9001 }, (_, i) => ((i % 13) - 6) / 1.7);
		const words = random.words(777, new Uint32Array(values.length));
		expect(codes(values, 1, random, 777)).toEqual([...values].map((v, i) => codeOf(v, 1, words[i]!)));
	});

	it("is unbiased", () => {
		for (const value of [0.3, -0.3, 2.9, -0.001]) {
			const got = codes(new Float32Array(100_000).fill(value), 1, random.at(String(value)));
			const mean = got.reduce((a, b) => a + b, 0) / got.length;
			// Five standard deviations of a coin at its widest.
			expect(Math.abs(mean - Math.fround(value))).toBeLessThan(5 * Math.sqrt(0.25 / got.length));
		}
	});

	it("decodes each code exactly and encodes what it decoded to the same codes, at the ends of the scales too", () => {
		const all = Float32Array.from({ length: 2 * levels + 1 }, (_, i) => i - levels);
		for (const scale of [2 ** -149, 2 ** -126, 1, 2 ** (levels === 7 ? 125 : 121)]) {
			const values = all.map((code) => code * scale);
			expect(Math.abs(values[0]!)).toBe(levels * scale);
			expect(roundTrip(values, scale)).toEqual(values.map((v) => v + 0));
			expect(codes(values, scale)).toEqual([...all]);
		}
	});

	it("is off by half a scale at most", () => {
		fc.assert(
			fc.property(fc.float32Array({ noNaN: true, min: -(2 ** 100), max: 2 ** 100, maxLength: 21 }), (values) => {
				const scale = scaleFor(values, levels);
				const decoded = roundTrip(values, scale);
				expect(decoded.length).toBe(values.length);
				for (const [i, v] of values.entries()) expect(Math.abs(decoded[i]! - v)).toBeLessThanOrEqual(scale / 2);
			}),
		);
	});

	it("refuses values beyond the range with index and value, in both ways of rounding", () => {
		const beyond = Math.fround(levels * 0.25 * (1 + 2 ** -23));
		for (const node of [undefined, random]) {
			for (const value of [beyond, -beyond, MAX]) {
				expect(() => codes(Float32Array.of(0, levels * 0.25, value), 0.25, node)).toThrow(
					expect.objectContaining({
						code: "INVALID_ARGUMENT",
						message: `values[2] is ${Math.fround(value)}, beyond ±${levels * 0.25}, the largest code times the scale`,
					}),
				);
			}
			for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
				expect(() => codes(Float32Array.of(0, value), 1, node)).toThrow(
					expect.objectContaining({ code: "NOT_FINITE", message: `values[1] must be finite, got ${value}` }),
				);
			}
		}
	});

	it("refuses a scale that is no power of two of the range, or a stream that ends", () => {
		const tooLarge = 2 ** (levels === 7 ? 126 : 122);
		for (const scale of [0, -1, 0.3, 3, 1 + Number.EPSILON, 2 ** -150, tooLarge, Number.POSITIVE_INFINITY, Number.NaN]) {
			expect(() => codes(new Float32Array(2), scale)).toThrow(refused("INVALID_ARGUMENT"));
			expect(() => roundTrip(new Float32Array(0), scale)).toThrow(refused("INVALID_ARGUMENT"));
		}
		for (const from of [-1, 0.5, 2 ** 53 - 1]) {
			expect(() => codes(new Float32Array(2), 1, random, from)).toThrow(refused("INVALID_ARGUMENT"));
		}
	});
});

describe("scaleFor", () => {
	it("is the smallest power of two on which every value has a code", () => {
		fc.assert(
			fc.property(
				fc.float32Array({ noNaN: true, noDefaultInfinity: true, minLength: 1, maxLength: 9, min: -(2 ** 126), max: 2 ** 126 }),
				fc.constantFrom(1, 2, 7, 127, 32_767, 2 ** 23),
				(values, levels) => {
					const scale = scaleFor(values, levels);
					expect(Math.log2(scale) % 1).toBeCloseTo(0);
					const most = Math.max(...values.map(Math.abs));
					expect(most).toBeLessThanOrEqual(levels * scale);
					if (scale !== 2 ** -149) expect(most).toBeGreaterThan((levels * scale) / 2);
				},
			),
			{ numRuns: 500 },
		);
	});

	it("has the codes at its own ends", () => {
		expect(scaleFor(Float32Array.of(127, -3), 127)).toBe(1);
		expect(scaleFor(Float32Array.of(-Math.fround(127.00001)), 127)).toBe(2);
		expect(scaleFor(Float32Array.of(7 * 2 ** -20), 7)).toBe(2 ** -20);
		expect(scaleFor(new Float32Array(3), 7)).toBe(2 ** -149);
		expect(scaleFor(new Float32Array(0), 7)).toBe(2 ** -149);
		expect(scaleFor(Float32Array.of(2 ** -149), 127)).toBe(2 ** -149);
		expect(scaleFor(Float32Array.of(-127 * 2 ** 121), 127)).toBe(2 ** 121);
	});

	it("refuses what has no scale", () => {
		expect(() => scaleFor(Float32Array.of(1, MAX), 127)).toThrow(
			expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining(`values[1] is of magnitude ${MAX}`) }),
		);
		expect(() => scaleFor(Float32Array.of(1, Number.NaN), 7)).toThrow(refused("NOT_FINITE"));
		expect(() => scaleFor(Float32Array.of(1, Number.NEGATIVE_INFINITY), 7)).toThrow(refused("NOT_FINITE"));
		for (const levels of [0, -7, 1.5, 2 ** 24, Number.NaN]) {
			expect(() => scaleFor(new Float32Array(1), levels)).toThrow(`levels must be an integer from 1 to 2^23, got ${levels}`);
		}
	});
});

describe("the bytes of int4", () => {
	it("hold the even values in their low halves, and nothing beyond the last", () => {
		expect([...quantizeInt4(Float32Array.of(1, -1, 7, -7, -2), 1)]).toEqual([0xf1, 0x97, 0x0e]);
		expect(quantizeInt4(new Float32Array(0), 1)).toEqual(new Uint8Array(0));
	});

	it("are refused unless quantizing could have made them", () => {
		// Every byte, alone, before another and as the last of an odd count.
		for (let byte = 0; byte < 256; byte++) {
			const valid = (byte & 15) !== 8 && byte >> 4 !== 8;
			if (valid) expect(quantizeInt4(dequantizeInt4(Uint8Array.of(3, byte), 1, 4), 1)).toEqual(Uint8Array.of(3, byte));
			else expect(() => dequantizeInt4(Uint8Array.of(3, byte), 1, 4)).toThrow(refused("BAD_ENCODING"));
			if (valid && byte < 16) expect(quantizeInt4(dequantizeInt4(Uint8Array.of(3, byte), 1, 3), 1)).toEqual(Uint8Array.of(3, byte));
			else expect(() => dequantizeInt4(Uint8Array.of(3, byte), 1, 3)).toThrow(refused("BAD_ENCODING"));
		}
		for (const [length, count] of [
			[0, 1],
			[1, 0],
			[1, 3],
			[2, 2],
			[3, 2 ** 40],
		]) {
			expect(() => dequantizeInt4(new Uint8Array(length!), 1, count!)).toThrow(refused("BAD_ENCODING"));
		}
		for (const count of [-1, 0.5, Number.NaN])
			expect(() => dequantizeInt4(new Uint8Array(1), 1, count)).toThrow(refused("INVALID_ARGUMENT"));
	});
});

it("refuses the code that int8 has on one side only", () => {
	expect(() => dequantizeInt8(Int8Array.of(1, 127, -128), 1)).toThrow(
		expect.objectContaining({ code: "BAD_ENCODING", message: "codes[2] is -128, the codes are from -127 to 127" }),
	);
});
