import { axisOf, type GraphBuilder, type Ref, range } from "../graph/graph-builder.js";
import { sizeOf } from "../graph/ir.js";
import { notDifferentiable } from "./refuse.js";
import { type Backward, constantNumbers, type GradientRule, intOf, intsOf, stringOf } from "./rule.js";

/** The same elements under other dimensions. */
const rearranged: GradientRule = (b) => [b.g.reshape(b.dy()!, b.input(0).dims)];

const transpose: GradientRule = (b) => {
	const rank = b.input(0).dims.length;
	const perm = intsOf(b.node, "perm") ?? range(rank).reverse();
	const inverse = range(rank).map((axis) => perm.indexOf(axis));
	return [b.g.transpose(b.dy()!, inverse)];
};

const concat: GradientRule = (b) => {
	const dy = b.dy()!;
	const axis = axisOf(intOf(b.node, "axis", 0), dy.dims.length);
	let from = 0;
	return b.node.inputs.map((_, i) => {
		const start = from;
		from += b.input(i).dims[axis]!;
		return b.needs(i) ? b.g.slice(dy, axis, start, from) : undefined;
	});
};

const split: GradientRule = (b) => {
	const x = b.input(0);
	const axis = axisOf(intOf(b.node, "axis", 0), x.dims.length);
	const parts = b.node.outputs.map((_, i) => {
		const y = b.output(i);
		return b.dy(i) ?? b.g.filled(y.type, y.dims, 0);
	});
	return [b.g.concat(parts, axis)];
};

/** `x` along `axis` with `step` − 1 zeros after each element but the last. */
export function spread(g: GraphBuilder, x: Ref, axis: number, step: number): Ref {
	const size = x.dims[axis]!;
	if (step === 1 || size <= 1) return x;
	const rank = x.dims.length;
	const single = g.reshape(x, x.dims.toSpliced(axis + 1, 0, 1));
	const after = range(rank + 1).map((i) => (i === axis + 1 ? step - 1 : 0));
	const filled = g.pad(
		single,
		after.map(() => 0),
		after,
	);
	return g.slice(g.reshape(filled, x.dims.with(axis, size * step)), axis, 0, (size - 1) * step + 1);
}

const slice: GradientRule = (b) => {
	const { g } = b;
	const x = b.input(0);
	const rank = x.dims.length;
	const starts = constantNumbers(b, 1, "starts");
	const axes = b.optional(3) === undefined ? range(starts.length) : constantNumbers(b, 3, "axes");
	const steps = b.optional(4) === undefined ? starts.map(() => 1) : constantNumbers(b, 4, "steps");
	let d = b.dy()!;
	const before = x.dims.map(() => 0);
	const after = x.dims.map(() => 0);
	for (const [i, given] of axes.entries()) {
		const axis = axisOf(given, rank);
		const size = x.dims[axis]!;
		const count = b.output(0).dims[axis]!;
		const step = steps[i]!;
		if (count === 0) continue;
		const first = startOf(starts[i]!, size, step);
		const lowest = step > 0 ? first : first + (count - 1) * step;
		if (step < 0) d = reversed(g, d, axis);
		d = spread(g, d, axis, Math.abs(step));
		before[axis] = lowest;
		after[axis] = size - lowest - d.dims[axis]!;
	}
	return [sizeOf(d.dims) === 0 ? g.filled(x.type, x.dims, 0) : g.pad(d, before, after)];
};

/** Where a slice begins, by the rules of ONNX for negative and too large numbers. */
function startOf(start: number, size: number, step: number): number {
	const from = start < 0 ? start + size : start;
	return step > 0 ? Math.min(Math.max(from, 0), size) : Math.min(Math.max(from, 0), size - 1);
}

/** Elements along an axis in reverse order, by a product with a permutation: negative steps are not known to every provider. */
const reversed = (g: GraphBuilder, x: Ref, axis: number): Ref => {
	const size = x.dims[axis]!;
	return alongAxis(g, x, axis, size, (row, column) => (row + column === size - 1 ? 1 : 0));
};

