import { type GraphBuilder, type Ref, range } from "../graph/graph-builder.js";
import type { Attributes } from "../graph/ir.js";
import type { Backward, GradientRule } from "./rule.js";
import { afterOf, groupOf, type Windows, windowsOf } from "./windows.js";

const ints = (values: readonly number[]): { readonly ints: readonly number[] } => ({ ints: values });

/** Attributes of Conv and ConvTranspose; `after` may be negative only where the caller has cut the operand. */
const attributesOf = (w: Windows, after: readonly number[], group: number): Attributes => ({
	kernel_shape: ints(w.kernel),
	strides: ints(w.strides),
	dilations: ints(w.dilations),
	pads: ints([...w.before, ...after]),
	group: { int: group },
});

/** x without the elements at the end of each spatial axis that no window covers. */
function covered(g: GraphBuilder, x: Ref, after: readonly number[]): Ref {
	return after.reduce((cut, count, i) => (count < 0 ? g.slice(cut, i + 2, 0, cut.dims[i + 2]! + count) : cut), x);
}

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
	const pads = after.map((count) => Math.max(0, count));
	return g.node("Conv", [covered(g, x, after), weight], x.type, dims, attributesOf(w, pads, group));
}

/**
 * The derivative of a convolution by its input: the transposed convolution. Where windows stop short of the end of the input,
 * what they did not cover gets 0.
 */
function inputGradient(g: GraphBuilder, dy: Ref, weight: Ref, w: Windows, group: number, input: readonly number[]): Ref {
	const spatial = input.slice(2);
	const after = afterOf(w, spatial, dy.dims.slice(2));
	const pads = after.map((count) => Math.max(0, count));
	const dims = [...input.slice(0, 2), ...spatial.map((size, i) => size + Math.min(0, after[i]!))];
	const d = g.node("ConvTranspose", [dy, weight], dy.type, dims, attributesOf(w, pads, group));
	return g.pad(
		d,
		input.map(() => 0),
		[0, 0, ...after.map((count) => Math.max(0, -count))],
	);
}

/**
 * The derivative of a convolution by its weight [M, C/group, …]: a convolution of x with dy, in which examples and channels
 * change places, and strides and dilations too.
 */
function weightGradient(g: GraphBuilder, x: Ref, dy: Ref, w: Windows, group: number): Ref {
	const [n, c] = x.dims as [number, number];
	const m = dy.dims[1]!;
	const input = x.dims.slice(2);
	const output = dy.dims.slice(2);
	const spatial = range(input.length);
	const after = afterOf(w, input, output);
	const cut = covered(g, x, after);
	// [N, C, …] to [C/group, group·N, …]: the channels of one group are its examples now.
	const grouped = g.reshape(cut, [n, group, c / group, ...cut.dims.slice(2)]);
	const images = g.reshape(g.transpose(grouped, [2, 1, 0, ...spatial.map((i) => i + 3)]), [c / group, group * n, ...cut.dims.slice(2)]);
	const kernels = g.transpose(dy, [1, 0, ...spatial.map((i) => i + 2)]);
	const swapped: Windows = { kernel: output, strides: w.dilations, dilations: w.strides, before: w.before };
	const pads = after.map((count) => Math.max(0, count));
	const d = g.node("Conv", [images, kernels], x.type, [c / group, m, ...w.kernel], attributesOf(swapped, pads, group));
	return g.transpose(d, [1, 0, ...spatial.map((i) => i + 2)]);
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
