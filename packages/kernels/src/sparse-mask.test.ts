import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { randomFromSeed } from "./random.js";
import { maxGapsBytes, packGaps, packMask, unpackGaps, unpackMask } from "./sparse-mask.js";

const refused = (code: string) => expect.objectContaining({ code });

/** Each position with probability `share`. */
function randomSet(length: number, share: number): Uint32Array {
	const words = randomFromSeed("sparse-mask").at(String(share), length).words(0, new Uint32Array(length));
	const indices = new Uint32Array(length);
	let count = 0;
	for (let i = 0; i < length; i++) if (words[i]! < share * 2 ** 32) indices[count++] = i;
	return indices.slice(0, count);
}

/** Sets of all densities, with runs, long holes and the ends. */
const sets = fc.integer({ min: 0, max: 300 }).chain((length) =>
	fc.record({
		length: fc.constant(length),
		indices: fc
			.oneof(
				fc.uniqueArray(fc.integer({ min: 0, max: Math.max(0, length - 1) }), { maxLength: length }),
				fc.array(fc.boolean(), { minLength: length, maxLength: length }).map((bits) => [...bits.keys()].filter((i) => bits[i])),
				fc.tuple(fc.nat(length), fc.nat(length)).map(([a, b]) => Array.from({ length: Math.abs(a - b) }, (_, i) => Math.min(a, b) + i)),
			)
			.map((list) => Uint32Array.from(list).sort()),
	}),
);

/** The code of `packGaps` bit by bit, from its documentation. */
function gapsByDefinition(indices: Uint32Array, length: number): number[] {
	const share = indices.length / length;
	// The r that makes the expected code shortest: r + 1 + E[quotient], E = x^(2^r) / (1 − x^(2^r)).
	const cost = (r: number): number => r + 1 / (1 - (1 - share) ** (2 ** r));
	let r = 0;
	while (indices.length > 0 && cost(r + 1) < cost(r)) r++;
	const gaps = [...indices].map((index, i) => index - (i === 0 ? -1 : indices[i - 1]!) - 1);
	const bytesOf = (bits: string): number[] => (bits.match(/.{1,8}/g) ?? []).map((byte) => Number.parseInt([...byte].reverse().join(""), 2));
	const lows = gaps.map((gap) => (r === 0 ? "" : [...(gap % 2 ** r).toString(2).padStart(r, "0")].reverse().join("")));
	const quotients = gaps.map((gap) => `${"0".repeat(Math.floor(gap / 2 ** r))}1`);
	return [...bytesOf(lows.join("")), ...bytesOf(quotients.join(""))];
}

describe("packMask and unpackMask", () => {
	it("are a bitmap, from any offset", () => {
		fc.assert(
			fc.property(sets, fc.integer({ min: 0, max: 5 }), ({ indices, length }, offset) => {
				const bytes = packMask(indices, length);
				expect(bytes.length).toBe(Math.ceil(length / 8));
				const positions = Array.from({ length: 8 * bytes.length }, (_, i) => i);
				expect(positions.filter((i) => (bytes[i >> 3]! >> (i & 7)) & 1)).toEqual([...indices]);
				const within = new Uint8Array(bytes.length + offset + 3).fill(0xff);
				within.set(bytes, offset);
				expect(unpackMask(within.subarray(offset, offset + bytes.length), length)).toEqual(indices);
			}),
			{ numRuns: 300 },
		);
	});

	it("accept only what packing makes: any bytes are refused or pack to the same bytes", () => {
		fc.assert(
			fc.property(fc.integer({ min: 0, max: 80 }), fc.uint8Array({ maxLength: 10 }), (length, bytes) => {
				const padding = 8 * bytes.length - length;
				const valid = bytes.length === Math.ceil(length / 8) && (padding === 0 || bytes.at(-1)! < 2 ** (8 - padding));
				if (valid) expect(packMask(unpackMask(bytes, length), length)).toEqual(bytes);
				else expect(() => unpackMask(bytes, length)).toThrow(refused("BAD_ENCODING"));
			}),
			{ numRuns: 2000 },
		);
	});
});

