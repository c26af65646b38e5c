import { randomFromSeed } from "@rondo/kernels";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { partitionByClassCount, partitionPowerLaw } from "./uneven.js";

const seeds = fc.string({ maxLength: 8, unit: "grapheme-ascii" });
const ascending = (part: Uint32Array): boolean => part.every((row, i) => i === 0 || part[i - 1]! < row);
const digits = Int32Array.from({ length: 1438 }, (_, i) => i % 10);

describe("partitionPowerLaw", () => {
	test("assigns every example once and leaves nobody without", () => {
		fc.assert(
			fc.property(
				fc.integer({ min: 1, max: 300 }),
				fc.integer({ min: 1, max: 40 }),
				fc.constantFrom(0, 0.5, 1, 3, 20),
				seeds,
				(n, wanted, exponent, seed) => {
					const clients = Math.min(n, wanted);
					const parts = partitionPowerLaw(n, clients, exponent, randomFromSeed(seed));
					expect(parts.length).toBe(clients);
					expect(Uint32Array.from(parts.flatMap((part) => [...part])).sort()).toEqual(Uint32Array.from({ length: n }, (_, i) => i));
					expect(parts.every((part) => part.length > 0 && ascending(part))).toBe(true);
				},
			),
		);
	});

	test.each([0, 1, 2, 0.5])("sizes grow with the power %s of the rank", (exponent) => {
		const n = 100_000;
		const weights = Array.from({ length: 10 }, (_, k) => (k + 1) ** exponent);
		const total = weights.reduce((sum, weight) => sum + weight, 0);
		for (const [k, part] of partitionPowerLaw(n, 10, exponent, randomFromSeed("sizes")).entries())
			expect(Math.abs(part.length - (n * weights[k]!) / total)).toBeLessThanOrEqual(1);
	});

	test("another seed splits otherwise, the same seed alike", () => {
		const of = (seed: string) => partitionPowerLaw(200, 5, 1, randomFromSeed(seed));
		expect(of("a")).toEqual(of("a"));
		expect(of("a")).not.toEqual(of("b"));
	});

	test("refuses what cannot be", () => {
		const random = randomFromSeed("");
		expect(() => partitionPowerLaw(3, 4, 1, random)).toThrow("clients must be an integer from 1 to 3 examples, got 4");
		expect(() => partitionPowerLaw(3, 0, 1, random)).toThrow("got 0");
		expect(() => partitionPowerLaw(2.5, 1, 1, random)).toThrow("n must be an integer");
		expect(() => partitionPowerLaw(3, 2, -1, random)).toThrow("exponent must be 0 to 20, got -1");
		expect(() => partitionPowerLaw(3, 2, Number.NaN, random)).toThrow("got NaN");
	});
});

describe("partitionByClassCount", () => {
	test("ten clients of 1 to 10 classes: as many classes as asked for, equal sizes, no example twice", () => {
		const counts = Array.from({ length: 10 }, (_, i) => i + 1);
		const parts = partitionByClassCount(digits, counts, randomFromSeed("classes"));
		const sizes = parts.map(({ length }) => length);
		expect(new Set(sizes).size).toBe(1);
		// Whoever has one class leaves little of it; what is asked for most is asked for 1.1 times at the least.
		expect(sizes[0]).toBeGreaterThanOrEqual(125);
		expect(sizes[0]).toBeLessThanOrEqual(144);
		for (const [client, part] of parts.entries()) {
			expect(ascending(part)).toBe(true);
			const held = new Map<number, number>();
			for (const row of part) held.set(digits[row]!, (held.get(digits[row]!) ?? 0) + 1);
			expect(held.size).toBe(counts[client]);
			expect(Math.max(...held.values()) - Math.min(...held.values())).toBeLessThanOrEqual(1);
		}
		expect(new Set(parts.flatMap((part) => [...part])).size).toBe(10 * sizes[0]!);
	});

	test("holds whatever is asked for", () => {
		fc.assert(
			fc.property(fc.array(fc.integer({ min: 1, max: 10 }), { minLength: 1, maxLength: 12 }), seeds, (counts, seed) => {
				const parts = partitionByClassCount(digits, counts, randomFromSeed(seed));
				const all = parts.flatMap((part) => [...part]);
				expect(new Set(all).size).toBe(all.length);
				expect(new Set(parts.map(({ length }) => length)).size).toBe(1);
				for (const [client, part] of parts.entries()) expect(new Set(Array.from(part, (row) => digits[row])).size).toBe(counts[client]);
			}),
		);
	});

	test("refuses what cannot be", () => {
		const random = randomFromSeed("");
		expect(() => partitionByClassCount(digits, [1, 11], random)).toThrow("classCounts[1] must be an integer from 1 to 10 classes, got 11");
		expect(() => partitionByClassCount(digits, [0], random)).toThrow("classCounts[0] must be");
		expect(() => partitionByClassCount(Int32Array.of(0, -1), [1], random)).toThrow("labels[1] must be a class index >= 0, got -1");
		expect(() => partitionByClassCount(Int32Array.of(0, 1), [2, 2, 2], random)).toThrow("labels must be enough");
	});
});
