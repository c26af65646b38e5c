import { randomFromSeed } from "@rondo/kernels";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dareFactor } from "../codecs/dare.js";
import type { Codec, Lane } from "../contract.js";
import { createRegistry } from "../registry.js";
import { updateCodecs } from "./codec-options.js";

const SPARSE = ["dare", "seeded-sparse", "top-k"];
const SAMPLED = ["dare", "seeded-sparse"];
/** The largest value that this codec takes, where the lane's bound has room for a factor. */
const largest = ({ codec: [name, share], absMax, length }: Lane): number => {
	if (name === "dare") return absMax / dareFactor(share as number);
	return name === "seeded-sparse" ? (absMax * Math.ceil((share as number) * length)) / length : absMax;
};
const laneOf = (codec: Lane["codec"], length: number, absMax = 1): Lane => ({ length, absMax, combine: "mean", codec });
const specs: Lane["codec"][] = updateCodecs.flatMap(({ name }): Lane["codec"][] =>
	SPARSE.includes(name)
		? [0.01, 0.3, 1].flatMap(
				(share) =>
					[
						[name, share],
						[name, share, "f16"],
					] as Lane["codec"][],
			)
		: [[name]],
);
const codecOf = (spec: Lane["codec"]): Codec => createRegistry().codec(spec);
const random = randomFromSeed("codecs");
const lengths = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(1023, 1024, 1025, 2500));
const bounds = fc.constantFrom(1, 0.1, 0.99, 16, 1 / 3, 1e6, 1e-6, 2 ** -100);

/** `length` values that reach ±`most` and lie at all magnitudes. */
function valuesFor(length: number, most: number, seed: number): Float64Array {
	const words = randomFromSeed(`values ${seed}`).words(0, new Uint32Array(2 * length));
	return Float64Array.from({ length }, (_, j) => {
		const magnitude = words[2 * j]! % 5 === 0 ? 1 : 2 ** -(words[2 * j]! % 40);
		return most * magnitude * (words[2 * j + 1]! % 3 === 0 ? -1 : 1);
	});
}

describe.each(specs.map((spec) => [spec.join(" "), spec] as const))("%s", (_label, spec) => {
	const codec = codecOf(spec);
	const isF32 = spec[0] === "f32";

	it("keeps to its size and, for values within their bound, to the lane's", () => {
		fc.assert(
			fc.property(lengths, bounds, fc.nat(1000), (length, absMax, seed) => {
				const lane = laneOf(spec, length, absMax);
				const exact = valuesFor(length, largest(lane), seed);
				const values = isF32 ? Float32Array.from(exact, (x) => Math.fround(x * 0.99)) : exact;
				const before = values.slice();
				const bytes = codec.encode(values, lane, random.at(seed));
				expect(values).toEqual(before);
				expect(bytes.length).toBeLessThanOrEqual(codec.maxBytes(lane));
				const decoded = codec.decode(bytes, lane);
				expect(decoded.length).toBe(length);
				for (const x of decoded) if (!(Math.abs(x) <= absMax)) throw new Error(`${x} is beyond ${absMax}`);
				expect(Buffer.compare(codec.encode(values, lane, random.at(seed)), bytes)).toBe(0);
			}),
			{ numRuns: 30 },
		);
	});

	it("decodes zeros to zeros", () => {
		const lane = laneOf(spec, 2000);
		expect(codec.decode(codec.encode(new Float32Array(2000), lane, random), lane).every((x) => x === 0)).toBe(true);
	});

	it("refuses bytes that are missing or too many", () => {
		for (const length of [1, 7, 1500]) {
			const lane = laneOf(spec, length);
			const bytes = codec.encode(valuesFor(length, largest(lane) * 0.99, 1), lane, random);
			const odd = [
				new Uint8Array(0),
				bytes.subarray(0, -1),
				bytes.subarray(1),
				Uint8Array.of(...bytes, 0),
				Uint8Array.of(...bytes, ...bytes),
			];
			for (const wrong of odd) expect(() => codec.decode(wrong, lane)).toThrow(expect.objectContaining({ code: "BAD_ENCODING" }));
		}
	});

	it("gives values of the lane's length or BAD_ENCODING for any bytes", () => {
		fc.assert(
			fc.property(lengths, fc.nat(1000), fc.array(fc.tuple(fc.nat(1e6), fc.nat(255)), { maxLength: 4 }), (length, seed, changes) => {
				const lane = laneOf(spec, length);
				const bytes = codec.encode(valuesFor(length, largest(lane) * 0.5, seed), lane, random.at(seed)).slice();
				for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
				try {
					expect(codec.decode(bytes, lane).length).toBe(length);
				} catch (error) {
					expect(error).toMatchObject({ code: "BAD_ENCODING" });
				}
			}),
			{ numRuns: 80 },
		);
	});

	it("refuses values of another length, and leaves none beyond the bound unseen", () => {
		const lane = laneOf(spec, 9);
		expect(() => codec.encode(new Float32Array(8), lane, random)).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
		for (const [odd, code] of [
			[Number.NaN, "NOT_FINITE"],
			[Number.POSITIVE_INFINITY, "NOT_FINITE"],
			[-1.001, "LANE_OUT_OF_BOUND"],
		] as const) {
			const values = Float64Array.of(0, 0, 0, 0, odd, 0, 0, 0, 0);
			// The engine sees what float32 lets through.
			if (isF32) expect(codec.decode(codec.encode(values, lane, random), lane)[4]).toBe(Math.fround(odd));
			else
				expect(() => codec.encode(values, lane, random)).toThrow(
					expect.objectContaining({ code, message: expect.stringContaining("[4]") }),
				);
		}
	});

	it("refuses arguments that it does not take", () => {
		if (isF32) return;
		const wrong: Lane["codec"][] = SPARSE.includes(spec[0])
			? [[spec[0]], [spec[0], 0], [spec[0], 1.5], [spec[0], "x"], [spec[0], 0.5, "f64"], [spec[0], 0.5, "f32", 1]]
			: [[spec[0], 1]];
		for (const odd of wrong) {
			const lane = laneOf(odd, 4);
			for (const use of [
				() => codec.maxBytes(lane),
				() => codec.encode(new Float32Array(4), lane, random),
				() => codec.decode(new Uint8Array(4), lane),
			])
				expect(use).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining(`codec ${spec[0]}`) }));
		}
	});
});

