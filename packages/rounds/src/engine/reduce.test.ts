import {
	type AnyStrategy,
	builtInReducers,
	bytesOf,
	type Codec,
	createRegistry,
	encodePlain,
	type Plain,
	type Plan,
	type Reducer,
	type Vec,
} from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { acceptedOf, codec, engineOf, layout, mean, memory, reader, reducer, reportOf, runOf, taskOf } from "../../test/engine-fixture.js";
import { Fold } from "./fold.js";
import type { FoldContext } from "./lanes.js";
import { inClientOrder } from "./log.js";
import { needsReports, reduceLanes } from "./reduce.js";
import { replayRun } from "./replay.js";
import type { Report } from "./report.js";
import type { Finished, Position, RunEngine } from "./run-engine.js";

const plan = mean.plan(null as never, null as never);
const planWith = (spec: NonNullable<Plan["lanes"][string]["reducer"]>, change: Partial<Plan> = {}): Plan => ({
	...plan,
	quorum: 3,
	...change,
	lanes: { ...plan.lanes, delta: { ...plan.lanes.delta!, reducer: spec } },
});
const robust = (
	spec: NonNullable<Plan["lanes"][string]["reducer"]>,
	base: AnyStrategy = mean,
	change: Partial<Plan> = {},
): AnyStrategy => ({
	...base,
	plan: () => planWith(spec, change),
});
const start = (engine: RunEngine): Position => ({ state: engine.genesis().state, members: new Map(), round: 1, commit: 0, population: 9 });

function finish(engine: RunEngine, sent: readonly Report[], order = sent.map((_, i) => i), cached?: readonly number[]): Finished {
	const position = start(engine);
	const planned = engine.plan(position);
	const fold = cached === undefined ? undefined : engine.fold(planned);
	for (const i of cached ?? []) fold!.add(taskOf(i + 1), sent[i]!);
	const rows = acceptedOf(sent);
	return engine.finish({
		position,
		plan: planned,
		accepted: order.map((i) => rows[i]!),
		reports: (task) => sent.find((_, i) => taskOf(i + 1) === task)!,
		previous: "p",
		attempt: 1,
		incarnation: 1,
		...(fold === undefined ? {} : { fold }),
	});
}

const sent = [
	reportOf([1, 8, 3], [1, 0], 25, { metrics: { loss: 2 } }),
	reportOf([3, 2, -8], [0, 2], 75, { metrics: { loss: 1 } }),
	reportOf([2, -8, 1], [5, 2], 100, { metrics: { loss: 4 } }),
	reportOf([2.5, 1, 2], [1, 1], 10),
	reportOf([8, 0.5, 2.5], [0, 0], 1),
];

