import { floatOf, intOf } from "../../gradients/rule.js";
import { type GraphBuilder, type Ref, range } from "../../graph/graph-builder.js";
import { sizeOf } from "../../graph/ir.js";
import type { Rewrite, Rewrites } from "./rewriting.js";

/** Mean and variance over `axes`, the variance from what is left without the mean: the same nodes as in the gradient, so they are computed once. */
function moments(g: GraphBuilder, x: Ref, axes: readonly number[]): { readonly mean: Ref; readonly centred: Ref; readonly variance: Ref } {
	const mean = g.reduce("ReduceMean", x, axes);
	const centred = g.sub(x, mean);
	return { mean, centred, variance: g.reduce("ReduceMean", g.mul(centred, centred), axes) };
}

const inverseRoot = (g: GraphBuilder, variance: Ref, epsilon: number): Ref => g.div(1, g.unary("Sqrt", g.add(variance, epsilon)));

/**
 * In training by the mean and variance of the batch, which also go into the running ones; else by the given ones, and then too
 * the webgpu provider's own gives wrong values for rows [N, C].
 */
const batchNormalization: Rewrite = (r) => {
	const { node, g, input } = r;
	const [x, scale, bias] = [input(0), input(1), input(2)];
	const rank = x.dims.length;
	const channels = x.dims[1]!;
	const beside = (v: Ref): Ref => g.reshape(v, [channels, ...range(rank - 2).map(() => 1)]);
	const epsilon = floatOf(node, "epsilon", 1e-5);
	if (intOf(node, "training_mode", 0) !== 1) {
		const inverse = inverseRoot(g, input(4), epsilon);
		return [g.add(g.mul(g.sub(x, beside(input(3))), beside(g.mul(scale, inverse))), beside(bias))];
	}
	const { mean, centred, variance } = moments(
		g,
		x,
		range(rank).filter((axis) => axis !== 1),
	);
	const hat = g.mul(centred, inverseRoot(g, variance, epsilon));
	const momentum = floatOf(node, "momentum", 0.9);
	const running = (before: Ref, now: Ref): Ref => g.add(g.mul(before, momentum), g.mul(g.reshape(now, [channels]), 1 - momentum));
	return [
		g.add(g.mul(hat, beside(scale)), beside(bias)),
		r.output(1) && running(input(3), mean),
		r.output(2) && running(input(4), variance),
	];
};

/** Scale and bias are per channel, per group before opset 21. */
const groupNormalization: Rewrite = ({ node, g, input }) => {
	const [x, scale, bias] = [input(0), input(1), input(2)];
	const [n, elements] = [x.dims[0]!, sizeOf(x.dims)];
	const inParts = (v: Ref, count: number): Ref => g.reshape(v, [n, count, elements / (n * count)]);
	const { centred, variance } = moments(g, inParts(x, intOf(node, "num_groups", 1)), [2]);
	const hat = g.mul(centred, inverseRoot(g, variance, floatOf(node, "epsilon", 1e-5)));
	const parts = scale.dims[0]!;
	const scaled = g.mul(inParts(hat, parts), g.reshape(scale, [parts, 1]));
	return [g.reshape(g.add(scaled, g.reshape(bias, [parts, 1])), x.dims)];
};

export const normalizationRewrites: Rewrites = { BatchNormalization: batchNormalization, GroupNormalization: groupNormalization };
