import { axisOf, type GraphBuilder, type Ref, range } from "../graph/graph-builder.js";
import { numbersOf, sizeOf } from "../graph/ir.js";
import { type Backward, type GradientRule, intOf } from "./rule.js";

/**
 * Up to this many elements the selection is a matrix of 0 and 1, and the gradient a product with it: every provider has
 * that, and it is faster than adding row by row.
 */
const MAX_SELECTION_ELEMENTS = 2 ** 18;

/** Σ over selected rows: result[r] = Σ of the rows of `rows` [n, width] whose index is r. */
function addRows(g: GraphBuilder, rows: Ref, indices: Ref, known: readonly number[] | undefined, count: number): Ref {
	const n = rows.dims[0]!;
	if (n * count <= MAX_SELECTION_ELEMENTS) {
		const selection =
			known !== undefined
				? g.values(
						rows.type,
						[n, count],
						known.flatMap((index) => range(count).map((row) => (row === index ? 1 : 0))),
					)
				: g.indicator("Equal", g.reshape(g.cast(indices, "int32"), [n, 1]), g.values("int32", [1, count], range(count)), rows.type);
		return g.gemm(selection, rows, true, false);
	}
	const zeros = g.filled(rows.type, [count, rows.dims[1]!], 0);
	return g.node("ScatterND", [zeros, g.reshape(g.cast(indices, "int64"), [n, 1]), rows], rows.type, zeros.dims, {
		reduction: { string: "add" },
	});
}

/** Indices from 0 on: those below 0 count from the end. */
function nonNegative(g: GraphBuilder, indices: Ref, known: readonly number[] | undefined, count: number): Ref {
	if (known?.every((index) => index >= 0)) return indices;
	if (known !== undefined)
		return g.values(
			"int64",
			indices.dims,
			known.map((index) => axisOf(index, count)),
		);
	const narrow = g.cast(indices, "int32");
	return g.where(g.binary("Less", narrow, 0, "bool"), g.add(narrow, count), narrow);
}

const gather: GradientRule = (b) => {
	const { g } = b;
	const [x, indices] = [b.input(0), b.input(1)];
	const rank = x.dims.length;
	const axis = axisOf(intOf(b.node, "axis", 0), rank);
	const count = x.dims[axis]!;
	const constant = b.constant(1);
	const known = constant === undefined ? undefined : numbersOf(constant).map((index) => axisOf(index, count));
	const [outer, inner] = [sizeOf(x.dims.slice(0, axis)), sizeOf(x.dims.slice(axis + 1))];
	const n = sizeOf(indices.dims);
	// dy is [outer, n, inner]; the selected axis comes to the front.
	const front = g.reshape(g.transpose(g.reshape(b.dy()!, [outer, n, inner]), [1, 0, 2]), [n, outer * inner]);
	const sums = addRows(g, front, nonNegative(g, indices, known, count), known, count);
	return [g.reshape(g.transpose(g.reshape(sums, [count, outer, inner]), [1, 0, 2]), x.dims)];
};

/** Tuples of indices, each naming a row: what GatherND reads and its gradient adds to. */
const gatherND: GradientRule = (b) => {
	const { g } = b;
	const [x, indices] = [b.input(0), b.input(1)];
	const batchAxes = intOf(b.node, "batch_dims", 0);
	const width = indices.dims.at(-1)!;
	const tuples = sizeOf(indices.dims.slice(0, -1));
	const batches = sizeOf(x.dims.slice(0, batchAxes));
	const sizes = x.dims.slice(batchAxes, batchAxes + width);
	const rows = sizeOf(sizes);
	const inner = sizeOf(x.dims.slice(batchAxes + width));
	const strides = sizes.map((_, i) => sizeOf(sizes.slice(i + 1)));
	const offsets = range(tuples).map((tuple) => Math.floor(tuple / (tuples / batches)) * rows);
	const constant = b.constant(1);
	const numbers = constant === undefined ? undefined : numbersOf(constant);
	const known =
		numbers === undefined
			? undefined
			: offsets.map((offset, tuple) =>
					sizes.reduce((sum, size, i) => sum + axisOf(numbers[tuple * width + i]!, size) * strides[i]!, offset),
				);
	const rowOf = (): Ref => {
		const narrow = g.reshape(g.cast(indices, "int32"), [tuples, width]);
		const fromEnd = g.add(narrow, g.values("int32", [width], sizes));
		const index = g.where(g.binary("Less", narrow, 0, "bool"), fromEnd, narrow);
		const row = g.reduce("ReduceSum", g.mul(index, g.values("int32", [width], strides)), [1], false);
		return batches === 1 ? row : g.add(row, g.values("int32", [tuples], offsets));
	};
	const where = known === undefined ? rowOf() : g.values("int64", [tuples], known);
	return [g.reshape(addRows(g, g.reshape(b.dy()!, [tuples, inner]), where, known, batches * rows), x.dims)];
};

const gatherElements: GradientRule = (b) => {
	const { g } = b;
	const x = b.input(0);
	const attributes = { axis: { int: intOf(b.node, "axis", 0) }, reduction: { string: "add" } };
	return [g.node("ScatterElements", [g.filled(x.type, x.dims, 0), b.input(1), b.dy()!], x.type, x.dims, attributes)];
};

const trilu: GradientRule = (b: Backward) => {
	const k = b.optional(1);
	const inputs = k === undefined ? [b.dy()!] : [b.dy()!, k];
	return [b.g.node("Trilu", inputs, b.dy()!.type, b.dy()!.dims, { upper: { int: intOf(b.node, "upper", 1) } })];
};

export const indexingRules: { readonly [op: string]: GradientRule } = {
	Gather: gather,
	GatherElements: gatherElements,
	GatherND: gatherND,
	Trilu: trilu,
};
