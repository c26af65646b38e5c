import type { Ref } from "../graph/graph-builder.js";
import { sizeOf } from "../graph/ir.js";
import { parseEquation } from "./equation.js";
import { notDifferentiable } from "./refuse.js";
import { type Backward, floatOf, type GradientRule, intOf, stringOf } from "./rule.js";

const matMul: GradientRule = (b) => {
	const { g } = b;
	const [left, right] = [b.input(0), b.input(1)];
	// A vector is a matrix of one row (left) or one column (right).
	const a = left.dims.length === 1 ? g.reshape(left, [1, ...left.dims]) : left;
	const c = right.dims.length === 1 ? g.reshape(right, [...right.dims, 1]) : right;
	const batch = b.output(0).dims.slice(0, b.output(0).dims.length - Number(left.dims.length > 1) - Number(right.dims.length > 1));
	const dy = g.reshape(b.dy()!, [...batch, a.dims.at(-2)!, c.dims.at(-1)!]);
	if (c.dims.length === 2) {
		// One matrix on the right: all rows of the left operand in one product, instead of a sum over the batch.
		const rows = sizeOf(a.dims.slice(0, -1));
		const flatA = g.reshape(a, [rows, a.dims.at(-1)!]);
		const flatDy = g.reshape(dy, [rows, c.dims[1]!]);
		return [
			b.needs(0) ? g.reshape(g.gemm(flatDy, c, false, true), left.dims) : undefined,
			b.needs(1) ? g.reshape(g.gemm(flatA, flatDy, true, false), right.dims) : undefined,
		];
	}
	const da = (): Ref => g.reshape(g.sumTo(g.matMul(dy, g.transposeLast(c)), a.dims), left.dims);
	const dc = (): Ref => g.reshape(g.sumTo(g.matMul(g.transposeLast(a), dy), c.dims), right.dims);
	return [b.needs(0) ? da() : undefined, b.needs(1) ? dc() : undefined];
};

const gemm: GradientRule = (b) => {
	const { g, node } = b;
	const [a, c, dy] = [b.input(0), b.input(1), b.dy()!];
	const transA = intOf(node, "transA", 0) !== 0;
	const transB = intOf(node, "transB", 0) !== 0;
	const scaled = (x: Ref, factor: number): Ref => (factor === 1 ? x : g.mul(x, factor));
	const dProduct = scaled(dy, floatOf(node, "alpha", 1));
	const da = (): Ref => (transA ? g.gemm(c, dProduct, transB, true) : g.gemm(dProduct, c, false, !transB));
	const dc = (): Ref => (transB ? g.gemm(dProduct, a, true, transA) : g.gemm(a, dProduct, !transA, false));
	return [
		b.needs(0) ? da() : undefined,
		b.needs(1) ? dc() : undefined,
		b.optional(2) !== undefined && b.needs(2) ? g.sumTo(scaled(dy, floatOf(node, "beta", 1)), b.input(2).dims) : undefined,
	];
};

/**
 * Sums of products by an equation. The derivative by one operand is the equation with that operand and the result
 * exchanged; a letter that only this operand has was summed over, so it is spread out again.
 */
const einsum: GradientRule = (b: Backward) => {
	const { g } = b;
	const equation = stringOf(b.node, "equation", "");
	const { terms, result } = parseEquation(
		equation,
		b.node.inputs.map((_, i) => b.input(i).dims.length),
	);
	if (terms.some((term) => new Set(term).size !== term.length))
		throw notDifferentiable(b, `its equation ${JSON.stringify(equation)} takes a diagonal`);
	return terms.map((term, i) => {
		if (!b.needs(i)) return undefined;
		const others = terms.filter((_, j) => j !== i);
		const known = new Set([...others.join(""), ...result]);
		const size = (letter: string): number => b.input(i).dims[term.indexOf(letter)]!;
		const kept = [...term].filter((letter) => known.has(letter)).join("");
		const inputs = [b.dy()!, ...others.map((_, j) => b.input(j < i ? j : j + 1))];
		const back = `${[result, ...others].join(",")}->${kept}`;
		const d = g.node("Einsum", inputs, b.dy()!.type, [...kept].map(size), { equation: { string: back } });
		return g.expand(
			g.reshape(
				d,
				[...term].map((letter) => (known.has(letter) ? size(letter) : 1)),
			),
			b.input(i).dims,
		);
	});
};

export const linearRules: { readonly [op: string]: GradientRule } = { MatMul: matMul, Gemm: gemm, Einsum: einsum };
