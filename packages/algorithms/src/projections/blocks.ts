import { median, type Perturbations } from "@rondo/kernels";
import type { Layout } from "@rondo/tensors";
import { subtractCombination } from "./shared-bases.js";

/** How a model is cut into blocks: groups of tensors, every tensor, or not at all. */
export const BLOCK_KINDS = ["groups", "tensors", "one"] as const;
/** One of `BLOCK_KINDS`. */
export type BlockKind = (typeof BLOCK_KINDS)[number];

/** Elements of a flat vector. */
export interface Range {
	readonly from: number;
	readonly to: number;
}

/** A group is closed before it grows beyond this part of the median tensor, as in the authors' code. */
const GROUP_PART = 0.9;

/**
 * The blocks of a model. "groups": tensors in order, a new group before one would exceed 0.9 of the median tensor.
 * @returns adjacent ranges that cover the layout
 */
export function blocksOf({ length, tensors }: Layout, blocks: BlockKind): readonly Range[] {
	if (blocks === "one") return [{ from: 0, to: length }];
	const filled = tensors.filter(({ from, to }) => to > from);
	if (blocks === "tensors") return filled.map(({ from, to }) => ({ from, to }));
	const sizes = Float64Array.from(filled, ({ from, to }) => to - from);
	const most = GROUP_PART * median(Array.from(sizes, (size) => Float64Array.of(size)))[0]!;
	const groups: { from: number; to: number }[] = [];
	for (const { from, to } of filled) {
		const last = groups.at(-1);
		if (last === undefined || to - last.from > most) groups.push({ from, to });
		else last.to = to;
	}
	return groups;
}

/** One vector for each block: the parts of `values` of these lengths. */
export function split<A extends Float32Array | Float64Array>(values: A, counts: Uint16Array): A[] {
	let end = 0;
	return Array.from(counts, (count) => {
		end += count;
		return values.subarray(end - count, end) as A;
	});
}

/** The parts one after the other. */
export function joined(parts: readonly Float32Array[]): Float32Array {
	const out = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
	let at = 0;
	for (const part of parts) {
		out.set(part, at);
		at += part.length;
	}
	return out;
}

/** Subtracts every block's combination from `weights`, which are elements `from` and following of the model. */
export function subtractBlocks(
	weights: Float32Array,
	from: number,
	blocks: readonly Range[],
	coefficients: readonly Float32Array[],
	bases: readonly Perturbations[],
): void {
	const to = from + weights.length;
	for (const [l, block] of blocks.entries()) {
		const [first, end] = [Math.max(from, block.from), Math.min(to, block.to)];
		if (first >= end) continue;
		const part = weights.subarray(first - from, end - from);
		subtractCombination(part, coefficients[l]!, bases[l]!, part, first - block.from);
	}
}
