import { randomFromSeed } from "@rondo/kernels";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Lane } from "../contract.js";
import { packRankings, type RankedPart, ranking, rankingBytes, unpackRankings } from "./ranking.js";

const random = randomFromSeed("ranking");
const laneOf = (...parts: RankedPart[]): Lane => ({
	length: parts.reduce((sum, [elements]) => sum + elements, 0),
	absMax: 1000,
	combine: "sum",
	codec: ["ranking", ...parts],
});

/** Rankings of 1 to 40 elements each, whole or only their highest. */
const rankings = fc
	.array(
		fc
			.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 40 }))
			.chain(([elements, sent]) =>
				fc
					.shuffledSubarray([...Array(elements).keys()], { minLength: elements })
					.map((order) => ({ part: [elements, Math.min(elements, sent)] as const, order })),
			),
		{ minLength: 1, maxLength: 5 },
	)
	.map((all) => ({
		parts: all.map(({ part }) => part),
		orders: all.map(({ part: [elements, sent], order }) => order.slice(elements - sent)),
		ranks: all.flatMap(({ part: [elements, sent], order }) => {
			const ranks = Array<number>(elements).fill(0);
			for (let place = elements - sent; place < elements; place++) ranks[order[place]!] = place;
			return ranks;
		}),
	}));

it("keeps rankings, whole ones and the tops of others, in ⌈log₂ n⌉ bits an element", () => {
	fc.assert(
		fc.property(rankings, ({ parts, orders, ranks }) => {
			const lane = laneOf(...parts);
			const bytes = ranking.encode(Float64Array.from(ranks), lane, random);
			expect(bytes.length).toBe(ranking.maxBytes(lane));
			expect(bytes.length).toBe(rankingBytes(parts));
			// A single element has no bits to speak of, and takes a byte.
			expect(bytes.length).toBe(parts.reduce((sum, [n, m]) => sum + Math.ceil((m * Math.max(1, Math.ceil(Math.log2(n)))) / 8), 0));
			expect([...ranking.decode(bytes, lane)]).toEqual(ranks);
			expect(ranking.encode(Float32Array.from(ranks), lane, random)).toEqual(bytes);
			expect([...unpackRankings(bytes, parts)].map((order) => [...order])).toEqual(orders);
			expect(packRankings(parts, (i) => Uint32Array.from(orders[i]!))).toEqual(bytes);
		}),
	);
});

it("lies as it is documented: ids from the lowest bit on, each ranking at a byte of its own", () => {
	// Five elements take three bits each: 4, 2, 0, 3, 1 and 1, 0, and of three the two highest.
	const lane = laneOf([5, 5], [2, 2], [3, 2]);
	const bytes = ranking.encode(Float64Array.of(2, 4, 1, 3, 0, 1, 0, 2, 1, 0), lane, random);
	expect([...bytes]).toEqual([0b00_010_100, 0b0_001_011_0, 0b01, 0b00_01]);
});

it("takes any bytes for a ranking or refuses them", () => {
	const parts: RankedPart[] = [
		[5, 5],
		[6, 2],
	];
	let accepted = 0;
	fc.assert(
		fc.property(fc.uint8Array({ minLength: 2, maxLength: 4 }), (bytes) => {
			try {
				const ranks = [...ranking.decode(bytes, laneOf(...parts))];
				accepted++;
				expect(ranks.slice(0, 5).sort()).toEqual([0, 1, 2, 3, 4]);
				expect(ranks.slice(5).sort()).toEqual([0, 0, 0, 0, 4, 5]);
				expect(ranking.encode(Float64Array.from(ranks), laneOf(...parts), random)).toEqual(bytes);
			} catch (error) {
				expect(error).toMatchObject({ code: "BAD_ENCODING" });
			}
		}),
		{ numRuns: 2000, examples: [[Uint8Array.of(0b00_010_100, 0b0_001_011_0, 0b000_001)]] },
	);
	expect(accepted).toBeGreaterThan(0);
});

describe("refuses", () => {
	const bytes = (...orders: number[][]) =>
		Uint8Array.from(orders.flatMap((order, i) => [...packRankings([[i === 0 ? 5 : 6, order.length]], () => Uint32Array.from(order))]));
	const lane = laneOf([5, 5], [6, 3]);
	it.each<[string, Uint8Array, string]>([
		["an element that occurs twice", bytes([4, 2, 0, 2, 1], [0, 1, 2]), "ranking 1 of 2 has at place 3 element 2 a second time"],
		["an element that does not exist", bytes([4, 2, 0, 3, 1], [0, 7, 2]), "ranking 2 of 2 has at place 1 element 7 of 6"],
		["another twice", bytes([4, 2, 0, 3, 1], [5, 1, 5]), "ranking 2 of 2 has at place 2 element 5 a second time"],
		["a short ballot", bytes([4, 2, 0, 3, 1], [5, 1]), "the rankings take 4 bytes, got 3"],
		["a long ballot", new Uint8Array(5), "the rankings take 4 bytes, got 5"],
		["no ballot", new Uint8Array(0), "the rankings take 4 bytes, got 0"],
		["bits beyond the last id", bytes([4, 2, 0, 3, 1], [5, 1, 0]).with(1, 0x96), "leave the upper 1 bits of byte 1 zero"],
	])("%s", (_what, ballot, message) => {
		expect(() => ranking.decode(ballot, lane)).toThrow(
			expect.objectContaining({ code: "BAD_ENCODING", message: expect.stringContaining(message) }),
		);
	});

	it("values that are no ranks, once they are to be decoded", () => {
		for (const odd of [Number.NaN, Number.POSITIVE_INFINITY, -1, 0.5, 99]) {
			const encoded = ranking.encode(new Float64Array(11).fill(odd), lane, random);
			expect(() => ranking.decode(encoded, lane)).toThrow(expect.objectContaining({ code: "BAD_ENCODING" }));
		}
	});

	it("values of another length, and arguments that do not describe the lane", () => {
		expect(() => ranking.encode(new Float64Array(10), lane, random)).toThrow("the lane has 11 elements, the values 10");
		for (const codec of [
			["ranking"],
			["ranking", [5, 5]],
			["ranking", [5, 6], [6, 6]],
			["ranking", 11],
			["ranking", [11, 0]],
			["ranking", [11]],
		])
			expect(() => ranking.maxBytes({ ...lane, codec: codec as unknown as Lane["codec"] })).toThrow(
				expect.objectContaining({ code: "INVALID_ARGUMENT" }),
			);
	});
});
