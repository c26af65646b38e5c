import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fromHex, sha256, toHex } from "./hash.js";
import { philox4x32 } from "./philox.js";
import { randomFrom, randomFromSeed } from "./random.js";

const hex = (words: Uint32Array): string => [...words].map((word) => word.toString(16).padStart(8, "0")).join(" ");

describe("philox4x32", () => {
	// kat_vectors of Random123 (philox4x32, 10 rounds and 7 rounds).
	it.each([
		[[0, 0, 0, 0], [0, 0], 10, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"],
		[[0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff], 10, "408f276d 41c83b0e a20bc7c6 6d5451fd"],
		[[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], 10, "d16cfe09 94fdcceb 5001e420 24126ea1"],
	])("known answer %#", (counter, key, rounds, answer) => {
		expect(hex(philox4x32(counter, key, rounds))).toBe(answer);
	});

	it("equals the definition in big integers, for every number of rounds", () => {
		const word = fc.integer({ min: 0, max: 0xffffffff });
		fc.assert(
			fc.property(fc.tuple(word, word, word, word), fc.tuple(word, word), fc.integer({ min: 1, max: 12 }), (counter, key, rounds) => {
				let [c0, c1, c2, c3] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
				let [k0, k1] = key.map(BigInt) as [bigint, bigint];
				for (let r = 0; r < rounds; r++) {
					const p0 = 0xd2511f53n * c0;
					const p1 = 0xcd9e8d57n * c2;
					[c0, c1, c2, c3] = [(p1 >> 32n) ^ c1 ^ k0, p1 & 0xffffffffn, (p0 >> 32n) ^ c3 ^ k1, p0 & 0xffffffffn];
					k0 = (k0 + 0x9e3779b9n) & 0xffffffffn;
					k1 = (k1 + 0xbb67ae85n) & 0xffffffffn;
				}
				expect([...philox4x32(counter, key, rounds)]).toEqual([c0, c1, c2, c3].map(Number));
			}),
		);
	});

	it("refuses counters, keys and rounds of another size", () => {
		expect(() => philox4x32([1, 2, 3], [1, 2])).toThrow("counter must have 4 words, got 3");
		expect(() => philox4x32([1, 2, 3, 4], [1])).toThrow("key must have 2 words, got 1");
		expect(() => philox4x32([1, 2, 3, 4], [1, 2], 0)).toThrow("rounds must be an integer from 1 to 64, got 0");
	});
});

describe("Random", () => {
	const random = randomFromSeed("seed").at("a", 1);

	it("gives the same words in pieces of any size, from any offset", () => {
		fc.assert(
			fc.property(
				fc.constantFrom(0, 3, 2 ** 32 - 5, 2 ** 34 - 7, 2 ** 45 + 1, 2 ** 53 - 40),
				fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 8 }),
				(from, sizes) => {
					const total = sizes.reduce((a, b) => a + b, 0);
					if (total > 2 ** 53 - from) return;
					const whole = random.words(from, new Uint32Array(total));
					let at = 0;
					for (const size of sizes) {
						expect(random.words(from + at, new Uint32Array(size))).toEqual(whole.slice(at, at + size));
						at += size;
					}
				},
			),
		);
	});

	it("writes into views and returns them", () => {
		const buffer = new Uint32Array(8);
		const view = buffer.subarray(2, 6);
		expect(random.words(1, view)).toBe(view);
		expect([buffer[0], buffer[1], buffer[6], buffer[7]]).toEqual([0, 0, 0, 0]);
	});

	it("has one node for each path, however it is walked", () => {
		const first = (path: readonly (string | number)[]): string =>
			hex(
				randomFromSeed("s")
					.at(...path)
					.words(0, new Uint32Array(4)),
			);
		expect(randomFromSeed("s").at("a").at(2).at("b").words(0, new Uint32Array(4))).toEqual(
			randomFromSeed("s").at("a", 2, "b").words(0, new Uint32Array(4)),
		);
		const paths = [[], [1], ["1"], [1, 0], ["1", 0], [2 ** 32 + 1], [2 ** 53 - 1], ["a", "b"], ["ab"], ["", "ab"], ["ab", ""], [""]];
		expect(new Set(paths.map(first)).size).toBe(paths.length);
		expect(random.at()).toBe(random);
	});

	it.each([
		[-1],
		[0.5],
		[2 ** 53],
		[Number.NaN],
		[Number.POSITIVE_INFINITY],
		["\ud800"],
		[null as unknown as number],
		[{} as unknown as number],
		[1n as unknown as number],
	])("refuses the path element %s", (element) => {
		expect(() => random.at("fine", element)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
	});

	it.each([-1, 0.5, 2 ** 53, Number.NaN])("refuses words from %s on", (from) => {
		expect(() => random.words(from, new Uint32Array(1))).toThrow(`got ${from}`);
	});

	it("refuses words beyond the end, keys of another length and seeds that are no text", () => {
		expect(() => random.words(2 ** 53 - 4, new Uint32Array(5))).toThrow("got 9007199254740988");
		expect(() => randomFrom(new Uint8Array(31))).toThrow("key must be 32 bytes, got 31");
		expect(() => randomFromSeed("\udc00")).toThrow("seed must be well-formed Unicode text");
	});

	it("keeps its own copy of the key", () => {
		const key = new Uint8Array(32).fill(7);
		const node = randomFrom(key);
		const before = node.at("x").words(0, new Uint32Array(2));
		key.fill(0);
		expect(node.at("x").words(0, new Uint32Array(2))).toEqual(before);
	});
});

describe("hash", () => {
	it("is SHA-256 of the concatenation", () => {
		const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
		expect(toHex(sha256(new TextEncoder().encode("abc")))).toBe(abc);
		expect(toHex(sha256(new TextEncoder().encode("a"), new TextEncoder().encode("bc")))).toBe(abc);
		expect(toHex(fromHex(abc.toUpperCase()))).toBe(abc);
	});

	it.each(["a", "zz", "0x"])("refuses the digits %s", (text) => {
		expect(() => fromHex(text)).toThrow(JSON.stringify(text));
	});
});
