import { type GraphBuilder, type Ref, range } from "../graph/graph-builder.js";
import { sizeOf } from "../graph/ir.js";
import { type Backward, type GradientRule, intOf, intsOf, stringOf } from "./rule.js";
import { spread } from "./shape.js";
import { afterOf, offsetsOf, type Windows, windowsOf } from "./windows.js";

/** Smaller than anything a window holds; infinities would make NaN of 0·∞. */
const LOWEST = -3.4028234663852886e38;

interface Pool {
	readonly w: Windows;
	/** Spatial sizes. */
	readonly input: readonly number[];
	readonly output: readonly number[];
}

function poolOf(b: Backward): Pool {
	const input = b.input(0).dims.slice(2);
	const output = b.output(0).dims.slice(2);
	return { w: windowsOf(b.node, intsOf(b.node, "kernel_shape") ?? [], input, output), input, output };
}

/** Windows next to each other that cover the whole input, once each. */
const tiles = ({ w, input, output }: Pool): boolean =>
	w.kernel.every((size, i) => size === w.strides[i] && w.dilations[i] === 1 && w.before[i] === 0 && size * output[i]! === input[i]);

/** What each window holds at every place of it: [N, C, …windows] as [N, C, …input], for windows that tile a plane of float32. */
function enlarged(g: GraphBuilder, perWindow: Ref, { w, input }: Pool): Ref {
	const scales = g.values("float32", [input.length + 2], [1, 1, ...w.kernel]);
	const attributes = {
		mode: { string: "nearest" },
		coordinate_transformation_mode: { string: "asymmetric" },
		nearest_mode: { string: "floor" },
	};
	const [result] = g.nodeOf(
		"Resize",
		[perWindow, undefined, scales],
		[{ type: perWindow.type, dims: [...perWindow.dims.slice(0, 2), ...input] }],
		attributes,
	);
	return result!;
}

/** The element at `offset` of each window, [N, C, …windows]; `filler` stands where a window reaches beyond the input. */
function atOffset(g: GraphBuilder, x: Ref, { w, input, output }: Pool, offset: readonly number[], filler: number): Ref {
	const after = afterOf(w, input, output).map((count) => Math.max(0, count));
	const padded = filled(g, x, w.before, after, filler);
	return offset.reduce((cut, o, i) => {
		const from = o * w.dilations[i]!;
		return g.slice(cut, i + 2, from, from + (output[i]! - 1) * w.strides[i]! + 1, w.strides[i]!);
	}, padded);
}

function filled(g: GraphBuilder, x: Ref, before: readonly number[], after: readonly number[], filler: number): Ref {
	if ([...before, ...after].every((count) => count === 0)) return x;
	const dims = [...x.dims.slice(0, 2), ...x.dims.slice(2).map((size, i) => size + before[i]! + after[i]!)];
	const pads = g.int64s(0, 0, ...before, 0, 0, ...after);
	return g.node("Pad", [x, pads, g.values(x.type, [], [filler])], x.type, dims);
}

/** A value per window put back where `offset` of the window lies, zeros elsewhere: [N, C, …input]. */
function backAtOffset(g: GraphBuilder, value: Ref, pool: Pool, offset: readonly number[]): Ref {
	const { w, input, output } = pool;
	const apart = offset.reduce((spreadOut, _, i) => spread(g, spreadOut, i + 2, w.strides[i]!), value);
	const first = offset.map((o, i) => o * w.dilations[i]! - w.before[i]!);
	const length = output.map((count, i) => (count - 1) * w.strides[i]! + 1);
	// What lies beyond the input is dropped.
	const cut = first.reduce((kept, from, i) => g.slice(kept, i + 2, Math.max(0, -from), Math.min(length[i]!, input[i]! - from)), apart);
	return g.pad(
		cut,
		[0, 0, ...first.map((from) => Math.max(0, from))],
		[0, 0, ...first.map((from, i) => Math.max(0, input[i]! - from - length[i]!))],
	);
}

/** The first of the largest elements of a window gets what the window's maximum gets. */
const maxPool: GradientRule = (b) => {
	const { g } = b;
	const pool = poolOf(b);
	const [x, y, dy] = [b.input(0), b.output(0), b.dy()!];
	let open: Ref | undefined;
	let dx: Ref | undefined;
	for (const offset of offsetsOf(pool.w.kernel)) {
		const equal = g.indicator("Equal", atOffset(g, x, pool, offset, LOWEST), y);
		const hit = open === undefined ? equal : g.mul(equal, open);
		const left = g.sub(1, equal);
		open = open === undefined ? left : g.mul(open, left);
		const back = backAtOffset(g, g.mul(dy, hit), pool, offset);
		dx = dx === undefined ? back : g.add(dx, back);
	}
	return [dx];
};

