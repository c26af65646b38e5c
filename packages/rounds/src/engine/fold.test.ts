import { bytesOf, contentDigest, encodePlain, type Plain, type Plan, type Vec, vecOf } from "@rondo/algorithms";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { acceptedOf, codec, layout, mean, memory, reducer, reportOf, taskOf } from "../../test/engine-fixture.js";
import { Fold } from "./fold.js";
import { checkReport, type FoldContext, lanesOf } from "./lanes.js";
import { inClientOrder } from "./log.js";
import type { Report } from "./report.js";

const plan = mean.plan(null as never, null as never);
const store = memory();
const context: FoldContext = { strategy: mean, codec, reducer, config: { rate: 1 }, layout, source: store };
const bytes = (result: ReturnType<Fold["result"]>): Uint8Array =>
	encodePlain({ lanes: result.lanes, weight: result.weight, metrics: result.metrics });

function fold(
	reports: readonly Report[],
	order = reports.map((_, i) => i),
	use = context,
	planned: Plan = plan,
): ReturnType<Fold["result"]> {
	const sum = new Fold(use, planned);
	for (const i of order) sum.add(taskOf(i + 1), reports[i]!);
	return sum.result(inClientOrder(acceptedOf(reports)));
}

const value = fc.float({ min: -8, max: 8, noNaN: true, noDefaultInfinity: true });
const anyReport = fc
	.tuple(
		fc.tuple(value, value, value),
		fc.tuple(value, value),
		fc.integer({ min: 1, max: 300 }),
		fc.option(fc.double({ min: -1e6, max: 1e6, noNaN: true })),
	)
	.map(([delta, hits, numExamples, loss]) => reportOf(delta, hits, numExamples, { metrics: loss === null ? {} : { loss } }));
const cohort = fc.array(anyReport, { minLength: 1, maxLength: 8 }).chain((reports) =>
	fc.tuple(
		fc.constant(reports),
		fc.shuffledSubarray(
			reports.map((_, i) => i),
			{ minLength: reports.length },
		),
	),
);

describe("the fold", () => {
	test("gives the same bytes for any order of arrival", () => {
		fc.assert(
			fc.property(cohort, ([reports, order]) => {
				expect(bytes(fold(reports, order))).toEqual(bytes(fold(reports)));
			}),
		);
	});

	test("takes a task once and keeps its sum when a report is refused", () => {
		const reports = [reportOf([1, 2, 3], [1, 0], 10), reportOf([3, 2, 1], [0, 1], 30)];
		const sum = new Fold(context, plan);
		sum.add(taskOf(1), reports[0]!);
		sum.add(taskOf(1), reports[1]!);
		expect(() => sum.add(taskOf(2), reportOf([0, 9, 0], [0, 0], 1))).toThrow();
		sum.add(taskOf(2), reports[1]!);
		expect([...sum.tasks]).toEqual([taskOf(1), taskOf(2)]);
		expect(sum.has(taskOf(2))).toBe(true);
		expect(bytes(sum.result(inClientOrder(acceptedOf(reports))))).toEqual(bytes(fold(reports)));
	});

	test("is the weighted mean, or the plain sum", () => {
		const { lanes, weight, weights, metrics } = fold([
			reportOf([1, -8, 0.5], [1, 10], 25, { metrics: { loss: 4, rare: 1 } }),
			reportOf([3, 8, 0.25], [2, 10], 75, { metrics: { loss: 8 } }),
			reportOf([2, 0, 0], [0, 0], 1_000_000, { metrics: { loss: 1 } }),
		]);
		// The third weight is clamped to maxExamples = 100. Weights are multiples of 100 · 2^-32.
		expect(Array.from(lanes.delta!)).toEqual([(25 + 225 + 200) / 200, 2, 31.25 / 200]);
		expect(Array.from(lanes.hits!)).toEqual([3, 20]);
		expect(weight).toBe(200);
		expect([...weights.values()].sort((a, b) => a - b)).toEqual([25, 75, 100]);
		// "rare" stands in fewer than half of the reports.
		expect(metrics).toEqual({ loss: (4 * 25 + 8 * 75 + 100) / 200 });
	});

	test("asks the strategy for the weight and refuses a senseless one", () => {
		const weighed = (weigh: (n: number) => number): FoldContext => ({ ...context, strategy: { ...mean, weigh } });
		const reports = [reportOf([1, 0, 0], [0, 0], 1), reportOf([3, 0, 0], [0, 0], 99)];
		expect(
			fold(
				reports,
				[0, 1],
				weighed(() => 1),
			).lanes.delta![0],
		).toBe(2);
		for (const odd of [0, -1, 101, Number.NaN, Number.POSITIVE_INFINITY]) {
			expect(() =>
				fold(
					reports,
					[0, 1],
					weighed(() => odd),
				),
			).toThrow(new RegExp(`weigh must be above 0 and at most 100, got ${odd} for 1 examples`));
		}
	});

	test("refuses more reports than leases, another set and an empty one", () => {
		const reports = Array.from({ length: 9 }, () => reportOf([0, 0, 0], [0, 0], 1));
		expect(() => fold(reports)).toThrow(expect.objectContaining({ code: "CONFLICT", message: expect.stringContaining("8 leases") }));
		const buffer = new Fold(context, { ...plan, leases: 20, closeAt: 2, maxStaleness: 3 });
		for (const i of [0, 1]) buffer.add(taskOf(i), reports[i]!, i);
		expect(() => buffer.add(taskOf(2), reports[2]!, 3)).toThrow(
			expect.objectContaining({ code: "CONFLICT", message: expect.stringContaining("closes at 2 reports") }),
		);
		const sum = new Fold(context, plan);
		expect(() => sum.result([])).toThrow(expect.objectContaining({ code: "CONFLICT" }));
		sum.add(taskOf(1), reports[0]!);
		expect(() => sum.result(acceptedOf(reports.slice(0, 2)))).toThrow(expect.objectContaining({ code: "CONFLICT" }));
		expect(() => sum.result(acceptedOf(reports.slice(1, 2)).map((row) => ({ ...row, task: taskOf(5) })))).toThrow(
			expect.objectContaining({ code: "CONFLICT" }),
		);
	});
});

