import { layoutOf } from "@rondo/tensors";
import { describe, expect, it } from "vitest";
import { cohortPlan } from "./cohort.js";
import { resolveConfig } from "./config.js";
import { builtInStrategies } from "./registry.js";
import { fedavg } from "./strategies/fedavg.js";
import { fedkseed } from "./strategies/fedkseed.js";

const layout = layoutOf([{ name: "w", shape: [3, 1] }]);

it("fills in every default and leaves the argument alone", () => {
	const options = Object.freeze({ learningRate: 0.5 });
	const config = resolveConfig(fedavg, options, layout);
	expect(config).toEqual({
		learningRate: 0.5,
		batchSize: 32,
		localEpochs: 1,
		serverLearningRate: 1,
		absMax: 16,
		codec: "f32",
		codecShare: 0,
		codecValues: "f32",
		reducer: "mean",
		byzantine: 0,
		normBound: 0,
		flagDimensions: 1,
		flagPairs: 0,
		cohortSize: 10,
		overSelect: 0,
		quorum: 0,
		deadlineMs: 600_000,
		maxExamples: 1_000_000,
		onMiss: "replan",
	});
	expect(Object.keys(options)).toEqual(["learningRate"]);
	expect(resolveConfig(fedavg, undefined, layout)).toMatchObject({ learningRate: 0.01 });
});

it("every option of every strategy has a default, a description and bounds", () => {
	for (const strategy of builtInStrategies) {
		const { properties, additionalProperties } = strategy.schema as { properties: Record<string, object>; additionalProperties: boolean };
		expect(additionalProperties).toBe(false);
		for (const option of Object.values(properties)) {
			expect(option).toMatchObject({ default: expect.anything(), description: expect.stringMatching(/^[^A-Z\s].*[^.]$/u) });
			expect("enum" in option || ("maximum" in option && ("minimum" in option || "exclusiveMinimum" in option))).toBe(true);
		}
		expect(Object.keys(resolveConfig(strategy, {}, layout) as object).sort()).toEqual(Object.keys(properties).sort());
	}
});

describe("refusals name option, value and what is allowed", () => {
	const cases: readonly (readonly [unknown, string, RegExp])[] = [
		[{ lr: 1 }, "UNKNOWN_OPTION", /^fedkseed has no option lr; it has: candidates, noise, localSteps, learningRate, /],
		[JSON.parse('{"__proto__": 1}'), "UNKNOWN_OPTION", /no option __proto__/],
		[{ constructor: 1 }, "UNKNOWN_OPTION", /no option constructor/],
		[{ learningRate: 0 }, "INVALID_ARGUMENT", /^option learningRate of fedkseed must be > 0, got 0$/],
		[{ learningRate: "0.1" }, "INVALID_ARGUMENT", /^option learningRate of fedkseed must be number, got "0.1"$/],
		[{ learningRate: Number.NaN }, "INVALID_ARGUMENT", /learningRate of fedkseed must be number, got NaN/],
		[{ candidates: 65_537 }, "INVALID_ARGUMENT", /candidates of fedkseed must be <= 65536, got 65537/],
		[{ candidates: 1.5 }, "INVALID_ARGUMENT", /candidates of fedkseed must be integer, got 1.5/],
		[{ sampling: "Pro" }, "INVALID_ARGUMENT", /sampling of fedkseed must be one of \["uniform","pro"\], got "Pro"/],
		[{ unit: 0.001 }, "INVALID_ARGUMENT", /unit of fedkseed must be a power of two from 2\^-60 to 1, got 0.001/],
		[{ quorum: 11 }, "INVALID_ARGUMENT", /quorum must be at most cohortSize \(10\), got 11/],
		[[], "INVALID_ARGUMENT", /^the options of fedkseed must be object, got \[\]$/],
		["fast", "INVALID_ARGUMENT", /^the options of fedkseed must be object, got "fast"$/],
		[{ onMiss: () => 1 }, "INVALID_ARGUMENT", /^the options of fedkseed are not data: /],
	];
	for (const [options, code, message] of cases) {
		it(String(message), () => {
			expect(() => resolveConfig(fedkseed, options, layout)).toThrow(
				expect.objectContaining({ code, message: expect.stringMatching(message) }),
			);
		});
	}
});

it("plans a cohort that can lose half of its clients", () => {
	const options = resolveConfig(fedavg, { cohortSize: 7, overSelect: 3 }, layout);
	expect(cohortPlan(options)).toEqual({ leases: 10, closeAt: 7, quorum: 4, deadlineMs: 600_000, maxExamples: 1_000_000, onMiss: "replan" });
	expect(cohortPlan({ ...options, quorum: 1, onMiss: "skip" })).toMatchObject({ quorum: 1, onMiss: "skip" });
	expect(cohortPlan({ ...options, cohortSize: 1, overSelect: 0 })).toMatchObject({ leases: 1, closeAt: 1, quorum: 1 });
});
