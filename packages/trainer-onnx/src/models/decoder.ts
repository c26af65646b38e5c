import type { ModelWriter } from "./model-writer.js";

/** The shape of self-attention. */
export interface AttentionShape {
	readonly heads: number;
	readonly keyValueHeads: number;
	/** Elements of one head. */
	readonly headWidth: number;
}

/** What differs with the length of the sequences, made once for all layers. */
export interface SequenceParts {
	/** Token ids [batch · sequence]. */
	readonly ids: string;
	/** [batch, sequence]: a shape. */
	readonly shape: string;
	/** Length of the sequences, a scalar int64. */
	readonly length: string;
	/** 0, 1, … [sequence], int64. */
	readonly positions: string;
	/** [sequence, sequence]: 0 where a row may look at a column, else a number of which softmax makes 0. */
	readonly mask: string;
}

const MASKED = -1e9;

/**
 * The parts that depend on the length. All but the ids depend on sizes alone, so a trainer that fixes the sizes computes them
 * once, and no length is built in.
 */
export function sequenceParts(w: ModelWriter, inputIds: string): SequenceParts {
	const shape = w.node("Shape", [inputIds]);
	const zero = w.constant({ type: "int64", dims: [], data: BigInt64Array.of(0n) });
	const one = w.constant({ type: "int64", dims: [], data: BigInt64Array.of(1n) });
	const length = w.node("Gather", [shape, one]);
	const positions = w.node("Range", [zero, length, one]);
	const rows = w.node("Unsqueeze", [positions, w.int64s(1)]);
	const visible = w.node("LessOrEqual", [positions, rows]);
	return {
		ids: w.reshape(inputIds, -1),
		shape,
		length,
		positions,
		mask: w.node("Where", [visible, w.float(0), w.float(MASKED)]),
	};
}

/** Rows [batch · sequence, heads · headWidth] as [batch, sequence, heads, headWidth]. */
export function toHeads(w: ModelWriter, { shape }: SequenceParts, rows: string, heads: number, headWidth: number): string {
	return w.node("Reshape", [rows, w.node("Concat", [shape, w.int64s(heads, headWidth)], { axis: { int: 0 } })]);
}

/**
 * Causal scaled dot-product attention. Where several query heads share one key and value head, they are rows of one product
 * with it: nothing is repeated (J. Ainslie et al., "GQA", EMNLP 2023, arXiv:2305.13245).
 * @param query [batch, sequence, heads, headWidth]; key and value: [batch, sequence, keyValueHeads, headWidth]
 * @returns rows [batch · sequence, heads · headWidth]
 */
export function causalAttention(
	w: ModelWriter,
	{ length, mask }: SequenceParts,
	{ heads, keyValueHeads, headWidth }: AttentionShape,
	query: string,
	key: string,
	value: string,
): string {
	const grouped = heads !== keyValueHeads;
	// [batch, heads, sequence, headWidth]; grouped: [batch, keyValueHeads, heads / keyValueHeads · sequence, headWidth].
	const scaled = w.node("Mul", [query, w.float(1 / Math.sqrt(headWidth))]);
	const byHead = w.transpose(scaled, 0, 2, 1, 3);
	const q = grouped ? w.reshape(byHead, 0, keyValueHeads, -1, headWidth) : byHead;
	const scores = w.node("MatMul", [q, w.transpose(key, 0, 2, 3, 1)]);
	const lengths = w.node("Unsqueeze", [length, w.int64s(0)]);
	const perHead = grouped
		? w.node("Reshape", [scores, w.node("Concat", [w.int64s(0, heads), lengths, lengths], { axis: { int: 0 } })])
		: scores;
	const shares = w.node("Softmax", [w.node("Add", [perHead, mask])], { axis: { int: -1 } });
	const v = w.transpose(value, 0, 2, 1, 3);
	if (!grouped) return w.reshape(w.transpose(w.node("MatMul", [shares, v]), 0, 2, 1, 3), -1, heads * headWidth);
	const groupedShares = w.node("Reshape", [shares, w.node("Concat", [w.int64s(0, keyValueHeads, -1), lengths], { axis: { int: 0 } })]);
	const mixed = w.node("MatMul", [groupedShares, v]);
	const sizes = w.node("Concat", [w.int64s(0, heads), lengths, w.int64s(headWidth)], { axis: { int: 0 } });
	return w.reshape(w.transpose(w.node("Reshape", [mixed, sizes]), 0, 2, 1, 3), -1, heads * headWidth);
}

/** Rows of logits as [batch, sequence, vocabulary]. */
export function toLogits(w: ModelWriter, { shape }: SequenceParts, rows: string, vocabulary: number): string {
	return w.node("Reshape", [rows, w.node("Concat", [shape, w.int64s(vocabulary)], { axis: { int: 0 } })]);
}
