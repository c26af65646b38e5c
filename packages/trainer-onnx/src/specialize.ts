import { RondoError } from "@rondo/errors";
import type { StaticGraph } from "./gradients/differentiate.js";
import { prune } from "./graph/check-graph.js";
import { encodeGraph } from "./graph/encode.js";
import type { Ref } from "./graph/graph-builder.js";
import {
	bytesPerElement,
	type ElementArray,
	type ElementType,
	type Graph,
	type Node,
	newArray,
	nodeTitle,
	sizeOf,
	type Tensor,
} from "./graph/ir.js";
import type { Ort, OrtTensor } from "./session/runtime.js";

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
/** Operators whose result is the same for all data of one size. */
const SIZE_OPERATORS = new Set(["Shape", "Size"]);
const RANDOM = new Set(["RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike", "Bernoulli", "Multinomial"]);
/** All values of a step at once, bytes: beyond it a model of damaged or hostile sizes would take the machine's memory. */
const DEFAULT_MAX_BYTES = 8 * 2 ** 30;

export interface SpecializeOptions {
	/** Sizes of each input of the graph. */
	readonly inputs: ReadonlyMap<string, readonly number[]>;
	/** Most bytes that all values of one forward pass may take; default 8 GiB. */
	readonly maxBytes?: number;
}

/**
 * Fixes the sizes of a model: afterwards the dimensions of every value are known, and what depends neither on data nor on
 * parameters is a constant, arithmetic on shapes included. Dimensions and constants are those that ONNX Runtime finds when it
 * runs the model once on zeros, so every operator that it knows is covered.
 * @throws INVALID_ARGUMENT for sizes that the model does not go with, BAD_MODEL for a model that cannot be run, TOO_LARGE for
 * one whose values take more than `maxBytes`
 */
export async function specialize(ort: Ort, graph: Graph, options: SpecializeOptions): Promise<SpecializedModel> {
	const pruned = prune(graph);
	const varying = varyingValues(pruned);
	const probed = await probe(ort, pruned, options);
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
async function probe(ort: Ort, graph: Graph, { inputs, maxBytes = DEFAULT_MAX_BYTES }: SpecializeOptions): Promise<Map<string, Tensor>> {
	const fixed: Graph = {
		...graph,
		inputs: graph.inputs.map((input) => ({ ...input, dims: inputs.get(input.name) ?? input.dims })),
		outputs: [],
	};
	const made = graph.nodes.flatMap(({ outputs }) => outputs.filter((output) => output !== ""));
	const feeds: Record<string, OrtTensor> = {};
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
		const zeros: Tensor = { type, dims: sizes, data: newArray(type, sizeOf(sizes)) };
		feeds[name] = new ort.Tensor(type as "float32", zeros.data as Float32Array, sizes);
		values.set(name, zeros);
	}
	if (made.length === 0) return values;
	const session = await openProbe(ort, encodeGraph(fixed, made));
	try {
		let bytes = 0;
		for (const metadata of session.outputMetadata) {
			if (!metadata.isTensor) throw new RondoError("BAD_MODEL", `value ${JSON.stringify(metadata.name)} is not a tensor`);
			const sizes = metadata.shape.map((size) => (typeof size === "number" ? size : 1));
			bytes += sizeOf(sizes) * 4;
			checkBytes(bytes, `all values up to ${JSON.stringify(metadata.name)} (dimensions [${metadata.shape.join(", ")}])`, maxBytes);
		}
		const results = await session.run(feeds);
		for (const [name, tensor] of Object.entries(results))
			values.set(name, { type: tensor.type as ElementType, dims: tensor.dims, data: tensor.data as ElementArray });
		return values;
	} catch (cause) {
		if (cause instanceof RondoError) throw cause;
		const sizes = fixed.inputs.map(({ name, dims }) => `${name} [${dims?.join(", ")}]`).join(", ");
		throw new RondoError("INVALID_ARGUMENT", `the model does not run on inputs ${sizes}: ${messageOf(cause)}`, { cause });
	} finally {
		await session.release();
	}
}

async function openProbe(ort: Ort, bytes: Uint8Array<ArrayBuffer>): ReturnType<Ort["InferenceSession"]["create"]> {
	try {
		return await ort.InferenceSession.create(bytes, {
			executionProviders: ["cpu"],
			graphOptimizationLevel: "disabled",
			logSeverityLevel: 4,
		});
	} catch (cause) {
		throw new RondoError("BAD_MODEL", `ONNX Runtime refuses the model: ${messageOf(cause)}`, { cause });
	}
}

function checkBytes(bytes: number, what: string, maxBytes: number): void {
	if (bytes <= maxBytes) return;
	throw new RondoError("TOO_LARGE", `${what} would take ${bytes} bytes, more than the limit of ${maxBytes}`, {
		details: { bytes, limit: maxBytes },
	});
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
