import { expect, it } from "vitest";
import { distance, honestRows, meanOfRows, reduced, scoresOf } from "../../test/stack.js";
import { geometricMedian } from "./geometric-median.js";

const total = (z: ArrayLike<number>, rows: readonly ArrayLike<number>[]): number => rows.reduce((sum, row) => sum + distance(z, row), 0);

/** Algorithm 2 of the paper on vectors, with equal weights and a small ν. */
function weiszfeld(rows: readonly ArrayLike<number>[], steps: number): number[] {
	let z = meanOfRows(rows);
	for (let step = 0; step < steps; step++) {
		const pulls = rows.map((row) => 1 / Math.max(1e-9, distance(z, row)));
		const sum = pulls.reduce((a, b) => a + b, 0);
		z = z.map((_, j) => rows.reduce((at, row, i) => at + (pulls[i]! / sum) * row[j]!, 0));
	}
	return z;
}

it("of the corners of a convex quadrilateral is where its diagonals cross", () => {
	// The diagonals from (0, 0) to (4, 4) and from (4, 0) to (1, 3) cross at (2, 2).
	const corners = [
		[0, 0],
		[4, 0],
		[4, 4],
		[1, 3],
	];
	const result = reduced(geometricMedian, corners);
	expect(distance(result.center, [2, 2])).toBeLessThan(1e-6);
	scoresOf(result, "distance").forEach((apart, i) => {
		expect(Math.abs(apart - distance([2, 2], corners[i]!))).toBeLessThan(1e-6);
	});
});

it("on a line is the median", () => {
	expect(Math.abs(reduced(geometricMedian, [[0], [1], [2], [7], [10]]).center[0]! - 2)).toBeLessThan(1e-4);
});

it.each([5, 12])("agrees with steps on the %i vectors themselves, and no other point near by is better", (count) => {
	const rows = honestRows("weiszfeld", count, 40);
	rows[1]!.fill(9);
	const result = reduced(geometricMedian, rows);
	expect(distance(result.center, weiszfeld(rows, 500))).toBeLessThan(1e-7);
	expect(distance(result.center, weiszfeld(rows, 1))).toBeGreaterThan(0.01);
	for (const other of honestRows("nearby", 20, 40)) {
		const shifted = result.center.map((x, j) => x + 1e-3 * other[j]!);
		expect(total(shifted, rows)).toBeGreaterThan(total(result.center, rows));
	}
	const weights = scoresOf(result, "weight");
	expect(weights.reduce((sum, w) => sum + w, 0)).toBeCloseTo(1, 12);
	expect(weights[1]).toBe(Math.min(...weights));
});

it("is the point that more than half of the reports share", () => {
	const rows = honestRows("majority", 3, 30);
	const zeros = new Float32Array(30);
	expect(distance(reduced(geometricMedian, [rows[0]!, rows[0]!, rows[0]!, rows[1]!, rows[2]!]).center, rows[0]!)).toBeLessThan(1e-4);
	expect(distance(reduced(geometricMedian, [zeros, rows[0]!, zeros, zeros, rows[1]!]).center, zeros)).toBeLessThan(1e-7);
});

it("moves and scales with the reports", () => {
	const rows = honestRows("scale", 7, 30);
	const { center } = reduced(geometricMedian, rows);
	const small = reduced(
		geometricMedian,
		rows.map((row) => row.map((x) => x * 2 ** -20)),
	).center;
	expect(
		distance(
			small.map((x) => x * 2 ** 20),
			center,
		),
	).toBeLessThan(1e-5);
});
