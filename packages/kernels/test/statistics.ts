import { expect } from "vitest";

// Statistics of random numbers as z-scores: standard normal if they are what they should be.

/** |z| above this has a probability of 6e-7. */
export const LIMIT = 5;
/** Of the worst of up to 10^4 z-scores: above this with a probability below 2e-5. */
export const LIMIT_OF_MANY = 6;
export function dot(a: Float32Array, b: Float32Array): number {
	let sum = 0;
	for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
	return sum;
}

export const mean = (values: ArrayLike<number>): number => sumOf(values) / values.length;

export function sumOf(values: ArrayLike<number>): number {
	let sum = 0;
	for (let i = 0; i < values.length; i++) sum += values[i]!;
	return sum;
}

export const worst = (scores: readonly number[]): number => scores.reduce((most, z) => Math.max(most, Math.abs(z)), 0);

/** The z-score of a chi-squared statistic (Wilson and Hilferty, 1931): very negative when values are too even to be random. */
export function chiSquaredScore(statistic: number, degrees: number): number {
	const spread = 2 / (9 * degrees);
	return (Math.cbrt(statistic / degrees) - (1 - spread)) / Math.sqrt(spread);
}

/** Of observed counts against their expectations. */
export function fitScore(counts: ArrayLike<number>, expected: (cell: number) => number): number {
	let statistic = 0;
	for (let cell = 0; cell < counts.length; cell++) statistic += (counts[cell]! - expected(cell)) ** 2 / expected(cell);
	return chiSquaredScore(statistic, counts.length - 1);
}

export const squares = (values: ArrayLike<number>): number => sumOf(Array.from(values, (x) => x * x));

export function expectNormal(scores: readonly number[]): void {
	expect(worst(scores)).toBeLessThan(LIMIT_OF_MANY);
	expect(Math.abs(chiSquaredScore(squares(scores), scores.length))).toBeLessThan(LIMIT);
}

/** z-scores of the correlations of all pairs of rows of ±1. */
export const pairScores = (rows: readonly Float32Array[]): number[] =>
	rows.flatMap((a, i) => rows.slice(0, i).map((b) => dot(a, b) / Math.sqrt(a.length)));
