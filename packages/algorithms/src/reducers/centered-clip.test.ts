import { expect, it } from "vitest";
import { distance, honestRows, meanOfRows, reduced, scoresOf } from "../../test/stack.js";
import { centeredClip } from "./centered-clip.js";

/** The paper's step on the vectors themselves, from 0. */
function reference(rows: readonly ArrayLike<number>[], radius: number): { center: number[]; clips: number[] } {
	let v = Array.from(rows[0]!, () => 0);
	let clips: number[] = [];
	for (let step = 0; step < 10; step++) {
		const apart = rows.map((row) => distance(row, v));
		const sorted = [...apart].sort((a, b) => a - b);
		const tau = radius || (sorted[(rows.length - 1) >> 1]! + sorted[rows.length >> 1]!) / 2;
		clips = apart.map((length) => Math.min(1, tau / length));
		v = v.map((x, j) => x + rows.reduce((sum, row, i) => sum + ((row[j]! - x) * clips[i]!) / rows.length, 0));
	}
	return { center: v, clips };
}

it.each([0, 0.5, 3])("agrees with steps on the vectors themselves, radius %f", (radius) => {
	const rows = honestRows("clip", 8, 40);
	rows[3]!.fill(-7);
	const wanted = reference(rows, radius);
	const result = reduced(centeredClip, rows, [radius]);
	expect(distance(result.center, wanted.center)).toBeLessThan(1e-10);
	expect(distance(scoresOf(result, "clip"), wanted.clips)).toBeLessThan(1e-10);
	expect(
		distance(
			scoresOf(result, "distance"),
			rows.map((row) => distance(row, wanted.center)),
		),
	).toBeLessThan(1e-10);
	expect(Math.max(...wanted.clips)).toBeGreaterThan(Math.min(...wanted.clips));
});

it("moves by at most ten radii", () => {
	const rows = honestRows("bound", 5, 30);
	const length = distance(reduced(centeredClip, rows, [0.01]).center, new Float64Array(30));
	expect(length).toBeLessThanOrEqual(0.1 + 1e-9);
	expect(length).toBeGreaterThan(0.05);
});

it("with a radius that nobody exceeds is the plain mean", () => {
	const rows = honestRows("mean", 6, 30);
	expect(distance(reduced(centeredClip, rows, [1e4]).center, meanOfRows(rows))).toBeLessThan(1e-11);
});
