import { totalmem } from "node:os";
import { RondoError } from "@rondo/errors";
import type { StaticGraph } from "./gradients/differentiate.js";
import { prune } from "./graph/check-graph.js";
import type { Ref } from "./graph/graph-builder.js";
import { type Graph, type Node, nodeTitle, sizeOf } from "./graph/ir.js";
import { isRandom } from "./graph/random-operators.js";
import type { Ort } from "./session/runtime.js";
import { doesNotRun, run, SIZE_OPERATORS, staticSizes } from "./static-sizes.js";

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
	/** Whether to run the model once, on zeros, to see that it works. Default false. */
	readonly tryOut?: boolean;
}

/**
 * Fixes the sizes of a model: afterwards the dimensions of every value are known, and what depends neither on data nor on
 * parameters is a constant, arithmetic on shapes included. Dimensions and constants are those that ONNX Runtime finds, so every
 * operator that it knows is covered; the model itself is not run, unless that is asked for.
 * @throws INVALID_ARGUMENT for sizes that the model does not go with, BAD_MODEL for a model that cannot be run, TOO_LARGE for
 * one whose values take more than `maxBytes`
 */
export async function specialize(ort: Ort, graph: Graph, options: SpecializeOptions): Promise<SpecializedModel> {
	const pruned = prune(graph);
	const varying = varyingValues(pruned);
	const fixed = withSizes(pruned, options);
	const { sizes, constants: made } = await staticSizes(ort, { graph: fixed, varying, maxBytes: options.maxBytes ?? DEFAULT_MAX_BYTES });
	checkReshapes(fixed, sizes);
	if (options.tryOut === true) await tryOut(ort, fixed, sizes);
	const refs = new Map(sizes);
	const constants = new Map(pruned.initializers);
	const nodes: Node[] = [];
	for (const node of pruned.nodes) {
		if (node.outputs.some((output) => varying.has(output))) nodes.push(node);
		else for (const output of node.outputs) if (output !== "") constants.set(output, made.get(output)!);
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
		if (SIZE_OPERATORS.has(node.op) || (!depends && !isRandom(node))) continue;
		if (depends && DATA_DEPENDENT.has(node.op))
			throw new RondoError("BAD_MODEL", `${nodeTitle(node)}: the size of its result depends on data, which a training graph cannot have`, {
				details: { op: node.op },
			});
		for (const output of node.outputs) if (output !== "") varying.add(output);
	}
	return varying;
}

/** The graph with the given sizes of its inputs. @throws INVALID_ARGUMENT where one is missing */
function withSizes(graph: Graph, { inputs }: SpecializeOptions): Graph {
	const sized = graph.inputs.map((input) => ({ ...input, dims: inputs.get(input.name) ?? input.dims }));
	for (const { name, dims } of sized) {
		if (dims === undefined || dims.some((size) => typeof size !== "number"))
			throw new RondoError(
				"INVALID_ARGUMENT",
				`input ${JSON.stringify(name)} has dimensions [${dims?.join(", ")}]; all sizes must be given`,
				{
					details: { input: name },
				},
			);
	}
	return { ...graph, inputs: sized, outputs: [] };
}

/** ONNX Runtime infers the result of a Reshape to fixed dimensions without looking at how many elements there are. */
function checkReshapes({ nodes, inputs }: Graph, sizes: ReadonlyMap<string, Ref>): void {
	for (const node of nodes) {
		if (node.op !== "Reshape" || node.domain !== "") continue;
		const [from, to] = [sizes.get(node.inputs[0]!)!.dims, sizes.get(node.outputs[0]!)!.dims];
		if (sizeOf(from) !== sizeOf(to))
			throw doesNotRun(inputs, new Error(`${nodeTitle(node)} cannot make dimensions [${to.join(", ")}] of [${from.join(", ")}]`));
	}
}

/** Runs the model on zeros. @throws BAD_MODEL where results have other dimensions than were inferred */
async function tryOut(ort: Ort, graph: Graph, sizes: ReadonlyMap<string, Ref>): Promise<void> {
	if (graph.nodes.length === 0) return;
	for (const [name, { dims }] of await run(ort, graph)) {
		const expected = sizes.get(name)!.dims;
		if (String(dims) !== String(expected))
			throw new RondoError(
				"BAD_MODEL",
				`value ${JSON.stringify(name)} has dimensions [${dims.join(", ")}] where ONNX Runtime infers [${expected.join(", ")}]`,
				{ details: { value: name } },
			);
	}
}
