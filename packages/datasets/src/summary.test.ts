import { expect, test } from "vitest";
import { formatSummary, summarize } from "./summary.js";

const labels = Int32Array.of(7, 0, 7, 7, 0);
const parts = [Uint32Array.of(0, 1, 2), Uint32Array.of(3, 4), new Uint32Array(0)];

test("counts who holds what", () => {
	expect(summarize(parts, labels)).toEqual({
		classes: [0, 7],
		clients: [
			{ examples: 3, counts: [1, 2] },
			{ examples: 2, counts: [1, 1] },
			{ examples: 0, counts: [0, 0] },
		],
	});
});

test("prints a table", () => {
	expect(formatSummary(summarize(parts, labels), ["ann", "bob", "eve"])).toBe(
		[
			"client  examples  class 0  class 7", //
			"ann            3        1        2",
			"bob            2        1        1",
			"eve            0        0        0",
			"total          5        2        3",
		].join("\n"),
	);
	expect(formatSummary(summarize([], labels))).toContain("total");
});

test("refuses an example without a label", () => {
	expect(() => summarize([Uint32Array.of(5)], labels)).toThrow("parts[0] holds example 5, there are 5 labels");
});
