import { expect, test } from "vitest";
import type { Optimizer } from "../contract.js";
import { resolveOptimizer } from "./optimizer.js";

test("fills in the defaults and keeps what is given", () => {
	expect(resolveOptimizer({ kind: "sgd" })).toEqual({ kind: "sgd", momentum: 0, clipNorm: Number.POSITIVE_INFINITY });
	expect(resolveOptimizer({ kind: "adam", beta2: 0.95, clipNorm: 2 })).toEqual({
		kind: "adam",
		beta1: 0.9,
		beta2: 0.95,
		epsilon: 1e-8,
		weightDecay: 0,
		clipNorm: 2,
	});
});

test.each([
	[{ kind: "lion" }, 'optimizer.kind must be "sgd" or "adam", got "lion"'],
	[{ kind: "sgd", momentum: 1 }, "optimizer.momentum must be from 0 to below 1, got 1"],
	[{ kind: "sgd", clipNorm: 0 }, "optimizer.clipNorm must be positive, got 0"],
	[{ kind: "adam", beta1: -0.1 }, "optimizer.beta1 must be from 0 to below 1, got -0.1"],
	[{ kind: "adam", beta2: Number.NaN }, "optimizer.beta2 must be from 0 to below 1, got NaN"],
	[{ kind: "adam", epsilon: 0 }, "optimizer.epsilon must be positive and finite, got 0"],
	[{ kind: "adam", weightDecay: Number.POSITIVE_INFINITY }, "optimizer.weightDecay must be finite and not negative, got Infinity"],
])("refuses %j", (optimizer, message) => {
	expect(() => resolveOptimizer(optimizer as Optimizer)).toThrow(message);
});
