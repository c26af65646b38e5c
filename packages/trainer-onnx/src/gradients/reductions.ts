import { type GraphBuilder, type Ref, range } from "../graph/graph-builder.js";
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

/**
 * For x of [rows, n]: the product of the elements before each one, or after it. By doubling: after step k it is over the
 * nearest 2^k of them.
 */
function productOfOthers(g: GraphBuilder, x: Ref, side: "before" | "after"): Ref {
	const [rows, n] = x.dims as [number, number];
	const shifted = (values: Ref, by: number): Ref => {
		const ones = g.filled(x.type, [rows, by], 1);
		return side === "before" ? g.concat([ones, g.slice(values, 1, 0, n - by)], 1) : g.concat([g.slice(values, 1, by, n), ones], 1);
	};
	let product = shifted(x, 1);
	for (let reach = 1; reach < n - 1; reach *= 2) product = g.mul(product, shifted(product, reach));
	return product;
}

/** dy times the product of all other elements: y/x would be 0/0 where an element is 0. */
const product: GradientRule = (b) => {
	const { g } = b;
	const { dims } = b.input(0);
	const axes = axesOf(b);
	const n = counted(b);
	const dy = g.expand(kept(b, b.dy()!), dims);
	if (n <= 1) return [dy];
	const perm = [...range(dims.length).filter((axis) => !axes.includes(axis)), ...axes];
	const front = g.transpose(b.input(0), perm);
	const x = g.reshape(front, [sizeOf(dims) / n, n]);
	const others = g.reshape(g.mul(productOfOthers(g, x, "before"), productOfOthers(g, x, "after")), front.dims);
	return [
		g.mul(
			dy,
			g.transpose(
				others,
				range(dims.length).map((axis) => perm.indexOf(axis)),
			),
		),
	];
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
	ReduceProd: product,
	CumSum: cumSum,
};
