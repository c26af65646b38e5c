import { randomFromSeed, uniform01 } from "@rondo/kernels";
import { describe, expect, it } from "vitest";
import { fromByte, MAX_BYTE_SCALAR, packScalars, roundScalar, SCALAR_KINDS, toByte, unpackScalars } from "./scalar-codec.js";

/** Numbers whose logarithms are uniform between those of `low` and `high`, with both signs. */
function logUniform(count: number, low: number, high: number): Float32Array {
	const random = randomFromSeed("scalars");
	return Float32Array.from({ length: count }, (_, i) => {
		const magnitude = low * Math.exp(uniform01(random, i) * Math.log(high / low));
		return i % 2 === 0 ? magnitude : -magnitude;
	});
}

describe("one byte per scalar", () => {
	it("is sign and exponent in steps of 1/8 around 64", () => {
		const cases: readonly (readonly [number, number])[] = [
			[0, 0],
			[-0, 0],
			[1, 64],
			[-1, 192],
			[Math.E, 72],
			[0.5, 58],
			[-123.4, 128 + 103],
			[-0.0123, 128 + 29],
			[5000, 127],
			[-5000, 255],
			[3e-4, 1],
			[1.95e-4, 1],
			[1.85e-4, 0],
			[-1e-5, 0],
		];
		for (const [value, code] of cases) {
			expect([value, toByte([value])[0]]).toEqual([value, code]);
			const decoded = code === 0 ? 0 : Math.sign(value) * Math.exp(((code & 127) - 64) / 8);
			expect(fromByte(Uint8Array.of(code))[0]).toBeCloseTo(decoded, 3);
			expect(Math.abs(fromByte(Uint8Array.of(code))[0]! / (decoded || 1) - Math.sign(Math.abs(decoded)))).toBeLessThan(1e-7);
		}
		expect(MAX_BYTE_SCALAR).toBe(Math.fround(Math.exp(63 / 8)));
	});

	it("is off by at most e^(1/16) − 1 over its range, and by nearly as much", () => {
		const values = logUniform(100_000, Math.exp(-63.49 / 8), Math.exp(63.49 / 8));
		const decoded = fromByte(toByte(values));
		const worst = values.reduce((most, value, i) => Math.max(most, Math.abs(decoded[i]! / value - 1)), 0);
		expect(worst).toBeLessThanOrEqual(Math.exp(1 / 16) - 1 + 1e-6);
		expect(worst).toBeGreaterThan(0.064);
	});

	it("gives each of 255 codes back and refuses the negative zero", () => {
		const codes = Uint8Array.from({ length: 256 }, (_, code) => code).filter((code) => code !== 128);
		expect(toByte(fromByte(codes))).toEqual(codes);
		expect(() => fromByte(Uint8Array.of(1, 128))).toThrow(
			expect.objectContaining({ code: "BAD_ENCODING", message: "scalar 1 is a negative zero, which has no code" }),
		);
	});

	it("refuses what is not a number", () => {
		for (const odd of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
			expect(() => toByte([1, odd])).toThrow(expect.objectContaining({ code: "NOT_FINITE", message: `number 1 is ${odd}` }));
	});
});

it("what was rounded once stays as it is, in every kind", () => {
	for (const kind of SCALAR_KINDS) {
		for (const value of logUniform(1000, 1e-3, 1000)) {
			const rounded = roundScalar(kind, value);
			expect(roundScalar(kind, rounded)).toBe(rounded);
			expect(Math.abs(rounded / value - 1)).toBeLessThan({ f32: 1e-7, f16: 5e-4, byte: 0.0646 }[kind]);
		}
	}
});

it("unpacks what was packed and names the array that it wants", () => {
	const values = Float32Array.of(0.25, -1, 0);
	for (const kind of SCALAR_KINDS)
		expect([...unpackScalars(kind, packScalars(kind, values))]).toEqual(kind === "byte" ? [roundScalar("byte", 0.25), -1, 0] : [...values]);
	for (const [kind, wanted] of [
		["f32", "Float32Array"],
		["f16", "Uint16Array"],
		["byte", "Uint8Array"],
	] as const) {
		for (const odd of [null, [1], new Float64Array(1), new Int32Array(2)])
			expect(() => unpackScalars(kind, odd)).toThrow(
				expect.objectContaining({ code: "INVALID_ARGUMENT", message: `scalars of kind ${kind} must be a ${wanted}` }),
			);
	}
});
