import { isRondoError } from "@rondo/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodePlain } from "../plain.js";
import { largestReport, packSteps, type StepOptions, unpackSteps } from "./step-report.js";

const OPTIONS: StepOptions = { candidates: 8, localSteps: 5, scalars: "f32", maxAbsGradient: 3, schedule: "constant" };
const steps = (candidates: number[], gradients: number[], round = 1) => ({
	candidates: Uint32Array.from(candidates),
	gradients: Float32Array.from(gradients),
	round,
});

describe("a report of steps", () => {
	it("comes back as it was", () => {
		for (const [candidates, most] of [
			[1, 0],
			[2, 1],
			[8, 7],
			[9, 8],
			[4096, 4095],
			[65_536, 65_535],
		] as const) {
			const options = { ...OPTIONS, candidates };
			expect(unpackSteps(packSteps(steps([0, most, 0], [0.5, -2, 1]), options), options)).toEqual(steps([0, most, 0], [0.5, -2, 1]));
		}
		const scheduled: StepOptions = { ...OPTIONS, schedule: "linear" };
		expect(unpackSteps(packSteps(steps([3], [1], 70), scheduled), scheduled).round).toBe(70);
		expect(unpackSteps(packSteps(steps([3], [1], 70), OPTIONS), OPTIONS).round).toBe(1);
	});

	it("packs candidates into as few bits as they need, and scalars into four, two or one byte", () => {
		const bytes = (candidates: number, scalars: StepOptions["scalars"]) =>
			encodePlain(largestReport({ ...OPTIONS, candidates, localSteps: 200, scalars })).length;
		expect(bytes(4096, "byte")).toBe(200 * 1.5 + 200 + 10);
		expect(bytes(4096, "byte")).toBeLessThanOrEqual(520);
		expect(bytes(4096, "f16")).toBe(200 * 1.5 + 400 + 11);
		expect(bytes(4096, "f32")).toBe(200 * 1.5 + 800 + 11);
		expect(bytes(65_536, "f32")).toBe(200 * 2 + 800 + 11);
		expect(bytes(1024, "byte")).toBe(200 * 1.25 + 200 + 9);
	});

	it("names what is wrong with it", () => {
		const packed = packSteps(steps([0, 1], [0, 0]), OPTIONS)[0];
		const cases: readonly (readonly [unknown, string, string])[] = [
			[null, "INVALID_ARGUMENT", "the header must be [candidates, gradients], candidates a Uint8Array"],
			[[packed], "INVALID_ARGUMENT", "the header must be"],
			[[packed, new Float64Array(2)], "INVALID_ARGUMENT", "scalars of kind f32 must be a Float32Array"],
			[[packed, new Float32Array(2), 1], "INVALID_ARGUMENT", "the header must be"],
			[[new Uint16Array(2), new Float32Array(2)], "INVALID_ARGUMENT", "the header must be"],
			[[packed, new Float32Array(3)], "BAD_ENCODING", "3 values of 3 bits take 2 bytes, got 1"],
			[[packed, new Float32Array(6)], "INVALID_ARGUMENT", "the header must hold at most 5 steps, got 6"],
			[[packed, Float32Array.of(0, -3.5)], "LANE_OUT_OF_BOUND", "gradient of step 1 must be within ±3, got -3.5"],
			[[packed, Float32Array.of(Number.NaN, 0)], "LANE_OUT_OF_BOUND", "got NaN"],
		];
		for (const [header, code, message] of cases)
			expect(() => unpackSteps(header, OPTIONS)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }));
		const wide = packSteps(steps([0, 7], [0, 0]), OPTIONS);
		expect(() => unpackSteps(wide, { ...OPTIONS, candidates: 7 })).toThrow("candidate of step 1 must be below 7, got 7");
		for (const round of [0, 1.5, "1", null, Number.NaN])
			expect(() => unpackSteps([packed, new Float32Array(2), round], { ...OPTIONS, schedule: "cosine" })).toThrow(
				`the round must be a positive integer, got ${round}`,
			);
		expect(() => unpackSteps([packed, Uint16Array.of(0, 0x7c00)], { ...OPTIONS, scalars: "f16" })).toThrow(
			"gradient of step 1 must be within ±3, got Infinity",
		);
		expect(() => unpackSteps([packed, Uint8Array.of(0, 128)], { ...OPTIONS, scalars: "byte" })).toThrow("negative zero");
	});

	it("is read or refused, whatever it is", () => {
		const arrays = fc.oneof(
			fc.uint8Array({ maxLength: 6 }),
			fc.uint16Array({ maxLength: 6 }),
			fc.float32Array({ min: -4, max: 4, maxLength: 6 }),
			fc.anything(),
		);
		const header = fc.oneof(fc.tuple(arrays, arrays), fc.tuple(arrays, arrays, fc.oneof(fc.nat(), fc.anything())), fc.anything());
		fc.assert(
			fc.property(header, fc.constantFrom("f32", "f16", "byte"), fc.constantFrom("constant", "linear"), (value, scalars, schedule) => {
				try {
					const { candidates, gradients } = unpackSteps(value, { ...OPTIONS, scalars, schedule } as StepOptions);
					expect(candidates.every((k) => k < 8) && gradients.every((g) => Math.abs(g) <= 3)).toBe(true);
					expect(gradients).toHaveLength(candidates.length);
				} catch (error) {
					if (!isRondoError(error)) throw error;
					expect(["INVALID_ARGUMENT", "LANE_OUT_OF_BOUND", "BAD_ENCODING"]).toContain(error.code);
				}
			}),
			{ numRuns: 2000 },
		);
	});
});
