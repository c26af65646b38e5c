import { describe, expect, it } from "vitest";
import { stepsOf } from "../../test/fedkseed-runs.js";
import { atOf, clientOf, deviceOf, memoryData, quadratic, runOf, trainerOf } from "../../test/fixture.js";
import { resolveConfig } from "../config.js";
import { advanceLedger } from "../ledgers/ledger-sync.js";
import { packSteps } from "../ledgers/step-report.js";
import { encodePlain, vecsIn } from "../plain.js";
import { type FedKSeedTypes, fedkseed } from "./fedkseed.js";

const WEIGHTS = [0.5, -0.25, 1.5, 0.125];

describe("bytes of one client and round", () => {
	/** A client without a ledger, after a round that changed `changed` of 4096 candidates. */
	const measured = async (options: object, changed = 4096) => {
		const run = runOf(fedkseed, { localSteps: 200, ...options, candidates: 4096 }, WEIGHTS);
		const at = atOf(run, 2);
		const first = fedkseed.init(at);
		const ledger = Int32Array.from({ length: 4096 }, (_, k) => (k < changed ? 524_287 * (k - 2048) : 0));
		const state = { ...first, ...advanceLedger(at.io, first, run.store.io.read(first.ledger), ledger) };
		const task = fedkseed.task(state, undefined, at);
		const device = deviceOf("a", memoryData([[1, 2, 3, 4]]), trainerOf(quadratic));
		const client = clientOf(run, device, 2);
		let read = 0;
		const work = await fedkseed.train(task, {
			...client,
			read: async (vec) => {
				const array = await client.read(vec);
				if (vec.sha256 !== run.initial.sha256) read += array.byteLength;
				return array;
			},
		});
		expect(stepsOf(run, work).candidates).toHaveLength(run.config.localSteps);
		const [down, up] = [encodePlain(task).length, encodePlain(work.header).length];
		const bounds = fedkseed.bounds(run.config, run.layout);
		expect(down).toBeLessThanOrEqual(bounds.task);
		expect(read).toBeLessThanOrEqual(bounds.download);
		expect(up).toBe(bounds.report);
		return {
			down: down + read,
			up,
			total: down + read + up,
			most: bounds.task + bounds.download + bounds.report,
			pushed: vecsIn(task).length,
		};
	};

	it("stays within the paper's bytes", async () => {
		const [uniform, pro] = [await measured({}), await measured({ sampling: "pro" })];
		expect([uniform.total, pro.total]).toEqual([17_545, 21_682]);
		expect(uniform.most).toBeLessThanOrEqual(4 * 4096 + 4 + 8 * 200);
		expect(pro.most).toBeLessThanOrEqual(5 * 4096 + 4 + 8 * 200);
		expect([uniform.pushed, pro.pushed]).toEqual([1, 2]);
	});

	it("with one-byte gradients goes up in half a kilobyte", async () => {
		expect((await measured({ scalars: "byte" })).up).toBe(510);
		expect((await measured({ scalars: "f16" })).up).toBe(711);
	});

	it("goes down in the bytes of the changes where they are fewer", async () => {
		const { down, pushed } = await measured({}, 250);
		expect(pushed).toBe(0);
		expect(down).toBeLessThan(1250);
		expect((await measured({}, 3000)).down).toBeLessThan(0.9 * 4 * 4096);
	});
});

describe("a schedule and a report of an earlier round", () => {
	it("go together: the step size is that of the round the client trained in", () => {
		const run = runOf(fedkseed, { candidates: 8, schedule: "linear", scheduleRounds: 10, learningRate: 0.5 }, WEIGHTS);
		const plan = fedkseed.plan(fedkseed.init(atOf(run)), atOf(run));
		for (const [round, rate] of [
			[1, 0.5],
			[6, 0.25],
			[11, 0],
		] as const) {
			const header = packSteps({ candidates: Uint32Array.of(3), gradients: Float32Array.of(2), round }, run.config);
			expect(fedkseed.unpack!(header, plan, run).a![3]).toBeCloseTo(2 * rate, 14);
		}
	});
});

