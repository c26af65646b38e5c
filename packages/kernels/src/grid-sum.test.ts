import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ceilLog2, powerOfTwo } from "./float-bits.js";
import { checkRange, foldInto, gridOf, MAX_REPORTS, meanOf, normalizedWeight, sumOf } from "./grid-sum.js";

const LENGTH = 5;
const bits = (values: Float64Array): BigUint64Array => new BigUint64Array(Float64Array.from(values).buffer);

const rounds = fc.integer({ min: -60, max: 60 }).chain((exponent) => {
	const absMax = 1.7 * 2 ** exponent;
	const values = fc.array(fc.double({ min: -absMax, max: absMax, noNaN: true }), { minLength: LENGTH, maxLength: LENGTH });
	const report = fc.record({ x: values.map((x) => Float64Array.from(x)), examples: fc.integer({ min: 1, max: 1000 }) });
	return fc.record({
		absMax: fc.constant(absMax),
		reports: fc.array(report, { minLength: 1, maxLength: 30 }),
		cut: fc.nat(30),
		turn: fc.nat(30),
	});
});

describe("float bits", () => {
	it("are exact for every exponent", () => {
		for (let e = -1022; e <= 1023; e++) {
			expect(powerOfTwo(e)).toBe(e >= 0 ? Number(1n << BigInt(e)) : 1 / Number(1n << BigInt(-e)));
		}
		expect([ceilLog2(1), ceilLog2(1 + 2 ** -52), ceilLog2(2 - 2 ** -52), ceilLog2(2), ceilLog2(3), ceilLog2(2 ** -30)]).toEqual([
			0, 1, 1, 1, 2, -30,
		]);
	});
});

describe("exact sums", () => {
	it("do not depend on order, shards or retractions", () => {
		fc.assert(
			fc.property(rounds, ({ absMax, reports, cut, turn }) => {
				const grid = gridOf(absMax, reports.length + 1);
				const weighted = reports.map(({ x, examples }) => [x, normalizedWeight(examples, 1000)] as const);
				const fold = (some: typeof weighted): Float64Array => {
					const sum = new Float64Array(LENGTH);
					for (const [x, w] of some) foldInto(sum, x, w, grid);
					return sum;
				};
				const whole = bits(fold(weighted));
				expect(bits(fold(weighted.toReversed()))).toEqual(whole);
				expect(bits(fold([...weighted.slice(turn), ...weighted.slice(0, turn)]))).toEqual(whole);
				const [left, right] = [fold(weighted.slice(0, cut)), fold(weighted.slice(cut))];
				expect(bits(left.map((units, j) => units + right[j]!))).toEqual(whole);
				const more = fold(weighted);
				const [x, w] = weighted[0]!;
				foldInto(more, x, w, grid);
				foldInto(more, x, -w, grid);
				expect(bits(more)).toEqual(whole);
			}),
		);
	});

	it("have a mean within half a unit of the grid per report and the last rounding", () => {
		fc.assert(
			fc.property(rounds, ({ absMax, reports }) => {
				const grid = gridOf(absMax, reports.length);
				const sum = new Float64Array(LENGTH);
				let weightSum = 0;
				// In units of 2^-160 of integers: exact, because every x·w is a multiple of a coarser unit or below it by far.
				const exact = new Array<bigint>(LENGTH).fill(0n);
				for (const { x, examples } of reports) {
					const w = normalizedWeight(examples, 1000);
					weightSum += w;
					foldInto(sum, x, w, grid);
					for (let j = 0; j < LENGTH; j++) exact[j]! += BigInt(Math.round(x[j]! * 2 ** 160)) * BigInt(w * 2 ** 32);
				}
				const mean = meanOf(sum, grid, weightSum);
				for (let j = 0; j < LENGTH; j++) {
					const wanted = Number(exact[j]!) / 2 ** 192 / weightSum;
					expect(Math.abs(mean[j]! - wanted)).toBeLessThanOrEqual((reports.length * 0.51) / grid / weightSum + Math.abs(wanted) * 2 ** -51);
				}
			}),
		);
	});

	it("stay exact in the worst case: every report at the bound", () => {
		for (const [absMax, reports] of [
			[1, 1],
			[1, 3],
			[0.1, 10],
			[1e9 + 1, 1000],
			[Number.MIN_VALUE * 2 ** 400, 7],
			[2 ** -40, 1024],
			[1 + 2 ** -52, 100_000],
		] as const) {
			const grid = gridOf(absMax, reports);
			const unit = Math.round(absMax * grid);
			for (const sign of [1, -1]) {
				const sum = new Float64Array(1);
				const x = Float64Array.of(sign * absMax);
				for (let i = 0; i < reports; i++) foldInto(sum, x, 1, grid);
				expect(BigInt(sum[0]!)).toBe(BigInt(sign) * BigInt(unit) * BigInt(reports));
				expect(Math.abs(sum[0]!)).toBeLessThanOrEqual(2 ** 51 + reports);
				expect(Math.abs(sum[0]!)).toBeGreaterThan(2 ** 49);
			}
		}
	});

	it("of integers are integers, and float32 values count like float64 ones", () => {
		const grid = gridOf(1000, 50);
		const sum = new Float64Array(3);
		for (let i = 0; i < 50; i++) foldInto(sum, Float32Array.of(i, -1000, 7), 1, grid);
		expect([...sumOf(sum, grid)]).toEqual([1225, -50_000, 350]);
	});

	it("of nothing but zeros have no sign", () => {
		const sum = new Float64Array(1);
		foldInto(sum, Float64Array.of(-0), 1, gridOf(1, 2));
		expect(Object.is(sum[0], 0)).toBe(true);
	});

	it("refuse bounds, numbers of reports and lengths that cannot be", () => {
		for (const absMax of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e300, 1e-300])
			expect(() => gridOf(absMax, 2)).toThrow(`got ${absMax}`);
		for (const reports of [0, 1.5, MAX_REPORTS + 1, Number.NaN]) expect(() => gridOf(1, reports)).toThrow(`got ${reports}`);
		expect(() => foldInto(new Float64Array(2), new Float64Array(3), 1, 1)).toThrow("values has 3 elements, expected 2");
		expect(() => meanOf(new Float64Array(2), 1, 0)).toThrow("weightSum must be a positive finite number, got 0");
	});
});