/** For each element the chance that it is decoded to the upper of its two values, and the distance of the two. */
function twoValues(
	[name, share]: Lane["codec"],
	values: Float64Array,
	length: number,
): readonly (readonly [chance: number, distance: number])[] {
	if (name === "int8" || name === "int4") {
		const levels = name === "int8" ? 127 : 7;
		return Array.from(values, (x, j) => {
			const block = values.subarray(1024 * Math.floor(j / 1024), 1024 * (Math.floor(j / 1024) + 1));
			const scale = 2 ** Math.ceil(Math.log2(block.reduce((most, y) => Math.max(most, Math.abs(y)), 0) / levels));
			return [x / scale - Math.floor(x / scale), scale];
		});
	}
	const chance = name === "dare" ? (share as number) : Math.ceil((share as number) * length) / length;
	return Array.from(values, (x) => [chance, Math.abs(x) / chance]);
}

const UNBIASED: readonly Lane["codec"][] = [
	["int8"],
	["int4"],
	["dare", 0.3],
	["dare", 0.02, "f16"],
	["seeded-sparse", 0.3],
	["seeded-sparse", 0.02, "f16"],
];

describe.each(UNBIASED.map((spec) => [spec.join(" "), spec] as const))("%s", (_label, spec) => {
	it("is unbiased: the mean over many draws is the vector", () => {
		const codec = codecOf(spec);
		const [length, draws] = [1500, 600];
		const lane = laneOf(spec, length);
		const values = valuesFor(length, largest(lane), 5).map((x, j) => {
			// Above the subnormal numbers of float16, which round by more than drawing varies.
			const value = Math.abs(x) < largest(lane) / 4096 ? largest(lane) / 64 : x;
			return Math.fround(value * (1 - (j % 11) / 16));
		});
		const sum = new Float64Array(length);
		for (let draw = 0; draw < draws; draw++) {
			const decoded = codec.decode(codec.encode(values, lane, random.at("draw", draw)), lane);
			for (let j = 0; j < length; j++) sum[j]! += decoded[j]!;
		}
		const off = Float64Array.from(sum, (x, j) => x / draws - values[j]!);
		const variances = twoValues(spec, values, length).map(([p, distance]) => [p, (distance ** 2 * p * (1 - p)) / draws] as const);
		let most = 0;
		off.forEach((distance, j) => {
			const [p, variance] = variances[j]!;
			// Below that a mean is too far from Gaussian for standard errors to say much.
			if (draws * p * (1 - p) >= 10) most = Math.max(most, Math.abs(distance) / Math.sqrt(variance));
		});
		expect(most).toBeLessThan(5.5);
		expect(most).toBeGreaterThan(2);
		// Together, upwards and away from 0.
		const error = Math.sqrt(variances.reduce((total, [, variance]) => total + variance, 0));
		for (const sign of [() => 1, (j: number) => Math.sign(values[j]!)])
			expect(Math.abs(off.reduce((total, distance, j) => total + sign(j) * distance, 0)) / error).toBeLessThan(4);
	});
});