describe("unpack", () => {
	const run = runOf(
		fedkseed,
		{ candidates: 8, localSteps: 5, learningRate: 0.1, maxAbsGradient: 3, importanceClip: 0.7, sampling: "pro" },
		WEIGHTS,
	);
	const plan = fedkseed.plan(fedkseed.init(atOf(run)), atOf(run));
	const header = (candidates: number[], gradients: number[]): FedKSeedTypes["report"] =>
		packSteps({ candidates: Uint32Array.from(candidates), gradients: Float32Array.from(gradients), round: 1 }, run.config);
	const unpack = (candidates: number[], gradients: number[]) => fedkseed.unpack!(header(candidates, gradients), plan, run);

	it("sums the steps per candidate", () => {
		const per = (entries: Readonly<Record<number, number>>) => Float64Array.from({ length: 8 }, (_, k) => entries[k] ?? 0);
		expect(unpack([5, 2, 5], [0.5, -2, 0.75])).toEqual({
			a: per({ 5: 0.1 * 0.5 + 0.1 * 0.75, 2: -0.2 }),
			h: per({ 5: 0.5 + 0.7, 2: 0.7 }),
			n: per({ 5: 2, 2: 1 }),
		});
		const uniform = { ...run, config: { ...run.config, sampling: "uniform" as const } };
		expect(Object.keys(fedkseed.unpack!(header([5], [1]), plan, uniform))).toEqual(["a"]);
		expect(unpack([], []).a).toEqual(new Float64Array(8));
	});

	// 0.1 · 3 added five times is above 5 · 0.1 · 3 in float64.
	it("of the largest report there can be stays within the lanes' bounds", () => {
		for (const sign of [1, -1]) {
			const lanes = unpack(new Array<number>(5).fill(0), new Array<number>(5).fill(3 * sign));
			for (const [name, lane] of Object.entries(plan.lanes)) {
				const largest = Math.max(...lanes[name]!.map(Math.abs));
				expect(largest).toBeLessThanOrEqual(lane.absMax);
				expect(largest).toBeGreaterThan(0.999 * lane.absMax);
			}
		}
	});

	it("refuses what is no report", () => {
		expect(() => fedkseed.unpack!([new Uint8Array(1)] as never, plan, run)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
	});
});

it("goes on with a run whose stored options are older than the newest ones", () => {
	const run = runOf(fedkseed, { candidates: 8 }, WEIGHTS);
	const { maxStaleness: _s, verifyLog: _v, ...older } = run.config;
	const at = { ...atOf(run), config: older as typeof run.config };
	expect(() => fedkseed.check!(at.config, run.layout)).not.toThrow();
	const state = fedkseed.init(at);
	expect(fedkseed.plan(state, at)).toEqual(fedkseed.plan(state, atOf(run)));
	expect(fedkseed.task(state, undefined, at)).toEqual(fedkseed.task(state, undefined, atOf(run)));
	expect(fedkseed.bounds(at.config, run.layout)).toEqual(fedkseed.bounds(run.config, run.layout));
	expect(Object.keys(state)).toEqual(["step", "ledger", "recent", "basis", "importance"]);
});

it("weighs a late report as one of fewer examples", () => {
	const { config } = runOf(fedkseed, {}, WEIGHTS);
	expect([0, 1, 3].map((staleness) => fedkseed.weigh!(12, staleness, config))).toEqual([12, 12 / Math.SQRT2, 6]);
});

it("refuses options that cannot work", () => {
	const { layout } = runOf(fedkseed, {}, WEIGHTS);
	const cases: readonly (readonly [object, string])[] = [
		[
			{ schedule: "linear", finalLearningRate: 0.1, learningRate: 0.01 },
			"option finalLearningRate must be at most learningRate (0.01), got 0.1",
		],
		[{ scalars: "f16", maxAbsGradient: 70_000 }, "option maxAbsGradient of fedkseed must be at most 65504 with scalars f16, got 70000"],
		[{ trim: 0.5 }, "option trim of fedkseed must be < 0.5, got 0.5"],
		[{ unit: 0.3 }, "option unit of fedkseed must be a power of two"],
		[
			{ maxStaleness: 2, rebaseEvery: 5 },
			"options maxStaleness and rebaseEvery of fedkseed cannot both be above 0, got 2 and 5: steps along an epoch's candidates",
		],
	];
	for (const [options, message] of cases)
		expect(() => resolveConfig(fedkseed, options, layout)).toThrow(
			expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining(message) }),
		);
});
