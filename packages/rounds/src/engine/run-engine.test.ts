import { type AnyStrategy, decodePlain, digestOf, encodePlain, type Plain, type Plan, type Vec } from "@rondo/algorithms";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { acceptedOf, engineOf, mean, reader, reportOf, runOf, taskOf } from "../../test/engine-fixture.js";
import { setDigest } from "./log.js";
import type { Report } from "./report.js";
import type { Finished, Position, RunEngine } from "./run-engine.js";

const start = (engine: RunEngine): Position => ({ state: engine.genesis().state, members: new Map(), round: 1, commit: 0, population: 9 });
const reports = [reportOf([1, 2, 3], [1, 0], 25, { metrics: { loss: 2 } }), reportOf([3, 2, 1], [0, 2], 75, { metrics: { loss: 1 } })];
const lookup = (sent: readonly Report[]) => (task: string) => sent.find((_, i) => taskOf(i + 1) === task)!;

function finish(engine: RunEngine, sent = reports, order = sent.map((_, i) => i), cached?: readonly number[]): Finished {
	const position = start(engine);
	const plan = engine.plan(position);
	const fold = cached === undefined ? undefined : engine.fold(plan);
	for (const i of cached ?? []) fold!.add(taskOf(i + 1), sent[i]!);
	// The same accepted rows, found in another order: the sequence stays with its report.
	const rows = acceptedOf(sent);
	const accepted = order.map((i) => rows[i]!);
	return engine.finish({
		position,
		plan,
		accepted,
		reports: lookup(sent),
		previous: "p",
		attempt: 1,
		incarnation: 1,
		...(fold === undefined ? {} : { fold }),
	});
}

describe("a round", () => {
	test("adds the weighted mean, publishes and records", () => {
		const engine = engineOf(mean);
		const { state, record, metrics, members, writes } = finish(engine);
		const model = engine.model({ ...start(engine), state });
		expect(engine.parts.io.read(model)).toEqual(Float32Array.of(1 + 0.5 * 2.5, 2 + 0.5 * 2, 3 + 0.5 * 1.5));
		expect(metrics).toEqual({ count: 2, "client.loss": (2 * 25 + 75) / 100 });
		expect([members.size, writes]).toEqual([0, []]);
		expect(record.entry).toEqual({
			kind: "commit",
			commit: 1,
			incarnation: 1,
			track: 0,
			round: 1,
			attempt: 1,
			population: 9,
			set: setDigest(record.accepted),
			publish: { hits: Float64Array.of(1, 2), count: 2 },
			state: digestOf(state),
			members: null,
			metrics,
			previous: "p",
		});
		expect(record.accepted.map(({ client }) => client)).toEqual(["c8", "c9"]);
	});

	test("is the same whatever the order of the rows and whatever the accumulator holds", () => {
		const wanted = encodePlain(finish(engineOf(mean)).record as unknown as Plain);
		const orders = fc.shuffledSubarray([0, 1], { minLength: 2 });
		fc.assert(
			fc.property(orders, fc.option(fc.shuffledSubarray([0, 1]), { nil: undefined }), (order, cached) => {
				expect(encodePlain(finish(engineOf(mean), reports, order, cached).record as unknown as Plain)).toEqual(wanted);
			}),
		);
	});

	test("of a strategy that reads reports sees them in client-id order, with weights, headers, lanes and members", () => {
		const engine = engineOf(reader);
		const { state, members, writes, scores, record } = finish(engine);
		expect(state).toEqual([
			[
				["c8", 75, null, Float64Array.of(3, 2, 1), Float64Array.of(2)],
				["c9", 25, null, Float64Array.of(1, 2, 3), Float64Array.of(0)],
			],
		]);
		expect([...members]).toEqual(writes);
		expect(writes).toEqual([
			["c8", 1],
			["c9", 1],
		]);
		expect(scores).toEqual({ c8: { weight: 75 }, c9: { weight: 25 } });
		expect(record.entry).toMatchObject({ members: digestOf(writes as Plain) });
	});

	test("shows reports to a strategy with the options under which it reads them, and only then", () => {
		const choosy: AnyStrategy = { ...reader, reads: ({ rate }: { rate: number }) => (rate > 0.5 ? "reports" : "lanes") };
		const readers = (rate: number) => [...finish(engineOf(choosy, { config: { rate } })).members.keys()];
		expect(readers(0.75)).toEqual(["c8", "c9"]);
		expect(readers(0.5)).toEqual([]);
	});

	test("forgets a member whose row is null", () => {
		const engine = engineOf({ ...reader, finish: (state: Plain) => ({ state, members: new Map([["c8", null]]) }) });
		const position = {
			...start(engine),
			members: new Map([
				["c8", 1],
				["c7", 2],
			]),
		};
		const { members } = engine.finish({
			position,
			plan: engine.plan(position),
			accepted: acceptedOf(reports),
			reports: lookup(reports),
			previous: "p",
			attempt: 1,
			incarnation: 1,
		});
		expect([...members]).toEqual([["c7", 2]]);
		expect(position.members.size).toBe(2);
	});

	test("records the fields of its rows and no others", () => {
		const engine = engineOf(mean);
		const position = start(engine);
		const closed = { position, plan: engine.plan(position), reports: lookup(reports), previous: "p", attempt: 1, incarnation: 1 };
		const rows = acceptedOf(reports).map((row) => ({ ...row, column: new Date(0) }));
		expect(engine.finish({ ...closed, accepted: rows }).record).toEqual(engine.finish({ ...closed, accepted: acceptedOf(reports) }).record);
	});

	test("that is skipped leaves the state and records nothing but itself", () => {
		const engine = engineOf(mean);
		const position = start(engine);
		expect(engine.skip({ position, incarnation: 1, attempt: 2, previous: "p" }).entry).toMatchObject({
			kind: "skip",
			commit: 1,
			attempt: 2,
			publish: null,
			state: digestOf(position.state),
			members: null,
			metrics: {},
			set: setDigest([]),
		});
	});

	test("without reports, or with a refused one, has no outcome", () => {
		expect(() => finish(engineOf(mean), [])).toThrow(expect.objectContaining({ code: "CONFLICT" }));
		expect(() => finish(engineOf(mean), [reportOf([9, 0, 0], [0, 0], 1)])).toThrow(expect.objectContaining({ code: "LANE_OUT_OF_BOUND" }));
	});
});