describe("half floats", () => {
	it.each([
		["f16", 2 ** -11, 2 ** -39],
		["bf16", 2 ** -9, 0],
	] as const)("%s rounds to nearest", (name, relative, absolute) => {
		for (const absMax of [1, 16, 3, 1e6, 1e-6]) {
			const lane = laneOf([name], 3000, absMax);
			const values = valuesFor(3000, absMax * 0.97, 3);
			const decoded = codecOf([name]).decode(codecOf([name]).encode(values, lane, random), lane);
			values.forEach((x, j) => {
				expect(Math.abs(decoded[j]! - x)).toBeLessThanOrEqual(Math.abs(x) * relative * 1.001 + absMax * absolute * 1.001);
			});
		}
	});
});

describe("quantised codecs", () => {
	it.each([
		["int8", 127],
		["int4", 7],
	] as const)(
		"%s: decoded values are multiples of the block's scale next to the value, and are kept when encoded again",
		(name, levels) => {
			const lane = laneOf([name], 2048, 4);
			const codec = codecOf([name]);
			const values = valuesFor(2048, 1, 9).map((x, j) => Math.fround((j < 1024 ? x : x / 512) * 0.9));
			const bytes = codec.encode(values, lane, random);
			const decoded = codec.decode(bytes, lane);
			for (const [block, most] of [
				[0, 0.9],
				[1, 0.9 / 512],
			] as const) {
				const scale = 2 ** Math.ceil(Math.log2(most / levels));
				for (let j = 1024 * block; j < 1024 * (block + 1); j++) {
					expect(Number.isInteger(decoded[j]! / scale)).toBe(true);
					expect(Math.abs(decoded[j]! - values[j]!)).toBeLessThan(scale);
				}
			}
			expect(codec.decode(codec.encode(decoded, lane, random.at("again")), lane)).toEqual(decoded);
		},
	);

	it("refuses a scale below every float32, and codes that are none", () => {
		const lane = laneOf(["int8"], 3, 1);
		const bytes = codecOf(["int8"]).encode(Float32Array.of(1, 0.5, -1), lane, random);
		expect([...bytes]).toEqual([0, 64, 32, 192]);
		for (const [at, byte] of [
			[0, 250],
			[1, 128],
		]) {
			const odd = bytes.slice();
			odd[at!] = byte!;
			expect(() => codecOf(["int8"]).decode(odd, lane)).toThrow(expect.objectContaining({ code: "BAD_ENCODING" }));
		}
	});
});

