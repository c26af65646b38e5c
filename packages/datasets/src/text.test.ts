import type { Batch } from "@rondo/algorithms";
import { randomFromSeed } from "@rondo/kernels";
import { describe, expect, test } from "vitest";
import { inMemoryData } from "./data.js";
import { splitBySpeaker, tokenWindows } from "./text.js";

describe("splitBySpeaker", () => {
	test("joins the speeches of each speaker, in order", () => {
		const play = `First Citizen:
Before we proceed any further, hear me speak.

All:
Speak, speak.

First Citizen:
You are all resolved: rather to die than
to famish?

All:
Resolved. resolved.
`;
		expect([...splitBySpeaker(play)]).toEqual([
			["First Citizen", "Before we proceed any further, hear me speak.\n\nYou are all resolved: rather to die than\nto famish?"],
			["All", "Speak, speak.\n\nResolved. resolved."],
		]);
	});

	test("a speech may have empty lines; silence and what nobody says is left out; line ends of either kind", () => {
		expect([...splitBySpeaker("Act I\n\nA :\r\none\r\n\r\ntwo\n\n\n\nB:\n\nC:\nthree: four\n\nB:")]).toEqual([
			["A", "one\n\ntwo"],
			["C", "three: four"],
		]);
		expect(splitBySpeaker("").size).toBe(0);
	});
});

describe("tokenWindows", () => {
	test("labels are the tokens that follow; the last window is filled up", () => {
		expect(tokenWindows([7, 8, 9, 5], 2)).toEqual({
			inputs: Int32Array.of(7, 8, 9, 0),
			labels: Int32Array.of(8, 9, 5, -100),
			count: 2,
		});
		expect(tokenWindows([7, 8, 9], 2)).toEqual({ inputs: Int32Array.of(7, 8), labels: Int32Array.of(8, 9), count: 1 });
	});

	test.each([1, 4, 9, 10, 64])("every token but the first is a label once, in windows of %i", (length) => {
		const tokens = Int32Array.from({ length: 10 }, (_, i) => 100 + i);
		const { labels, inputs, count } = tokenWindows(tokens, length);
		expect([labels.length, inputs.length]).toEqual([count * length, count * length]);
		expect([...labels].filter((label) => label >= 0)).toEqual([...tokens.slice(1)]);
		for (const [i, label] of labels.entries()) if (label >= 0) expect(inputs[i]).toBe(label - 1);
	});

	test("too short a text has no examples", () => {
		for (const tokens of [[], [3]]) expect(inMemoryData(tokenWindows(tokens, 4)).numExamples).toBe(0);
	});

	test("is what inMemoryData serves, a row per window", () => {
		const data = inMemoryData(tokenWindows([0, 1, 2, 3, 4, 5], 2));
		expect(data.numExamples).toBe(3);
		const [batch] = data.batches(3, randomFromSeed("order")) as Iterable<Batch>;
		const rows = [0, 1, 2].map((row) => [...batch!.inputs.slice(2 * row, 2 * row + 2), ...batch!.labels.slice(2 * row, 2 * row + 2)]);
		expect(rows.toSorted()).toEqual([
			[0, 1, 1, 2],
			[2, 3, 3, 4],
			[4, 0, 5, -100],
		]);
	});

	test("refuses what is no length or no token", () => {
		for (const length of [0, 1.5, Number.NaN])
			expect(() => tokenWindows([1, 2], length)).toThrow(`length must be a positive integer, got ${length}`);
		for (const token of [-1, 0.5, 2 ** 31, Number.NaN])
			expect(() => tokenWindows([1, token], 4)).toThrow(`tokens[1] must be a token id, got ${token}`);
	});
});
