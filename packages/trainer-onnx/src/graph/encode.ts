import { RondoError } from "@rondo/errors";
import {
	Attribute as AttributeMessage,
	Model,
	type Node as NodeMessage,
	type Tensor as TensorMessage,
	type ValueInfo,
} from "../generated/onnx.js";
import { type Attribute, type Graph, type Node, type Tensor, typeNumber, type Value } from "./ir.js";

/** IR version 8 goes with opsets up to 18; ONNX Runtime reads newer ones too, but needs no more than the opset asks for. */
const IR_VERSIONS: readonly (readonly [leastOpset: number, irVersion: number])[] = [
	[21, 10],
	[19, 9],
	[0, 8],
];
const KINDS = { float: 1, int: 2, string: 3, tensor: 4, floats: 6, ints: 7, strings: 8 } as const;

/** Protocol buffers end at 2 GiB; the rest is room for everything that is no tensor. */
const MAX_TENSOR_BYTES = 2 ** 31 - 2 ** 26;

/**
 * The bytes of an ONNX file (`ModelProto`). Equal graphs give equal bytes.
 * @param untyped names of values that become outputs too; ONNX Runtime finds out what they are
 * @throws TOO_LARGE for tensors that no ONNX file can hold
 */
export function encodeGraph(graph: Graph, untyped: readonly string[] = []): Uint8Array<ArrayBuffer> {
	const [, irVersion] = IR_VERSIONS.find(([least]) => graph.opset >= least)!;
	const bytes = [...graph.initializers.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
	if (bytes > MAX_TENSOR_BYTES)
		throw new RondoError("TOO_LARGE", `the graph's constants take ${bytes} bytes; a graph can hold ${MAX_TENSOR_BYTES}`, {
			details: { bytes, limit: MAX_TENSOR_BYTES },
		});
	const domains = Object.entries(graph.domains).sort(([a], [b]) => (a < b ? -1 : 1));
	const message = Model.fromPartial({
		irVersion: BigInt(irVersion),
		producerName: "rondo",
		opsetImport: [["", graph.opset] as const, ...domains].map(([domain, version]) => ({ domain, version: BigInt(version) })),
		graph: {
			name: "main",
			node: graph.nodes.map(nodeMessage),
			initializer: [...graph.initializers].map(([name, tensor]) => tensorMessage(name, tensor)),
			input: graph.inputs.map(valueMessage),
			output: [...graph.outputs.map(valueMessage), ...untyped.map((name) => ({ name }))],
		},
	});
	return Model.encode(message).finish() as Uint8Array<ArrayBuffer>;
}

function nodeMessage({ op, domain, name, inputs, outputs, attributes }: Node): NodeMessage {
	return {
		input: [...inputs],
		output: [...outputs],
		name,
		opType: op,
		domain,
		attribute: Object.entries(attributes).map(([key, value]) => attributeMessage(key, value)),
		metadataProps: [],
	};
}

function attributeMessage(name: string, value: Attribute): AttributeMessage {
	const text = new TextEncoder();
	const kind = Object.keys(value)[0] as keyof typeof KINDS;
	const base = { name, type: KINDS[kind] };
	if ("int" in value) return AttributeMessage.fromPartial({ ...base, i: int64(value.int) });
	if ("float" in value) return AttributeMessage.fromPartial({ ...base, f: value.float });
	if ("string" in value) return AttributeMessage.fromPartial({ ...base, s: text.encode(value.string) });
	if ("ints" in value) return AttributeMessage.fromPartial({ ...base, ints: value.ints.map(int64) });
	if ("floats" in value) return AttributeMessage.fromPartial({ ...base, floats: [...value.floats] });
	if ("strings" in value) return AttributeMessage.fromPartial({ ...base, strings: value.strings.map((item) => text.encode(item)) });
	return AttributeMessage.fromPartial({ ...base, t: tensorMessage("", value.tensor) });
}

/** The largest integers of 64 bits stand for "to the end" and lost their last bits when they became numbers. */
const int64 = (value: number): bigint => (value >= 2 ** 63 ? 2n ** 63n - 1n : BigInt(value));

function tensorMessage(name: string, { type, dims, data }: Tensor): TensorMessage {
	return {
		name,
		dims: dims.map(BigInt),
		dataType: typeNumber(type),
		// Node runs on little-endian machines, as the format is.
		rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
		floatData: [],
		int32Data: [],
		int64Data: [],
		doubleData: [],
		uint64Data: [],
		stringData: [],
		externalData: [],
	};
}

function valueMessage({ name, type, dims }: Value): ValueInfo {
	const shape =
		dims === undefined
			? undefined
			: {
					dim: dims.map((size) =>
						typeof size === "number" ? { dimValue: BigInt(size) } : typeof size === "string" ? { dimParam: size } : {},
					),
				};
	return { name, type: { tensorType: { elemType: typeNumber(type), ...(shape === undefined ? {} : { shape }) } } };
}
