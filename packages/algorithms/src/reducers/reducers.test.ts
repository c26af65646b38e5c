import { REDUCTION_TILE } from "@rondo/kernels";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { distance, gaussians, honestRows, meanOfRows, reduced, stackOf } from "../../test/stack.js";
import type { Plain } from "../plain.js";
import { builtInReducers } from "../reducing/built-in-reducers.js";

// What holds for every reducer; each has worked vectors and its formula in a test of its own.

const F = 2;
const HONEST = 11;
/** Arguments by which each withstands F of HONEST + F reports. */
const ARGUMENTS: Readonly<Record<string, readonly Plain[]>> = {
	bulyan: [F],
	"centered-clip": [0],
	flag: [1, 0],
	"geometric-median": [],
	krum: [F],
	median: [],
	"multi-krum": [F],
	"norm-bound": [0],
	"trimmed-mean": [F],
};
/** With these one report is a round; the others need 2f + 1 or 2f + 3. */
const ALONE = new Set(["centered-clip", "flag", "geometric-median", "median", "norm-bound"]);

it("every reducer is put to these tests", () => {
	expect(Object.keys(ARGUMENTS).sort()).toEqual(builtInReducers.map(({ name }) => name).sort());
});

describe.each(builtInReducers.map((reducer) => ({ reducer, name: reducer.name, args: ARGUMENTS[reducer.name]! })))(
	"$name",
	({ reducer, name, args }) => {
		it("gives the same bytes for any order of the reports, and each report its scores", () => {
			const rows = honestRows("order", HONEST + F, 50);
			const wanted = reduced(reducer, rows, args);
			fc.assert(
				fc.property(
					fc.shuffledSubarray(
						rows.map((_, i) => i),
						{ minLength: rows.length },
					),
					(order) => {
						const { center, scores } = reduced(
							reducer,
							order.map((i) => rows[i]!),
							args,
						);
						expect(center).toEqual(wanted.center);
						expect(scores).toEqual(order.map((i) => wanted.scores[i]));
					},
				),
				{ numRuns: 30 },
			);
		});

		it("gives the same bytes wherever chunks end, and for float64 that holds the same numbers", () => {
			const rows = honestRows("chunks", HONEST, 3 * REDUCTION_TILE + 17);
			const wanted = reduced(reducer, rows, args, { tiles: 1 });
			expect(reduced(reducer, rows, args, { tiles: 2 })).toEqual(wanted);
			expect(reduced(reducer, rows, args, { tiles: 100 })).toEqual(wanted);
			expect(reduced(reducer, rows, args, { tiles: 3, type: Float64Array })).toEqual(wanted);
		});

		it("of equal reports gives that report", () => {
			const row = honestRows("equal", 1, 40)[0]!;
			const { center } = reduced(reducer, Array(HONEST).fill(row), args);
			// The flag aggregator leaves and re-enters the space of unit vectors.
			expect(distance(center, row)).toBeLessThan(name === "flag" ? 1e-13 : 1e-300);
		});

		it.runIf(ALONE.has(name))("of one report gives that report", () => {
			const row = honestRows("one", 1, 40)[0]!;
			const { center, scores } = reduced(reducer, [row], args);
			expect(distance(center, row)).toBeLessThan(name === "flag" ? 1e-13 : 1e-300);
			expect(scores).toHaveLength(1);
		});

		it("of zeros gives zeros", () => {
			const { center, scores } = reduced(reducer, Array(HONEST).fill(new Float32Array(5)), args);
			expect(center).toEqual(new Float64Array(5));
			for (const metrics of scores) for (const value of Object.values(metrics)) expect(Number.isFinite(value)).toBe(true);
		});

		it.each([
			["one far point", (j: number, k: number) => 1e5 + k + j],
			["opposite far points", (j: number, k: number) => (k === 0 ? 1e5 : -1e5) + j],
		])("attackers at %s move it by no more than the honest reports differ; they drag the mean away", (_what, attack) => {
			const honest = honestRows("breakdown", HONEST, 60);
			const attackers = Array.from({ length: F }, (_, k) => Float32Array.from({ length: 60 }, (_x, j) => attack(j, k)));
			const rows = [...attackers, ...honest];
			const middle = meanOfRows(honest);
			const spread = Math.max(...honest.map((row) => distance(row, middle)));
			const moved = distance(reduced(reducer, rows, args, { absMax: 1e6 }).center, middle);
			// A norm bound only limits a report to the size of the others.
			const size = distance(middle, new Array(60).fill(0));
			expect(moved).toBeLessThan(name === "norm-bound" || name === "flag" ? size : 1.5 * spread);
			if (attack(0, 0) === attack(0, 1) - 1) expect(distance(meanOfRows(rows), middle)).toBeGreaterThan(1000 * spread);
		});

		it("leaves the reports as they were", () => {
			const rows = honestRows("inputs", HONEST, 30);
			const stack = stackOf(rows);
			const seen: Float32Array[] = [];
			reducer.reduce(
				{
					...stack,
					*chunks(which) {
						for (const chunk of stack.chunks(which)) {
							seen.push(...(chunk.rows as readonly Float32Array[]));
							yield chunk;
						}
					},
				},
				args,
			);
			expect(seen.length).toBeGreaterThanOrEqual(HONEST);
			for (const row of seen) expect(rows.some((given) => distance(given, row) === 0)).toBe(true);
		});

		it("refuses arguments that it does not take", () => {
			const range = { least: HONEST, most: HONEST };
			expect(() => reducer.check([...args, 1], range)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
			for (const odd of [-1, Number.NaN, "2", null]) {
				if (args.length > 0) expect(() => reducer.check([odd, ...args.slice(1)], range)).toThrow(new RegExp(`^${name}: .*, got `));
			}
		});
	},
);

it.each([
	["trimmed-mean", 3, 7],
	["bulyan", 3, 15],
	["krum", 3, 9],
	["multi-krum", 3, 9],
])("%s with byzantine %i needs %i reports in the smallest round", (name, f, needed) => {
	const reducer = builtInReducers.find((one) => one.name === name)!;
	expect(() => reducer.check([f], { least: needed, most: needed })).not.toThrow();
	expect(() => reducer.check([f], { least: needed - 1, most: 50 })).toThrow(
		`${name} with byzantine ${f} needs at least ${needed} reports, but a round may commit with ${needed - 1}`,
	);
	expect(() => reducer.check([0], { least: 50, most: 50 })).toThrow(`${name}: byzantine must be a whole number of at least 1, got 0`);
});

it.each([
	["bulyan", [1], 1024],
	["krum", [1], 1024],
	["multi-krum", [1], 1024],
	["geometric-median", [], 1024],
	["centered-clip", [0], 1024],
	["flag", [1, 0], 256],
])("%s refuses more reports than it compares pairs of", (name, args, most) => {
	const reducer = builtInReducers.find((one) => one.name === name)!;
	expect(() => reducer.check(args, { least: 10, most })).not.toThrow();
	expect(() => reducer.check(args, { least: 10, most: most + 1 })).toThrow(`at most ${most} of them, but a round may have ${most + 1}`);
});

it("numbers of the fixture have mean 0 and variance 1", () => {
	const drawn = gaussians("check", 100_000);
	const mean = drawn.reduce((sum, x) => sum + x, 0) / drawn.length;
	const variance = drawn.reduce((sum, x) => sum + x * x, 0) / drawn.length;
	// Standard errors 0.003 and 0.004.
	expect(Math.abs(mean)).toBeLessThan(0.015);
	expect(Math.abs(variance - 1)).toBeLessThan(0.02);
});
