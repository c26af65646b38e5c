import { describe, expect, it } from "vitest";
import { dot, expectNormal, fitScore, LIMIT, LIMIT_OF_MANY, mean, pairScores, sumOf, worst } from "../test/statistics.js";
import { gaussian4, uniform01 } from "./draws.js";
import { randomFrom, randomFromSeed } from "./random.js";

// What docs/shared-randomness.md claims of its numbers. Seeds are fixed, so a test passes always or never. Statistics are
// given as z-scores (standard normal if the claim holds), and each is also run on numbers that break the claim.

const root = randomFromSeed("statistics");

describe("streams", () => {
	it("of keys that differ in one bit are not correlated", () => {
		// Only the first 16 bytes of a key reach its own stream; all 32 reach its children.
		const key = Uint8Array.from({ length: 32 }, (_, i) => 37 * i);
		const rows = Array.from({ length: 130 }, (_, bit) => {
			const other = key.slice();
			if (bit < 129) other[bit >> 3]! ^= 1 << (bit & 7);
			const words = randomFrom(other).words(0, new Uint32Array(64));
			return Float32Array.from({ length: 2048 }, (_, j) => ((words[j >> 5]! >>> (j & 31)) & 1 ? 1 : -1));
		});
		expectNormal(pairScores([...rows.slice(0, 128), rows[129]!]));
		expect(rows[128]).toEqual(rows[129]);
	});
});

/** Φ by its series, for |x| up to 6. */
function normalBelow(x: number): number {
	let term = x;
	let sum = x;
	for (let n = 3; Math.abs(term) > 1e-18; n += 2) sum += term *= (x * x) / n;
	return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
}

describe("gaussian4", () => {
	const n = 2 ** 18;
	const node = root.at("gaussian");
	const values = Float64Array.from({ length: n }, (_, m) => gaussian4(node, m));
	const unit = Math.sqrt(21845);
	/** The chances of the sum of four bytes. */
	let chances = [1];
	for (let byte = 0; byte < 4; byte++) {
		const sums = new Array<number>(chances.length + 255).fill(0);
		for (const [sum, chance] of chances.entries()) for (let b = 0; b < 256; b++) sums[sum + b]! += chance / 256;
		chances = sums;
	}
	const moment = (power: number): number => chances.reduce((total, chance, sum) => total + chance * ((sum - 510) / unit) ** power, 0);
	const momentScore = (of: Float64Array, power: number): number =>
		(mean(of.map((x) => x ** power)) - moment(power)) / Math.sqrt((moment(2 * power) - moment(power) ** 2) / n);
	/** Of the sums of bytes, with the tails (fewer than 10 each) as one cell. */
	function fitOf(of: Float64Array): number {
		const cells = new Float64Array(1021);
		for (const x of of) cells[Math.round(x * unit) + 510]! += 1;
		const body = [...chances.keys()].filter((sum) => chances[sum]! * n >= 10);
		const tail = (list: ArrayLike<number>): number => sumOf(list) - body.reduce((sum, cell) => sum + list[cell]!, 0);
		return fitScore(
			[...body.map((sum) => cells[sum]!), tail(cells)],
			(cell) => n * (body[cell] === undefined ? tail(chances) : chances[body[cell]!]!),
		);
	}

	it("has mean 0, variance 1 and fourth moment 2.69999", () => {
		expect(moment(1)).toBeCloseTo(0, 12);
		expect(moment(2)).toBeCloseTo(1, 12);
		expect(moment(4)).toBeCloseTo(2.699991, 6);
		expect(worst([1, 2, 3, 4].map((power) => momentScore(values, power)))).toBeLessThan(LIMIT);
		const [shifted, stretched] = [values.map((x) => x + 2 / unit), values.map((x) => 1.01 * x)] as const;
		expect(momentScore(shifted, 1)).toBeGreaterThan(LIMIT);
		expect(momentScore(stretched, 2)).toBeGreaterThan(LIMIT);
	});

	it("has the distribution of a sum of four bytes, within ±3.4506", () => {
		expect(Math.abs(fitOf(values))).toBeLessThan(LIMIT);
		expect(worst([...values])).toBeLessThan(3.4506);
		expect(510 / unit).toBeCloseTo(3.4506, 4);
		// One bit of a byte lost.
		expect(fitOf(values.map((x) => (2 * Math.floor((x * unit) / 2)) / unit))).toBeGreaterThan(LIMIT);
	});

	it("is within 0.0084 of the normal distribution function", () => {
		let below = 0;
		let distance = 0;
		for (const [sum, chance] of chances.entries()) {
			const normal = normalBelow((sum - 510) / unit);
			distance = Math.max(distance, Math.abs(below - normal), Math.abs(below + chance - normal));
			below += chance;
		}
		expect(distance).toBeCloseTo(0.00838, 5);
		const kolmogorov = (of: Float64Array): number =>
			of.toSorted().reduce((most, x, i) => Math.max(most, Math.abs(i / n - normalBelow(x)), Math.abs((i + 1) / n - normalBelow(x))), 0);
		// 2.5 / √n is exceeded by the sampling error with probability 7e-6 (Kolmogorov).
		expect(kolmogorov(values)).toBeLessThan(0.0084 + 2.5 / Math.sqrt(n));
		expect(kolmogorov(values.map((x) => 1.05 * x))).toBeGreaterThan(0.0084 + 2.5 / Math.sqrt(n));
	});

	it("is not correlated with its neighbours", () => {
		const scores = [1, 2, 3, 4, 8].map((lag) => values.reduce((sum, x, m) => sum + x * (values[m + lag] ?? 0), 0) / Math.sqrt(n - lag));
		expect(worst(scores)).toBeLessThan(LIMIT);
	});
});

