import { isRondoError } from "@rondo/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { atOf, clientOf, deviceOf, memoryData, quadratic, runOf, trainerOf } from "../../test/fixture.js";
import type { Folded } from "../contract.js";
import { encodePlain } from "../plain.js";
import { type FedKSeedTypes, fedkseed } from "./fedkseed.js";

const WEIGHTS = [0.5, -0.25, 1.5, 0.125];

describe("bytes of one client and round", () => {
	const measured = async (sampling: "uniform" | "pro", localSteps: number) => {
		const run = runOf(fedkseed, { sampling, localSteps, candidates: 4096 }, WEIGHTS);
		const at = atOf(run);
		const state = {
			...fedkseed.init(at),
			ledger: run.store.keep(
				"i32",
				Int32Array.from({ length: 4096 }, (_, k) => 524_287 * (k - 2048)),
			),
		};
		const task = fedkseed.task(state, undefined, at);
		const device = deviceOf("a", memoryData([[1, 2, 3, 4]]), trainerOf(quadratic));
		const { header } = await fedkseed.train(task, clientOf(run, device));
		expect(header[0]).toHaveLength(localSteps);
		const [down, up] = [encodePlain(task).length, encodePlain(header).length];
		const blobs = task.reduce((sum, vec) => sum + (vec.dtype === "i32" ? 4 : 1) * vec.length, 0);
		expect(fedkseed.bounds(run.config, run.layout)).toEqual({ task: down, download: blobs, report: up });
		return down + blobs + up;
	};

	it("stays within the paper's bytes", async () => {
		expect(await measured("uniform", 200)).toBe(17_638);
		expect(await measured("uniform", 200)).toBeLessThanOrEqual(4 * 4096 + 4 + 8 * 200);
		expect(await measured("pro", 200)).toBe(21_776);
		expect(await measured("pro", 200)).toBeLessThanOrEqual(5 * 4096 + 4 + 8 * 200);
	});

	it("does so from 24 steps on, 45 under pro", async () => {
		for (const [sampling, perCandidate, from] of [
			["uniform", 4, 24],
			["pro", 5, 45],
		] as const) {
			const fits = async (steps: number) => (await measured(sampling, steps)) <= perCandidate * 4096 + 4 + 8 * steps;
			expect([await fits(from - 1), await fits(from), await fits(10 * from), await fits(10_000)]).toEqual([false, true, true, true]);
		}
	});
});

describe("the ledger never wraps", () => {
	const run = runOf(fedkseed, { candidates: 3 }, WEIGHTS);
	const at = atOf(run);
	const UNIT = 2 ** -30;
	const ledgerAfter = (ledger: number[], units: number[]) => {
		const state = { ledger: run.store.keep("i32", Int32Array.from(ledger)) };
		const folded = {
			lanes: { a: Float64Array.from(units, (u) => u * UNIT) },
			weight: 1,
			count: 1,
			reports: [],
		} satisfies Folded<FedKSeedTypes>;
		try {
			return [...run.store.io.read(fedkseed.finish(state, folded, at).state.ledger)];
		} finally {
			expect([...run.store.io.read(state.ledger)]).toEqual(ledger);
		}
	};

	it("rounds to the nearest unit once", () => {
		expect(ledgerAfter([10, -10, 0], [1.5, -1.5, 0.49])).toEqual([12, -11, 0]);
		expect(fedkseed.finish({ ledger: run.store.keep("i32", Int32Array.of(0, 7, -(2 ** 30))) }, folded([1, 0, 0]), at).metrics).toEqual({
			changedCandidates: 1,
			ledgerPeak: 2 ** 30 / (2 ** 31 - 1),
		});
	});

	it("reaches the ends of int32", () => {
		expect(ledgerAfter([2 ** 31 - 2, -(2 ** 31) + 1, 0], [1, -1, 0])).toEqual([2 ** 31 - 1, -(2 ** 31), 0]);
	});

	it("refuses to go beyond them and says where", () => {
		const message = "candidate 1 would be 2147483648 units of 9.313225746154785e-10, beyond int32: choose a larger unit";
		expect(() => ledgerAfter([0, 2 ** 31 - 1, 0], [5, 1, 0])).toThrow(expect.objectContaining({ code: "LEDGER_OVERFLOW", message }));
		expect(() => ledgerAfter([0, 0, -(2 ** 31)], [0, 0, -1])).toThrow(
			expect.objectContaining({ code: "LEDGER_OVERFLOW", details: { candidate: 2, value: -(2 ** 31) - 1, unit: UNIT } }),
		);
		expect(() => ledgerAfter([0, 0, 0], [2 ** 60, 0, 0])).toThrow(expect.objectContaining({ code: "LEDGER_OVERFLOW" }));
	});

	const folded = (units: number[]): Folded<FedKSeedTypes> => ({
		lanes: { a: Float64Array.from(units, (u) => u * UNIT) },
		weight: 1,
		count: 1,
		reports: [],
	});
});

