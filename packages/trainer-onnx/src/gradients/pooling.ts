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

/** [N, C, H, W] as [N, C, H/k, k, W/k, k], and a result per window as [N, C, H/k, 1, W/k, 1]. */
const tiled = (dims: readonly number[], output: readonly number[], kernel: readonly number[]): number[] => [
	...dims.slice(0, 2),
	...output.flatMap((size, i) => [size, kernel[i]!]),
];

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

/** Windows that tile the input: compare with the maximum of the own window; those that tie share. */
const maxPoolRule: GradientRule = (b) => {
	const pool = poolOf(b);
	if (!tiles(pool)) return maxPool(b);
	const { g } = b;
	const [x, y, dy] = [b.input(0), b.output(0), b.dy()!];
	const { kernel } = pool.w;
	const one = tiled(
		x.dims,
		pool.output,
		kernel.map(() => 1),
	);
	const hit = g.indicator("Equal", g.reshape(x, tiled(x.dims, pool.output, kernel)), g.reshape(y, one));
	const count = g.reduce(
		"ReduceSum",
		hit,
		kernel.map((_, i) => 3 + 2 * i),
	);
	return [g.reshape(g.mul(hit, g.div(g.reshape(dy, one), count)), x.dims)];
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
	if (tiles(pool)) {
		const one = tiled(
			x.dims,
			output,
			w.kernel.map(() => 1),
		);
		return [g.reshape(g.expand(g.reshape(share, one), tiled(x.dims, output, w.kernel)), x.dims)];
	}
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