test("the genesis names everything the model is a function of", () => {
	const engine = engineOf(mean);
	const { record } = engine.genesis();
	expect(record).toMatchObject({
		commit: 0,
		accepted: [],
		entry: {
			kind: "genesis",
			logVersion: 1,
			run: "r",
			strategy: "mean",
			strategyVersion: 1,
			config: { rate: 0.5 },
			publicSeed: "ab".repeat(32),
		},
	});
	expect(decodePlain(encodePlain(record as unknown as Plain))).toEqual(record);
	expect(runOf(engineOf(mean)).last.record.hash).toBe(runOf(engineOf(mean)).last.record.hash);
});

test("a task is checked against the bounds", () => {
	const engine = engineOf(reader);
	expect(decodePlain(engine.task(start(engine), 7))).toBe(7);
	const large = (task: Plain, bounds = { task: 100, download: 12, report: 100 }) => {
		const odd = engineOf({ ...mean, task: () => task as never, bounds: () => bounds });
		return () => odd.task(start(odd), undefined);
	};
	expect(large("x".repeat(99))).toThrow(/strategy mean, round 1, task: the task has 101 bytes, at most 100/);
	expect(large("x".repeat(70_000), { task: 1e6, download: 0, report: 100 })).toThrow(expect.objectContaining({ code: "TOO_LARGE" }));
	const vec = engine.parts.initial as Vec;
	expect(large([vec, vec])).not.toThrow();
	expect(large([vec, { ...vec, sha256: "0".repeat(64) }])).toThrow(/blobs have 24 bytes, bounds.download is 12/);
});

