import { type GraphBuilder, type Ref, range } from "../graph/graph-builder.js";
import { notDifferentiable } from "./refuse.js";
import { type Backward, type GradientRule, stringOf } from "./rule.js";

/** A value per label [N, d…] as [N, 1, d…], next to scores [N, C, d…]. */
const besideClasses = (g: GraphBuilder, perLabel: Ref): Ref => g.reshape(perLabel, perLabel.dims.toSpliced(1, 0, 1));

/**
 * The derivative of −w[label] · logP[label] by logP [N, C, d…], summed, averaged (over the weights of the labels), or one
 * loss per label. Labels that are ignored count nowhere.
 */
function byLogarithms(b: Backward, dy: Ref): Ref {
	const { g, node } = b;
	const scores = b.input(0);
	const classes = scores.dims[1]!;
	const perClass = [1, classes, ...scores.dims.slice(2).map(() => 1)];
	const labels = besideClasses(g, g.cast(b.input(1), "int32"));
	let chosen = g.indicator("Equal", labels, g.values("int32", perClass, range(classes)), scores.type);
	const ignored = node.attributes.ignore_index;
	if (ignored !== undefined && "int" in ignored && ignored.int >= 0 && ignored.int < classes)
		chosen = g.mul(chosen, g.sub(1, g.indicator("Equal", labels, ignored.int, scores.type)));
	if (b.optional(2) !== undefined) {
		if (b.needs(2)) throw notDifferentiable(b, "its class weights must not depend on trained parameters");
		chosen = g.mul(chosen, g.reshape(b.input(2), perClass));
	}
	switch (stringOf(node, "reduction", "mean")) {
		case "none":
			return g.neg(g.mul(chosen, besideClasses(g, dy)));
		case "sum":
			return g.neg(g.mul(chosen, dy));
		default: {
			// Without any label that counts the derivative is 0, not 0/0.
			const weight = g.total(chosen);
			const share = g.div(dy, g.where(g.binary("Equal", weight, 0, "bool"), 1, weight));
			return g.neg(g.mul(chosen, share));
		}
	}
}

const negativeLogLikelihood: GradientRule = (b) => [byLogarithms(b, b.dy()!)];

/** The second result are the logarithms themselves. logP = z − log Σ exp z, so dz = d − softmax(z)·Σ d for d by logP. */
const softmaxCrossEntropy: GradientRule = (b) => {
	const { g } = b;
	const z = b.input(0);
	const [dy, dLogP] = [b.dy(0), b.dy(1)];
	const fromLoss = dy === undefined ? undefined : byLogarithms(b, dy);
	const d = fromLoss === undefined ? dLogP! : dLogP === undefined ? fromLoss : g.add(fromLoss, dLogP);
	const probabilities = g.unary("Softmax", z, { axis: { int: 1 } });
	return [g.sub(d, g.mul(probabilities, g.reduce("ReduceSum", d, [1])))];
};

export const lossRules: { readonly [op: string]: GradientRule } = {
	NegativeLogLikelihoodLoss: negativeLogLikelihood,
	SoftmaxCrossEntropyLoss: softmaxCrossEntropy,
};
