import { expect, it } from "vitest";
import { gap } from "../../test/problems.js";
import { samplingWeights } from "./sampling-weights.js";

it("turns importances into chances as the paper does", () => {
	const ones = new Float64Array(4).fill(1);
	const weights = samplingWeights(Float64Array.of(0, 10, 40, 1000), ones);
	expect([...weights]).toEqual([94, 95, 98, 255]);
	const total = weights.reduce((sum, w) => sum + w);
	expect(
		gap(
			[...weights].map((w) => w / total),
			[0.1733, 0.1751, 0.1804, 0.4712],
		),
	).toBeLessThan(0.001);
	expect([...samplingWeights(Float64Array.of(5, 10, 15, 20), Float64Array.of(1, 2, 3, 4))]).toEqual([255, 255, 255, 255]);
	expect([...samplingWeights(Float64Array.of(7), Float64Array.of(3))]).toEqual([255]);
});
