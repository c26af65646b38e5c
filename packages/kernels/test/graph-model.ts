import { GRAPH_TYPES, type GraphPart, type GraphType } from "../src/graph/graph-writer.js";

/** An input or output of a model; a text in `dims` names a size that differs from run to run. */
export interface GraphValue {
	readonly name: string;
	readonly type: GraphType | "uint8";
	readonly dims: readonly (number | string)[];
}

const IR_VERSION = 8;

/**
 * The bytes of an ONNX model (`ModelProto`) made of parts, for programs that have no ONNX library: see onnx.proto of the ONNX
 * project for the field numbers.
 */
export function graphModel(parts: readonly GraphPart[], inputs: readonly GraphValue[], outputs: readonly GraphValue[]): Uint8Array {
	const opset = Math.max(...parts.map((part) => part.opset));
	const nodes = parts.flatMap((part) =>
		part.nodes.map((node) => {
			const attributes = Object.entries(node.attributes).map(([name, value]) => field(5, join(text(1, name), attribute(value))));
			return field(
				1,
				join(
					...node.inputs.map((name) => text(1, name)),
					...node.outputs.map((name) => text(2, name)),
					text(3, node.name),
					text(4, node.opType),
					...attributes,
				),
			);
		}),
	);
	const tensors = parts.flatMap((part) =>
		part.initializers.map(({ name, type, dims, data }) =>
			field(5, join(...dims.map((size) => int(1, size)), int(2, GRAPH_TYPES[type]), text(8, name), field(9, littleEndian(data)))),
		),
	);
	const graph = join(
		...nodes,
		text(2, "rondo"),
		...tensors,
		...inputs.map((value) => field(11, valueInfo(value))),
		...outputs.map((value) => field(12, valueInfo(value))),
	);
	return join(int(1, IR_VERSION), text(2, "rondo"), field(7, graph), field(8, int(2, opset)));
}

function attribute(value: number | string | readonly number[]): Uint8Array {
	if (typeof value === "number") return join(int(3, value), int(20, 2));
	if (typeof value === "string") return join(text(4, value), int(20, 3));
	return join(...value.map((item) => int(8, item)), int(20, 7));
}

function valueInfo({ name, type, dims }: GraphValue): Uint8Array {
	const shape = join(...dims.map((size) => field(1, typeof size === "string" ? text(2, size) : int(1, size))));
	const tensorType = join(int(1, type === "uint8" ? 2 : GRAPH_TYPES[type]), field(2, shape));
	return join(text(1, name), field(2, field(1, tensorType)));
}

/** ONNX stores least significant bytes first, typed arrays in the machine's order. */
function littleEndian(data: GraphPart["initializers"][number]["data"]): Uint8Array {
	const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
	if (new Uint8Array(Uint16Array.of(1).buffer)[0] === 1) return bytes;
	const size = data.BYTES_PER_ELEMENT;
	return bytes.map((_, i) => bytes[i - (i % size) + size - 1 - (i % size)]!);
}

function text(number: number, value: string): Uint8Array {
	return field(number, new TextEncoder().encode(value));
}

/** A field of a length and bytes. */
function field(number: number, bytes: Uint8Array): Uint8Array {
	return join(varint(number * 8 + 2), varint(bytes.length), bytes);
}

/** A field of a non-negative integer. */
function int(number: number, value: number): Uint8Array {
	return join(varint(number * 8), varint(value));
}

function varint(value: number): Uint8Array {
	const bytes: number[] = [];
	let rest = value;
	for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
	bytes.push(rest);
	return Uint8Array.from(bytes);
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
	const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
	let at = 0;
	for (const part of parts) {
		out.set(part, at);
		at += part.length;
	}
	return out;
}
