import { describe, expect, it } from "vitest";
import { distance, honestRows, meanOfRows, reduced, scoresOf } from "../../test/stack.js";
import { bulyan } from "./bulyan.js";
import { krum } from "./krum.js";
import { multiKrum } from "./multi-krum.js";

/** Section 4 of the paper, with plain distances. */
function sums(rows: readonly ArrayLike<number>[], f: number): number[] {
	return rows.map((row, i) => {
		const squares = rows.filter((_, j) => j !== i).map((other) => distance(row, other) ** 2);
		return squares
			.sort((a, b) => a - b)
			.slice(0, rows.length - f - 2)
			.reduce((sum, square) => sum + square, 0);
	});
}

const best = (scores: readonly number[], wanted: number): number[] =>
	scores
		.map((_, i) => i)
		.sort((a, b) => scores[a]! - scores[b]!)
		.slice(0, wanted);

const attacked = () => {
	const rows = honestRows("krum", 9, 40);
	const far = [...rows.splice(2, 2)].map((row, k) => row.map((x) => (k === 0 ? -10 * x : 8)));
	return [...far, ...rows];
};

describe("krum", () => {
	it("of points on a line, f = 1: the two nearest others count", () => {
		const result = reduced(krum, [[0], [1], [3], [4], [100]], [1]);
		expect(scoresOf(result, "sum")).toEqual([1 + 9, 1 + 4, 1 + 4, 1 + 9, 96 ** 2 + 97 ** 2]);
		// Of the two least sums that of the first report.
		expect([...result.center]).toEqual([1]);
		expect(scoresOf(result, "weight")).toEqual([0, 1, 0, 0, 0]);
	});

	it.each([1, 2, 3])("agrees with plain distances, f = %i", (f) => {
		const rows = attacked();
		const wanted = sums(rows, f);
		const result = reduced(krum, rows, [f]);
		scoresOf(result, "sum").forEach((sum, i) => {
			expect(Math.abs(sum / wanted[i]! - 1)).toBeLessThan(1e-12);
		});
		const [chosen] = best(wanted, 1);
		expect(chosen).toBeGreaterThan(1);
		expect(distance(result.center, rows[chosen!]!)).toBeLessThan(1e-11);
	});

	it("chooses a report that the others repeat", () => {
		const [x, ...rest] = honestRows("twins", 6, 20);
		const result = reduced(krum, [rest[0]!, rest[1]!, rest[2]!, rest[3]!, x!, x!, x!, x!], [2]);
		expect(scoresOf(result, "sum").slice(4)).toEqual([expect.any(Number), ...new Array(3).fill(scoresOf(result, "sum")[4])]);
		expect(scoresOf(result, "weight")).toEqual([0, 0, 0, 0, 1, 0, 0, 0]);
		expect(distance(result.center, x!)).toBeLessThan(1e-11);
	});
});

describe("multi-krum", () => {
	it.each([1, 2, 3])("is the mean of the n − f − 2 best, f = %i", (f) => {
		const rows = attacked();
		const kept = best(sums(rows, f), rows.length - f - 2);
		const result = reduced(multiKrum, rows, [f]);
		expect(distance(result.center, meanOfRows(kept.map((i) => rows[i]!)))).toBeLessThan(1e-11);
		expect(scoresOf(result, "weight")).toEqual(rows.map((_, i) => (kept.includes(i) ? 1 / kept.length : 0)));
	});

	it("leaves two far reports out", () => {
		expect(scoresOf(reduced(multiKrum, attacked(), [2]), "weight").slice(0, 2)).toEqual([0, 0]);
	});

	it("that keeps one report is Krum", () => {
		const rows = honestRows("limit", 5, 30);
		expect(reduced(multiKrum, rows, [1]).center).not.toEqual(reduced(krum, rows, [1]).center);
		// n = f + 3 is only allowed for f = 0, so the rules are compared without their check.
		const few = rows.slice(0, 4);
		const stack = (args: readonly number[], rule: typeof krum) => {
			const lone = { ...rule, check: () => undefined };
			return reduced(lone, few, args).center;
		};
		expect(stack([1], multiKrum)).toEqual(stack([1], krum));
	});
});

describe("bulyan", () => {
	/** The paper's two steps, by lists. */
	function reference(rows: readonly ArrayLike<number>[], f: number): { chosen: number[]; center: number[] } {
		const count = rows.length;
		let rest = rows.map((_, i) => i);
		const chosen: number[] = [];
		while (chosen.length < rows.length - 2 * f) {
			const near = Math.max(1, rest.length - f - 2);
			const score = (i: number, neighbours: number) =>
				rest
					.filter((j) => j !== i)
					.map((j) => distance(rows[i]!, rows[j]!) ** 2)
					.sort((a, b) => a - b)
					.slice(0, neighbours)
					.reduce((sum, square) => sum + square, 0);
			const isLess = (i: number, j: number) =>
				score(i, near) < score(j, near) || (score(i, near) === score(j, near) && score(i, count) < score(j, count));
			const next = rest.reduce((least, i) => (isLess(i, least) ? i : least), rest[0]!);
			chosen.push(next);
			rest = rest.filter((i) => i !== next);
		}
		const center = Array.from(rows[0]!, (_, j) => {
			const values = chosen.map((i) => rows[i]![j]!).sort((a, b) => a - b);
			const middle = (values[(values.length - 1) >> 1]! + values[values.length >> 1]!) / 2;
			const near = values.sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle)).slice(0, rows.length - 4 * f);
			return near.reduce((sum, x) => sum + x, 0) / near.length;
		});
		return { chosen, center };
	}

	it.each([
		[7, 1],
		[12, 1],
		[15, 3],
	])("agrees with the paper's steps, %i reports, f = %i", (count, f) => {
		const rows = honestRows(`bulyan ${count}`, count, 50);
		rows[2]!.fill(5);
		const wanted = reference(rows, f);
		const result = reduced(bulyan, rows, [f]);
		expect(distance(result.center, wanted.center)).toBeLessThan(1e-12);
		expect(scoresOf(result, "chosen")).toEqual(rows.map((_, i) => (wanted.chosen.includes(i) ? 1 : 0)));
		expect(scoresOf(result, "chosen")[2]).toBe(0);
	});

	it("averages the values nearest to the median: a worked column", () => {
		// Krum takes 3, 2, 4 and then, of the rest with one neighbour each, 0; two lie far away.
		const column = [[0], [2], [3], [4], [6.5], [50], [-40]];
		const { center, scores } = reduced(bulyan, column, [1]);
		const chosen = column.flat().filter((_, i) => scores[i]!.chosen === 1);
		expect(chosen).toEqual([0, 2, 3, 4, 6.5]);
		expect(center[0]).toBe((2 + 3 + 4) / 3);
	});
});
