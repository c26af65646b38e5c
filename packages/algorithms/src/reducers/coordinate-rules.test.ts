import { describe, expect, it } from "vitest";
import { asFloat32, distance, honestRows, reduced, scoresOf } from "../../test/stack.js";
import { median } from "./median.js";
import { trimmedMean } from "./trimmed-mean.js";

const columns = (rows: readonly ArrayLike<number>[]): number[][] =>
	Array.from(rows[0]!, (_, j) => rows.map((row) => row[j]!).sort((a, b) => a - b));

describe("median", () => {
	it("of worked columns: odd, even, ties, an outlier", () => {
		const odd = reduced(median, [
			[1, 5, -2, 0],
			[2, 5, -1, 1e4],
			[9, 5, -3, 1],
		]);
		expect([...odd.center]).toEqual([2, 5, -2, 1]);
		expect(scoresOf(odd, "distance")).toEqual([Math.sqrt(2), Math.sqrt(1 + (1e4 - 1) ** 2), Math.sqrt(49 + 1)]);
		expect([
			...reduced(median, [
				[1, 3],
				[2, 3],
				[4, 1],
				[8, 1],
			]).center,
		]).toEqual([3, 2]);
	});

	it("agrees with sorted columns", () => {
		for (const count of [4, 11]) {
			const rows = honestRows("median", count, 300);
			const wanted = columns(rows).map((column) => (column[(count - 1) >> 1]! + column[count >> 1]!) / 2);
			const result = reduced(median, rows);
			expect([...result.center]).toEqual(wanted);
			scoresOf(result, "distance").forEach((score, i) => {
				expect(score).toBeCloseTo(distance(rows[i]!, wanted), 10);
			});
		}
	});

	it("lies between honest values however far fewer than half of the reports are", () => {
		const honest = honestRows("between", 6, 80);
		const far = [1, -1, 1, 1, -1].map((sign) => new Float32Array(80).fill(sign * 1e6));
		const { center } = reduced(median, [...far.slice(0, 3), ...honest, ...far.slice(3)]);
		columns(honest).forEach((column, j) => {
			expect(center[j]).toBeGreaterThanOrEqual(column[0]!);
			expect(center[j]).toBeLessThanOrEqual(column.at(-1)!);
		});
	});
});

describe("trimmed mean", () => {
	it("of worked columns", () => {
		const { center, scores } = reduced(
			trimmedMean,
			[
				[1, 7, 0],
				[2, 7, -1e4],
				[4, 7, 1e4],
				[6, 7, 1],
				[1e4, 7, 2],
			],
			[1],
		);
		expect([...center]).toEqual([4, 7, 1]);
		expect(scores[0]).toEqual({ distance: Math.sqrt(10) });
	});

	it.each([1, 3, 5])("agrees with sorted columns without %i values at each end", (f) => {
		const rows = honestRows("trimmed", 11, 300);
		const wanted = columns(rows).map((column) => column.slice(f, 11 - f).reduce((sum, x) => sum + x, 0) / (11 - 2 * f));
		expect(distance(reduced(trimmedMean, rows, [f]).center, wanted)).toBeLessThan(1e-12);
		// Another f is another result.
		expect(distance(reduced(trimmedMean, rows, [f === 1 ? 2 : 1]).center, wanted)).toBeGreaterThan(0.1);
	});

	it("that leaves one value is the median", () => {
		const rows = asFloat32(honestRows("limit", 7, 100));
		expect(reduced(trimmedMean, rows, [3]).center).toEqual(reduced(median, rows).center);
	});
});