/**
 * Windows that tile a plane: the maxima of all windows go back to their size in one pass each. Where several elements are the
 * maximum, the first in the window is found as the largest of numbers that descend within it. Processor time of a step of LeNet-5,
 * 1 thread: 2.0 ms; with windows compared along axes of their own 3.9 ms (`npm run bench:trainer -- --model lenet5 --threads 1`).
 */
function tiledMaxPool(b: Backward, pool: Pool): Ref {
	const { g } = b;
	const { kernel, strides } = pool.w;
	const [x, y, dy] = [b.input(0), b.output(0), b.dy()!];
	const [height, width] = pool.input as [number, number];
	const [tall, wide] = kernel as [number, number];
	const descending = range(height).flatMap((row) => range(width).map((column) => tall * wide - ((row % tall) * wide + (column % wide))));
	const places = g.mul(g.indicator("Equal", x, enlarged(g, y, pool)), g.values(x.type, pool.input, descending));
	const first = g.node("MaxPool", [places], x.type, y.dims, { kernel_shape: { ints: kernel }, strides: { ints: strides } });
	return g.mul(g.indicator("Equal", places, enlarged(g, first, pool)), enlarged(g, dy, pool));
}

const isTiledPlane = (pool: Pool, { type }: Ref): boolean => tiles(pool) && pool.input.length === 2 && type === "float32";

const maxPoolRule: GradientRule = (b) => {
	const pool = poolOf(b);
	return isTiledPlane(pool, b.input(0)) ? [tiledMaxPool(b, pool)] : maxPool(b);
};

const averagePool: GradientRule = (b) => {
	const { g } = b;
	const pool = poolOf(b);
	const { w, input, output } = pool;
	const [x, dy] = [b.input(0), b.dy()!];
	const padsCount = intOf(b.node, "count_include_pad", 0) === 1;
	const share = g.div(
		dy,
		g.values(dy.type, output, windowCounts(pool, padsCount ? countedPads(b, pool) : pool.w.before.map(() => [0, 0]))),
	);
	if (isTiledPlane(pool, x)) return [enlarged(g, share, pool)];
	// A sum over windows is a convolution with ones, channel by channel; this is its transpose.
	const [n, c] = x.dims as [number, number];
	const after = afterOf(w, input, output);
	const ones = g.filled(x.type, [1, 1, ...w.kernel], 1);
	const dims = [n * c, 1, ...input.map((size, i) => size + Math.min(0, after[i]!))];
	const attributes = {
		kernel_shape: { ints: w.kernel },
		strides: { ints: w.strides },
		dilations: { ints: w.dilations },
		pads: { ints: [...w.before, ...after.map((count) => Math.max(0, count))] },
	};
	const d = g.node("ConvTranspose", [g.reshape(share, [n * c, 1, ...output]), ones], x.type, dims, attributes);
	const back = g.pad(
		d,
		dims.map(() => 0),
		[0, 0, ...after.map((count) => Math.max(0, -count))],
	);
	return [g.reshape(back, x.dims)];
};

/** Padding in front and behind, per spatial axis. */
function countedPads({ node }: Backward, { w, input, output }: Pool): [number, number][] {
	const pads = intsOf(node, "pads");
	const chosen = !["NOTSET", ""].includes(stringOf(node, "auto_pad", "NOTSET"));
	const after = afterOf(w, input, output);
	return w.before.map((before, i) => [before, chosen ? Math.max(0, after[i]!) : (pads?.[input.length + i] ?? 0)]);
}

/** How many elements the average of each window is over; what lies beyond the counted padding never counts. */
function windowCounts({ w, input, output }: Pool, pads: readonly (readonly [number, number])[]): number[] {
	const along = output.map((windows, i) => {
		const [from, to] = [-pads[i]![0], input[i]! + pads[i]![1]];
		return range(windows).map((window) => {
			const first = window * w.strides[i]! - w.before[i]!;
			return range(w.kernel[i]!).filter((k) => first + k * w.dilations[i]! >= from && first + k * w.dilations[i]! < to).length;
		});
	});
	return along.reduce((products, counts) => products.flatMap((product) => counts.map((count) => product * count)), [1]);
}

const spatialAxes = (b: Backward): number[] => range(b.input(0).dims.length).slice(2);

const globalAveragePool: GradientRule = (b) => {
	const { dims } = b.input(0);
	return [b.g.expand(b.g.mul(b.dy()!, 1 / sizeOf(dims.slice(2))), dims)];
};

const globalMaxPool: GradientRule = (b) => {
	const { g } = b;
	const hit = g.indicator("Equal", b.input(0), b.output(0));
	return [g.mul(hit, g.div(b.dy()!, g.reduce("ReduceSum", hit, spatialAxes(b))))];
};

export const poolingRules: { readonly [op: string]: GradientRule } = {
	MaxPool: maxPoolRule,
	AveragePool: averagePool,
	GlobalAveragePool: globalAveragePool,
	GlobalMaxPool: globalMaxPool,
};