describe("unpack", () => {
	const run = runOf(
		fedkseed,
		{ candidates: 8, localSteps: 5, learningRate: 0.1, maxAbsGradient: 3, importanceClip: 0.7, sampling: "pro" },
		WEIGHTS,
	);
	const plan = fedkseed.plan(fedkseed.init(atOf(run)), atOf(run));
	const unpack = (header: unknown) => fedkseed.unpack!(header as FedKSeedTypes["report"], plan, run);

	it("sums the steps per candidate", () => {
		const lanes = unpack([Uint16Array.of(5, 2, 5), Float32Array.of(0.5, -2, 0.75)]);
		const per = (entries: Readonly<Record<number, number>>) => Float64Array.from({ length: 8 }, (_, k) => entries[k] ?? 0);
		expect(lanes).toEqual({ a: per({ 5: 0.1 * 0.5 + 0.1 * 0.75, 2: -0.2 }), h: per({ 5: 0.5 + 0.7, 2: 0.7 }), n: per({ 5: 2, 2: 1 }) });
		const uniform = { ...run, config: { ...run.config, sampling: "uniform" as const } };
		expect(Object.keys(fedkseed.unpack!([Uint16Array.of(5), Float32Array.of(1)], plan, uniform))).toEqual(["a"]);
		expect(unpack([new Uint16Array(0), new Float32Array(0)]).a).toEqual(new Float64Array(8));
	});

	// 0.1 · 3 added five times is above 5 · 0.1 · 3 in float64.
	it("of the largest report there can be stays within the lanes' bounds", () => {
		for (const sign of [1, -1]) {
			const lanes = unpack([new Uint16Array(5), new Float32Array(5).fill(3 * sign)]);
			for (const [name, lane] of Object.entries(plan.lanes)) {
				const largest = Math.max(...lanes[name]!.map(Math.abs));
				expect(largest).toBeLessThanOrEqual(lane.absMax);
				expect(largest).toBeGreaterThan(0.999 * lane.absMax);
			}
		}
	});

	it("names what is wrong with a header", () => {
		const cases: readonly (readonly [unknown, string, string])[] = [
			[null, "INVALID_ARGUMENT", "the header must be [Uint16Array, Float32Array]"],
			[[new Uint16Array(1)], "INVALID_ARGUMENT", "the header must be"],
			[[new Uint16Array(1), new Float64Array(1)], "INVALID_ARGUMENT", "the header must be"],
			[[new Uint16Array(1), new Float32Array(1), 0], "INVALID_ARGUMENT", "the header must be"],
			[[new Uint16Array(2), new Float32Array(1)], "INVALID_ARGUMENT", "at most 5 candidates and as many gradients, got 2 and 1"],
			[[new Uint16Array(6), new Float32Array(6)], "INVALID_ARGUMENT", "at most 5 candidates and as many gradients, got 6 and 6"],
			[[Uint16Array.of(0, 8), new Float32Array(2)], "INVALID_ARGUMENT", "candidate of step 1 must be below 8, got 8"],
			[[Uint16Array.of(0), Float32Array.of(-3.5)], "LANE_OUT_OF_BOUND", "gradient of step 0 must be within ±3, got -3.5"],
			[[Uint16Array.of(0), Float32Array.of(Number.NaN)], "LANE_OUT_OF_BOUND", "got NaN"],
		];
		for (const [header, code, message] of cases) {
			expect(() => unpack(header)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }));
		}
	});

	it("is total", () => {
		const arrays = fc.oneof(fc.uint16Array({ max: 9, maxLength: 6 }), fc.float32Array({ min: -4, max: 4, maxLength: 6 }), fc.anything());
		fc.assert(
			fc.property(fc.oneof(fc.tuple(arrays, arrays), fc.anything()), (header) => {
				try {
					for (const [name, values] of Object.entries(unpack(header))) {
						for (const value of values) expect(Math.abs(value)).toBeLessThanOrEqual(plan.lanes[name]!.absMax);
					}
				} catch (error) {
					if (!isRondoError(error)) throw error;
					expect(["INVALID_ARGUMENT", "LANE_OUT_OF_BOUND"]).toContain(error.code);
				}
			}),
			{ numRuns: 1000 },
		);
	});
});
