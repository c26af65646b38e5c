import { expect, test } from "vitest";
import { norm, relativeError } from "./compare.js";
import { opCases } from "./op-cases.js";
import { gradientCase, type Precision, run, sessionOptions } from "./run-case.js";

// Values and gradients of single operators against PyTorch in float64.

const PRECISIONS: readonly Precision[] = ["float32", "float64"];

for (const precision of PRECISIONS) {
	const cases = opCases.filter(({ checkedWith }) => checkedWith.includes(`onnxruntime ${precision}`));
	test.each(cases.map((c) => [c.name, c] as const))(`${precision} %s`, async (_name, c) => {
		const { graph, feeds } = await gradientCase(c, precision);
		const results = await run(graph, feeds, sessionOptions(precision));
		const limit = precision === "float32" ? 1e-4 : 1e-6;
		for (const { name, data, upstream } of c.outputs)
			if (upstream !== undefined) expect(relativeError(results[name]!, data), `value ${name}`).toBeLessThan(limit);
		for (const { name, gradient } of c.inputs) {
			if (gradient === undefined) continue;
			expect(norm(gradient)).toBeGreaterThan(1e-3);
			expect(relativeError(results[`gradient/${name}`]!, gradient), `gradient of ${name}`).toBeLessThan(limit);
		}
	});
}
