import { RondoError } from "@rondo/errors";

/** How the learning rate goes from round to round. */
export interface ScheduleOptions {
	/** Of round 1, and the largest there is. */
	readonly learningRate: number;
	/** "constant", or falling: in a straight line, along half a cosine, or as 1/√round. */
	readonly schedule: "constant" | "linear" | "cosine" | "inverse-sqrt";
	/** Rounds until a linear or cosine schedule has reached its end; of "inverse-sqrt" the rounds until 1/√2 is left. */
	readonly scheduleRounds: number;
	/** Where the learning rate ends, at most `learningRate`. */
	readonly finalLearningRate: number;
}

/** The options of a schedule besides `learningRate`, as JSON Schema (draft 7). */
export const scheduleProperties = {
	schedule: {
		type: "string",
		enum: ["constant", "linear", "cosine", "inverse-sqrt"],
		default: "constant",
		description: "course of the learning rate over the rounds",
	},
	scheduleRounds: {
		type: "integer",
		minimum: 1,
		maximum: 1_000_000,
		default: 100,
		description: "rounds until linear and cosine schedules reach finalLearningRate; inverse-sqrt: until 1/√2 of learningRate is left",
	},
	finalLearningRate: {
		type: "number",
		minimum: 0,
		maximum: 1000,
		default: 0,
		description: "learning rate at the end of a schedule, at most learningRate",
	},
} as const;

/** @throws INVALID_ARGUMENT when the learning rate would rise */
export function checkSchedule(options: ScheduleOptions): void {
	const { schedule, learningRate, finalLearningRate } = options;
	if (schedule === "constant") return;
	if (finalLearningRate > learningRate) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`option finalLearningRate must be at most learningRate (${learningRate}), got ${finalLearningRate}`,
		);
	}
}

/**
 * The learning rate η of a round, from additions, multiplications, divisions and square roots alone, hence the same number on
 * every machine. With t = min(1, (round − 1) / scheduleRounds), η₁ = learningRate and η∞ = finalLearningRate:
 * "linear": η₁ + t·(η∞ − η₁); "cosine": η∞ + (η₁ − η∞)·(1 + cos πt)/2; "inverse-sqrt": max(η∞, η₁ / √(1 + (round − 1) / scheduleRounds)).
 * @param round 1-based
 * @returns a number from η∞ to η₁
 */
export function learningRateAt(options: ScheduleOptions, round: number): number {
	const { schedule, learningRate, finalLearningRate, scheduleRounds } = options;
	const passed = (round - 1) / scheduleRounds;
	switch (schedule) {
		case "constant":
			return learningRate;
		case "inverse-sqrt":
			return Math.max(finalLearningRate, learningRate / Math.sqrt(1 + passed));
		default: {
			const left = schedule === "linear" ? Math.max(0, 1 - passed) : halfCosine(Math.min(1, passed));
			return Math.min(learningRate, finalLearningRate + left * (learningRate - finalLearningRate));
		}
	}
}

/** (1 + cos πt)/2 for 0 ≤ t ≤ 1, within 4e-16: 1 at 0, ½ at ½, 0 at 1. */
function halfCosine(t: number): number {
	// sin²(x) with x = π(1 − t)/2, or 1 − sin²(x) with x = πt/2, whichever x is at most π/4, where the series ends at x^17.
	const x = (Math.PI / 2) * Math.min(t, 1 - t);
	const z = x * x;
	let sine = 1;
	for (let n = 16; n >= 2; n -= 2) sine = 1 - (z / (n * (n + 1))) * sine;
	const square = x * sine * (x * sine);
	return t < 0.5 ? 1 - square : square;
}
