import { expect, test } from "vitest";
import { loadDigits } from "./digits.js";

test("has the known counts", async () => {
	const [train, held] = [await loadDigits("train"), await loadDigits("test")];
	expect([train.shape, held.shape]).toEqual([
		[1442, 8, 8],
		[355, 8, 8],
	]);
	const counts = Array.from({ length: 10 }, (_, digit) => [...train.labels, ...held.labels].filter((label) => label === digit).length);
	expect(counts).toEqual([178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
	expect(Array.from({ length: 10 }, (_, digit) => held.labels.filter((label) => label === digit).length)).toEqual([
		35, 36, 35, 36, 36, 36, 36, 35, 34, 36,
	]);
	// The first image of the set is a 0: its second row is 0 0 13 15 10 15 5 0 of 16.
	expect(train.labels[0]).toBe(0);
	expect(Array.from(train.inputs.subarray(8, 16), (pixel) => (pixel * 16) / 255).map(Math.round)).toEqual([0, 0, 13, 15, 10, 15, 5, 0]);
	expect(Math.max(...train.inputs)).toBe(255);
});

test("refuses a split that does not exist", async () => {
	await expect(loadDigits("validation" as "test")).rejects.toThrow('split must be "train" or "test", got "validation"');
});
