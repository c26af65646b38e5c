import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { permutation, uniform01, uniformBelow, weightedDraw } from "./draws.js";
import { type Random, randomFromSeed } from "./random.js";

const random = randomFromSeed("draws");

/** A stream that is zero but for chosen words. */
const streamOf = (chosen: Readonly<Record<number, number>>): Random => ({
	at: () => streamOf(chosen),
	words: (from, out) => {
		for (let i = 0; i < out.length; i++) out[i] = chosen[from + i] ?? 0;
		return out;
	},
});

describe("uniformBelow", () => {
	it("stays below the bound, is a function of node and index, and passes a chi-squared test", () => {
		fc.assert(
			fc.property(
				fc.nat(0xffffffff),
				fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
				(index, bound) => {
					const value = uniformBelow(random, index, bound);
					expect(Number.isInteger(value) && value >= 0 && value < bound).toBe(true);
					expect(uniformBelow(random, index, bound)).toBe(value);
				},
			),
		);
		const counts = new Float64Array(10);
		for (let m = 0; m < 100_000; m++) counts[uniformBelow(random, m, 10)]! += 1;
		const chiSquared = counts.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0);
		// 9 degrees of freedom: above 33.7 with probability 1e-4. The stream is fixed, so this passes always or never.
		expect(chiSquared).toBeLessThan(33.7);
	});

	it("rejects the values that would make a bias, and takes the next attempt's words", () => {
		// 2^53 mod 6 = 2: the two highest values are rejected.
		const low = 0xffffffff;
		expect(uniformBelow(streamOf({ 4: 0x1fffff, 5: low - 2 }), 2, 6)).toBe((2 ** 53 - 3) % 6);
		expect(uniformBelow(streamOf({ 4: 0x1fffff, 5: low - 1, [4 + 2 ** 33]: 0, [5 + 2 ** 33]: 11 }), 2, 6)).toBe(5);
	});

	it.each([0, -1, 1.5, 2 ** 53 + 2, Number.NaN])("refuses the bound %s", (bound) => {
		expect(() => uniformBelow(random, 0, bound)).toThrow(`bound must be an integer from 1 to 2^53, got ${bound}`);
	});

	it.each([-1, 0.5, 2 ** 32, Number.NaN])("refuses the index %s", (index) => {
		expect(() => uniformBelow(random, index, 3)).toThrow(`got ${index}`);
		expect(() => uniform01(random, index)).toThrow(`got ${index}`);
	});
});

describe("uniform01", () => {
	it("is in [0, 1) with mean 1/2 and variance 1/12", () => {
		let sum = 0;
		let squares = 0;
		let least = 1;
		let most = 0;
		const n = 100_000;
		for (let m = 0; m < n; m++) {
			const u = uniform01(random, m);
			least = Math.min(least, u);
			most = Math.max(most, u);
			sum += u;
			squares += (u - 0.5) ** 2;
		}
		expect(least >= 0 && most < 1).toBe(true);
		expect(Math.abs(sum / n - 0.5)).toBeLessThan(4 * Math.sqrt(1 / 12 / n));
		expect(Math.abs(squares / n - 1 / 12)).toBeLessThan(4 * Math.sqrt(1 / 180 / n));
		expect(uniform01(streamOf({ 0: 0xffffffff, 1: 0xffffffff }), 0)).toBe(1 - 2 ** -53);
	});
});

describe("permutation", () => {
	it("holds each number once", () => {
		for (const n of [0, 1, 2, 17, 1000])
			expect([...permutation(random.at(n), n)].sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
	});

	it("makes all orders of 4 equally likely", () => {
		const counts = new Map<string, number>();
		for (let m = 0; m < 12_000; m++) {
			const order = permutation(random.at("order", m), 4).join();
			counts.set(order, (counts.get(order) ?? 0) + 1);
		}
		expect(counts.size).toBe(24);
		// 23 degrees of freedom: above 57 with probability 1e-4.
		expect([...counts.values()].reduce((sum, count) => sum + (count - 500) ** 2 / 500, 0)).toBeLessThan(57);
	});

	it("refuses sizes that are none", () => {
		for (const n of [-1, 0.5, 2 ** 32]) expect(() => permutation(random, n)).toThrow(`got ${n}`);
	});
});

describe("weightedDraw", () => {
	it("never draws a weight of zero and follows the others", () => {
		const cumulative = [0, 1, 1, 4, 10, 10];
		const counts = new Float64Array(6);
		for (let m = 0; m < 20_000; m++) counts[weightedDraw(random, m, cumulative)]! += 1;
		expect([counts[0], counts[2], counts[5]]).toEqual([0, 0, 0]);
		for (const [position, share] of [
			[1, 0.1],
			[3, 0.3],
			[4, 0.6],
		] as const) {
			expect(Math.abs(counts[position]! / 20_000 - share)).toBeLessThan(4 * Math.sqrt((share * (1 - share)) / 20_000));
		}
	});

	it("equals a linear search", () => {
		fc.assert(
			fc.property(fc.array(fc.nat(5), { minLength: 1, maxLength: 40 }), fc.nat(1000), (weights, index) => {
				const cumulative: number[] = [];
				for (const weight of weights) cumulative.push((cumulative.at(-1) ?? 0) + weight);
				const total = cumulative.at(-1)!;
				if (total === 0) return;
				const ticket = uniformBelow(random, index, total);
				expect(weightedDraw(random, index, Uint32Array.from(cumulative))).toBe(cumulative.findIndex((sum) => sum > ticket));
			}),
		);
	});

	it.each([[[]], [[0, 0]], [[1, Number.NaN]], [[0.5]]])("refuses the totals of %j", (cumulative) => {
		expect(() => weightedDraw(random, 0, cumulative)).toThrow("the last of cumulative must be an integer");
	});
});
