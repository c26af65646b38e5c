import { bytesOf, contentDigest } from "@rondo/algorithms";
import { type Layout, layoutOf } from "@rondo/tensors";
import type { Graph, Tensor, Value } from "../graph/ir.js";
import type { FrozenWeights } from "../model.js";

/** Smaller tensors stay in the graph: gradients may have to know their elements, and they cost nothing there. */
const MIN_ELEMENTS = 256;
/** Frozen weights up to this size stay in the graph, bytes. */
const MAX_BYTES_IN_GRAPH = 16 * 1024;

/** Frozen weights that left a graph. */
export interface FrozenPart {
	/** They are inputs of it now. */
	readonly graph: Graph;
	readonly frozen: FrozenWeights;
	/** In the order of `frozen.layout`. */
	readonly values: Float32Array;
}

/**
 * Takes large weights that are not trained out of a graph, so that its description stays small: they become inputs, and
 * travel as one blob, which every client fetches once. What is not finite, like the −∞ of a mask, stays.
 * @returns undefined where all that is frozen is small
 */
export function freezeWeights(graph: Graph): FrozenPart | undefined {
	const large = [...graph.initializers].filter(([name, tensor]) => isLarge(tensor) && PRINTABLE.test(name));
	if (large.reduce((sum, [, { data }]) => sum + data.byteLength, 0) <= MAX_BYTES_IN_GRAPH) return undefined;
	const layout: Layout = layoutOf(large.map(([name, { dims }]) => ({ name, shape: dims })));
	const values = new Float32Array(layout.length);
	for (const [i, { from }] of layout.tensors.entries()) values.set(large[i]![1].data as Float32Array, from);
	const names = new Set(large.map(([name]) => name));
	return {
		graph: {
			...graph,
			inputs: [...graph.inputs, ...large.map(([name, { dims }]): Value => ({ name, type: "float32", dims }))],
			initializers: new Map([...graph.initializers].filter(([name]) => !names.has(name))),
		},
		frozen: { digest: contentDigest(bytesOf(values)), layout },
		values,
	};
}

const PRINTABLE = /^[\x20-\x7e]{1,512}$/;

const isLarge = ({ type, dims, data }: Tensor): boolean =>
	type === "float32" && dims.length > 0 && data.length >= MIN_ELEMENTS && (data as Float32Array).every(Number.isFinite);
