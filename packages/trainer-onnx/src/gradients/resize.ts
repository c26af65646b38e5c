import { axisOf, type Ref, range } from "../graph/graph-builder.js";
import { notDifferentiable } from "./refuse.js";
import { type Backward, constantNumbers, floatOf, type GradientRule, intOf, intsOf, stringOf } from "./rule.js";
import { alongAxis } from "./shape.js";

/** Which elements of an axis one element of the result is made of, and with which weights. */
type Taps = readonly (readonly [index: number, weight: number])[];

/** Equations: onnx.ai/onnx/operators/onnx__Resize.html. A resize is a linear map along each axis, whose transpose leads back. */
const resize: GradientRule = (b) => {
	const { node } = b;
	const { dims } = b.input(0);
	const rank = dims.length;
	const axes = intsOf(node, "axes")?.map((axis) => axisOf(axis, rank)) ?? range(rank);
	const scales = b.optional(2) === undefined || b.input(2).dims[0] === 0 ? undefined : constantNumbers(b, 2, "scales");
	if (intOf(node, "antialias", 0) !== 0) throw notDifferentiable(b, "antialias is not supported");
	const policy = stringOf(node, "keep_aspect_ratio_policy", "stretch");
	if (policy !== "stretch") throw notDifferentiable(b, `keep_aspect_ratio_policy ${JSON.stringify(policy)} is not supported`);
	let d = b.dy()!;
	for (const [i, axis] of axes.entries()) {
		const [from, to] = [dims[axis]!, b.output(0).dims[axis]!];
		const scale = scales?.[i] ?? Math.fround(to / from);
		if (from === to && scale === 1) continue;
		d = transposed(b, d, axis, from, tapsOf(b, from, to, scale));
	}
	return [d];
};

function transposed(b: Backward, d: Ref, axis: number, size: number, taps: readonly Taps[]): Ref {
	const { g } = b;
	const times = taps.length / size;
	if (Number.isInteger(times) && taps.every(([first, ...others], i) => others.length === 0 && first![0] === Math.floor(i / times))) {
		// Each element stands `times` times in a row.
		return g.reduce("ReduceSum", g.reshape(d, d.dims.toSpliced(axis, 1, size, times)), [axis + 1], false);
	}
	const weights = taps.map((list) => {
		const row = new Map<number, number>();
		for (const [index, weight] of list) row.set(index, (row.get(index) ?? 0) + weight);
		return row;
	});
	return alongAxis(g, d, axis, size, (row, column) => weights[column]!.get(row) ?? 0);
}

function tapsOf(b: Backward, from: number, to: number, scale: number): Taps[] {
	const { node } = b;
	const mode = stringOf(node, "mode", "nearest");
	const position = positions(b, from, to, scale);
	const inside = (index: number): number => Math.min(Math.max(index, 0), from - 1);
	switch (mode) {
		case "nearest": {
			const round = rounding(b);
			return range(to).map((i) => [[inside(round(position(i))), 1]]);
		}
		case "linear":
			return range(to).map((i) => {
				const at = position(i);
				const low = Math.floor(at);
				return [
					[inside(low), low + 1 - at],
					[inside(low + 1), at - low],
				];
			});
		case "cubic": {
			const coefficient = floatOf(node, "cubic_coeff_a", -0.75);
			const exclude = intOf(node, "exclude_outside", 0) !== 0;
			return range(to).map((i) => {
				const at = position(i);
				const low = Math.floor(at);
				const near = range(4)
					.map((k) => low - 1 + k)
					.filter((index) => !exclude || index === inside(index));
				const weights = near.map((index) => cubic(Math.abs(at - index), coefficient));
				const total = weights.reduce((sum, weight) => sum + weight, 0);
				return near.map((index, k) => [inside(index), weights[k]! / total] as const);
			});
		}
		default:
			throw notDifferentiable(b, `mode ${JSON.stringify(mode)} is not known`);
	}
}

/** R. Keys, "Cubic convolution interpolation for digital image processing", 1981, equation 15 for any a. */
function cubic(distance: number, a: number): number {
	if (distance <= 1) return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
	return distance < 2 ? ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a : 0;
}

/**
 * Where elements of the result lie in the input. In float32 as ONNX Runtime computes it: which element is the nearest may
 * hang on how a quotient is rounded.
 */
function positions(b: Backward, from: number, to: number, scale: number): (i: number) => number {
	const mode = stringOf(b.node, "coordinate_transformation_mode", "half_pixel");
	const halfPixel = (i: number): number => Math.fround(Math.fround((i + 0.5) / scale) - 0.5);
	switch (mode) {
		case "half_pixel":
			return halfPixel;
		case "pytorch_half_pixel":
			return to > 1 ? halfPixel : () => 0;
		case "asymmetric":
			return (i) => Math.fround(i / scale);
		case "align_corners":
			return to === 1 ? () => 0 : (i) => Math.fround((i * (from - 1)) / (to - 1));
		default:
			throw notDifferentiable(b, `coordinate_transformation_mode ${JSON.stringify(mode)} is not supported`);
	}
}

function rounding(b: Backward): (at: number) => number {
	const mode = stringOf(b.node, "nearest_mode", "round_prefer_floor");
	switch (mode) {
		case "round_prefer_floor":
			return (at) => Math.ceil(at - 0.5);
		case "round_prefer_ceil":
			return (at) => Math.floor(at + 0.5);
		case "floor":
			return Math.floor;
		case "ceil":
			return Math.ceil;
		default:
			throw notDifferentiable(b, `nearest_mode ${JSON.stringify(mode)} is not known`);
	}
}

export const resizeRules: { readonly [op: string]: GradientRule } = { Resize: resize };
