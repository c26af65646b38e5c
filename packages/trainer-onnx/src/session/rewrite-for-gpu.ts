import { prune } from "../graph/check-graph.js";
import { GraphBuilder, type Ref } from "../graph/graph-builder.js";
import type { Graph, Node, Tensor } from "../graph/ir.js";
import type { ReadyGraph } from "../training-graph.js";
import { classRewrites } from "./gpu/classes.js";
import { convolutionRewrites } from "./gpu/convolution.js";
import { elementwiseRewrites } from "./gpu/elementwise.js";
import { normalizationRewrites } from "./gpu/normalization.js";
import { narrowType, type Rewrite, type Rewriting } from "./gpu/rewriting.js";
import { shapeRewrites } from "./gpu/shape.js";

const PREFIX = "rondo/gpu/";

/** Operators that GPU providers lack, or lack for some types, attributes or ranks, in terms of those they have. */
export const gpuRewrites: ReadonlyMap<string, Rewrite> = new Map(
	Object.entries({
		...elementwiseRewrites,
		...classRewrites,
		...normalizationRewrites,
		...convolutionRewrites,
		...shapeRewrites,
	}),
);

/** Inputs that are sizes, axes or indices, which operators want in 64 bits. */
const WIDE_INPUTS: { readonly [op: string]: readonly number[] } = {
	...Object.fromEntries(
		["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"].map((kind) => [`Reduce${kind}`, [1]]),
	),
	Reshape: [1],
	Expand: [1],
	Squeeze: [1],
	Unsqueeze: [1],
	Slice: [1, 2, 3, 4],
	Split: [1],
	Pad: [1, 3],
	Tile: [1],
	Trilu: [1],
	CumSum: [1],
	Resize: [3],
	TopK: [1],
	OneHot: [1],
	ConstantOfShape: [0],
	GatherND: [1],
	ScatterND: [1],
	MaxUnpool: [1, 2],
	ReverseSequence: [1],
};
/** Indices of either width. */
const INDEX_INPUTS: { readonly [op: string]: number } = { Gather: 1, GatherElements: 1, ScatterElements: 1 };
/** Operators whose results are of 64 bits whatever they are given. */
const WIDE_RESULTS = new Set(["Shape", "Size", "NonZero", "TopK", "MaxPool", "Unique", "NonMaxSuppression"]);

/**
 * The same computation for a device that is not the CPU: operators that GPU providers lack are replaced, and numbers of 64
 * bits, whole or not, become ones of 32, inputs of the graph included. What still is not there ONNX Runtime runs on the CPU, or refuses when it is strict.
 */
export function rewriteForGpu({ graph, refs }: ReadyGraph): Graph {
	return new Rewriter(graph, refs).rewritten();
}

class Rewriter {
	readonly #graph: Graph;
	readonly #refs: ReadonlyMap<string, Ref>;
	readonly #outputs: ReadonlySet<string>;
	readonly #g = new GraphBuilder(PREFIX);
	/** Values of the graph as they are in the new one. */
	readonly #values = new Map<string, Ref>();
	/** Constants in 32 bits. */
	readonly #narrowed = new Map<string, Ref>();
	readonly #makers = new Map<string, string>();
	readonly #nodes: Node[] = [];

	constructor(graph: Graph, refs: ReadonlyMap<string, Ref>) {
		this.#graph = graph;
		this.#refs = refs;
		this.#outputs = new Set(graph.outputs.map(({ name }) => name));
	}

