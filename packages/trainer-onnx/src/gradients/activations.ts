import type { GraphBuilder, Ref } from "../graph/graph-builder.js";
import { axisOf } from "../graph/graph-builder.js";
import { type Backward, floatOf, type GradientRule, intOf, stringOf } from "./rule.js";

const unary =
	(derivative: (g: GraphBuilder, x: Ref, y: Ref, b: Backward) => Ref): GradientRule =>
	(b) => [b.g.mul(b.dy()!, derivative(b.g, b.input(0), b.output(0), b))];

/** Φ(x) + x·φ(x), with the distribution function and density of the standard normal distribution. */
function geluDerivative(g: GraphBuilder, x: Ref): Ref {
	const distribution = g.mul(g.add(g.unary("Erf", g.mul(x, Math.SQRT1_2)), 1), 0.5);
	const density = g.mul(g.unary("Exp", g.mul(g.mul(x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
	return g.add(distribution, g.mul(x, density));
}

/**
 * Of x/2 · (1 + tanh u) = x·h with h = sigmoid(2u), 2u = x·(a + b·x²): h·(1 + (1 − h)·x·(a + 3b·x²)). Twelve passes, with
 * tanh sixteen.
 */
function geluTanhDerivative(g: GraphBuilder, x: Ref): Ref {
	const a = 2 * Math.sqrt(2 / Math.PI);
	const b = a * 0.044715;
	const square = g.mul(x, x);
	const h = g.unary("Sigmoid", g.mul(x, g.add(g.mul(square, b), a)));
	const slope = g.mul(x, g.add(g.mul(square, 3 * b), a));
	return g.mul(h, g.add(g.mul(g.sub(1, h), slope), 1));
}

/** Of a function that is x above 0 and `below` otherwise: 1, and what `slopeBelow` says. */
const kinked = (g: GraphBuilder, x: Ref, slopeBelow: Ref | number, slopeAbove = 1): Ref =>
	g.where(g.binary("Greater", x, 0, "bool"), g.values(x.type, [], [slopeAbove]), slopeBelow);

const softmax: GradientRule = (b) => {
	const { g } = b;
	const [y, dy] = [b.output(0), b.dy()!];
	const axis = axisOf(intOf(b.node, "axis", -1), y.dims.length);
	const weighted = g.mul(dy, y);
	return [g.sub(weighted, g.mul(y, g.reduce("ReduceSum", weighted, [axis])))];
};

const logSoftmax: GradientRule = (b) => {
	const { g } = b;
	const [y, dy] = [b.output(0), b.dy()!];
	const axis = axisOf(intOf(b.node, "axis", -1), y.dims.length);
	return [g.sub(dy, g.mul(g.unary("Exp", y), g.reduce("ReduceSum", dy, [axis])))];
};

const prelu: GradientRule = (b) => {
	const { g } = b;
	const [x, slope, dy] = [b.input(0), b.input(1), b.dy()!];
	return [
		b.needs(0) ? g.mul(dy, kinked(g, x, slope)) : undefined,
		b.needs(1) ? g.sumTo(g.mul(dy, g.binary("Min", x, 0)), slope.dims) : undefined,
	];
};

export const activationRules: { readonly [op: string]: GradientRule } = {
	Relu: unary((g, _x, y) => g.indicator("Greater", y, 0)),
	LeakyRelu: unary((g, x, _y, { node }) => kinked(g, x, floatOf(node, "alpha", 0.01))),
	PRelu: prelu,
	Elu: unary((g, x, y, { node }) => kinked(g, x, g.add(y, floatOf(node, "alpha", 1)))),
	Selu: unary((g, x, y, { node }) => {
		const gamma = floatOf(node, "gamma", 1.0507009873554805);
		return kinked(g, x, g.add(y, gamma * floatOf(node, "alpha", 1.6732632423543772)), gamma);
	}),
	Gelu: unary((g, x, _y, { node }) => (stringOf(node, "approximate", "none") === "tanh" ? geluTanhDerivative(g, x) : geluDerivative(g, x))),
	Sigmoid: unary((g, _x, y) => g.mul(y, g.sub(1, y))),
	HardSigmoid: unary((g, _x, y, { node }) =>
		g.mul(g.mul(g.indicator("Greater", y, 0), g.indicator("Less", y, 1)), floatOf(node, "alpha", 0.2)),
	),
	// 0 up to −3, 1 from 3 on, x/3 + 1/2 in between.
	HardSwish: unary((g, x) =>
		g.where(g.binary("Greater", x, 3, "bool"), 1, g.mul(g.indicator("GreaterOrEqual", x, -3), g.add(g.mul(x, 1 / 3), 0.5))),
	),
	Mish: unary((g, x) => {
		const t = g.unary("Tanh", g.unary("Softplus", x));
		return g.add(t, g.mul(g.mul(x, g.unary("Sigmoid", x)), g.sub(1, g.mul(t, t))));
	}),
	Tanh: unary((g, _x, y) => g.sub(1, g.mul(y, y))),
	Softplus: unary((g, x) => g.unary("Sigmoid", x)),
	Softsign: unary((g, x) => {
		const width = g.add(g.unary("Abs", x), 1);
		return g.div(1, g.mul(width, width));
	}),
	Softmax: softmax,
	LogSoftmax: logSoftmax,
};
