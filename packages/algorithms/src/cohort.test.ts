import { expect, it } from "vitest";
import { asyncPlan, asyncProperties, cohortPlan, cohortSchema, sharedProperties } from "./cohort.js";
import { resolveConfig } from "./config.js";
import type { AnyStrategy } from "./contract.js";
import { fedavg } from "./strategies/fedavg.js";

it("a strategy that adds the option is synchronous at 0, its default, and asynchronous above", () => {
	const strategy: AnyStrategy = { ...fedavg, schema: cohortSchema(asyncProperties) };
	const planOf = (options: object) => {
		const config = resolveConfig(strategy, options, { length: 1, tensors: [] }) as never;
		return { ...cohortPlan(config), ...asyncPlan(config) };
	};
	expect(planOf({})).not.toHaveProperty("maxStaleness");
	expect(asyncPlan({})).toEqual({});
	expect(planOf({ cohortSize: 4, overSelect: 3, maxStaleness: 2 })).toMatchObject({ leases: 7, closeAt: 4, maxStaleness: 2 });
	expect(() => planOf({ maxStaleness: -1 })).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
});

it("a schema has its own options and the shared ones, or those it names", () => {
	const names = (schema: object) => Object.keys((schema as { properties: object }).properties);
	expect(names(cohortSchema({ x: {} }))).toEqual(["x", ...Object.keys(sharedProperties)]);
	expect(names(cohortSchema({ x: {} }, { onMiss: sharedProperties.onMiss }))).toEqual(["x", "onMiss"]);
});