describe("a round whose lane has a reducer", () => {
	test("is the reducer's result; other lanes, weights and metrics stay as they are", () => {
		const engine = engineOf(robust(["median"]));
		const { state, record, metrics, scores } = finish(engine, sent);
		const model = engine.model({ ...start(engine), state });
		expect(engine.parts.io.read(model)).toEqual(Float32Array.of(1 + 0.5 * 2.5, 2 + 0.5, 3 + 0.5 * 2));
		expect(record.entry).toMatchObject({ publish: { hits: Float64Array.of(7, 5), count: 5 } });
		expect(metrics).toEqual({ count: 5, "client.loss": (2 * 25 + 75 + 4 * 100) / 200 });
		expect(Object.keys(scores)).toEqual(["c5", "c6", "c7", "c8", "c9"]);
		expect(scores.c6).toEqual({ "reducer.distance": 0 });
		expect(scores.c5).toEqual({ "reducer.distance": Math.sqrt(5.5 ** 2 + 0.5 ** 2 + 0.5 ** 2) });
	});

	test.each(builtInReducers.map(({ name }) => name))("gives the same bytes for any order of arrival and any accumulator: %s", (name) => {
		const args: Record<string, readonly Plain[]> = { flag: [1, 0], "norm-bound": [0], "centered-clip": [0] };
		const found = reducer([name]);
		const spec = [name, ...(args[name] ?? (found.parameters.length === 0 ? [] : [1]))] as const;
		const strategy = robust(spec, mean, { quorum: 7, closeAt: 8 });
		const many = [...sent, reportOf([1.5, 2.5, 1], [1, 0], 40), reportOf([2, 1.25, 1.75], [0, 0], 60)];
		const recorded = (result: Finished) => encodePlain([result.record as unknown as Plain, result.scores as Plain]);
		const wanted = recorded(finish(engineOf(strategy), many));
		const all = many.map((_, i) => i);
		fc.assert(
			fc.property(fc.shuffledSubarray(all, { minLength: 7 }), fc.option(fc.shuffledSubarray(all), { nil: undefined }), (order, cached) => {
				expect(recorded(finish(engineOf(strategy), many, order, cached))).toEqual(wanted);
			}),
			{ numRuns: 20 },
		);
		expect(recorded(finish(engineOf(mean), many))).not.toEqual(wanted);
	});

	test.each([mean, reader])("replays ($name)", async (base) => {
		const strategy = robust(["trimmed-mean", 1], base);
		const run = runOf(engineOf(strategy));
		const report = async (task: string) => run.reports.get(task)!;
		const steps = [];
		for await (const step of replayRun({ records: run.records, report, engine: engineOf(strategy), head: run.records.at(-1)!.hash }))
			steps.push(step.ok);
		expect(steps).toEqual([true, true, true, true, true]);
		// The same log under the mean does not.
		const others = [];
		for await (const step of replayRun({ records: run.records, report, engine: engineOf(base) })) others.push(step.ok);
		expect(others.at(-1)).toBe(base === reader);
		if (base === mean) expect(others).toEqual([true, false]);
	});

	test("adds its scores to the strategy's own", () => {
		const { scores } = finish(engineOf(robust(["krum", 1], reader, { quorum: 5 })), sent);
		expect(scores.c9).toEqual({ weight: 25, "reducer.sum": expect.any(Number), "reducer.weight": expect.any(Number) });
		expect(Object.values(scores).map((row) => row["reducer.weight"])).toContain(1);
	});

	test("names the lane in the scores when several lanes have one", () => {
		const two = planWith(["median"]);
		const lanes = { ...two.lanes, hits: { ...two.lanes.hits!, combine: "mean" as const, reducer: ["norm-bound", 0] as const } };
		const { scores, record } = finish(engineOf({ ...mean, plan: () => ({ ...two, lanes }) }), sent);
		expect(scores.c5).toEqual({ "reducer.delta.distance": expect.any(Number), "reducer.hits.norm": 0, "reducer.hits.clip": 1 });
		expect((record.entry as unknown as { publish: { hits: Float64Array } }).publish.hits).not.toEqual(Float64Array.of(7, 5));
	});

	test("refuses what a hostile report holds before a reducer sees it", () => {
		const engine = engineOf(robust(["median"]));
		for (const [delta, code] of [
			[[Number.NaN, 0, 0], "NOT_FINITE"],
			[[9, 0, 0], "LANE_OUT_OF_BOUND"],
			[[1, 1], "BAD_ENCODING"],
		] as const) {
			expect(() => engine.check(planWith(["median"]), reportOf(delta, [0, 0], 1))).toThrow(expect.objectContaining({ code }));
			expect(() => finish(engine, [...sent.slice(0, 3), reportOf(delta, [0, 0], 1)])).toThrow(expect.objectContaining({ code }));
		}
	});

	test("reads reports, and keeps no sum", () => {
		const needed = (strategy: AnyStrategy, of: Plan): boolean => needsReports({ strategy, config: {} }, of);
		expect([needed(mean, plan), needed(reader, plan), needed(mean, planWith(["median"]))]).toEqual([false, true, true]);
		const fold = engineOf(mean).fold(planWith(["median"]));
		fold.add(taskOf(1), sent[0]!);
		expect(Object.keys(fold.result(acceptedOf(sent.slice(0, 1))).lanes)).toEqual(["hits"]);
	});
});

describe("a plan is refused", () => {
	test.each<[string, Plan, string, RegExp]>([
		[
			"with an unknown reducer",
			planWith(["average"]),
			"UNKNOWN_REDUCER",
			/lanes\.delta\.reducer: no reducer is named "average"; known: bulyan, /,
		],
		["with a reducer that is no list", planWith("median" as never), "INVALID_ARGUMENT", /lanes\.delta\.reducer must be a list/],
		["with odd arguments", planWith(["median", 1]), "INVALID_ARGUMENT", /lanes\.delta\.reducer: median takes 0 arguments, got 1/],
		[
			"whose quorum is too small",
			planWith(["krum", 1]),
			"INVALID_ARGUMENT",
			/krum with byzantine 1 needs at least 5 reports, but a round may commit with 3/,
		],
		[
			"with a reducer on a sum",
			{ ...plan, lanes: { ...plan.lanes, hits: { ...plan.lanes.hits!, reducer: ["median"] } } },
			"INVALID_ARGUMENT",
			/lanes\.hits\.reducer must be absent, because only a mean can be replaced/,
		],
	])("%s", (_what, odd, code, message) => {
		const engine = engineOf({ ...mean, plan: () => odd });
		expect(() => engine.plan(start(engine))).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
	});
});

