/** Element types used in graphs, with their numbers in ONNX's `TensorProto.DataType`. */
export const GRAPH_TYPES = { float32: 1, int32: 6, int64: 7, uint32: 12, uint64: 13 } as const;
export type GraphType = keyof typeof GRAPH_TYPES;

/** One node of an ONNX graph, domain `ai.onnx`. Attributes are integers, lists of integers, or texts. */
export interface GraphNode {
	readonly opType: string;
	readonly name: string;
	readonly inputs: readonly string[];
	readonly outputs: readonly string[];
	readonly attributes: Readonly<Record<string, number | string | readonly number[]>>;
}

/** A constant tensor of an ONNX graph; `data` has one element per element of `dims`, in row-major order. */
export interface GraphTensor {
	readonly name: string;
	readonly type: GraphType;
	readonly dims: readonly number[];
	readonly data: Float32Array | Int32Array | Uint32Array | BigInt64Array | BigUint64Array;
}

/** Nodes in an order in which they can be run, and the constants that they read; `opset` is the least that knows all of them. */
export interface GraphPart {
	readonly nodes: readonly GraphNode[];
	readonly initializers: readonly GraphTensor[];
	readonly opset: number;
}

/** Collects nodes and constants under names that start with one prefix; each method returns the name of its result. */
export class GraphWriter {
	readonly nodes: GraphNode[] = [];
	readonly initializers: GraphTensor[] = [];
	readonly #prefix: string;
	readonly #constants = new Map<string, string>();

	constructor(prefix: string) {
		this.#prefix = prefix;
	}

	/** A node with one result. */
	op(opType: string, inputs: readonly string[], attributes: GraphNode["attributes"] = {}, output?: string): string {
		const name = `${this.#prefix}${this.nodes.length}`;
		const result = output ?? `${name}.${opType}`;
		this.nodes.push({ opType, name, inputs, outputs: [result], attributes });
		return result;
	}

	/** `value` cut along `axis` into pieces of the given sizes. */
	split(value: string, axis: number, sizes: readonly number[]): string[] {
		const name = `${this.#prefix}${this.nodes.length}`;
		const outputs = sizes.map((_, i) => `${name}.Split${i}`);
		this.nodes.push({ opType: "Split", name, inputs: [value, this.int64(...sizes)], outputs, attributes: { axis } });
		return outputs;
	}

	cast(value: string, type: GraphType): string {
		return this.op("Cast", [value], { to: GRAPH_TYPES[type] });
	}

	reshape(value: string, ...dims: number[]): string {
		return this.op("Reshape", [value, this.int64(...dims)]);
	}

	/** `table[index]` along the first axis; `index` is int32. */
	gather(table: string, index: string): string {
		return this.op("Gather", [table, index], { axis: 0 });
	}

	/** For unsigned numbers and non-negative int32: ⌊value / divisor⌋ and the remainder, without an operator for the latter. */
	divMod(value: string, divisor: string): [quotient: string, remainder: string] {
		const quotient = this.op("Div", [value, divisor]);
		return [quotient, this.op("Sub", [value, this.op("Mul", [quotient, divisor])])];
	}

	int64(...values: number[]): string {
		return this.constant("int64", [values.length], BigInt64Array.from(values, BigInt));
	}

	int32(value: number): string {
		return this.constant("int32", [1], Int32Array.of(value));
	}

	uint32(...values: number[]): string {
		return this.constant("uint32", [values.length], Uint32Array.from(values));
	}

	/** A constant; equal small ones are written once. */
	constant(type: GraphType, dims: readonly number[], data: GraphTensor["data"]): string {
		const key = data.length <= 64 ? `${type} ${dims} ${Array.from<number | bigint>(data)}` : undefined;
		const known = key === undefined ? undefined : this.#constants.get(key);
		if (known !== undefined) return known;
		const name = `${this.#prefix}c${this.initializers.length}`;
		this.initializers.push({ name, type, dims, data });
		if (key !== undefined) this.#constants.set(key, name);
		return name;
	}
}
