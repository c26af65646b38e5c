import { describe, expect, test } from "vitest";
import { fairnessReport, pearson } from "./fairness.js";

describe("pearson", () => {
	test("Anscombe's first set", () => {
		const x = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5];
		const y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68];
		expect(pearson(x, y)).toBeCloseTo(0.816421, 6);
	});

	test("lines give 1 and −1, whatever slope and offset; constants nothing", () => {
		const x = [0.1, 0.2, 0.4, 0.9];
		expect(
			pearson(
				x,
				x.map((value) => 3 * value - 7),
			),
		).toBeCloseTo(1, 12);
		expect(
			pearson(
				x,
				x.map((value) => 5 - value / 10),
			),
		).toBeCloseTo(-1, 12);
		expect(pearson(x, [0.1, 0.1, 0.1, 0.1])).toBeNaN();
	});

	test("refuses lists of different lengths, and single numbers", () => {
		expect(() => pearson([1, 2], [1])).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
		expect(() => pearson([1], [1])).toThrow("x must have at least 2 numbers, got 1");
	});
});

test("the report pairs clients by id, and names those that lost", () => {
	const report = fairnessReport(
		new Map([
			["a", 0.5],
			["b", 0.7],
			["c", 0.6],
		]),
		new Map([
			["c", 0.5],
			["a", 0.75],
			["b", 0.875],
		]),
	);
	expect(report).toMatchObject({ maxFinal: 0.875, losers: ["c"] });
	expect(report.meanStandalone).toBeCloseTo(0.6, 12);
	expect(report.meanFinal).toBeCloseTo(2.125 / 3, 12);
	expect(report.leastGain).toBeCloseTo(-0.1, 12);
	expect(report.fairness).toBeCloseTo(pearson([0.5, 0.7, 0.6], [0.75, 0.875, 0.5]), 12);
	expect(() => fairnessReport(new Map([["a", 1]]), new Map([["b", 1]]))).toThrow('client "a" has only one');
});
