import { randomFromSeed } from "@rondo/kernels";
import fc from "fast-check";
import { expect, it } from "vitest";
import type { Lane } from "../contract.js";
import { f32 } from "./f32.js";

const random = randomFromSeed("f32");
const laneOf = (length: number): Lane => ({ length, absMax: 1, combine: "mean", codec: ["f32"] });

it("keeps float32 values exactly and rounds others once, in at most maxBytes", () => {
	fc.assert(
		fc.property(fc.float64Array({ noNaN: true }), (values) => {
			const lane = laneOf(values.length);
			const bytes = f32.encode(values, lane, random);
			expect(bytes.length).toBe(f32.maxBytes(lane));
			const rounded = Float32Array.from(values);
			expect(f32.decode(bytes, lane)).toEqual(rounded);
			expect(f32.decode(f32.encode(rounded, lane, random), lane)).toEqual(rounded);
		}),
	);
});

it("is little-endian", () => {
	expect([...f32.encode(Float32Array.of(1, -2), laneOf(2), random)]).toEqual([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
});

it("refuses another number of bytes or values", () => {
	for (const length of [0, 1, 7, 9, 12]) {
		expect(() => f32.decode(new Uint8Array(length), laneOf(2))).toThrow(expect.objectContaining({ code: "BAD_ENCODING" }));
	}
	expect(() => f32.encode(new Float32Array(3), laneOf(2), random)).toThrow("the lane has 2 elements, the values 3");
});

it("reads bytes that are not aligned", () => {
	const bytes = new Uint8Array(9);
	bytes.set([0, 0, 0x80, 0x3f], 1);
	expect(f32.decode(bytes.subarray(1, 5), laneOf(1))).toEqual(Float32Array.of(1));
});

it("decodes the bytes of a range as a lane of that length", () => {
	const values = Float32Array.from({ length: 9 }, (_, j) => j / 3);
	const bytes = f32.encode(values, laneOf(9), random);
	for (const [from, to] of [
		[0, 9],
		[2, 5],
		[8, 9],
		[4, 4],
	] as const)
		expect(f32.decode(bytes.subarray(...f32.range!(laneOf(9), from, to)), laneOf(to - from))).toEqual(values.subarray(from, to));
});