describe("packGaps and unpackGaps", () => {
	it("are the documented code, within the bound, from any offset", () => {
		fc.assert(
			fc.property(sets, fc.integer({ min: 0, max: 5 }), ({ indices, length }, offset) => {
				const bytes = packGaps(indices, length);
				expect([...bytes]).toEqual(gapsByDefinition(indices, length));
				expect(bytes.length).toBeLessThanOrEqual(maxGapsBytes(indices.length, length));
				const within = new Uint8Array(bytes.length + offset + 3).fill(0xff);
				within.set(bytes, offset);
				expect(unpackGaps(within.subarray(offset, offset + bytes.length), indices.length, length)).toEqual(indices);
			}),
			{ numRuns: 500 },
		);
	});

	it("has a known answer", () => {
		// r = 1 for 3 of 10: gaps 1, 0 and 5 have the low bits 1, 0, 1 and the quotients 0, 0, 2.
		expect([...packGaps(Uint32Array.of(1, 2, 8), 10)]).toEqual([0b101, 0b10011]);
		// r = 0: the bitmap without the zeros at its end.
		expect([...packGaps(Uint32Array.of(0, 1, 2, 5, 6), 12)]).toEqual([0b1100111]);
	});

	it("reach their bound: the last position after gaps that end at a step", () => {
		// r = 5 for 3 of 200: gaps 0, 0 and 197, 192 of which are quotient.
		const indices = Uint32Array.of(0, 1, 199);
		expect(packGaps(indices, 200).length).toBe(maxGapsBytes(3, 200));
	});

	it("take up to a third of all positions in no more than the bitmap and one byte, whatever the set", () => {
		const most: number[] = [];
		for (let length = 0; length <= 600; length++) {
			let worst = 0;
			for (let count = 0; 3 * count <= length; count++) worst = Math.max(worst, maxGapsBytes(count, length) - Math.ceil(length / 8));
			most.push(worst);
		}
		expect(Math.max(...most)).toBe(1);
	});

	it("take within 4 % of the information of a random set", () => {
		for (const share of [0.001, 0.01, 0.1133, 0.2138, 0.33]) {
			const indices = randomSet(100_000, share);
			const entropy = -Math.log2(share) - ((1 - share) / share) * Math.log2(1 - share);
			const bytes = packGaps(indices, 100_000);
			expect((8 * bytes.length) / indices.length).toBeLessThan(1.04 * entropy);
			// As text, which compares large arrays faster.
			expect(String(unpackGaps(bytes, indices.length, 100_000))).toBe(String(indices));
		}
	});

	it("reach the last of 2^31 positions", () => {
		for (const indices of [[2 ** 31 - 1], [0, 2 ** 31 - 1], [2 ** 30, 2 ** 31 - 2, 2 ** 31 - 1], [0, 1, 2, 3]]) {
			const list = Uint32Array.from(indices);
			expect(unpackGaps(packGaps(list, 2 ** 31), list.length, 2 ** 31)).toEqual(list);
		}
	});

	it("accept only what packing makes: any bytes are refused or pack to the same bytes", () => {
		let accepted = 0;
		fc.assert(
			fc.property(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 8 }), fc.uint8Array({ maxLength: 6 }), (length, n, bytes) => {
				const count = Math.min(n, length);
				let indices: Uint32Array;
				try {
					indices = unpackGaps(bytes, count, length);
				} catch (error) {
					expect(error).toMatchObject({ code: "BAD_ENCODING" });
					return;
				}
				accepted++;
				expect(packGaps(indices, length)).toEqual(bytes);
			}),
			{ numRuns: 5000 },
		);
		expect(accepted).toBeGreaterThan(20);
	});

	it("are refused with any one bit changed, or are another set", () => {
		const indices = randomSet(400, 0.1);
		const bytes = packGaps(indices, 400);
		let other = 0;
		for (let bit = 0; bit < 8 * bytes.length; bit++) {
			const changed = bytes.slice();
			changed[bit >> 3]! ^= 1 << (bit & 7);
			let got: Uint32Array;
			try {
				got = unpackGaps(changed, indices.length, 400);
			} catch (error) {
				expect(error).toMatchObject({ code: "BAD_ENCODING" });
				continue;
			}
			other++;
			expect(got).not.toEqual(indices);
			expect(packGaps(got, 400)).toEqual(changed);
		}
		expect(other).toBeGreaterThan(0);
	});

	it("refuse each kind of malformed bytes", () => {
		const good = packGaps(Uint32Array.of(1, 2, 8), 10);
		expect(() => unpackGaps(good.subarray(0, 1), 3, 10)).toThrow("1 bytes are not the gaps of 3 indices below 10");
		expect(() => unpackGaps(Uint8Array.of(...good, 0, 0, 0), 3, 10)).toThrow("5 bytes are not the gaps");
		expect(() => unpackGaps(Uint8Array.of(0b101, 0b11011), 3, 10)).toThrow("the gaps of more than 3 indices");
		expect(() => unpackGaps(Uint8Array.of(0b101, 0b00011), 3, 10)).toThrow("the gaps of 2 indices, expected 3");
		expect(() => unpackGaps(Uint8Array.of(0b101, 0b100011), 3, 10)).toThrow("index 2 is 10, but there are 10 positions");
		expect(() => unpackGaps(Uint8Array.of(0b1101, 0b10011), 3, 10)).toThrow(refused("BAD_ENCODING"));
		// 5 of 40 have r = 2, 10 low bits and up to 13 bits of quotients, hence room for a byte more.
		expect([...packGaps(Uint32Array.of(0, 1, 2, 3, 4), 40)]).toEqual([0, 0, 0b11111]);
		expect(() => unpackGaps(Uint8Array.of(0, 0, 0b11111, 0), 5, 40)).toThrow("the gaps are followed by a byte of zeros");
		expect(unpackGaps(new Uint8Array(0), 0, 10)).toEqual(new Uint32Array(0));
		expect(() => unpackGaps(new Uint8Array(1), 0, 10)).toThrow(refused("BAD_ENCODING"));
	});

	it("allocate nothing for a claim that the bytes do not bear out", () => {
		expect(() => unpackGaps(new Uint8Array(8), 2 ** 31, 2 ** 31)).toThrow(refused("BAD_ENCODING"));
		expect(() => unpackGaps(new Uint8Array(8), 2 ** 28, 2 ** 31)).toThrow(refused("BAD_ENCODING"));
	});
});

