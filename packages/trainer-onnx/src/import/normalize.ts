import { fromBfloat16, fromFloat16 } from "@rondo/kernels";
import { bypass, normalizeDropout } from "../dropout.js";
import { type Attribute, type ElementType, type Graph, type Node, type Tensor, typeNumber } from "../graph/ir.js";
import { upgradeOpset } from "../graph/upgrade-opset.js";

/**
 * A model in the one form that everything after the import knows: opset 18 or later, float32 where it was of half precision,
 * constants as initializers, no nodes that pass a value on as it is, and Dropout only where training may drop something.
 */
export const normalize = (graph: Graph): Graph =>
	upgradeOpset(bypass(normalizeDropout(withoutConstantNodes(inFloat32(graph))), isIdentity));

const isHalf = (type: ElementType): boolean => type === "float16" || type === "bfloat16";
const single = (type: ElementType): ElementType => (isHalf(type) ? "float32" : type);

/** A constant in float32, if it was of half precision. */
export function toFloat32(tensor: Tensor): Tensor {
	if (!isHalf(tensor.type)) return tensor;
	const bits = tensor.data as Uint16Array;
	return { ...tensor, type: "float32", data: tensor.type === "float16" ? fromFloat16(bits) : fromBfloat16(bits) };
}

/** Weights of half precision become float32 masters, and what is computed with them float32 too: steps smaller than half a bit of a weight would be lost. */
function inFloat32(graph: Graph): Graph {
	const halves = new Set([typeNumber("float16"), typeNumber("bfloat16")]);
	const attribute = (name: string, value: Attribute): Attribute => {
		if ("tensor" in value) return { tensor: toFloat32(value.tensor) };
		return (name === "to" || name === "dtype") && "int" in value && halves.has(value.int) ? { int: typeNumber("float32") } : value;
	};
	return {
		...graph,
		inputs: graph.inputs.map((value) => ({ ...value, type: single(value.type) })),
		outputs: graph.outputs.map((value) => ({ ...value, type: single(value.type) })),
		initializers: new Map([...graph.initializers].map(([name, tensor]) => [name, toFloat32(tensor)])),
		nodes: graph.nodes.map((node) => ({
			...node,
			attributes: Object.fromEntries(Object.entries(node.attributes).map(([name, value]) => [name, attribute(name, value)])),
		})),
	};
}

function withoutConstantNodes(graph: Graph): Graph {
	const initializers = new Map(graph.initializers);
	const nodes = graph.nodes.filter((node) => {
		const tensor = node.op === "Constant" && node.domain === "" ? constantOf(node) : undefined;
		if (tensor !== undefined) initializers.set(node.outputs[0]!, tensor);
		return tensor === undefined;
	});
	return { ...graph, initializers, nodes };
}

function constantOf({ attributes }: Node): Tensor | undefined {
	const { value, value_float, value_floats, value_int, value_ints } = attributes;
	if (value !== undefined && "tensor" in value) return value.tensor;
	if (value_float !== undefined && "float" in value_float) return { type: "float32", dims: [], data: Float32Array.of(value_float.float) };
	if (value_floats !== undefined && "floats" in value_floats)
		return { type: "float32", dims: [value_floats.floats.length], data: Float32Array.from(value_floats.floats) };
	if (value_int !== undefined && "int" in value_int) return { type: "int64", dims: [], data: BigInt64Array.of(BigInt(value_int.int)) };
	if (value_ints !== undefined && "ints" in value_ints)
		return { type: "int64", dims: [value_ints.ints.length], data: BigInt64Array.from(value_ints.ints, BigInt) };
	return undefined;
}

const isIdentity = ({ op, domain }: Node): boolean => op === "Identity" && domain === "";
