import { spread } from "../../gradients/shape.js";
import { afterOf, groupOf, windowsOf } from "../../gradients/windows.js";
import { type GraphBuilder, type Ref, range } from "../../graph/graph-builder.js";
import type { Rewrite, Rewrites, Rewriting } from "./rewriting.js";
import { elements } from "./shape.js";

const part = (g: GraphBuilder, x: Ref, axis: number, i: number, parts: number): Ref => {
	const size = x.dims[axis]! / parts;
	return g.slice(x, axis, i * size, (i + 1) * size);
};

const withBias = ({ g, optional }: Rewriting, y: Ref): Ref => {
	const bias = optional(2);
	return bias === undefined ? y : g.add(y, g.reshape(bias, [bias.dims[0]!, ...y.dims.slice(2).map(() => 1)]));
};

/** In three dimensions the webgpu provider has no groups: each is a convolution of its own. */
const conv: Rewrite = (r) => {
	const { node, g } = r;
	const groups = groupOf(node);
	const [x, weight] = [r.input(0), r.input(1)];
	if (x.dims.length < 5 || groups === 1) return undefined;
	const { group, ...attributes } = node.attributes;
	const dims = r.output()!.dims.with(1, weight.dims[0]! / groups);
	const results = range(groups).map((i) =>
		g.node("Conv", [part(g, x, 1, i, groups), part(g, weight, 0, i, groups)], x.type, dims, attributes),
	);
	return [withBias(r, g.concat(results, 1))];
};

/**
 * In three dimensions it has no transposed convolution: zeros between the elements, then a convolution with the weight
 * [C, M/group, …] turned around.
 */
const convTranspose: Rewrite = (r) => {
	const { node, g } = r;
	const [x, weight] = [r.input(0), r.input(1)];
	const rank = x.dims.length;
	if (rank < 5) return undefined;
	const groups = groupOf(node);
	const output = r.output()!.dims;
	const w = windowsOf(node, weight.dims.slice(2), output.slice(2), x.dims.slice(2));
	const after = afterOf(w, output.slice(2), x.dims.slice(2));
	const apart = w.strides.reduce((stuffed, stride, i) => spread(g, stuffed, i + 2, stride), x);
	const reach = w.kernel.map((size, i) => (size - 1) * w.dilations[i]!);
	const padded = g.pad(apart, [0, 0, ...reach.map((size, i) => size - w.before[i]!)], [0, 0, ...reach.map((size, i) => size - after[i]!)]);
	const axes = range(rank).slice(2);
	const turned = axes.reduce((kernel, axis) => elements(g, kernel, axis, kernel.dims[axis]! - 1, kernel.dims[axis]!, -1), weight);
	const results = range(groups).map((i) => {
		const kernels = g.transpose(part(g, turned, 0, i, groups), [1, 0, ...axes]);
		const attributes = { kernel_shape: { ints: w.kernel }, dilations: { ints: w.dilations } };
		return g.node("Conv", [part(g, padded, 1, i, groups), kernels], x.type, output.with(1, kernels.dims[0]!), attributes);
	});
	return [withBias(r, g.concat(results, 1))];
};

export const convolutionRewrites: Rewrites = { Conv: conv, ConvTranspose: convTranspose };