describe("the fold of a long lane", () => {
	const length = 70_001;
	const long: Plan = { ...plan, lanes: { ...plan.lanes, delta: { ...plan.lanes.delta!, length } } };
	const use: FoldContext = { ...context, strategy: { ...mean, bounds: () => ({ task: 0, download: 0, report: 2 ** 24 }) } };
	const reports = [3, 50].map((numExamples, i) => {
		const delta = Float32Array.from({ length }, (_, j) => ((j + 7 * i) % 64) / 8);
		const report = reportOf([0, 0, 0], [1, 2], numExamples);
		return { ...report, lanes: { ...report.lanes, delta: store.put(bytesOf(delta)) as Vec<"u8"> } };
	});
	const held = (sum: Fold) => {
		reports.forEach((report, i) => {
			sum.add(taskOf(i + 1), report);
		});
		return sum.result(inClientOrder(acceptedOf(reports)));
	};

	test("is the weighted mean, and its result outlives its memory", () => {
		const sum = new Fold(use, long);
		const result = held(sum);
		const wanted = bytes(result);
		sum.release();
		sum.release();
		// Sums of later folds take the place of the first one's.
		const others = [new Fold(use, long), new Fold(use, long)].map(held);
		expect(Buffer.compare(bytes(result), wanted)).toBe(0);
		for (const other of others) expect(Buffer.compare(bytes(other), wanted)).toBe(0);
		for (const j of [0, 1, 63, 65_536, length - 1])
			expect(result.lanes.delta![j]).toBeCloseTo((3 * (j % 64) + 50 * ((j + 7) % 64)) / 8 / 53, 6);
	});
});