	rewritten(): Graph {
		const { inputs, outputs, initializers, nodes } = this.#graph;
		for (const { name } of inputs) this.#values.set(name, narrowRef(this.#refs.get(name)!));
		for (const [name, { type, dims }] of initializers) this.#values.set(name, { name, type, dims });
		for (const node of nodes) this.#rewrite(node);
		return prune({
			...this.#graph,
			inputs: inputs.map(({ name }) => this.#values.get(name)!),
			outputs: outputs.map(({ name }) => this.#values.get(name)!),
			initializers: new Map([...initializers, ...this.#g.initializers]),
			nodes: this.#nodes,
		});
	}

	#rewrite(node: Node): void {
		const known = node.domain === "" ? gpuRewrites.get(node.op) : undefined;
		const results = known?.(this.#seen(node)) ?? this.#kept(node);
		const made = this.#g.nodes.splice(0);
		const names = new Set(made.flatMap(({ outputs }) => outputs));
		const renamed = new Map<string, string>();
		for (const [i, output] of node.outputs.entries()) {
			const result = results[i];
			if (output === "" || result === undefined) continue;
			this.#values.set(output, result);
			if (!this.#outputs.has(output) || result.name === output) continue;
			if (names.has(result.name) && !renamed.has(result.name)) renamed.set(result.name, output);
			else made.push({ op: "Identity", domain: "", name: output, inputs: [result.name], outputs: [output], attributes: {} });
			this.#values.set(output, { ...result, name: output });
		}
		const rename = (name: string): string => renamed.get(name) ?? name;
		for (const one of made) {
			const outputs = one.outputs.map(rename);
			for (const output of outputs) this.#makers.set(output, one.op);
			this.#nodes.push({ ...one, inputs: one.inputs.map(rename), outputs });
		}
	}

	/** The node as it is, on what its inputs are now. */
	#kept(node: Node): readonly (Ref | undefined)[] {
		const own = node.domain === "" && !WIDE_RESULTS.has(node.op);
		const results = node.outputs.map((name): Ref | undefined => {
			const ref = this.#refs.get(name);
			return ref === undefined || !own ? ref : narrowRef(ref);
		});
		this.#g.nodes.push({ ...node, inputs: node.inputs.map((_, i) => this.#operand(node, i)?.name ?? "") });
		return results;
	}

	#seen(node: Node): Rewriting {
		const optional = (i: number): Ref | undefined => ((node.inputs[i] ?? "") === "" ? undefined : this.#narrow(node.inputs[i]!));
		return {
			node,
			g: this.#g,
			input: (i) => optional(i)!,
			operand: (i) => this.#operand(node, i),
			optional,
			constant: (i) => this.#graph.initializers.get(node.inputs[i] ?? ""),
			output: (i = 0) => ((node.outputs[i] ?? "") === "" ? undefined : this.#refs.get(node.outputs[i]!)),
			madeBy: ({ name }) => this.#makers.get(name),
		};
	}

	#operand(node: Node, i: number): Ref | undefined {
		const name = node.inputs[i] ?? "";
		if (name === "") return undefined;
		const value = this.#values.get(name)!;
		const declared = this.#refs.get(name)?.type ?? value.type;
		if (declared !== "int64") return this.#narrow(name);
		if (node.domain !== "" || WIDE_INPUTS[node.op]?.includes(i)) return this.#g.cast(value, "int64");
		return INDEX_INPUTS[node.op] === i ? value : this.#narrow(name);
	}

	/** A value of the graph in 32 bits. */
	#narrow(name: string): Ref {
		const value = this.#values.get(name)!;
		const type = narrowType(value.type);
		if (type === value.type) return value;
		const constant = this.#graph.initializers.get(name);
		if (constant === undefined) return this.#g.cast(value, type);
		const known = this.#narrowed.get(name);
		if (known !== undefined) return known;
		const narrow = this.#g.constant(narrowed(constant));
		this.#narrowed.set(name, narrow);
		return narrow;
	}
}

const narrowRef = (ref: Ref): Ref => ({ ...ref, type: narrowType(ref.type) });

/** Numbers beyond 32 bits, like the end of a slice that goes to the end, become the nearest. */
function narrowed({ dims, data }: Tensor): Tensor {
	if (data instanceof Float64Array) return { type: "float32", dims, data: Float32Array.from(data) };
	const [least, most] = [-(2n ** 31n), 2n ** 31n - 1n];
	const numbers = Int32Array.from(data as BigInt64Array, (value) => Number(value < least ? least : value > most ? most : value));
	return { type: "int32", dims, data: numbers };
}
