import { randomFromSeed } from "@rondo/kernels";
import { describe, expect, it } from "vitest";
import { partitionByClassCount, partitionPowerLaw } from "./skewed-partition.js";

const random = randomFromSeed("skewed");
const everyOnce = (parts: readonly Uint32Array[], n: number): void =>
	expect(parts.flatMap((part) => [...part]).sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));

describe("partitionPowerLaw", () => {
	it("gives sizes in the proportions of k^-exponent, and every example once", () => {
		const parts = partitionPowerLaw(10_000, 20, 1.5, random);
		everyOnce(parts, 10_000);
		const sizes = parts.map((part) => part.length).sort((a, b) => b - a);
		const total = Array.from({ length: 20 }, (_, k) => (k + 1) ** -1.5).reduce((a, b) => a + b);
		for (const [k, size] of sizes.entries()) expect(Math.abs(size - (1 + (9_980 * (k + 1) ** -1.5) / total))).toBeLessThanOrEqual(1);
		expect(parts.map((part) => part.length)).not.toEqual(sizes);
	});

	it("leaves nobody without an example, and exponent 0 is equal sizes", () => {
		const steep = partitionPowerLaw(30, 25, 8, random);
		everyOnce(steep, 30);
		expect(Math.min(...steep.map((part) => part.length))).toBe(1);
		expect(partitionPowerLaw(40, 8, 0, random).map((part) => part.length)).toEqual(Array(8).fill(5));
		expect(partitionPowerLaw(40, 8, 2, random)).toEqual(partitionPowerLaw(40, 8, 2, random));
	});

	it.each([
		[10, 0, 1, /clients must be an integer from 1 to 10, got 0/],
		[10, 11, 1, /clients .* got 11/],
		[10, 2, 11, /exponent must be from 0 to 10, got 11/],
	])("%i examples, %i clients, exponent %i is refused", (n, clients, exponent, message) => {
		expect(() => partitionPowerLaw(n, clients, exponent, random)).toThrow(message);
	});
});

describe("partitionByClassCount", () => {
	const labels = Int32Array.from({ length: 400 }, (_, i) => i % 10);

	it("gives each client examples of as many classes at most, and every example once", () => {
		const parts = partitionByClassCount(labels, 20, 2, random);
		everyOnce(parts, 400);
		for (const part of parts) {
			expect(part.length).toBe(20);
			expect(new Set(Array.from(part, (row) => labels[row]))).toSatisfy((classes: Set<number>) => classes.size <= 2);
		}
		expect(partitionByClassCount(labels, 20, 2, randomFromSeed("other"))).not.toEqual(parts);
	});

	it("refuses more shards than examples", () => {
		expect(() => partitionByClassCount(labels, 201, 2, random)).toThrow(/clients must be an integer from 1 to 200, got 201/);
	});
});
