import { floatOf, intOf } from "../../gradients/rule.js";
import { equalDims, type GraphBuilder, type Operand, type Ref } from "../../graph/graph-builder.js";
import { isFloat, numbersOf, scalar, sizeOf } from "../../graph/ir.js";
import { narrowType, type Rewrite, type Rewrites, type Rewriting } from "./rewriting.js";

/** A chain of additions. */
const summed = ({ node, g, input }: Rewriting): Ref => node.inputs.map((_, i) => input(i)).reduce((sum, part) => g.add(sum, part));

const sign: Rewrite = ({ g, input, madeBy }) => {
	const x = input(0);
	const positive = g.indicator("Greater", x, 0);
	// What a rectifier made is nowhere below 0.
	return [madeBy(x) === "Relu" ? positive : g.sub(positive, g.indicator("Less", x, 0))];
};

/** To the nearest whole number, halves to the even one. */
const round: Rewrite = ({ g, input }) => {
	const x = input(0);
	const below = g.unary("Floor", x);
	const rest = g.sub(x, below);
	const odd = g.sub(below, g.mul(g.unary("Floor", g.mul(below, 0.5)), 2));
	return [g.add(below, g.add(g.indicator("Greater", rest, 0.5), g.mul(g.indicator("Equal", rest, 0.5), odd)))];
};

const not = (g: GraphBuilder, x: Ref): Ref => g.unary("Not", x);

const LARGEST = 3.4028234663852886e38;

const isInf: Rewrite = ({ node, g, input }) => {
	const x = input(0);
	const above = intOf(node, "detect_positive", 1) === 1;
	const below = intOf(node, "detect_negative", 1) === 1;
	if (above && below) return [g.binary("Greater", g.unary("Abs", x), LARGEST, "bool")];
	return [above ? g.binary("Greater", x, LARGEST, "bool") : g.binary("Less", x, below ? -LARGEST : Number.NEGATIVE_INFINITY, "bool")];
};

const selu: Rewrite = ({ node, g, input }) => {
	const alpha = { float: floatOf(node, "alpha", 1.6732632423543772) };
	return [g.mul(g.unary("Elu", input(0), { alpha }), floatOf(node, "gamma", 1.0507009873554805))];
};

const celu: Rewrite = ({ node, g, input }) => {
	const alpha = floatOf(node, "alpha", 1);
	return [g.mul(g.unary("Elu", g.mul(input(0), 1 / alpha)), alpha)];
};

/** The remainder with the sign of the divisor, for whole numbers. */
const mod: Rewrite = ({ node, g, input }) => {
	const [a, b] = [input(0), input(1)];
	if (isFloat(a.type)) return undefined;
	const rest = g.sub(a, g.mul(b, g.div(a, b)));
	if (intOf(node, "fmod", 0) === 1) return [rest];
	return [g.add(rest, g.mul(b, g.indicator("Less", g.mul(rest, b), 0)))];
};

/** 2/π in the leading bits and the rest (W. J. Cody, W. Waite, "Software Manual for the Elementary Functions", 1980, chapter 8). */
const HALF_PI = [1.5703125, 4.837512969970703e-4, 7.549789948768648e-8] as const;

/**
 * Sine of x + turns · π/2: shader languages promise an error of 2^−11 only. x is brought into ±π/4 by subtracting π/2 in three
 * parts, which is exact enough up to |x| of some thousands; polynomials of S. Moshier's Cephes library (sinf, cosf).
 */
function sine(g: GraphBuilder, x: Ref, turns: number): Ref {
	const quarter = g.unary("Floor", g.add(g.mul(x, 2 / Math.PI), 0.5));
	const r = HALF_PI.reduce((rest, part) => g.sub(rest, g.mul(quarter, part)), x);
	const square = g.mul(r, r);
	const polynomial = (first: number, ...others: readonly number[]): Operand =>
		others.reduce<Operand>((sum, coefficient) => g.add(g.mul(square, sum), coefficient), first);
	const sin = g.add(r, g.mul(g.mul(square, r), polynomial(-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)));
	const cos = g.add(
		g.sub(1, g.mul(square, 0.5)),
		g.mul(g.mul(square, square), polynomial(2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)),
	);
	const count = g.add(quarter, turns);
	// Which of the four quarters: 0 to 3.
	const place = g.sub(count, g.mul(g.unary("Floor", g.mul(count, 0.25)), 4));
	const odd = g.sub(place, g.mul(g.unary("Floor", g.mul(place, 0.5)), 2));
	const value = g.where(g.binary("Greater", odd, 0.5, "bool"), cos, sin);
	return g.where(g.binary("Greater", place, 1.5, "bool"), g.neg(value), value);
}

const cast: Rewrite = ({ node, g, input, output }) => {
	const x = input(0);
	const { type } = output()!;
	if (narrowType(type) === x.type) return [x];
	return narrowType(type) === type && node.op === "Cast" ? undefined : [g.cast(x, narrowType(type))];
};

/** Operands of unequal dimensions are spread out first: where both are tensors the webgpu provider does not find its way. */
const pow: Rewrite = ({ g, input, output }) => {
	const [x, exponent] = [input(0), input(1)];
	const { dims } = output()!;
	if (equalDims(x.dims, exponent.dims) || sizeOf(exponent.dims) === 1) return undefined;
	return [g.node("Pow", [g.expand(x, dims), g.expand(exponent, dims)], x.type, dims)];
};

export const elementwiseRewrites: Rewrites = {
	Sign: sign,
	Round: round,
	Sum: (r) => [summed(r)],
	Mean: (r) => [r.g.mul(summed(r), 1 / r.node.inputs.length)],
	Softsign: ({ g, input }) => [g.div(input(0), g.add(g.unary("Abs", input(0)), 1))],
	Selu: selu,
	Celu: celu,
	Mod: mod,
	Sin: ({ g, input }) => [sine(g, input(0), 0)],
	Cos: ({ g, input }) => [sine(g, input(0), 1)],
	Or: ({ g, input }) => [not(g, g.binary("And", not(g, input(0)), not(g, input(1)), "bool"))],
	Xor: ({ g, input }) => [not(g, g.binary("Equal", g.cast(input(0), "int32"), g.cast(input(1), "int32"), "bool"))],
	IsNaN: ({ g, input }) => [not(g, g.binary("Equal", input(0), input(0), "bool"))],
	IsInf: isInf,
	Equal: ({ g, input }) =>
		input(0).type === "bool" ? [g.binary("Equal", g.cast(input(0), "int32"), g.cast(input(1), "int32"), "bool")] : undefined,
	Neg: ({ g, input }) => (input(0).type === "int32" ? [g.sub(0, input(0))] : undefined),
	Abs: ({ g, input }) => (input(0).type === "int32" ? [g.binary("Max", input(0), g.sub(0, input(0)))] : undefined),
	Identity: ({ input }) => [input(0)],
	Cast: cast,
	CastLike: cast,
	Pow: pow,
	// Outside of training: all pass.
	Dropout: (r) => {
		const training = r.constant(2);
		if (r.optional(2) !== undefined && (training === undefined || numbersOf(training)[0] !== 0)) return undefined;
		const x = r.input(0);
		return [x, r.output(1) && r.g.expand(r.g.constant(scalar("bool", 1)), x.dims)];
	},
};
