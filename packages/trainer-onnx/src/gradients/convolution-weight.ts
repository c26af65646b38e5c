import { type GraphBuilder, type Ref, range } from "../graph/graph-builder.js";
import { sizeOf } from "../graph/ir.js";
import { afterOf, covered, type Windows, windowAttributes } from "./windows.js";

// The derivative of a convolution by its weight [M, C/group, …], in the form that ONNX Runtime's cpu provider computes fastest for
// the sizes at hand. All forms are equal in exact arithmetic. These and the forms of the input's
// gradient take one step of ResNet-8 from 47 ms of processor time to 32 ms (`npm run bench:trainer -- --model resnet8 --threads 1`).

/** Most elements that a convolution may unfold its input into at once: 64 MiB of float32. */
const MAX_UNFOLDED_ELEMENTS = 2 ** 24;
/** Up to this many channels rows of `byRows` would be too short: the windows are cut out as a tensor of their own. */
const MAX_UNFOLDED_CHANNELS = 4;

/** The derivative by the weight. @param x [N, C, …] @param dy [N, M, …] */
export function weightGradient(g: GraphBuilder, x: Ref, dy: Ref, w: Windows, group: number): Ref {
	const c = x.dims[1]!;
	const output = dy.dims.slice(2);
	const offsets = sizeOf(w.kernel);
	const after = afterOf(w, x.dims.slice(2), output);
	const padded = [...w.before, ...after].some((count) => count > 0);
	if (group !== 1) return byExchange(g, x, dy, w, group);
	if (offsets === 1 && !padded) return byPoints(g, x, dy, w);
	const windows = x.dims[0]! * c * offsets * sizeOf(output);
	if (c > 1 && c <= MAX_UNFOLDED_CHANNELS && windows <= MAX_UNFOLDED_ELEMENTS) return byWindows(g, x, dy, w);
	const parts = output.length <= 2 && w.dilations.every((d) => d === 1) ? partsOf(x.dims[0]!, windows) : undefined;
	return parts === undefined ? byExchange(g, x, dy, w, group) : byRows(g, x, dy, w, parts);
}

/** Windows of one element: Σ over examples of dy·xᵀ, both as matrices of channels by places. */
function byPoints(g: GraphBuilder, x: Ref, dy: Ref, w: Windows): Ref {
	const [n, m] = dy.dims as [number, number];
	const c = x.dims[1]!;
	const output = dy.dims.slice(2);
	const read = output.reduce((cut, size, i) => g.slice(cut, i + 2, 0, (size - 1) * w.strides[i]! + 1, w.strides[i]!), x);
	const places = sizeOf(output);
	const products = g.matMul(g.reshape(dy, [n, m, places]), g.transposeLast(g.reshape(read, [n, c, places])));
	return g.reshape(g.reduce("ReduceSum", products, [0], false), [m, c, ...w.kernel]);
}

/** The windows of each channel, cut out by a convolution with a single 1 per offset, times dy: one product per example. */
function byWindows(g: GraphBuilder, x: Ref, dy: Ref, w: Windows): Ref {
	const [n, m] = dy.dims as [number, number];
	const c = x.dims[1]!;
	const [output, offsets] = [dy.dims.slice(2), sizeOf(w.kernel)];
	const after = afterOf(w, x.dims.slice(2), output);
	const ones = g.values(
		x.type,
		[c * offsets, 1, ...w.kernel],
		range(c * offsets * offsets).map((i) => (Math.floor(i / offsets) % offsets === i % offsets ? 1 : 0)),
	);
	const windows = g.node("Conv", [covered(g, x, after), ones], x.type, [n, c * offsets, ...output], windowAttributes(w, after, c));
	const places = sizeOf(output);
	const products = g.matMul(g.reshape(dy, [n, m, places]), g.transposeLast(g.reshape(windows, [n, c * offsets, places])));
	return g.reshape(g.reduce("ReduceSum", products, [0], false), [m, c, ...w.kernel]);
}

/** In how many parts examples are summed: 2 keep two threads busy, more keep the unfolded input within its limit. */
function partsOf(n: number, unfolded: number): number | undefined {
	return range(n)
		.map((i) => i + 1)
		.find((parts) => n % parts === 0 && (parts > 1 || n % 2 === 1) && unfolded / parts <= MAX_UNFOLDED_ELEMENTS);
}

/**
 * A convolution of x with dy in which examples take the place of channels, and channels lie side by side along the last axis:
 * x as [1, N, H, W·C] gives all offsets and channels as one image [M, k, k·C], one large matrix product.
 */
function byRows(g: GraphBuilder, x: Ref, dy: Ref, w: Windows, parts: number): Ref {
	const [n, m] = dy.dims as [number, number];
	const c = x.dims[1]!;
	const output = dy.dims.slice(2);
	const after = afterOf(w, x.dims.slice(2), output);
	const cut = covered(g, x, after);
	const last = output.length - 1;
	/** Counts along the last axis are counts of places, each `c` elements wide now. */
	const widened = (counts: readonly number[]): number[] => counts.map((count, i) => (i === last ? count * c : count));
	const spatial = range(output.length).map((i) => i + 2);
	const images = g.reshape(g.transpose(cut, [0, ...spatial, 1]), [1, n, ...widened(cut.dims.slice(2))]);
	const places = sizeOf(output);
	const inParts = g.transpose(g.reshape(dy, [parts, n / parts, m, places]), [0, 2, 1, 3]);
	const kernels = g.reshape(inParts, [parts * m, n / parts, ...output]);
	const swapped: Windows = {
		kernel: output,
		strides: output.map(() => 1),
		dilations: widened(w.strides),
		before: widened(w.before),
	};
	const dims = [1, parts * m, ...widened(w.kernel)];
	const d = g.node("Conv", [images, kernels], x.type, dims, windowAttributes(swapped, widened(after), parts));
	const sum = g.reduce("ReduceSum", g.reshape(d, [parts, m, ...w.kernel, c]), [0], false);
	return g.transpose(sum, [0, output.length + 1, ...range(output.length).map((i) => i + 1)]);
}

/** For all sizes: a convolution of x with dy in which examples and channels change places, and strides and dilations too. */
function byExchange(g: GraphBuilder, x: Ref, dy: Ref, w: Windows, group: number): Ref {
	const [n, c] = x.dims as [number, number];
	const m = dy.dims[1]!;
	const output = dy.dims.slice(2);
	const spatial = range(output.length);
	const after = afterOf(w, x.dims.slice(2), output);
	const cut = covered(g, x, after);
	// [N, C, …] to [C/group, group·N, …]: the channels of one group are its examples now.
	const grouped = g.reshape(cut, [n, group, c / group, ...cut.dims.slice(2)]);
	const images = g.reshape(g.transpose(grouped, [2, 1, 0, ...spatial.map((i) => i + 3)]), [c / group, group * n, ...cut.dims.slice(2)]);
	const kernels = g.transpose(dy, [1, 0, ...spatial.map((i) => i + 2)]);
	const swapped: Windows = { kernel: output, strides: w.dilations, dilations: w.strides, before: w.before };
	const d = g.node("Conv", [images, kernels], x.type, [c / group, m, ...w.kernel], windowAttributes(swapped, after, group));
	return g.transpose(d, [1, 0, ...spatial.map((i) => i + 2)]);
}