describe("sparse codecs", () => {
	const values = valuesFor(4000, 1, 2).map((x, j) => x * (1 - j / 8000));

	it("top-k keeps the k largest magnitudes and nothing else, and what it made", () => {
		for (const share of [0.001, 0.05, 0.6]) {
			const lane = laneOf(["top-k", share], 4000);
			const codec = codecOf(lane.codec);
			const decoded = codec.decode(codec.encode(values, lane, random), lane);
			const kept = values.map((_, j) => j).filter((j) => decoded[j] !== 0);
			expect(kept.length).toBe(Math.ceil(share * 4000));
			const least = Math.min(...kept.map((j) => Math.abs(values[j]!)));
			values.forEach((x, j) => {
				if (decoded[j] === 0) expect(Math.abs(x)).toBeLessThanOrEqual(least);
				else expect(decoded[j]).toBe(Math.fround(x));
			});
			expect(codec.decode(codec.encode(decoded, lane, random), lane)).toEqual(decoded);
			const half = laneOf(["top-k", share, "f16"], 4000);
			const once = codec.decode(codec.encode(values, half, random), half);
			expect(codec.decode(codec.encode(once, half, random), half)).toEqual(once);
		}
	});

	it("top-k reaches its largest size, with gaps and with a bitmap", () => {
		// A third and less: gaps, longest when they are as unequal as can be.
		for (const [share, positions] of [
			[0.125, [0, 1]],
			[0.75, [0, 1, 2, 3, 4, 5]],
		] as const) {
			const lane = laneOf(["top-k", share], 8 * (share < 0.5 ? 2 : 1));
			const spread = new Float32Array(lane.length).map((_, j) => ((positions as readonly number[]).includes(j) ? 1 : 0));
			if (share < 0.5) {
				spread.fill(0);
				spread[14] = 1;
				spread[15] = 1;
			}
			expect(codecOf(lane.codec).encode(spread, lane, random).length).toBe(codecOf(lane.codec).maxBytes(lane));
		}
	});

	it("top-k refuses an unknown form, another number of ones, and indices twice", () => {
		const lane = laneOf(["top-k", 0.5], 8);
		const codec = codecOf(lane.codec);
		const bytes = codec.encode(Float32Array.of(1, 0, 1, 0, 1, 0, 1, 0), lane, random);
		expect(bytes.length).toBe(1 + 1 + 16);
		const masked = bytes.slice();
		masked[0] = 1;
		masked[1] = 0b01010101;
		expect(codec.decode(masked, lane)).toEqual(Float32Array.of(1, 0, 1, 0, 1, 0, 1, 0));
		for (const [form, positions, message] of [
			[2, 0b01010101, "byte 0 is 2"],
			[1, 0b01010111, "the bitmap has 5 ones, expected 4"],
			[1, 0b00010101, "the bitmap has 3 ones, expected 4"],
		] as const) {
			const odd = masked.slice();
			odd[0] = form;
			odd[1] = positions;
			expect(() => codec.decode(odd, lane)).toThrow(
				expect.objectContaining({ code: "BAD_ENCODING", message: expect.stringContaining(message) }),
			);
		}
	});

	it("seeded-sparse sends exactly ⌈share · n⌉ values, scaled by n / m, all positions alike", () => {
		const lane = laneOf(["seeded-sparse", 0.1], 50, 10);
		const codec = codecOf(lane.codec);
		const often = new Float64Array(50);
		for (let draw = 0; draw < 4000; draw++) {
			const decoded = codec.decode(codec.encode(new Float32Array(50).fill(0.5), lane, random.at("often", draw)), lane);
			expect(decoded.filter((x) => x === 5).length).toBe(5);
			decoded.forEach((x, j) => {
				if (x !== 0) often[j]! += 1;
			});
		}
		const chiSquared = often.reduce((sum, n) => sum + (n - 400) ** 2 / (400 * 0.9), 0);
		// Mean 49 or so, standard deviation 10.
		expect(chiSquared).toBeGreaterThan(15);
		expect(chiSquared).toBeLessThan(100);
	});

	it("dare keeps each element with its chance, and a forged seed does not pass", () => {
		const lane = laneOf(["dare", 0.25], 10_000, 4);
		const codec = codecOf(lane.codec);
		const bytes = codec.encode(new Float32Array(10_000).fill(1), lane, random);
		const kept = codec.decode(bytes, lane).filter((x) => x === 4).length;
		expect(bytes.length).toBe(8 + 4 * kept);
		expect(Math.abs(kept - 2500)).toBeLessThan(5 * Math.sqrt(10_000 * 0.25 * 0.75));
		const forged = bytes.slice();
		forged[0]! ^= 1;
		expect(() => codec.decode(forged, lane)).toThrow(expect.objectContaining({ code: "BAD_ENCODING" }));
	});

	it("other secrets choose other elements", () => {
		for (const name of SAMPLED) {
			const lane = laneOf([name, 0.5], 64, 4);
			const codec = codecOf(lane.codec);
			const ones = new Float32Array(64).fill(1);
			expect(codec.encode(ones, lane, random.at("a"))).not.toEqual(codec.encode(ones, lane, random.at("b")));
		}
	});
});

it.each([
	[["f32"], "0000003f000080be000000000000003e000080bf0000403f0000803d000000bf9a99993e6f12833a"],
	[["f16"], "006c00e80000006400f0006e006000eccd681948"],
	[["bf16"], "003f80be0000003e80bf403f803d00bf9a3e833a"],
	[["int8"], "0220f00008c03004e01300"],
	[["int4"], "02f2103ce001"],
	[["top-k", 0.3], "00020d0000003f000080bf0000403f"],
	[["top-k", 0.9, "f16"], "00fb03006c00e8006400f0006e006000eccd681948"],
	[["dare", 0.5], "3cdea32cbf4697370000803f000000bf0000003e000080bf9a99193f6f12033b"],
	[["seeded-sparse", 0.3], "3cdea32cbf469737555555bf000000005555d5bf"],
	[["seeded-sparse", 0.3, "f16"], "3cdea32cbf469737abee0000abf2"],
] as [Lane["codec"], string][])("the bytes of %j are what they have always been", (spec, bytes) => {
	const values = Float32Array.of(0.5, -0.25, 0, 0.125, -1, 0.75, 0.0625, -0.5, 0.3, 0.001);
	const lane = laneOf(spec, values.length, 4);
	expect(Buffer.from(codecOf(spec).encode(values, lane, randomFromSeed("golden"))).toString("hex")).toBe(bytes);
});
