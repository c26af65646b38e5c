/** Element types of tensors that graphs hold. Strings, complex numbers and the 4- and 8-bit floats have no place in training. */
export type ElementType =
	| "float32"
	| "float64"
	| "float16"
	| "bfloat16"
	| "int64"
	| "int32"
	| "int16"
	| "int8"
	| "uint64"
	| "uint32"
	| "uint16"
	| "uint8"
	| "bool";

export type ElementArray =
	| Float32Array
	| Float64Array
	| BigInt64Array
	| BigUint64Array
	| Int32Array
	| Uint32Array
	| Int16Array
	| Uint16Array
	| Int8Array
	| Uint8Array;

/** A constant: row-major, one array element per element (float16 and bfloat16 as their bits, bool as 0 or 1). */
export interface Tensor {
	readonly type: ElementType;
	readonly dims: readonly number[];
	readonly data: ElementArray;
}

/** One attribute of a node; the key says the kind, as the file format does. */
export type Attribute =
	| { readonly int: number }
	| { readonly float: number }
	| { readonly string: string }
	| { readonly ints: readonly number[] }
	| { readonly floats: readonly number[] }
	| { readonly strings: readonly string[] }
	| { readonly tensor: Tensor };

export type Attributes = { readonly [name: string]: Attribute };

/** One operator of a graph. An optional input that is absent is the empty name. */
export interface Node {
	readonly op: string;
	/** Empty for the operators of ONNX itself. */
	readonly domain: string;
	/** For messages; may be empty. */
	readonly name: string;
	readonly inputs: readonly string[];
	readonly outputs: readonly string[];
	readonly attributes: Attributes;
	/** Path of the PyTorch module that the node comes from, where the exporter says so. */
	readonly module?: string;
}

/** A size, or the name of one that differs from run to run, or null where nothing is known. */
export type Dim = number | string | null;

/** An input or output of a graph. */
export interface Value {
	readonly name: string;
	readonly type: ElementType;
	/** Undefined: not even the rank is known. */
	readonly dims: readonly Dim[] | undefined;
}

/** A model: nodes in an order in which they can be run, each value made once. */
export interface Graph {
	/** Version of the operators of ONNX itself. */
	readonly opset: number;
	/** Versions of other operator domains, by domain. */
	readonly domains: { readonly [domain: string]: number };
	readonly inputs: readonly Value[];
	readonly outputs: readonly Value[];
	readonly initializers: ReadonlyMap<string, Tensor>;
	readonly nodes: readonly Node[];
}

const NUMBERS: Record<ElementType, number> = {
	float32: 1,
	uint8: 2,
	int8: 3,
	uint16: 4,
	int16: 5,
	int32: 6,
	int64: 7,
	bool: 9,
	float16: 10,
	float64: 11,
	uint32: 12,
	uint64: 13,
	bfloat16: 16,
};
const TYPES = new Map(Object.entries(NUMBERS).map(([type, number]) => [number, type as ElementType]));

/** The number of an element type in the file format (`TensorProto.DataType`). */
export const typeNumber = (type: ElementType): number => NUMBERS[type];
export const isElementType = (name: string): name is ElementType => Object.hasOwn(NUMBERS, name);
export const typeOfNumber = (number: number): ElementType | undefined => TYPES.get(number);

type Constructor = { readonly BYTES_PER_ELEMENT: number; new (length: number): ElementArray };
const ARRAYS: Record<ElementType, Constructor> = {
	float32: Float32Array,
	float64: Float64Array,
	float16: Uint16Array,
	bfloat16: Uint16Array,
	int64: BigInt64Array,
	int32: Int32Array,
	int16: Int16Array,
	int8: Int8Array,
	uint64: BigUint64Array,
	uint32: Uint32Array,
	uint16: Uint16Array,
	uint8: Uint8Array,
	bool: Uint8Array,
};

export const newArray = (type: ElementType, length: number): ElementArray => new ARRAYS[type](length);
export const bytesPerElement = (type: ElementType): number => ARRAYS[type].BYTES_PER_ELEMENT;
export const isFloat = (type: ElementType): boolean =>
	type === "float32" || type === "float64" || type === "float16" || type === "bfloat16";

export const sizeOf = (dims: readonly number[]): number => dims.reduce((product, size) => product * size, 1);

/** Elements of a constant as numbers; 64-bit integers lose what does not fit. */
export const numbersOf = ({ data }: Tensor): number[] => Array.from(data as ArrayLike<number | bigint>, Number);

export const int64s = (...values: readonly number[]): Tensor => ({
	type: "int64",
	dims: [values.length],
	data: BigInt64Array.from(values, BigInt),
});

/** A constant of one element without dimensions. */
export function scalar(type: ElementType, value: number): Tensor {
	const data = newArray(type, 1);
	if (data instanceof BigInt64Array || data instanceof BigUint64Array) data[0] = BigInt(value);
	else data[0] = value;
	return { type, dims: [], data };
}

/** Makes names that no value of a graph has yet. */
export function freeNames({ inputs, initializers, nodes }: Pick<Graph, "inputs" | "initializers" | "nodes">): (wanted: string) => string {
	const taken = new Set([...inputs.map(({ name }) => name), ...initializers.keys(), ...nodes.flatMap(({ outputs }) => outputs)]);
	return (wanted) => {
		let name = wanted;
		for (let i = 2; taken.has(name); i++) name = `${wanted}_${i}`;
		taken.add(name);
		return name;
	};
}

/** How messages name a node: operator and name, or what it makes where it has none. */
export const nodeTitle = ({ op, name, outputs }: Node): string => `${op} node ${JSON.stringify(name === "" ? (outputs[0] ?? "") : name)}`;
