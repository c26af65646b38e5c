import { intOf, stringOf } from "../../gradients/rule.js";
import { axisOf, type GraphBuilder, type Ref, range } from "../../graph/graph-builder.js";
import { isFloat } from "../../graph/ir.js";
import { numbersAt, type Rewrite, type Rewrites, type Rewriting } from "./rewriting.js";

/** x − max − log Σ exp(x − max). */
function logSoftmaxOf(g: GraphBuilder, x: Ref, axis: number): Ref {
	const below = g.sub(x, g.reduce("ReduceMax", x, [axis]));
	return g.sub(below, g.unary("Log", g.reduce("ReduceSum", g.unary("Exp", below), [axis])));
}

const logSoftmax: Rewrite = ({ node, g, input }) => {
	const x = input(0);
	return [logSoftmaxOf(g, x, axisOf(intOf(node, "axis", -1), x.dims.length))];
};

/** The webgpu provider's own sums exp x as it is, which is infinite from x = 89 on. */
const reduceLogSumExp: Rewrite = (r) => {
	const { node, g } = r;
	const x = r.input(0);
	const rank = x.dims.length;
	const given = r.optional(1) === undefined ? [] : numbersAt(r, 1);
	if (given === undefined) return undefined;
	if (given.length === 0 && intOf(node, "noop_with_empty_axes", 0) === 1) return [x];
	const axes = given.length === 0 ? range(rank) : given.map((axis) => axisOf(axis, rank));
	const largest = g.reduce("ReduceMax", x, axes);
	const sum = g.reduce("ReduceSum", g.unary("Exp", g.sub(x, largest)), axes);
	return [g.reshape(g.add(largest, g.unary("Log", sum)), r.output()!.dims)];
};

/** −w[label] · logP[label] for logP [N, C, d…] and labels [N, d…], summed, averaged over the weights of the labels, or one per label. */
function negativeLogLikelihoodOf(r: Rewriting, logP: Ref): Ref {
	const { node, g } = r;
	const labels = r.input(1);
	const classes = logP.dims[1]!;
	const perClass = [1, classes, ...logP.dims.slice(2).map(() => 1)];
	const beside = g.reshape(labels, labels.dims.toSpliced(1, 0, 1));
	let chosen = g.binary("Equal", beside, g.values("int32", perClass, range(classes)), "bool");
	const ignored = node.attributes.ignore_index;
	if (ignored !== undefined && "int" in ignored && ignored.int >= 0 && ignored.int < classes)
		chosen = g.binary("And", chosen, g.unary("Not", g.binary("Equal", beside, ignored.int, "bool")), "bool");
	const one = g.cast(chosen, logP.type);
	const weights = r.optional(2) === undefined ? one : g.mul(one, g.reshape(r.input(2), perClass));
	// A class that is not chosen may have the logarithm −∞.
	const losses = g.neg(g.reduce("ReduceSum", g.mul(weights, g.where(chosen, logP, 0)), [1], false));
	switch (stringOf(node, "reduction", "mean")) {
		case "none":
			return losses;
		case "sum":
			return g.total(losses);
		default:
			return g.div(g.total(losses), g.total(weights));
	}
}

const softmaxCrossEntropy: Rewrite = (r) => {
	const logP = logSoftmaxOf(r.g, r.input(0), 1);
	return [negativeLogLikelihoodOf(r, logP), logP];
};

const oneHot: Rewrite = (r) => {
	const { node, g } = r;
	const { dims } = r.output()!;
	const axis = axisOf(intOf(node, "axis", -1), dims.length);
	const depth = dims[axis]!;
	const indices = g.cast(r.input(0), "int32");
	const single = g.reshape(indices, dims.with(axis, 1));
	const counted = g.where(g.binary("Less", single, 0, "bool"), g.add(single, depth), single);
	const numbers = g.values(
		"int32",
		dims.map((_, i) => (i === axis ? depth : 1)),
		range(depth),
	);
	const hot = g.binary("Equal", counted, numbers, "bool");
	const values = r.input(2);
	const known = numbersAt(r, 2);
	if (known === undefined) return isFloat(values.type) ? [g.where(hot, g.slice(values, 0, 1, 2), g.slice(values, 0, 0, 1))] : undefined;
	return [g.where(hot, g.values(values.type, [], [known[1]!]), known[0]!)];
};

/** The provider's own gives whole numbers of 64 bits, which nothing on the device can read. */
const argExtreme =
	(reduction: "ReduceMax" | "ReduceMin"): Rewrite =>
	({ node, g, input, output }) => {
		const x = input(0);
		const axis = axisOf(intOf(node, "axis", 0), x.dims.length);
		const last = intOf(node, "select_last_index", 0) === 1;
		const count = x.dims[axis]!;
		const places = g.values(
			"int32",
			x.dims.map((_, i) => (i === axis ? count : 1)),
			range(count),
		);
		const hit = g.binary("Equal", x, g.reduce(reduction, x, [axis]), "bool");
		const found = g.reduce(last ? "ReduceMax" : "ReduceMin", g.where(hit, places, last ? -1 : count), [axis]);
		return [g.reshape(found, output()!.dims)];
	};

export const classRewrites: Rewrites = {
	LogSoftmax: logSoftmax,
	ReduceLogSumExp: reduceLogSumExp,
	NegativeLogLikelihoodLoss: (r) => [negativeLogLikelihoodOf(r, r.input(0))],
	SoftmaxCrossEntropyLoss: softmaxCrossEntropy,
	OneHot: oneHot,
	ArgMax: argExtreme("ReduceMax"),
	ArgMin: argExtreme("ReduceMin"),
};
