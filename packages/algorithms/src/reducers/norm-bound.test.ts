import { foldInto, gridOf, meanOf, normalizedWeight } from "@rondo/kernels";
import { expect, it } from "vitest";
import { distance, honestRows, reduced, scoresOf } from "../../test/stack.js";
import { normBound } from "./norm-bound.js";

it("scales the long reports down and keeps weights", () => {
	const result = reduced(
		normBound,
		[
			[3, 4],
			[0, 1],
			[-12, 0],
		],
		[2],
		{ weights: [0.5, 1, 0.25] },
	);
	expect(scoresOf(result, "norm")).toEqual([5, 1, 12]);
	expect(scoresOf(result, "clip")).toEqual([2 / 5, 1, 2 / 12]);
	expect(distance(result.center, [(0.5 * 1.2 - 0.25 * 2) / 1.75, (0.5 * 1.6 + 1) / 1.75])).toBeLessThan(1e-12);
});

it.each([4, 7])("with 0 takes the median norm of %i reports", (count) => {
	const rows = honestRows("norms", count, 60).map((row, i) => row.map((x) => (x * (i + 1)) / count));
	const weights = rows.map((_, i) => (i + 1) / 16);
	const norms = rows.map((row) => distance(row, new Float32Array(60)));
	const sorted = [...norms].sort((a, b) => a - b);
	const bound = (sorted[(count - 1) >> 1]! + sorted[count >> 1]!) / 2;
	const total = weights.reduce((sum, w) => sum + w, 0);
	const wanted = Array.from({ length: 60 }, (_, j) =>
		rows.reduce((sum, row, i) => sum + (weights[i]! * row[j]! * Math.min(1, bound / norms[i]!)) / total, 0),
	);
	expect(distance(reduced(normBound, rows, [0], { weights }).center, wanted)).toBeLessThan(1e-11);
	expect(distance(reduced(normBound, rows, [1], { weights }).center, wanted)).toBeGreaterThan(0.1);
});

it("that nobody exceeds gives the mean of the engine, byte for byte", () => {
	const rows = honestRows("mean", 6, 5000);
	const weights = rows.map((_, i) => normalizedWeight(10 * i + 3, 100));
	const sum = new Float64Array(5000);
	rows.forEach((row, i) => {
		foldInto(sum, row, weights[i]!, gridOf(16, 6));
	});
	const mean = meanOf(
		sum,
		gridOf(16, 6),
		weights.reduce((total, w) => total + w, 0),
	);
	expect(reduced(normBound, rows, [1e6], { weights }).center).toEqual(mean);
	expect(reduced(normBound, rows, [60], { weights }).center).not.toEqual(mean);
});