describe("normalizedWeight", () => {
	it("is a multiple of 2^-32 in (0, 1], close to the ratio", () => {
		fc.assert(
			fc.property(fc.double({ min: 1e-12, max: 1e9, noNaN: true }), fc.double({ min: 1, max: 1e9, noNaN: true }), (weight, factor) => {
				const w = normalizedWeight(weight, weight * factor);
				expect(Number.isInteger(w * 2 ** 32) && w > 0 && w <= 1).toBe(true);
				expect(Math.abs(w - 1 / factor)).toBeLessThanOrEqual(2 ** -32);
			}),
		);
		expect(normalizedWeight(1e-30, 1)).toBe(2 ** -32);
		expect(normalizedWeight(7, 7)).toBe(1);
	});

	it("refuses weights out of range", () => {
		for (const weight of [0, -1, 11, Number.NaN, Number.POSITIVE_INFINITY])
			expect(() => normalizedWeight(weight, 10)).toThrow(`got ${weight}`);
		for (const most of [0, Number.NaN, Number.POSITIVE_INFINITY])
			expect(() => normalizedWeight(1, most)).toThrow(`maxExamples must be a positive finite number, got ${most}`);
	});
});

describe("checkRange", () => {
	it("finds the first value that is not within the bound", () => {
		expect(checkRange(Float64Array.of(1, -1, 0), 1)).toBe(-1);
		expect(checkRange(Float64Array.of(1, 1 + 2 ** -52), 1)).toBe(1);
		expect(checkRange(Float32Array.of(0, 0, Number.NaN, 9), 1)).toBe(2);
		expect(checkRange(Float32Array.of(Number.NEGATIVE_INFINITY), Number.MAX_VALUE)).toBe(0);
		expect(checkRange(new Float64Array(0), 1)).toBe(-1);
	});
});
