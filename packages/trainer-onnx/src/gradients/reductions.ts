import type { Ref } from "../graph/graph-builder.js";
import { sizeOf } from "../graph/ir.js";
import { axesOf, type Backward, constantNumbers, type GradientRule, intOf } from "./rule.js";

/** dy (or y) with the reduced axes back as sizes of 1. */
function kept(b: Backward, value: Ref): Ref {
	const axes = axesOf(b);
	return b.g.reshape(
		value,
		b.input(0).dims.map((size, axis) => (axes.includes(axis) ? 1 : size)),
	);
}

const counted = (b: Backward): number => sizeOf(axesOf(b).map((axis) => b.input(0).dims[axis]!));

/** Rules of the form dx = dy · f(x, y), dy and y spread over what was reduced. */
const reduction =
	(derivative: (b: Backward, x: Ref, y: Ref) => Ref): GradientRule =>
	(b) => [b.g.mul(kept(b, b.dy()!), derivative(b, b.input(0), kept(b, b.output(0))))];

/** Whoever is the largest (smallest) gets dy; those that tie share it. */
const extreme: GradientRule = (b) => {
	const { g } = b;
	const hit = g.indicator("Equal", b.input(0), kept(b, b.output(0)));
	return [g.mul(hit, g.div(kept(b, b.dy()!), g.reduce("ReduceSum", hit, axesOf(b))))];
};

const cumSum: GradientRule = (b) => {
	const { g, node } = b;
	const axis = g.values("int64", [], constantNumbers(b, 1, "axis"));
	const attributes = { exclusive: { int: intOf(node, "exclusive", 0) }, reverse: { int: 1 - intOf(node, "reverse", 0) } };
	return [g.node("CumSum", [b.dy()!, axis], b.dy()!.type, b.dy()!.dims, attributes)];
};

export const reductionRules: { readonly [op: string]: GradientRule } = {
	ReduceSum: (b) => [b.g.expand(kept(b, b.dy()!), b.input(0).dims)],
	ReduceMean: (b) => [b.g.expand(b.g.mul(kept(b, b.dy()!), 1 / counted(b)), b.input(0).dims)],
	ReduceMax: extreme,
	ReduceMin: extreme,
	ReduceSumSquare: reduction(({ g }, x) => g.mul(x, 2)),
	ReduceL1: reduction(({ g }, x) => g.unary("Sign", x)),
	ReduceL2: reduction(({ g }, x, y) => g.div(x, y)),
	ReduceLogSumExp: reduction(({ g }, x, y) => g.unary("Exp", g.sub(x, y))),
	CumSum: cumSum,
};
