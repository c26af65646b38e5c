import { randomFromSeed, uniform01 } from "@rondo/kernels";
import { describe, expect, it } from "vitest";
import { cappedMean, trimmedSparseMean } from "./robust-sums.js";

const reports = (lanes: readonly (readonly number[])[]) =>
	lanes.map((values) => ({ lane: (_name: string, from = 0, to = values.length) => Float64Array.from(values.slice(from, to)) }));

describe("the trimmed mean of each entry", () => {
	const trimmed = (lanes: readonly (readonly number[])[], trim = 0.2) => [
		...trimmedSparseMean(reports(lanes), "a", lanes[0]!.length, trim),
	];

	it("leaves out the ends among the clients that have the entry, and counts the rest for all of them", () => {
		expect(
			trimmed([
				[2, 1, 0, 3],
				[1, 0, 0, 3],
				[3, 1, 0, 3],
				[2.5, 0, 0, 3],
			]),
		).toEqual([2.25, 0.5, 0, 3]);
		expect(trimmed([[1], [2], [3], [4], [5], [6]], 0.2)[0]).toBe(3.5);
		expect(trimmed([[1], [2], [3], [4], [5.5]], 0)[0]).toBe(3.1);
		expect(trimmed([[1], [2], [4]], 0.49)[0]).toBe(2);
	});

	it("cuts to three median magnitudes", () => {
		expect(
			trimmed([
				[1, -1, 0, 900],
				[0, 1, 1, 0],
			]),
		).toEqual([0.5, 0, 0.5, 1.5]);
		expect(
			trimmed([
				[0, 0],
				[0, 0],
			]),
		).toEqual([0, 0]);
	});

	it("is that of every entry, over more than one tile", () => {
		const random = randomFromSeed("robust");
		const lanes = Array.from({ length: 5 }, (_, i) =>
			Array.from({ length: 9000 }, (_x, k) =>
				uniform01(random, 9000 * i + k) < 0.4 ? uniform01(random.at("values"), 9000 * i + k) + 0.5 : 0,
			),
		);
		const out = trimmed(lanes);
		for (const k of [0, 1, 4095, 4096, 8192, 8999]) {
			const users = lanes
				.map((lane) => lane[k]!)
				.filter((value) => value !== 0)
				.sort((x, y) => x - y);
			const kept = users.length >= 3 ? users.slice(1, -1) : users;
			const wanted = kept.length === 0 ? 0 : ((users.length / 5) * kept.reduce((sum, value) => sum + value, 0)) / kept.length;
			expect(out[k]).toBeCloseTo(wanted, 12);
		}
	});

	it("of honest clients and one that may say anything stays near that of the honest ones", () => {
		const honest = [
			[1, 1, 0, 0],
			[1.25, 0, 1, 0],
			[0.75, 1, 0, 1],
			[1, 0, 1, 0],
		];
		const without = trimmed([...honest, [0, 0, 0, 0]]);
		for (const bad of [1e12, -1e12, 7]) {
			trimmed([...honest, [bad, bad, bad, bad]]).forEach((value, k) => {
				expect(Math.abs(value - without[k]!)).toBeLessThanOrEqual(3 * 1.25);
			});
			expect(trimmed([...honest, [bad, 0, 0, 0]])[0]).toBeCloseTo(1, 0);
		}
	});
});

describe("the mean of capped clients", () => {
	const capped = (lanes: readonly (readonly number[])[], cap: number) => [...cappedMean(reports(lanes), "a", lanes[0]!.length, cap)];

	it("scales those beyond the cap, and counts all the same", () => {
		expect(
			capped(
				[
					[3, 4],
					[0.5, 0],
				],
				1,
			),
		).toEqual([0.55, 0.4]);
		expect(
			capped(
				[
					[3, 4],
					[0.5, 0],
				],
				100,
			),
		).toEqual([1.75, 2]);
	});

	it("takes the median of the norms, the lower of two", () => {
		expect(
			capped(
				[
					[3, 4],
					[30, 40],
					[0, 1],
				],
				0,
			).map((value) => value * 3),
		).toEqual([6, 9]);
		expect(
			capped(
				[
					[3, 4],
					[30, 40],
				],
				0,
			),
		).toEqual([3, 4]);
		expect(
			capped(
				[
					[0, 0],
					[0, 0],
				],
				0,
			),
		).toEqual([0, 0]);
	});

	it("moves by at most cap / m for one client, whatever it says", () => {
		const honest = [
			[1, 2, 2],
			[2, 1, 2],
			[2, 2, 1],
		];
		for (const bad of [
			[1e9, 0, 0],
			[-1e9, -1e9, -1e9],
			[0, 0, 0],
		]) {
			const [with0, with1] = [capped([...honest, bad], 3), capped([...honest, [0, 0, 0]], 3)];
			expect(Math.hypot(...with0.map((value, k) => value - with1[k]!))).toBeLessThanOrEqual(3 / 4 + 1e-12);
		}
	});
});