describe("a report is refused", () => {
	const refusal = (report: Report, use = context) => {
		try {
			checkReport(use, plan, report, 0);
		} catch (error) {
			return `${(error as { code: string }).code}: ${(error as Error).message}`;
		}
		return "accepted";
	};
	test.each<[string, Report, RegExp]>([
		["NaN", reportOf([0, Number.NaN, 0], [0, 0], 1), /^NOT_FINITE: lane delta\[1\] is NaN/],
		["an infinity", reportOf([0, 0, 0], [0, Number.NEGATIVE_INFINITY], 1), /^NOT_FINITE: lane hits\[1\] is -Infinity/],
		[
			"a value beyond the bound",
			reportOf([0, 0, -8.5], [0, 0], 1),
			/^LANE_OUT_OF_BOUND: lane delta\[2\] is -8.5, beyond the lane's bound of ±8/,
		],
		["a short lane", reportOf([0, 0], [0, 0], 1), /^BAD_ENCODING: lane delta: .*got 8/],
		["a long lane", reportOf([0, 0, 0, 0], [0, 0], 1), /^TOO_LARGE: .*25 bytes.*21/],
		[
			"a missing lane",
			{ ...reportOf([0, 0, 0], [], 1), lanes: { delta: new Uint8Array(12) } },
			/^INVALID_ARGUMENT: lane hits is missing; got: delta/,
		],
		[
			"an unknown lane",
			reportOf([0, 0, 0], [0, 0], 1, { lanes: { other: new Uint8Array(1) } }),
			/^INVALID_ARGUMENT: lane other is not expected here; expected: delta, hits/,
		],
		["a large header", reportOf([0, 0, 0], [0, 0], 1, { header: "xx" }), /^TOO_LARGE: report has 23 bytes .*21/],
		[
			"a blob that is not there",
			reportOf([0, 0, 0], [0, 0], 1, { lanes: { delta: vecOf("u8", 12, "0".repeat(64)), hits: new Uint8Array(8) } }),
			/^BLOB_MISSING: lane delta: no blob/,
		],
	])("for %s", (_what, report, message) => expect(refusal(report)).toMatch(message));

	test("before a blob is read that is too large", () => {
		const roomy: FoldContext = {
			...context,
			strategy: { ...mean, bounds: () => ({ task: 1, download: 1, report: 1e9 }) },
			source: { blob: () => expect.unreachable() },
		};
		const huge = vecOf("u8", 1_000_000, contentDigest(Uint8Array.of()));
		expect(refusal(reportOf([0, 0, 0], [0, 0], 1, { lanes: { delta: huge, hits: new Uint8Array(8) } }), roomy)).toMatch(
			/^TOO_LARGE: lane delta has 1000000 bytes, at most 12/,
		);
	});
});

test("lanes may lie in blobs", () => {
	const delta = store.put(bytesOf(Float32Array.of(1, 2, 3)).slice()) as Vec<"u8">;
	expect(lanesOf(context, plan, reportOf([], [1, 2], 1, { lanes: { delta, hits: bytesOf(Float32Array.of(1, 2)) } }))).toEqual({
		delta: Float32Array.of(1, 2, 3),
		hits: Float32Array.of(1, 2),
	});
});

describe("an unpacked header", () => {
	const unpacking = (unpack: (header: Plain) => unknown): FoldContext => ({ ...context, strategy: { ...mean, unpack: unpack as never } });
	const report = reportOf([], [], 1, { header: 2, lanes: {} });
	test("gives the lanes", () => {
		const use = unpacking((header) => ({ delta: new Float64Array(3).fill(header as number), hits: new Float64Array(2) }));
		expect(fold([report], [0], use).lanes.delta).toEqual(Float64Array.of(2, 2, 2));
		expect(() => lanesOf(use, plan, { ...report, lanes: { delta: new Uint8Array(12) } })).toThrow(
			/lane delta is not expected here; expected: none/,
		);
	});
	test("must give the lanes of the plan, and its faults are the report's", () => {
		expect(() =>
			lanesOf(
				unpacking(() => ({ delta: new Float64Array(3) })),
				plan,
				report,
			),
		).toThrow(/lane hits is missing/);
		expect(() =>
			lanesOf(
				unpacking(() => ({ delta: new Float64Array(4), hits: new Float64Array(2) })),
				plan,
				report,
			),
		).toThrow(/delta has 4 elements, expected 3/);
		expect(() =>
			lanesOf(
				unpacking((header) => (header as never as { x: { y: 1 } }).x.y),
				plan,
				report,
			),
		).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining("mean cannot unpack the header") }));
	});
});
