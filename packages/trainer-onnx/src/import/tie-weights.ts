import { sha256, toHex } from "@rondo/kernels";
import { freeNames, type Graph, type Node, type Tensor } from "../graph/ir.js";

/** Weights that are one and the same; smaller matrices may agree by chance. */
const MIN_ELEMENTS = 16;

/** Which matrices of a file repeat another. */
export interface Tie {
	readonly name: string;
	readonly of: string;
	readonly transposed: boolean;
}

/**
 * Exporters write a weight that a model uses twice as two initializers, one of them often transposed. Training would let the
 * copies drift apart; here they become one again. Matrices count as one weight when all their elements agree (and are not all
 * equal) and one of them is read by Gather, as an embedding, or both have one name in PyTorch's sense.
 */
export function tieWeights(graph: Graph): { readonly graph: Graph; readonly ties: readonly Tie[] } {
	const embeddings = new Set(graph.nodes.filter(({ op }) => op === "Gather").map(({ inputs }) => inputs[0]!));
	const outputs = new Set(graph.outputs.map(({ name }) => name));
	const candidates = [...graph.initializers].filter(([name, tensor]) => isMatrix(tensor) && !outputs.has(name));
	const byContent = new Map<string, string>();
	const sizes = new Set<string>();
	for (const [name, tensor] of candidates) {
		if (!embeddings.has(name)) continue;
		byContent.set(contentOf(tensor), name);
		sizes.add(String(tensor.dims));
	}
	const ties: Tie[] = [];
	const free = freeNames(graph);
	const added: Node[] = [];
	const renamed = new Map<string, string>();
	const initializers = new Map(graph.initializers);
	for (const [name, tensor] of candidates) {
		for (const transposed of [false, true]) {
			if (!sizes.has(String(transposed ? tensor.dims.toReversed() : tensor.dims))) continue;
			const of = byContent.get(contentOf(transposed ? transpose(tensor) : tensor));
			if (of === undefined || of === name || renamed.has(name) || renamed.has(of)) continue;
			ties.push({ name, of, transposed });
			initializers.delete(name);
			if (!transposed) {
				renamed.set(name, of);
				continue;
			}
			const copy = free(`${name}/tied`);
			renamed.set(name, copy);
			added.push({ op: "Transpose", domain: "", name: copy, inputs: [of], outputs: [copy], attributes: { perm: { ints: [1, 0] } } });
		}
	}
	if (ties.length === 0) return { graph, ties };
	const nodes = graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map((input) => renamed.get(input) ?? input) }));
	return { graph: { ...graph, initializers, nodes: [...added, ...nodes] }, ties };
}

const isMatrix = ({ type, dims, data }: Tensor): boolean =>
	type === "float32" && dims.length === 2 && data.length >= MIN_ELEMENTS && (data as Float32Array).some((value) => value !== data[0]);

function contentOf({ dims, data }: Tensor): string {
	return `${dims} ${toHex(sha256(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)))}`;
}

function transpose({ type, dims, data }: Tensor): Tensor {
	const [rows, columns] = dims as [number, number];
	const out = new Float32Array(data.length);
	for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = data[r * columns + c] as number;
	return { type, dims: [columns, rows], data: out };
}