/** A linear map along one axis: result[r] = Σ_c matrix(r, c) · x[c], with `rows` results. */
export function alongAxis(g: GraphBuilder, x: Ref, axis: number, rows: number, matrix: (row: number, column: number) => number): Ref {
	const columns = x.dims[axis]!;
	const outer = sizeOf(x.dims.slice(0, axis));
	const inner = sizeOf(x.dims.slice(axis + 1));
	const dims = x.dims.with(axis, rows);
	if (inner === 1) {
		const right = g.values(
			x.type,
			[columns, rows],
			range(columns).flatMap((c) => range(rows).map((r) => matrix(r, c))),
		);
		return g.reshape(g.matMul(g.reshape(x, [outer, columns]), right), dims);
	}
	const left = g.values(
		x.type,
		[rows, columns],
		range(rows).flatMap((r) => range(columns).map((c) => matrix(r, c))),
	);
	return g.reshape(g.matMul(left, g.reshape(x, [outer, columns, inner])), dims);
}

const tile: GradientRule = (b) => {
	const { g } = b;
	const x = b.input(0);
	const repeats = constantNumbers(b, 1, "repeats");
	const apart = g.reshape(
		b.dy()!,
		x.dims.flatMap((size, axis) => [repeats[axis]!, size]),
	);
	return [
		g.reshape(
			g.reduce(
				"ReduceSum",
				apart,
				x.dims.map((_, axis) => 2 * axis),
			),
			x.dims,
		),
	];
};

const pad: GradientRule = (b) => {
	const { g } = b;
	const x = b.input(0);
	const rank = x.dims.length;
	const mode = stringOf(b.node, "mode", "constant");
	const axes = b.optional(3) === undefined ? range(rank) : constantNumbers(b, 3, "axes").map((axis) => axisOf(axis, rank));
	const pads = constantNumbers(b, 1, "pads");
	let d = b.dy()!;
	for (const [i, axis] of axes.entries()) {
		const [before, after] = [pads[i]!, pads[axes.length + i]!];
		const size = x.dims[axis]!;
		if (before === 0 && after === 0) continue;
		if (mode === "constant") {
			// A negative pad cut elements off: nothing comes back for them.
			d = g.slice(d, axis, Math.max(0, before), Math.max(0, before) + size + Math.min(0, before) + Math.min(0, after));
			const edges = (count: number): number[] => x.dims.map((_, other) => (other === axis ? Math.max(0, -count) : 0));
			d = g.pad(d, edges(before), edges(after));
			continue;
		}
		const source = sourceOfPadding(b, mode, size);
		d = alongAxis(g, d, axis, size, (row, column) => (source(column - before) === row ? 1 : 0));
	}
	return [d];
};

/** Which element stands at position `i` of a padded axis, counted from the first element of the input. */
function sourceOfPadding(b: Backward, mode: string, size: number): (i: number) => number {
	switch (mode) {
		case "edge":
			return (i) => Math.min(Math.max(i, 0), size - 1);
		case "reflect":
			return (i) => (i < 0 ? -i : i >= size ? 2 * (size - 1) - i : i);
		case "wrap":
			return (i) => ((i % size) + size) % size;
		default:
			throw notDifferentiable(b, `mode ${JSON.stringify(mode)} is not known`);
	}
}

/** Blocks of channels go back from the squares of pixels they were laid out as. */
const depthToSpace: GradientRule = (b) => {
	const { g } = b;
	const [n, c, h, w] = b.input(0).dims as [number, number, number, number];
	const size = intOf(b.node, "blocksize", 1);
	const perm = stringOf(b.node, "mode", "DCR") === "DCR" ? [0, 3, 5, 1, 2, 4] : [0, 1, 3, 5, 2, 4];
	const blocks = g.reshape(b.dy()!, [n, c / size ** 2, h, size, w, size]);
	return [g.reshape(g.transpose(blocks, perm), [n, c, h, w])];
};

const spaceToDepth: GradientRule = (b) => {
	const { g } = b;
	const [n, c, h, w] = b.input(0).dims as [number, number, number, number];
	const size = intOf(b.node, "blocksize", 1);
	const blocks = g.reshape(b.dy()!, [n, size, size, c, h / size, w / size]);
	return [g.reshape(g.transpose(blocks, [0, 3, 4, 1, 5, 2]), [n, c, h, w])];
};

export const shapeRules: { readonly [op: string]: GradientRule } = {
	Reshape: rearranged,
	Flatten: rearranged,
	Squeeze: rearranged,
	Unsqueeze: rearranged,
	Transpose: transpose,
	Concat: concat,
	Split: split,
	Slice: slice,
	Expand: (b) => [b.g.sumTo(b.dy()!, b.input(0).dims)],
	Tile: tile,
	Pad: pad,
	DepthToSpace: depthToSpace,
	SpaceToDepth: spaceToDepth,
};