describe.each([
	["packMask", packMask],
	["packGaps", packGaps],
])("%s", (_name, pack) => {
	it("refuses indices that do not ascend or are too large, with index and value", () => {
		expect(() => pack(Uint32Array.of(1, 5, 5), 10)).toThrow("indices[2] is 5, not above the 5 before it");
		expect(() => pack(Uint32Array.of(7, 3), 10)).toThrow("indices[1] is 3, not above the 7 before it");
		expect(() => pack(Uint32Array.of(3, 10), 10)).toThrow("indices[1] is 10, but there are 10 positions");
		expect(() => pack(Uint32Array.of(0xffffffff), 2 ** 20)).toThrow(refused("INVALID_ARGUMENT"));
		expect(() => pack(Uint32Array.of(0, 1, 2), 2)).toThrow(refused("INVALID_ARGUMENT"));
	});
});

it("refuses a length or count out of range", () => {
	for (const length of [-1, 0.5, 2 ** 31 + 1, Number.NaN]) {
		expect(() => packMask(new Uint32Array(0), length)).toThrow(`length must be an integer from 0 to 2^31, got ${length}`);
		expect(() => unpackMask(new Uint8Array(0), length)).toThrow(refused("INVALID_ARGUMENT"));
		expect(() => packGaps(new Uint32Array(0), length)).toThrow(refused("INVALID_ARGUMENT"));
		expect(() => unpackGaps(new Uint8Array(0), 0, length)).toThrow(refused("INVALID_ARGUMENT"));
	}
	for (const count of [-1, 0.5, 11, Number.NaN]) {
		expect(() => unpackGaps(new Uint8Array(0), count, 10)).toThrow(`count must be an integer from 0 to 10, got ${count}`);
		expect(() => maxGapsBytes(count, 10)).toThrow(refused("INVALID_ARGUMENT"));
	}
});
