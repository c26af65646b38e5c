import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkLayout, layoutOf, tensorOf } from "./layout.js";

const two = layoutOf([
	{ name: "w", shape: [2, 3] },
	{ name: "b", shape: [] },
]);

describe("layouts", () => {
	it("lie one after the other", () => {
		expect(two).toEqual({
			length: 7,
			tensors: [
				{ name: "w", shape: [2, 3], from: 0, to: 6 },
				{ name: "b", shape: [], from: 6, to: 7 },
			],
		});
		expect(layoutOf([])).toEqual({ length: 0, tensors: [] });
		expect(checkLayout(structuredClone(two))).toEqual(two);
	});

	it("give views of their tensors", () => {
		const flat = Float32Array.of(0, 1, 2, 3, 4, 5, 6);
		tensorOf(two, "b", flat)[0] = 9;
		expect(flat[6]).toBe(9);
		expect([...tensorOf(two, "w", flat)]).toEqual([0, 1, 2, 3, 4, 5]);
		expect(() => tensorOf(two, "v", flat)).toThrow('no tensor "v"');
		expect(() => tensorOf(two, "w", flat.subarray(1))).toThrow("flat has 6 elements, its layout 7");
	});

	it.each([
		[null, "layout must be an object, got null"],
		[[], "layout must be an object, got an array of 0"],
		[{ length: 0 }, "layout.tensors must be an array, got undefined"],
		[{ length: 0, tensors: [1] }, "layout.tensors[0] must be an object, got 1"],
		[{ length: 1, tensors: [{ name: "", shape: [], from: 0, to: 1 }] }, "tensors[0].name must be"],
		[{ length: 1, tensors: [{ name: "ü", shape: [], from: 0, to: 1 }] }, 'got "ü"'],
		[{ length: 1, tensors: [{ name: "a".repeat(513), shape: [], from: 0, to: 1 }] }, "tensors[0].name must be 1 to 512"],
		[{ length: 1, tensors: [{ name: "a", shape: "1", from: 0, to: 1 }] }, 'shape of tensor "a" must be an array'],
		[{ length: 1, tensors: [{ name: "a", shape: [0.5], from: 0, to: 1 }] }, "must hold non-negative integers, got 0.5"],
		[{ length: 1, tensors: [{ name: "a", shape: [-1], from: 0, to: 1 }] }, "got -1"],
		[{ length: 1, tensors: [{ name: "a", shape: [2 ** 52, 2 ** 52], from: 0, to: 1 }] }, "beyond 2^31"],
		[{ length: 1, tensors: [{ name: "a", shape: new Array(33).fill(1), from: 0, to: 1 }] }, "at most 32 sizes"],
		[{ length: 1, tensors: [{ name: "a", shape: [], from: 1, to: 2 }] }, 'layout.tensors[0].from ("a") must be 0, got 1'],
		[{ length: 1, tensors: [{ name: "a", shape: [], from: 0, to: 2 }] }, 'layout.tensors[0].to ("a") must be 1, got 2'],
		[{ length: 2, tensors: [{ name: "a", shape: [], from: 0, to: 1 }] }, "layout.length must be 1, got 2"],
		[{ ...two, tensors: [two.tensors[0], two.tensors[0]] }, '"w" occurs twice'],
	])("that are none are refused: %#", (value, message) => {
		expect(() => checkLayout(value)).toThrow(
			expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining(message) as string }),
		);
	});

	it("of more than 2^31 elements in all are refused", () => {
		const big = { shape: [2 ** 30] };
		expect(
			layoutOf([
				{ name: "a", ...big },
				{ name: "b", ...big },
			]).length,
		).toBe(2 ** 31);
		expect(() =>
			layoutOf([
				{ name: "a", ...big },
				{ name: "b", ...big },
				{ name: "c", shape: [1] },
			]),
		).toThrow('tensor "c" ends at element 2147483649');
	});

	it("are checked without a crash, whatever comes", () => {
		fc.assert(
			fc.property(fc.anything(), (value) => {
				expect(() => checkLayout({ length: 0, tensors: [value] })).toThrow(expect.objectContaining({ name: "RondoError" }));
			}),
		);
	});
});
