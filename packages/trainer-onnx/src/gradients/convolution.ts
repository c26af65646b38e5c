import { type GraphBuilder, type Ref, range } from "../graph/graph-builder.js";
import { sizeOf } from "../graph/ir.js";
import { weightGradient } from "./convolution-weight.js";
import type { Backward, GradientRule } from "./rule.js";
import { afterOf, covered, groupOf, type Windows, windowAttributes, windowsOf } from "./windows.js";

/** From this many channels on ONNX Runtime's cpu provider convolves faster with a flipped weight than it transposes a convolution. */
const MIN_FLIPPED_CHANNELS = 16;

/** Conv of `x` with `weight`, for windows that may stop short of the end of x. */
function convolved(
	g: GraphBuilder,
	x: Ref,
	weight: Ref,
	w: Windows,
	after: readonly number[],
	group: number,
	output: readonly number[],
): Ref {
	const dims = [x.dims[0]!, weight.dims[0]!, ...output];
	return g.node("Conv", [covered(g, x, after), weight], x.type, dims, windowAttributes(w, after, group));
}

/** The derivative of a convolution by its input [N, C, …]. */
function inputGradient(g: GraphBuilder, dy: Ref, weight: Ref, w: Windows, group: number, input: readonly number[]): Ref {
	const after = afterOf(w, input.slice(2), dy.dims.slice(2));
	const reach = w.kernel.map((size, i) => (size - 1) * w.dilations[i]!);
	const flips =
		(group === 1 ? input[1]! >= MIN_FLIPPED_CHANNELS : group === input[1]) &&
		w.strides.every((stride) => stride === 1) &&
		reach.every((most, i) => w.before[i]! <= most && after[i]! >= 0 && after[i]! <= most);
	return flips ? byFlipping(g, dy, weight, w, group, input) : byTransposing(g, dy, weight, w, group, input);
}

/**
 * Windows one apart: a convolution of dy with the weight, of which offsets are in reverse and channels in and out change places.
 * Processor time at [32, 16, 32, 32] with 3×3, 1 thread: 1.6 ms, as a transposed convolution 2.1 ms (the profile of a step of
 * ResNet-8).
 */
function byFlipping(g: GraphBuilder, dy: Ref, weight: Ref, w: Windows, group: number, input: readonly number[]): Ref {
	const [m, c] = [weight.dims[0]!, input[1]!];
	const offsets = sizeOf(w.kernel);
	const spatial = input.slice(2);
	const after = afterOf(w, spatial, dy.dims.slice(2));
	const dims = [group, m / group, c / group, offsets];
	const flat = g.reshape(weight, dims);
	const reversed =
		offsets === 1 ? flat : g.node("Gather", [flat, g.int64s(...range(offsets).reverse())], flat.type, dims, { axis: { int: 3 } });
	const flipped = g.reshape(g.transpose(reversed, [0, 2, 1, 3]), [c, m / group, ...w.kernel]);
	const pad = (taken: readonly number[]): number[] => w.kernel.map((size, i) => (size - 1) * w.dilations[i]! - taken[i]!);
	const windows: Windows = { ...w, before: pad(w.before) };
	return g.node("Conv", [dy, flipped], dy.type, input, windowAttributes(windows, pad(after), group));
}

/** The transposed convolution. Where windows stop short of the end of the input, what they did not cover gets 0. */
function byTransposing(g: GraphBuilder, dy: Ref, weight: Ref, w: Windows, group: number, input: readonly number[]): Ref {
	const after = afterOf(w, input.slice(2), dy.dims.slice(2));
	const attributes = { ...windowAttributes(w, after, group), output_padding: { ints: after.map((count) => Math.max(0, -count)) } };
	return g.node("ConvTranspose", [dy, weight], dy.type, input, attributes);
}

const biasGradient = (g: GraphBuilder, dy: Ref): Ref =>
	g.reduce(
		"ReduceSum",
		dy,
		range(dy.dims.length).filter((axis) => axis !== 1),
		false,
	);

const conv: GradientRule = (b) => {
	const { g, node } = b;
	const [x, weight, dy] = [b.input(0), b.input(1), b.dy()!];
	const w = windowsOf(node, weight.dims.slice(2), x.dims.slice(2), dy.dims.slice(2));
	const group = groupOf(node);
	return [
		b.needs(0) ? inputGradient(g, dy, weight, w, group, x.dims) : undefined,
		b.needs(1) ? weightGradient(g, x, dy, w, group) : undefined,
		b.optional(2) !== undefined && b.needs(2) ? biasGradient(g, dy) : undefined,
	];
};

/** A transposed convolution is the input gradient of a convolution that leads from its result to its input. */
const convTranspose: GradientRule = (b: Backward) => {
	const { g, node } = b;
	const [x, weight, dy] = [b.input(0), b.input(1), b.dy()!];
	const input = x.dims.slice(2);
	const w = windowsOf(node, weight.dims.slice(2), dy.dims.slice(2), input);
	const group = groupOf(node);
	const after = afterOf(w, dy.dims.slice(2), input);
	return [
		b.needs(0) ? convolved(g, dy, weight, w, after, group, input) : undefined,
		b.needs(1) ? weightGradient(g, dy, x, w, group) : undefined,
		b.optional(2) !== undefined && b.needs(2) ? biasGradient(g, dy) : undefined,
	];
};

export const convolutionRules: { readonly [op: string]: GradientRule } = { Conv: conv, ConvTranspose: convTranspose };
