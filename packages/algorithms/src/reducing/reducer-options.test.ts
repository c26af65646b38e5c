import { layoutOf } from "@rondo/tensors";
import { describe, expect, it } from "vitest";
import { resolveConfig } from "../config.js";
import type { At, Plan } from "../contract.js";
import { fedavg } from "../strategies/fedavg.js";
import { fedprox } from "../strategies/fedprox.js";
import { builtInReducers } from "./built-in-reducers.js";
import { reducerProperties } from "./reducer-options.js";

const layout = layoutOf([{ name: "w", shape: [3] }]);
const resolve = (options: object) => resolveConfig(fedavg, options, layout);
const planOf = (options: object, strategy = fedavg): Plan =>
	strategy.plan(null as never, { config: resolveConfig(strategy, options, layout), layout } as At<never>);

describe("options of reducers", () => {
	it("are the mean by default: the lane is what it always was", () => {
		expect(planOf({}).lanes).toEqual({ delta: { length: 3, absMax: 16, combine: "mean", codec: ["f32"] } });
		expect("reducer" in planOf({}).lanes.delta!).toBe(false);
	});

	it("may be absent from the stored options of an older run, which goes on with the mean", () => {
		const { reducer: _r, byzantine: _b, normBound: _n, flagDimensions: _d, flagPairs: _p, ...older } = resolve({});
		expect(() => fedavg.check!(older as never, layout)).not.toThrow();
		expect(fedavg.plan(null as never, { config: older, layout } as never)).toEqual(planOf({}));
	});

	it("offer every reducer, and every argument of one", () => {
		expect(reducerProperties.reducer.enum).toEqual(["mean", ...builtInReducers.map(({ name }) => name)]);
		for (const { name, parameters } of builtInReducers) {
			for (const parameter of parameters) {
				const property = reducerProperties[parameter as keyof typeof reducerProperties];
				expect(property.description).toContain(name);
			}
		}
	});

	it.each([
		[{ reducer: "median" }, ["median"]],
		[{ reducer: "geometric-median" }, ["geometric-median"]],
		[{ reducer: "trimmed-mean", byzantine: 2 }, ["trimmed-mean", 2]],
		[{ reducer: "krum", byzantine: 1 }, ["krum", 1]],
		[{ reducer: "multi-krum", byzantine: 3, cohortSize: 20 }, ["multi-krum", 3]],
		[{ reducer: "norm-bound" }, ["norm-bound", 0]],
		[{ reducer: "centered-clip", normBound: 2.5 }, ["centered-clip", 2.5]],
		[{ reducer: "flag", flagDimensions: 3, flagPairs: 0.5 }, ["flag", 3, 0.5]],
	])("%j become arguments of the lane, in FedAvg and FedProx", (options, spec) => {
		expect(planOf(options).lanes.delta!.reducer).toEqual(spec);
		expect(planOf(options, fedprox as unknown as typeof fedavg).lanes.delta!.reducer).toEqual(spec);
	});

	it.each([
		[{ reducer: "average" }, /option reducer of fedavg must be one of \["mean",.*\], got "average"/],
		[{ byzantine: 2 }, /option byzantine is 2, but reducer mean does not use it/],
		[{ reducer: "median", byzantine: 2 }, /option byzantine is 2, but reducer median does not use it/],
		[{ reducer: "median", normBound: 1 }, /option normBound is 1, but reducer median does not use it/],
		[{ reducer: "krum", byzantine: 1, flagDimensions: 2 }, /option flagDimensions is 2, but reducer krum does not use it/],
		[{ reducer: "krum", byzantine: 1, flagPairs: 2 }, /option flagPairs is 2, but reducer krum does not use it/],
		[{ reducer: "krum" }, /option reducer: krum: byzantine must be a whole number of at least 1, got 0/],
		[{ reducer: "trimmed-mean" }, /option reducer: trimmed-mean: byzantine must be a whole number of at least 1, got 0/],
		// The quorum is half of cohortSize unless it is given.
		[{ reducer: "trimmed-mean", byzantine: 3 }, /trimmed-mean with byzantine 3 needs at least 7 reports, but a round may commit with 5/],
		[{ reducer: "krum", byzantine: 2, cohortSize: 10 }, /krum with byzantine 2 needs at least 7 reports, but a round may commit with 5/],
		[
			{ reducer: "multi-krum", byzantine: 4, quorum: 10 },
			/multi-krum with byzantine 4 needs at least 11 reports, but a round may commit with 10/,
		],
		[{ reducer: "flag", flagDimensions: 6 }, /flagDimensions 6 \(the quorum\) must be a whole number of at least 6, got 5/],
		[{ reducer: "krum", byzantine: 2, cohortSize: 1000, overSelect: 25 }, /at most 1024 of them, but a round may have 1025/],
	])("%j are refused", (options, message) => {
		expect(() => resolve(options)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) }));
	});

	it("name option and value in the details", () => {
		expect(() => resolve({ reducer: "krum" })).toThrow(expect.objectContaining({ details: { option: "reducer", value: "krum" } }));
		expect(() => resolve({ normBound: 3 })).toThrow(expect.objectContaining({ details: { option: "normBound", value: 3 } }));
	});

	it("that fit once the quorum is large enough are taken", () => {
		expect(resolve({ reducer: "krum", byzantine: 2, cohortSize: 10, quorum: 7 })).toMatchObject({ byzantine: 2, quorum: 7 });
	});
});
