import { describe, expect, it } from "vitest";
import { checkSchedule, learningRateAt, type ScheduleOptions } from "./schedule.js";

const options = (schedule: ScheduleOptions["schedule"], more: Partial<ScheduleOptions> = {}): ScheduleOptions => ({
	learningRate: 0.8,
	schedule,
	scheduleRounds: 8,
	finalLearningRate: 0.2,
	...more,
});
const course = (schedule: ScheduleOptions["schedule"], rounds: readonly number[], more: Partial<ScheduleOptions> = {}) =>
	rounds.map((round) => learningRateAt(options(schedule, more), round));

describe("a learning rate", () => {
	it("is constant whatever the other options say", () => {
		expect(course("constant", [1, 5, 1e6])).toEqual([0.8, 0.8, 0.8]);
	});

	it("falls in a straight line and stays", () => {
		const [first, second, middle, last, after] = course("linear", [1, 2, 5, 9, 1000]);
		expect([first, last, after]).toEqual([0.8, 0.2, 0.2]);
		expect(second).toBeCloseTo(0.725, 14);
		expect(middle).toBeCloseTo(0.5, 14);
	});

	it("falls along half a cosine", () => {
		expect(course("cosine", [1, 9, 10])).toEqual([0.8, 0.2, 0.2]);
		const more = { scheduleRounds: 1000 };
		for (let round = 1; round <= 1001; round++) {
			const wanted = 0.2 + 0.6 * 0.5 * (1 + Math.cos((Math.PI * (round - 1)) / 1000));
			expect(Math.abs(learningRateAt(options("cosine", more), round) - wanted)).toBeLessThan(1e-15);
		}
		expect(learningRateAt(options("cosine", { finalLearningRate: 0, scheduleRounds: 1000 }), 1000)).toBeCloseTo(
			0.8 * Math.sin(Math.PI / 2000) ** 2,
			18,
		);
	});

	it("falls with the root of the rounds, down to its end", () => {
		const [first, ninth, later] = course("inverse-sqrt", [1, 9, 25]);
		expect([first, ninth, later]).toEqual([0.8, 0.8 / Math.sqrt(2), 0.4]);
		expect(course("inverse-sqrt", [1000])).toEqual([0.2]);
	});

	it("never rises and never leaves its range", () => {
		for (const schedule of ["linear", "cosine", "inverse-sqrt"] as const) {
			const rates = course(
				schedule,
				Array.from({ length: 3000 }, (_, i) => i + 1),
				{ learningRate: 0.1, finalLearningRate: 0.03, scheduleRounds: 777 },
			);
			rates.forEach((rate, i) => {
				expect(rate).toBeLessThanOrEqual(rates[i - 1] ?? 0.1);
				expect(rate).toBeGreaterThanOrEqual(0.03);
			});
		}
	});
});

it("refuses an end above the start, unless it is never reached", () => {
	const rising = { finalLearningRate: 0.9 };
	for (const schedule of ["linear", "cosine", "inverse-sqrt"] as const) {
		expect(() => checkSchedule(options(schedule, rising))).toThrow(
			expect.objectContaining({
				code: "INVALID_ARGUMENT",
				message: "option finalLearningRate must be at most learningRate (0.8), got 0.9",
			}),
		);
		checkSchedule(options(schedule, { finalLearningRate: 0.8 }));
	}
	checkSchedule(options("constant", rising));
});