describe("a strategy's mistakes name it, its round and the field:", () => {
	const odd = (change: Partial<AnyStrategy>) => engineOf({ ...mean, ...change } as AnyStrategy);
	const plan = mean.plan(null as never, null as never);
	test.each<[Partial<Plan> | { lanes: unknown }, RegExp]>([
		[{ quorum: 7 }, /plan of mean: quorum must be at most closeAt \(6\), got 7/],
		[{ closeAt: 9 }, /closeAt must be at most leases \(8\), got 9/],
		[{ closeAt: 2 ** 21, maxStaleness: 1 }, /closeAt must be at most 1048576/],
		[{ maxStaleness: -1 }, /maxStaleness must be an integer of at least 0, got -1/],
		[{ maxStaleness: 0.5 }, /maxStaleness must be an integer of at least 0, got 0.5/],
		[{ maxStaleness: 1, audience: "coordinator" }, /maxStaleness must be absent where the coordinator computes, got 1/],
		[{ leases: 0 }, /leases must be a positive integer, got 0/],
		[{ leases: 2 ** 21 }, /leases must be at most 1048576/],
		[{ deadlineMs: 1.5 }, /deadlineMs must be a positive integer, got 1.5/],
		[{ maxExamples: Number.NaN }, /maxExamples must be a positive integer/],
		[{ onMiss: "wait" as never }, /onMiss must be "replan" or "skip", got "wait"/],
		[{ audience: "all" as never }, /audience must be/],
		[{ exclude: [1] as never }, /exclude must be a list of client ids/],
		[{ lanes: null }, /lanes must be an object/],
		[{ lanes: { "a/b": plan.lanes.delta } }, /lanes must be named by .*"a\/b"/],
		[{ lanes: { delta: { ...plan.lanes.delta, length: 0 } } }, /lanes\.delta\.length must be/],
		[
			{ lanes: { delta: { ...plan.lanes.delta, absMax: Number.POSITIVE_INFINITY } } },
			/lanes\.delta\.absMax must be a positive finite number, got "Infinity"/,
		],
		[{ lanes: { delta: { ...plan.lanes.delta, absMax: 5e-324 } } }, /lanes\.delta\.absMax must be of a magnitude/],
		[{ lanes: { delta: { ...plan.lanes.delta, combine: "max" } } }, /lanes\.delta\.combine must be/],
		[{ lanes: { delta: { ...plan.lanes.delta, codec: "f32" } } }, /lanes\.delta\.codec must be/],
		[{ lanes: { delta: { ...plan.lanes.delta, codec: ["f8"] } } }, /lanes\.delta\.codec: no codec is named "f8"/],
		[{ lanes: { delta: { ...plan.lanes.delta, length: 6 } } }, /its lanes may take 24 bytes, bounds.report is 21/],
	])("a plan with %o", (change, message) => {
		const engine = odd({ plan: () => ({ ...plan, ...change }) as Plan });
		expect(() => engine.plan(start(engine))).toThrow(message);
	});

	test("an asynchronous plan may close with more reports than it has leases", () => {
		const buffer = { ...plan, leases: 2, closeAt: 9, maxStaleness: 0 };
		const engine = odd({ plan: () => buffer });
		expect(engine.plan(start(engine))).toEqual(buffer);
	});

	test.each<[string, Partial<AnyStrategy>, string, RegExp]>([
		["a throw", { finish: () => JSON.parse("{") }, "INTERNAL", /^strategy mean, round 1, finish: /],
		["NaN in the state", { finish: () => ({ state: Number.NaN }) }, "NOT_FINITE", /round 1, finish: \$ is NaN/],
		["a large state", { finish: () => ({ state: new Uint8Array(1_048_577) }) }, "TOO_LARGE", /belong into Vecs/],
		["a large publication", { finish: () => ({ state: 1, publish: new Uint8Array(65_536) }) }, "TOO_LARGE", /the published value has/],
		[
			"a large member row",
			{ finish: () => ({ state: 1, members: new Map([["c", "x".repeat(100)]]) }) },
			"TOO_LARGE",
			/member row of c has 102 bytes, bounds.member is 100/,
		],
		["a metric that is not finite", { finish: () => ({ state: 1, metrics: { a: Number.NaN } }) }, "NOT_FINITE", /metrics\.a is NaN/],
		[
			"a score that is not finite",
			{ finish: () => ({ state: 1, scores: new Map([["c", { a: Number.NaN }]]) }) },
			"NOT_FINITE",
			/scores of c\.a is NaN/,
		],
	])("an outcome with %s", (_what, change, code, message) => {
		expect(() => finish(odd(change))).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
	});

	test("a model of another length, and no model", () => {
		const short = odd({ model: () => ({ sha256: "0".repeat(64), dtype: "f32", length: 2 }) });
		expect(() => short.model(start(short))).toThrow(/round 1, model: it is 2 × f32, the layout has 3 f32/);
		const { model: _model, ...without } = mean;
		const none = engineOf(without);
		expect(() => none.model(start(none))).toThrow(expect.objectContaining({ code: "CONFLICT" }));
	});

	test("parts that do not fit", () => {
		expect(() => engineOf(mean, { publicSeed: "xyz" })).toThrow(/publicSeed must be 64 hexadecimal digits, got "xyz"/);
		expect(() => engineOf(mean, { initial: { sha256: "0".repeat(64), dtype: "f32", length: 4 } })).toThrow(
			expect.objectContaining({ code: "SHAPE_MISMATCH" }),
		);
	});
});
