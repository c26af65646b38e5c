import { createHash } from "node:crypto";
import { randomFromSeed } from "@rondo/kernels";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { partitionByKey, partitionDirichlet, partitionIid } from "./partition.js";
import { summarize } from "./summary.js";

const digest = (parts: readonly Uint32Array[]): string =>
	createHash("sha256")
		.update(parts.map((part) => part.join(",")).join(";"))
		.digest("hex");
/** n labels, cycling through the classes. */
const cyclic = (n: number, classes: number): Int32Array => Int32Array.from({ length: n }, (_, i) => i % classes);
const ascending = (part: Uint32Array): boolean => part.every((row, i) => i === 0 || part[i - 1]! < row);

function expectPartition(parts: readonly Uint32Array[], n: number): void {
	expect(Uint32Array.from(parts.flatMap((part) => [...part])).sort()).toEqual(Uint32Array.from({ length: n }, (_, i) => i));
	expect(parts.every(ascending)).toBe(true);
}

const seeds = fc.string({ maxLength: 8, unit: "grapheme-ascii" });

describe("partitionIid", () => {
	test("assigns every example once, to parts of equal size", () => {
		fc.assert(
			fc.property(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 40 }), seeds, (n, wanted, seed) => {
				const clients = Math.min(n, wanted);
				const parts = partitionIid(n, clients, randomFromSeed(seed));
				expect(parts.length).toBe(clients);
				expectPartition(parts, n);
				for (const part of parts) expect(Math.abs(part.length - n / clients)).toBeLessThan(1);
			}),
		);
	});

	test("mixes classes", () => {
		const parts = partitionIid(10_000, 5, randomFromSeed("mix"));
		// 200 expected of each class in each part, standard deviation below 13.
		for (const { counts } of summarize(parts, cyclic(10_000, 10)).clients) {
			for (const count of counts) expect(Math.abs(count - 200)).toBeLessThan(60);
		}
	});

	test("refuses more clients than examples", () => {
		expect(() => partitionIid(3, 4, randomFromSeed(""))).toThrow("clients must be at most 3 examples / 1 per client, got 4");
		expect(() => partitionIid(3, 0, randomFromSeed(""))).toThrow("clients must be a positive integer, got 0");
		expect(() => partitionIid(2.5, 1, randomFromSeed(""))).toThrow("got 2.5");
	});
});

describe("partitionDirichlet", () => {
	test("assigns every example once and gives everybody the least", () => {
		const alphas = fc.constantFrom(1e-6, 0.01, 0.1, 1, 100, 1e6);
		fc.assert(
			fc.property(
				fc.array(fc.nat(4), { minLength: 1, maxLength: 200 }),
				fc.integer({ min: 1, max: 20 }),
				alphas,
				fc.nat(5),
				seeds,
				(classes, wanted, alpha, minPerClient, seed) => {
					const clients = Math.max(1, Math.min(wanted, Math.floor(classes.length / Math.max(1, minPerClient))));
					const least = Math.min(minPerClient, classes.length);
					const parts = partitionDirichlet(Int32Array.from(classes), clients, alpha, randomFromSeed(seed), { minPerClient: least });
					expect(parts.length).toBe(clients);
					expectPartition(parts, classes.length);
					for (const part of parts) expect(part.length).toBeGreaterThanOrEqual(least);
				},
			),
		);
	});

	test("alpha sets the skew: one class to one client at 0, the same mix for all at infinity", () => {
		const labels = cyclic(10_000, 10);
		const even = summarize(partitionDirichlet(labels, 10, 1e6, randomFromSeed("even")), labels);
		for (const { counts } of even.clients) for (const count of counts) expect(Math.abs(count - 100)).toBeLessThan(5);
		const skewed = summarize(partitionDirichlet(labels, 10, 1e-6, randomFromSeed("skewed"), { minPerClient: 0 }), labels);
		for (let i = 0; i < 10; i++) expect(Math.max(...skewed.clients.map(({ counts }) => counts[i]!))).toBe(1000);
	});

	test("shares have the variance of the Dirichlet distribution", () => {
		// One class, 2 clients: the first share is Beta(α, α), of variance 1 / (4 (2α + 1)).
		const labels = cyclic(1000, 1);
		const shares = Array.from(
			{ length: 2000 },
			(_, i) => partitionDirichlet(labels, 2, 0.5, randomFromSeed(`beta ${i}`))[0]!.length / 1000,
		);
		const variance = shares.reduce((sum, share) => sum + (share - 0.5) ** 2, 0) / shares.length;
		expect(Math.abs(variance - 1 / 8)).toBeLessThan(0.01);
	});

	test("a seed gives the same split on every machine", () => {
		const labels = cyclic(5000, 10);
		expect(digest(partitionIid(5000, 10, randomFromSeed("golden")))).toBe(
			"084c9a6d464fa657e64ff7dc28abbf9adbddb50a526b3096b26806307f641782",
		);
		expect(digest(partitionDirichlet(labels, 10, 0.5, randomFromSeed("golden")))).toBe(
			"4229963418650cce28ed97f5735f1b00854ed4663e4bf411692abd68854f5f53",
		);
		expect(digest(partitionDirichlet(labels, 100, 0.05, randomFromSeed("golden"), { minPerClient: 10 }))).toBe(
			"a9ca3fdd5648c42dd5b9a6293d2850d719f6e4c982cdf3d69ad9eb155e90e66e",
		);
		expect(digest(partitionIid(5000, 10, randomFromSeed("other")))).not.toBe(digest(partitionIid(5000, 10, randomFromSeed("golden"))));
	});

	test("names the argument that is wrong", () => {
		const split = (labels: number[], clients: number, alpha: number, minPerClient?: number): unknown =>
			partitionDirichlet(Int32Array.from(labels), clients, alpha, randomFromSeed(""), minPerClient === undefined ? {} : { minPerClient });
		expect(() => split([0, 1], 2, 0)).toThrow("alpha must be 1e-6 to 1e6, got 0");
		expect(() => split([0, 1], 2, Number.NaN)).toThrow("alpha must be 1e-6 to 1e6, got NaN");
		expect(() => split([0, -1], 2, 1)).toThrow("labels[1] must be a class index >= 0, got -1");
		expect(() => split([0, 1], 3, 1)).toThrow("clients must be at most 2 examples / 1 per client, got 3");
		expect(() => split([0, 1], 2, 1, -1)).toThrow("minPerClient must be a non-negative integer, got -1");
	});
});

test("partitionByKey gives each key its examples, keys in order", () => {
	const parts = partitionByKey(["b", "a", "b", "__proto__", "a"]);
	expect([...parts.keys()]).toEqual(["__proto__", "a", "b"]);
	expect([...parts.values()].map((part) => [...part])).toEqual([[3], [1, 4], [0, 2]]);
	fc.assert(fc.property(fc.array(fc.string({ maxLength: 2 })), (keys) => expectPartition([...partitionByKey(keys).values()], keys.length)));
});
