import { expect, test } from "vitest";
import { norm, relativeError } from "./compare.js";
import { type OpCase, opCases } from "./op-cases.js";
import { gradientCase, openForward, type Precision, run, sessionOptions } from "./run-case.js";

// Gradients of single operators against central differences of the operator itself: nothing but the forward graph runs. In
// float64 where ONNX Runtime can, element by element where that is not too many; in float32, with its rounding, along one
// direction.

const STEP: Record<Precision, number> = { float64: 1e-5, float32: 2 ** -7 };
const MAX_ELEMENTS = 60;

/** Operators that compute in float32 whatever they are given (their attribute stash_type says so). */
const SINGLE_INSIDE = new Set(["GroupNormalization"]);

const precisionOf = ({ op, checkedWith }: OpCase): Precision =>
	checkedWith.includes("onnxruntime float64") && !SINGLE_INSIDE.has(op) ? "float64" : "float32";

/** Numbers between −1 and 1 without a pattern that an operator could share. */
const direction = (length: number): number[] => Array.from({ length }, (_, i) => Math.sin(1.7 * (i + 1) ** 2));

test.each(opCases.map((c) => [precisionOf(c), c.name, c] as const))("%s %s", async (precision, _name, c) => {
	const { graph, feeds } = await gradientCase(c, precision);
	const results = await run(graph, feeds, sessionOptions(precision));
	await using forward = await openForward(c, precision);
	const step = STEP[precision];
	/** Difference quotient of the loss along a change of one input. */
	const quotient = async (name: string, along: readonly number[]): Promise<number> => {
		const above = await forward.loss(name, along, step);
		const below = await forward.loss(name, along, -step);
		return (above - below) / (2 * step);
	};
	for (const { name, gradient: reference } of c.inputs) {
		if (reference === undefined) continue;
		const gradient = Array.from(results[`gradient/${name}`]!);
		const along = direction(gradient.length);
		const wanted = gradient.reduce((sum, d, i) => sum + d * along[i]!, 0);
		const gap = Math.abs((await quotient(name, along)) - wanted) / (norm(gradient) * norm(along));
		expect(gap, `along a direction of ${name}`).toBeLessThan(precision === "float64" ? 1e-5 : 1e-3);
		if (precision === "float32" || gradient.length > MAX_ELEMENTS) continue;
		const quotients: number[] = [];
		for (const at of gradient.keys())
			quotients.push(
				await quotient(
					name,
					gradient.map((_, i) => (i === at ? 1 : 0)),
				),
			);
		expect(relativeError(gradient, quotients), `by each element of ${name}`).toBeLessThan(1e-5);
	}
});