describe("a reducer that breaks its contract is named", () => {
	const broken = (change: Partial<Reducer>): RunEngine =>
		engineOf(robust(["odd"]), {
			reducer: () => ({
				name: "odd",
				summary: "",
				parameters: [],
				check: () => undefined,
				reduce: () => ({ center: new Float64Array(3), scores: [] }),
				...change,
			}),
		});
	test.each<[string, Partial<Reducer>, string, RegExp]>([
		["no scores", {}, "SHAPE_MISMATCH", /lane delta, reducer odd: 3 elements and 0 scores, expected 3 and 5/],
		[
			"a short center",
			{ reduce: () => ({ center: new Float64Array(2), scores: sent.map(() => ({})) }) },
			"SHAPE_MISMATCH",
			/2 elements and 5/,
		],
		[
			"NaN",
			{ reduce: () => ({ center: Float64Array.of(0, Number.NaN, 0), scores: sent.map(() => ({})) }) },
			"NOT_FINITE",
			/element 1 is NaN/,
		],
		[
			"an infinite score",
			{ reduce: () => ({ center: new Float64Array(3), scores: sent.map(() => ({ a: 1 / 0 })) }) },
			"NOT_FINITE",
			/scores\.a is Infinity/,
		],
		[
			"a refusal",
			{
				check: (_args, { least }) => {
					if (least < 8) throw new RondoError("INVALID_ARGUMENT", `got ${least}`);
				},
			},
			"INVALID_ARGUMENT",
			/got [35]/,
		],
	])("%s", (_what, change, code, message) => {
		expect(() => finish(broken(change), sent)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
	});
});

describe("a long lane in blobs", () => {
	const length = 20_001;
	const store = memory();
	const reports = [3, 50, 7, 20, 11].map((numExamples, i) => {
		const delta = Float32Array.from({ length }, (_, j) => (((j * 7919) % 1009) / 1009 - 0.5) * (i + 1) + (i === 2 ? 4 : 0));
		const report = reportOf([0, 0, 0], [1, 2], numExamples);
		return { ...report, lanes: { ...report.lanes, delta: store.put(bytesOf(delta)) as Vec<"u8"> } };
	});
	const long = (spec: NonNullable<Plan["lanes"][string]["reducer"]>): Plan => {
		const planned = planWith(spec);
		return { ...planned, lanes: { ...planned.lanes, delta: { ...planned.lanes.delta!, length } } };
	};
	const accepted = inClientOrder(acceptedOf(reports));
	const use: FoldContext = {
		strategy: { ...mean, bounds: () => ({ task: 0, download: 0, report: 2 ** 24 }) },
		codec,
		reducer,
		config: { rate: 1 },
		layout,
		source: store,
	};
	const reduce = (context: FoldContext, spec: NonNullable<Plan["lanes"][string]["reducer"]>, chunkBytes?: number) => {
		const fold = new Fold(context, long(spec));
		reports.forEach((report, i) => {
			fold.add(taskOf(i + 1), report);
		});
		const { weights } = fold.result(accepted);
		return reduceLanes(context, long(spec), accepted, (task) => reports.find((_, i) => taskOf(i + 1) === task)!, weights, chunkBytes);
	};

	test.each([[["median"]], [["krum", 1]], [["geometric-median"]], [["norm-bound", 0]], [["flag", 2, 1]]] as const)(
		"is reduced to the same bytes in chunks of any size: %j",
		(spec) => {
			const wanted = reduce(use, spec);
			for (const bytes of [1, 2 * 5 * 8 * 4096, 2 ** 30]) expect(reduce(use, spec, bytes)).toEqual(wanted);
		},
	);

	test("is read in parts: no more bytes at once than a chunk has", () => {
		const sizes: number[] = [];
		const source = {
			blob(vec: Vec<"u8">, from?: number, to?: number) {
				const bytes = store.blob(vec, from, to);
				sizes.push(bytes.length);
				return bytes;
			},
		};
		reduce({ ...use, source }, ["median"], 1);
		// Five whole ones when the reports are checked; then five tiles of each.
		expect(sizes.slice(0, 5)).toEqual(new Array(5).fill(4 * length));
		expect(sizes.slice(5)).toEqual([4096, 4096, 4096, 4096, length - 4 * 4096].flatMap((size) => new Array(5).fill(4 * size)));
	});

	test("that its codec only decodes as a whole gives the same bytes", () => {
		const { range: _range, ...whole } = codec(["f32"]) as Codec & { range: unknown };
		const inFloat64: Codec = { ...whole, decode: (bytes, lane) => Float64Array.from(whole.decode(bytes, lane)) };
		let turn = 0;
		const mixed: Codec = { ...whole, decode: (bytes, lane) => (turn++ % 2 === 0 ? whole : inFloat64).decode(bytes, lane) };
		for (const spec of [["median"], ["krum", 1]] as const) {
			const wanted = reduce(use, spec);
			for (const other of [whole, inFloat64, mixed])
				expect(reduce({ ...use, codec: createRegistry([], [other]).codec }, spec, 1)).toEqual(wanted);
		}
	});

	test("that a header unpacks to is reduced too", () => {
		const strategy: AnyStrategy = {
			...use.strategy,
			unpack: (header) => ({
				delta: Float64Array.from({ length }, (_, j) => ((header as number) * j) / length),
				hits: new Float64Array(2),
			}),
		};
		const fives = [5, 1, 4, 2, -8].map((header) => reportOf([], [], 1, { header, lanes: {} }));
		const rows = inClientOrder(acceptedOf(fives));
		const weights = new Map(rows.map(({ task }) => [task, 1]));
		const { lanes } = reduceLanes(
			{ ...use, strategy },
			long(["median"]),
			rows,
			(task) => fives.find((_, i) => taskOf(i + 1) === task)!,
			weights,
			1,
		);
		expect(lanes.delta).toEqual(Float64Array.from({ length }, (_, j) => (2 * j) / length));
	});
});