describe("uniform01", () => {
	const n = 2 ** 16;
	const node = root.at("uniform");
	const values = Float64Array.from({ length: n }, (_, m) => uniform01(node, m));

	it("is uniform", () => {
		const kolmogorov = (of: Float64Array): number =>
			Math.sqrt(n) * of.toSorted().reduce((most, u, i) => Math.max(most, u - i / n, (i + 1) / n - u), 0);
		// Above 2.5 with probability 7e-6, below 0.35 with 3e-4 (Kolmogorov).
		expect(kolmogorov(values)).toBeLessThan(2.5);
		expect(kolmogorov(values)).toBeGreaterThan(0.35);
		expect(kolmogorov(values.map((u) => u ** 1.05))).toBeGreaterThan(2.5);
	});

	it("is uniform in pairs of draws", () => {
		const fitOf = (of: Float64Array): number => {
			const cells = new Float64Array(32 * 32);
			for (let m = 0; m < n; m += 2) cells[32 * Math.floor(32 * of[m]!) + Math.floor(32 * of[m + 1]!)]! += 1;
			return fitScore(cells, () => n / 2 / cells.length);
		};
		expect(Math.abs(fitOf(values))).toBeLessThan(LIMIT);
		expect(fitOf(values.map((u, m) => (m % 16 === 1 ? values[m - 1]! : u)))).toBeGreaterThan(LIMIT);
	});

	it("has 53 bits that are fair and independent of each other and of the next draw's", () => {
		const draws = 2 ** 14;
		const rows = Array.from({ length: 106 }, () => new Float32Array(draws));
		for (let m = 0; m < draws; m++) {
			for (const next of [0, 1]) {
				// Halves of 26 and 27 bits, so that bit operations reach them.
				const high = Math.floor(values[m + next]! * 2 ** 26);
				const low = (values[m + next]! * 2 ** 26 - high) * 2 ** 27;
				for (let bit = 0; bit < 53; bit++) {
					const set = bit < 27 ? (low >>> bit) & 1 : (high >>> (bit - 27)) & 1;
					rows[53 * next + bit]![m] = set ? 1 : -1;
				}
			}
		}
		expect(worst(rows.map((row) => sumOf(row) / Math.sqrt(draws)))).toBeLessThan(LIMIT);
		// The bits of the next draw among themselves are those of this one again: their pairs are left out.
		const scores = rows.slice(0, 53).flatMap((a, i) => rows.slice(i + 1).map((b) => dot(a, b) / Math.sqrt(draws)));
		expect(scores).toHaveLength((53 * 52) / 2 + 53 * 53);
		expect(worst(scores)).toBeLessThan(LIMIT_OF_MANY);
		rows[0] = rows[1]!.map((z, m) => (m % 16 === 0 ? z : rows[0]![m]!));
		expect(Math.abs(dot(rows[0]!, rows[1]!)) / Math.sqrt(draws)).toBeGreaterThan(LIMIT_OF_MANY);
	});
});
