import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packBits, unpackBits, wordsOf } from "./bit-packing.js";

const refused = (code: string) => expect.objectContaining({ code });

/** The definition, in one big integer. */
function packedByDefinition(values: readonly number[], width: number): number[] {
	let all = 0n;
	for (const [i, value] of values.entries()) all |= BigInt(value) << BigInt(i * width);
	return Array.from({ length: Math.ceil((values.length * width) / 8) }, (_, i) => Number((all >> BigInt(8 * i)) & 255n));
}

const cases = fc.integer({ min: 1, max: 32 }).chain((width) =>
	fc.record({
		width: fc.constant(width),
		values: fc.array(fc.oneof(fc.integer({ min: 0, max: 2 ** width - 1 }), fc.constantFrom(0, 2 ** width - 1, 2 ** (width - 1))), {
			maxLength: 70,
		}),
	}),
);

describe("packBits and unpackBits", () => {
	it("are the definition, for every width and length, from any offset", () => {
		fc.assert(
			fc.property(cases, fc.integer({ min: 0, max: 5 }), ({ width, values }, offset) => {
				const bytes = packBits(Uint32Array.from(values), width);
				expect([...bytes]).toEqual(packedByDefinition(values, width));
				const within = new Uint8Array(bytes.length + offset + 3).fill(0xff);
				within.set(bytes, offset);
				expect([...unpackBits(within.subarray(offset, offset + bytes.length), width, values.length)]).toEqual(values);
				const source = Uint32Array.of(1, 2, 3, ...values);
				expect(packBits(source.subarray(3), width)).toEqual(bytes);
			}),
			{ numRuns: 1000 },
		);
	});

	it("take each width with the lengths around a word", () => {
		for (let width = 1; width <= 32; width++) {
			for (const count of [0, 1, 2, 31, 32, 33, 64, 65]) {
				const ones = new Uint32Array(count).fill(2 ** width - 1);
				const bytes = packBits(ones, width);
				expect([...bytes]).toEqual(packedByDefinition([...ones], width));
				expect(unpackBits(bytes, width, count)).toEqual(ones);
			}
		}
	});

	it("put the first value in the least significant bits", () => {
		expect([...packBits(Uint32Array.of(1, 0, 1, 1), 1)]).toEqual([0b1101]);
		expect([...packBits(Uint32Array.of(0x12345678), 32)]).toEqual([0x78, 0x56, 0x34, 0x12]);
		expect([...packBits(Uint32Array.of(0b101, 0b011, 0b110), 3)]).toEqual([0b10011101, 0b1]);
	});

	it("refuse a value that does not fit, with index and value", () => {
		for (let width = 1; width < 32; width++) {
			for (const value of [2 ** width, 0xffffffff]) {
				expect(() => packBits(Uint32Array.of(2 ** width - 1, 0, value, value), width)).toThrow(
					expect.objectContaining({ code: "INVALID_ARGUMENT", message: `values[2] must be below 2^${width}, got ${value}` }),
				);
			}
		}
	});

	it("accept only what packing makes: any bytes are refused or pack to the same bytes", () => {
		fc.assert(
			fc.property(
				fc.integer({ min: 1, max: 32 }),
				fc.integer({ min: 0, max: 20 }),
				fc.uint8Array({ maxLength: 81 }),
				fc.boolean(),
				(width, count, any, fit) => {
					const length = Math.ceil((count * width) / 8);
					const bytes = fit ? Uint8Array.from({ length }, (_, i) => any[i] ?? 0xa5) : any;
					const padding = 8 * length - count * width;
					const valid = bytes.length === length && (padding === 0 || bytes[length - 1]! < 2 ** (8 - padding));
					if (valid) expect(packBits(unpackBits(bytes, width, count), width)).toEqual(bytes);
					else expect(() => unpackBits(bytes, width, count)).toThrow(refused("BAD_ENCODING"));
				},
			),
			{ numRuns: 1000 },
		);
	});

	it("refuse every single bit beyond the last value", () => {
		for (let count = 1; count < 8; count++) {
			for (let bit = count; bit < 8; bit++) {
				expect(() => unpackBits(Uint8Array.of(1 << bit), 1, count)).toThrow(refused("BAD_ENCODING"));
			}
		}
	});

	it("refuse a width or count out of range, and a claim that the bytes do not bear out", () => {
		for (const width of [0, 33, -1, 1.5, Number.NaN]) {
			expect(() => packBits(new Uint32Array(1), width)).toThrow(`width must be an integer from 1 to 32, got ${width}`);
			expect(() => unpackBits(new Uint8Array(1), width, 1)).toThrow(refused("INVALID_ARGUMENT"));
		}
		for (const count of [-1, 0.5, 2 ** 32, Number.NaN]) {
			expect(() => unpackBits(new Uint8Array(0), 8, count)).toThrow(refused("INVALID_ARGUMENT"));
		}
		expect(() => unpackBits(new Uint8Array(3), 32, 2 ** 32 - 1)).toThrow("4294967295 values of 32 bits take 17179869180 bytes, got 3");
	});
});

it("wordsOf pads a copy with zeros", () => {
	const bytes = Uint8Array.of(9, 1, 2, 3, 4, 0xff, 9);
	const words = wordsOf(bytes.subarray(1, 6));
	expect([...words]).toEqual([0x04030201, 0xff]);
	words[0] = 0;
	expect(bytes[1]).toBe(1);
});
