import { totalmem } from "node:os";
import { RondoError } from "@rondo/errors";
import type { StaticGraph } from "./gradients/differentiate.js";
import { prune } from "./graph/check-graph.js";
import type { Ref } from "./graph/graph-builder.js";
import { bytesPerElement, type Graph, type Node, newArray, nodeTitle, sizeOf, type Tensor } from "./graph/ir.js";
import type { Ort } from "./session/runtime.js";
import { checkBytes, run, SIZE_OPERATORS, staticSizes } from "./static-sizes.js";

/** A model for inputs of fixed sizes. */
export interface SpecializedModel extends StaticGraph {
	/** Inputs of the model and values that `weights` names, with their sizes. */
	readonly inputs: readonly Ref[];
	readonly outputs: readonly Ref[];
	readonly opset: number;
	readonly domains: Graph["domains"];
}

/** Operators whose results differ in size from data to data. */
const DATA_DEPENDENT = new Set(["NonZero", "Unique", "Compress", "NonMaxSuppression", "StringSplit"]);
/** Dropout too: what it drops of a constant differs from run to run. */
const RANDOM = new Set(["Dropout", "RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike", "Bernoulli", "Multinomial"]);
/** All values of a step at once, bytes: beyond it a model of damaged or hostile sizes would take the machine's memory. */
const DEFAULT_MAX_BYTES = Math.min(
	8 * 2 ** 30,
	Math.floor(process.constrainedMemory() > 0 ? Math.min(totalmem(), process.constrainedMemory()) : totalmem()) / 2,
);

export interface SpecializeOptions {
	/** Sizes of each input of the graph. */
	readonly inputs: ReadonlyMap<string, readonly number[]>;
	/** Most bytes that all values of one forward pass may take; default 8 GiB, or half of the memory where that is less. */
	readonly maxBytes?: number;
}

/**
 * Fixes the sizes of a model: afterwards the dimensions of every value are known, and what depends neither on data nor on
 * parameters is a constant, arithmetic on shapes included. Dimensions and constants are those that ONNX Runtime finds when it
 * runs the model once on zeros, so every operator that it knows is covered; before that `staticSizes` makes sure that this
 * takes no more memory than it may.
 * @throws INVALID_ARGUMENT for sizes that the model does not go with, BAD_MODEL for a model that cannot be run, TOO_LARGE for
 * one whose values take more than `maxBytes`
 */
export async function specialize(ort: Ort, graph: Graph, options: SpecializeOptions): Promise<SpecializedModel> {
	const pruned = prune(graph);
	const varying = varyingValues(pruned);
	const probed = await probe(ort, pruned, varying, options);
	const refs = new Map<string, Ref>();
	const constants = new Map(pruned.initializers);
	for (const [name, { type, dims }] of probed) refs.set(name, { name, type, dims });
	for (const [name, { type, dims }] of pruned.initializers) refs.set(name, { name, type, dims });

	const nodes: Node[] = [];
	for (const node of pruned.nodes) {
		if (node.outputs.some((output) => varying.has(output))) nodes.push(node);
		else for (const output of node.outputs) if (output !== "") constants.set(output, probed.get(output)!);
	}
	const read = new Set([...nodes.flatMap(({ inputs }) => inputs), ...pruned.outputs.map(({ name }) => name)]);
	return {
		opset: pruned.opset,
		domains: pruned.domains,
		nodes,
		refs,
		constants: new Map([...constants].filter(([name]) => read.has(name))),
		inputs: pruned.inputs.map(({ name }) => refs.get(name)!),
		outputs: pruned.outputs.map(({ name }) => refs.get(name)!),
	};
}

/** Values that depend on the elements of inputs, beyond their sizes. */
function varyingValues({ inputs, nodes }: Graph): ReadonlySet<string> {
	const varying = new Set(inputs.map(({ name }) => name));
	for (const node of nodes) {
		const depends = node.inputs.some((input) => varying.has(input));
		if (SIZE_OPERATORS.has(node.op) || (!depends && !RANDOM.has(node.op))) continue;
		if (depends && DATA_DEPENDENT.has(node.op))
			throw new RondoError("BAD_MODEL", `${nodeTitle(node)}: the size of its result depends on data, which a training graph cannot have`, {
				details: { op: node.op },
			});
		for (const output of node.outputs) if (output !== "") varying.add(output);
	}
	return varying;
}

/** All values of one run on zeros, by name. */
async function probe(
	ort: Ort,
	graph: Graph,
	varying: ReadonlySet<string>,
	{ inputs, maxBytes = DEFAULT_MAX_BYTES }: SpecializeOptions,
): Promise<ReadonlyMap<string, Tensor>> {
	const fixed: Graph = {
		...graph,
		inputs: graph.inputs.map((input) => ({ ...input, dims: inputs.get(input.name) ?? input.dims })),
		outputs: [],
	};
	const values = new Map<string, Tensor>();
	for (const { name, type, dims } of fixed.inputs) {
		const sizes = (dims ?? []).map((size) => (typeof size === "number" ? size : -1));
		if (dims === undefined || sizes.includes(-1))
			throw new RondoError(
				"INVALID_ARGUMENT",
				`input ${JSON.stringify(name)} has dimensions [${dims?.join(", ")}]; all sizes must be given`,
				{
					details: { input: name },
				},
			);
		checkBytes(sizeOf(sizes) * bytesPerElement(type), `input ${JSON.stringify(name)} of dimensions [${sizes.join(", ")}]`, maxBytes);
		values.set(name, { type, dims: sizes, data: newArray(type, 0) });
	}
	const { graph: left, constants } = await staticSizes(ort, { graph: fixed, varying, maxBytes });
	for (const [name, tensor] of constants) values.set(name, tensor);
	if (left.nodes.length === 0) return values;
	for (const [name, tensor] of await run(ort, left)) values.set(name, tensor);
	return values;
}
