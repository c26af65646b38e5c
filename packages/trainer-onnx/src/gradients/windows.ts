import { type GraphBuilder, type Ref, range } from "../graph/graph-builder.js";
import type { Attributes, Node } from "../graph/ir.js";
import { intOf, intsOf, stringOf } from "./rule.js";

/** How windows of a convolution or a pooling lie along the spatial axes, one entry per axis. */
export interface Windows {
	readonly kernel: readonly number[];
	readonly strides: readonly number[];
	readonly dilations: readonly number[];
	/** Elements in front of the first one that the first window covers; those behind the last one follow from the sizes. */
	readonly before: readonly number[];
}

/**
 * The windows of a node.
 * @param input spatial sizes of what the windows slide over
 * @param output how many windows there are
 */
export function windowsOf(node: Node, kernel: readonly number[], input: readonly number[], output: readonly number[]): Windows {
	const ones = kernel.map(() => 1);
	const strides = intsOf(node, "strides") ?? ones;
	const dilations = intsOf(node, "dilations") ?? ones;
	const auto = stringOf(node, "auto_pad", "NOTSET");
	const sized = intsOf(node, "output_shape") !== undefined;
	const before = kernel.map((size, i) => {
		// A ConvTranspose that names its sizes pads as they demand.
		if (!sized && (auto === "NOTSET" || auto === "")) return intsOf(node, "pads")?.[i] ?? 0;
		if (!sized && auto === "VALID") return 0;
		const covered = (output[i]! - 1) * strides[i]! + (size - 1) * dilations[i]! + 1;
		const total = Math.max(0, covered + (intsOf(node, "output_padding")?.[i] ?? 0) - input[i]!);
		return auto === "SAME_UPPER" ? Math.floor(total / 2) : Math.ceil(total / 2);
	});
	return { kernel, strides, dilations, before };
}

/** Elements that all windows together cover along spatial axis i. */
export const coveredBy = ({ kernel, strides, dilations }: Windows, windows: number, i: number): number =>
	(windows - 1) * strides[i]! + (kernel[i]! - 1) * dilations[i]! + 1;

/** Elements behind the last one of the input that the windows cover, per axis; below 0 where they stop short of it. */
export const afterOf = (w: Windows, input: readonly number[], output: readonly number[]): number[] =>
	input.map((size, i) => coveredBy(w, output[i]!, i) - size - w.before[i]!);

const ints = (values: readonly number[]): { readonly ints: readonly number[] } => ({ ints: values });

/** Attributes of Conv and ConvTranspose. @param after as `afterOf` says; below 0 the operand must be what `covered` leaves of it */
export const windowAttributes = (w: Windows, after: readonly number[], group: number): Attributes => ({
	kernel_shape: ints(w.kernel),
	strides: ints(w.strides),
	dilations: ints(w.dilations),
	pads: ints([...w.before, ...after.map((count) => Math.max(0, count))]),
	group: { int: group },
});

/** x without the elements at the end of each spatial axis that no window covers. */
export function covered(g: GraphBuilder, x: Ref, after: readonly number[]): Ref {
	return after.reduce((cut, count, i) => (count < 0 ? g.slice(cut, i + 2, 0, cut.dims[i + 2]! + count) : cut), x);
}

export const groupOf = (node: Node): number => intOf(node, "group", 1);

/** All offsets inside a window, row-major. */
export function offsetsOf(kernel: readonly number[]): number[][] {
	return kernel.reduce<number[][]>((offsets, size) => offsets.flatMap((offset) => range(size).map((i) => [...offset, i])), [[]]);
}
