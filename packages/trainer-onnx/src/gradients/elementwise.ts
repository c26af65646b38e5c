import type { Ref } from "../graph/graph-builder.js";
import { numbersOf } from "../graph/ir.js";
import { notDifferentiable } from "./refuse.js";
import { type Backward, constantNumbers, type GradientRule } from "./rule.js";

/** A rule for y = f(x), element by element: dx = dy · f'(x), which may be written with y. */
const unary =
	(derivative: (b: Backward, x: Ref, y: Ref) => Ref): GradientRule =>
	(b) => [b.g.mul(b.dy()!, derivative(b, b.input(0), b.output(0)))];

/** A rule for y = f(a, b) with broadcasting. */
const binary =
	(da: (b: Backward, dy: Ref) => Ref, db: (b: Backward, dy: Ref) => Ref): GradientRule =>
	(b) => {
		const dy = b.dy()!;
		return [b.needs(0) ? b.g.sumTo(da(b, dy), b.input(0).dims) : undefined, b.needs(1) ? b.g.sumTo(db(b, dy), b.input(1).dims) : undefined];
	};

/** dy goes to each of several operands. */
const variadic =
	(share: (b: Backward, i: number, dy: Ref) => Ref): GradientRule =>
	(b) =>
		b.node.inputs.map((_, i) => (b.needs(i) ? b.g.sumTo(share(b, i, b.dy()!), b.input(i).dims) : undefined));

/** Whoever is the largest (smallest) gets dy; those that tie share it. */
const extreme: GradientRule = (b) => {
	const { g } = b;
	const y = b.output(0);
	const hits = b.node.inputs.map((_, i) => g.indicator("Equal", b.input(i), y));
	const each = g.div(
		b.dy()!,
		hits.reduce((sum, hit) => g.add(sum, hit)),
	);
	return hits.map((hit, i) => (b.needs(i) ? g.sumTo(g.mul(each, hit), b.input(i).dims) : undefined));
};

const power: GradientRule = (b) => {
	const { g } = b;
	const [x, y, dy] = [b.input(0), b.output(0), b.dy()!];
	const exponent = b.constant(1);
	const values = exponent === undefined ? [] : numbersOf(exponent);
	const base = (): Ref => {
		if (values.length === 1) {
			const p = values[0]!;
			if (p === 1) return dy;
			if (p === 2) return g.mul(dy, g.mul(x, 2));
			if (p === 0.5) return g.div(g.mul(dy, 0.5), y);
			return g.mul(dy, g.mul(g.pow(x, p - 1), p));
		}
		const p = g.cast(b.input(1), x.type);
		return g.mul(dy, g.mul(p, g.pow(x, g.sub(p, 1))));
	};
	const toExponent = (): Ref => {
		// d x^p / dp = x^p · ln x; where x ≤ 0 it is 0 or not defined.
		const positive = g.binary("Greater", x, 0, "bool");
		return g.mul(dy, g.mul(y, g.unary("Log", g.where(positive, x, 1))));
	};
	return [b.needs(0) ? g.sumTo(base(), x.dims) : undefined, b.needs(1) ? g.sumTo(toExponent(), b.input(1).dims) : undefined];
};

const clip: GradientRule = (b) => {
	const { g } = b;
	const [x, dy] = [b.input(0), b.dy()!];
	const bound = (i: 1 | 2, op: "Less" | "Greater"): Ref | undefined =>
		b.optional(i) !== undefined && b.needs(i) ? g.sumTo(g.mul(dy, g.indicator(op, x, b.input(i))), b.input(i).dims) : undefined;
	// Within the bounds, and on them, the result is x itself.
	return [g.mul(dy, g.indicator("Equal", x, b.output(0))), bound(1, "Less"), bound(2, "Greater")];
};

const where: GradientRule = (b) => {
	const { g } = b;
	const [condition, dy] = [b.input(0), b.dy()!];
	return [
		undefined,
		b.needs(1) ? g.sumTo(g.where(condition, dy, 0), b.input(1).dims) : undefined,
		b.needs(2) ? g.sumTo(g.where(condition, 0, dy), b.input(2).dims) : undefined,
	];
};

/** Outside of training all elements pass. */
const dropout: GradientRule = (b) => {
	if (b.optional(2) !== undefined && constantNumbers(b, 2, "training mode")[0] !== 0)
		throw notDifferentiable(b, "it drops elements at random, and which ones is not known; export the model in inference mode");
	return [b.dy()];
};

const flat: GradientRule = () => [undefined];

export const elementwiseRules: { readonly [op: string]: GradientRule } = {
	Add: binary(
		(_b, dy) => dy,
		(_b, dy) => dy,
	),
	Sub: binary(
		(_b, dy) => dy,
		({ g }, dy) => g.neg(dy),
	),
	Mul: binary(
		(b, dy) => b.g.mul(dy, b.input(1)),
		(b, dy) => b.g.mul(dy, b.input(0)),
	),
	Div: binary(
		(b, dy) => b.g.div(dy, b.input(1)),
		(b, dy) => b.g.neg(b.g.div(b.g.mul(dy, b.output(0)), b.input(1))),
	),
	Pow: power,
	Sqrt: unary(({ g }, _x, y) => g.div(0.5, y)),
	Reciprocal: unary(({ g }, _x, y) => g.neg(g.mul(y, y))),
	Exp: unary((_b, _x, y) => y),
	Log: (b) => [b.g.div(b.dy()!, b.input(0))],
	Neg: (b) => [b.g.neg(b.dy()!)],
	Abs: unary(({ g }, x) => g.unary("Sign", x)),
	Sin: unary(({ g }, x) => g.unary("Cos", x)),
	Cos: unary(({ g }, x) => g.neg(g.unary("Sin", x))),
	Erf: unary(({ g }, x) => g.mul(g.unary("Exp", g.neg(g.mul(x, x))), 2 / Math.sqrt(Math.PI))),
	Min: extreme,
	Max: extreme,
	Sum: variadic((_b, _i, dy) => dy),
	Mean: variadic((b, _i, dy) => b.g.mul(dy, 1 / b.node.inputs.length)),
	Clip: clip,
	Where: where,
	Identity: (b) => [b.dy()!],
	Cast: (b) => [b.g.cast(b.dy()!, b.input(0).type)],
	CastLike: (b) => [b.g.cast(b.dy()!, b.input(0).type)],
	Dropout: dropout,
	Sign: flat,
	Floor: flat,
	Ceil: flat,
	Round: flat,
};
