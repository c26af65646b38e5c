import { RondoError } from "@rondo/errors";
import {
	type Attribute as AttributeMessage,
	Model,
	type Node as NodeMessage,
	type Tensor as TensorMessage,
	type ValueInfo,
} from "../generated/onnx.js";
import {
	type Attribute,
	bytesPerElement,
	type Dim,
	type ElementArray,
	type ElementType,
	type Graph,
	type Node,
	newArray,
	sizeOf,
	type Tensor,
	typeOfNumber,
	type Value,
} from "./ir.js";
import { checkWire } from "./wire-limits.js";

/** Most elements of one tensor: what one typed array of 8-byte elements can hold here. */
const MAX_ELEMENTS = 2 ** 31;
const MAX_RANK = 32;
/** Characters of a name; longer ones would fill messages and logs. */
const MAX_NAME_LENGTH = 2048;

/** Where the bytes of a tensor lie that are not in the model file itself. */
export interface ExternalData {
	/** Path as the file gives it. */
	readonly location: string;
	readonly offset: number;
	/** Undefined: to the end of the file. */
	readonly length: number | undefined;
}

/** Reads the bytes that a tensor keeps in another file. @param title names the tensor in messages @param data `bytes`: how many the tensor has */
export type ReadExternal = (title: string, data: ExternalData & { readonly bytes: number }) => Uint8Array;

export interface DecodeOptions {
	/** Absent: external data are refused. */
	readonly readExternal?: ReadExternal;
}

const refuse = (message: string, details: Readonly<Record<string, unknown>> = {}, cause?: unknown): RondoError =>
	new RondoError("BAD_MODEL", message, { details, ...(cause === undefined ? {} : { cause }) });

/**
 * Reads an ONNX file. Structure is checked by `checkGraph`, operators by whoever runs them.
 * @throws BAD_MODEL that names node, tensor or value for anything that is no such file, or uses a part of the format that
 * training graphs have no use for (control flow, functions, sparse or text tensors); TOO_LARGE for a file that would take
 * far more memory than it has bytes
 */
export function decodeGraph(bytes: Uint8Array, options: DecodeOptions = {}): Graph {
	checkWire(bytes);
	let model: Model;
	try {
		model = Model.decode(bytes);
	} catch (cause) {
		throw refuse(`the file is not an ONNX model: ${cause instanceof Error ? cause.message : String(cause)}`, {}, cause);
	}
	const { graph, opsetImport, functions } = model;
	if (graph === undefined) throw refuse("the file is not an ONNX model: it holds no graph");
	if (functions.length > 0) {
		throw refuse(
			`the model defines functions of its own (${functions[0]!.domain ?? ""}::${functions[0]!.name ?? ""}); inline them first, with onnx.inliner.inline_local_functions`,
		);
	}
	if (graph.sparseInitializer.length > 0) {
		throw refuse(`initializer ${JSON.stringify(graph.sparseInitializer[0]!.values?.name ?? "")} is sparse; make it dense first`);
	}
	const versions = new Map(opsetImport.map(({ domain, version }) => [normalDomain(domain), Number(version ?? 0n)]));
	const opset = versions.get("");
	if (opset === undefined) throw refuse("the model does not say which opset of ONNX its operators are from");
	versions.delete("");

	const initializers = new Map<string, Tensor>();
	for (const message of graph.initializer) {
		const name = nameOf(message.name, "an initializer");
		if (name === "") throw refuse("an initializer has no name");
		if (initializers.has(name)) throw refuse(`initializer ${JSON.stringify(name)} occurs twice`, { tensor: name });
		initializers.set(name, decodeTensor(message, `initializer ${JSON.stringify(name)}`, options));
	}
	return {
		opset,
		domains: Object.fromEntries(versions),
		// Until IR version 4 initializers were inputs too.
		inputs: graph.input.filter(({ name }) => !initializers.has(name ?? "")).map((value) => decodeValue(value, "input")),
		outputs: graph.output.map((value) => decodeValue(value, "output")),
		initializers,
		nodes: graph.node.map((node) => decodeNode(node, options)),
	};
}

const normalDomain = (domain: string | undefined): string => (domain === undefined || domain === "ai.onnx" ? "" : domain);

function decodeNode(message: NodeMessage, options: DecodeOptions): Node {
	const head = {
		op: nameOf(message.opType, "an operator"),
		domain: nameOf(normalDomain(message.domain), "a domain"),
		name: nameOf(message.name, "a node"),
	};
	for (const value of [...message.input, ...message.output]) nameOf(value, "a value");
	const title = `${head.op} node ${JSON.stringify(head.name === "" ? (message.output[0] ?? "") : head.name)}`;
	const attributes = new Map<string, Attribute>();
	for (const attribute of message.attribute) {
		const name = nameOf(attribute.name, "an attribute");
		if (attributes.has(name)) throw refuse(`${title}: attribute ${JSON.stringify(name)} occurs twice`);
		attributes.set(name, decodeAttribute(attribute, `${title}: attribute ${JSON.stringify(name)}`, options));
	}
	const module = moduleOf(message);
	return {
		...head,
		inputs: message.input,
		outputs: message.output,
		attributes: Object.fromEntries(attributes),
		...(module === undefined ? {} : { module: nameOf(module, "a module") }),
	};
}

/**
 * torch.onnx (dynamo) writes the modules around an operation as a Python list, from the outside in, and the operation behind
 * them: "['', 'model', 'model.layers.0', 'linear']".
 */
function moduleOf({ metadataProps }: NodeMessage): string | undefined {
	const scopes = metadataProps.find(({ key }) => key === "pkg.torch.onnx.name_scopes")?.value ?? "";
	const module = [...scopes.matchAll(/'([^']*)'/g)].at(-2)?.[1];
	return module === "" ? undefined : module;
}

function nameOf(name = "", what: string): string {
	if (name.length > MAX_NAME_LENGTH)
		throw refuse(`the name of ${what} has ${name.length} characters, more than ${MAX_NAME_LENGTH}: ${JSON.stringify(name.slice(0, 60))}…`);
	return name;
}

function decodeAttribute(message: AttributeMessage, title: string, options: DecodeOptions): Attribute {
	const text = new TextDecoder();
	switch (message.type) {
		case 1:
			return { float: message.f ?? 0 };
		case 2:
			return { int: Number(message.i ?? 0n) };
		case 3:
			return { string: text.decode(message.s ?? new Uint8Array()) };
		case 4:
			if (message.t === undefined) throw refuse(`${title} holds no tensor`);
			return { tensor: decodeTensor(message.t, title, options) };
		case 6:
			return { floats: message.floats };
		case 7:
			return { ints: message.ints.map(Number) };
		case 8:
			return { strings: message.strings.map((item) => text.decode(item)) };
		case 5:
		case 10:
			throw refuse(`${title} is a graph: models with control flow (If, Loop, Scan) are not supported; export the model without it`);
		default:
			throw refuse(`${title} is of kind ${message.type ?? 0}, which is not supported`);
	}
}

function decodeValue({ name: given, type }: ValueInfo, kind: string): Value {
	const name = nameOf(given, `an ${kind}`);
	if (name === "") throw refuse(`an ${kind} has no name`);
	const title = `${kind} ${JSON.stringify(name)}`;
	const tensor = type?.tensorType;
	if (tensor === undefined) throw refuse(`${title} is not a tensor`, { value: name });
	const dims = tensor.shape?.dim.map(({ dimValue, dimParam }, i): Dim => {
		if (dimValue === undefined) return dimParam === undefined || dimParam === "" ? null : nameOf(dimParam, "a dimension");
		const size = Number(dimValue);
		if (!(Number.isSafeInteger(size) && size >= 0)) throw refuse(`${title}: dimension ${i} is ${dimValue}`, { value: name });
		return size;
	});
	if (dims !== undefined && dims.length > MAX_RANK) throw refuse(`${title} has ${dims.length} dimensions, more than ${MAX_RANK}`);
	return { name, type: elementType(tensor.elemType, title), dims };
}

function elementType(number: number | undefined, title: string): ElementType {
	const type = typeOfNumber(number ?? 0);
	if (type === undefined)
		throw refuse(`${title} has element type ${number ?? 0}, which is not supported: numbers and truth values of ONNX's types 1 to 16 are`);
	return type;
}

function decodeTensor(message: TensorMessage, title: string, { readExternal }: DecodeOptions): Tensor {
	const type = elementType(message.dataType, title);
	if (message.dims.length > MAX_RANK) throw refuse(`${title} has ${message.dims.length} dimensions, more than ${MAX_RANK}`);
	const dims = message.dims.map(Number);
	const elements = sizeOf(dims);
	if (!dims.every((size) => Number.isSafeInteger(size) && size >= 0) || !(elements <= MAX_ELEMENTS))
		throw refuse(`${title} has dimensions [${message.dims.join(", ")}]; they must be non-negative and hold at most 2^31 elements`, {
			tensor: message.name,
		});
	const bytes = elements * bytesPerElement(type);
	let raw = message.rawData;
	if (message.dataLocation === 1) {
		if (readExternal === undefined)
			throw refuse(`${title} keeps its data in another file, which cannot be read here; read the model from its folder`);
		raw = readExternal(title, { ...externalDataOf(message, title), bytes });
	}
	if (raw !== undefined) {
		if (raw.byteLength !== bytes)
			throw refuse(`${title} has ${raw.byteLength} bytes of data; ${type} of dimensions [${dims.join(", ")}] needs ${bytes}`);
		const data = newArray(type, elements);
		// A copy, because the file's bytes are not aligned.
		new Uint8Array(data.buffer).set(raw);
		return { type, dims, data };
	}
	const listed = listedData(message, type);
	if (listed.length !== elements) throw refuse(`${title} has ${listed.length} elements; dimensions [${dims.join(", ")}] need ${elements}`);
	const data = newArray(type, elements);
	(data as { set(values: ArrayLike<number | bigint>): void }).set(listed);
	return { type, dims, data: data as ElementArray };
}

function listedData(message: TensorMessage, type: ElementType): ArrayLike<number | bigint> {
	switch (type) {
		case "float32":
			return message.floatData;
		case "float64":
			return message.doubleData;
		case "int64":
			return message.int64Data;
		case "uint64":
			return message.uint64Data;
		case "uint32":
			return message.uint64Data.map(Number);
		default:
			return message.int32Data;
	}
}

function externalDataOf(message: TensorMessage, title: string): ExternalData {
	const entries = new Map(message.externalData.map(({ key, value }) => [key ?? "", value ?? ""]));
	const whole = (key: string): number | undefined => {
		const text = entries.get(key);
		if (text === undefined) return undefined;
		const value = Number(text);
		if (!/^[0-9]+$/.test(text) || !Number.isSafeInteger(value))
			throw refuse(`${title}: ${key} of its external data must be a non-negative integer, got ${JSON.stringify(text.slice(0, 40))}`);
		return value;
	};
	const location = entries.get("location");
	if (location === undefined) throw refuse(`${title} keeps its data in another file, but does not say which`);
	return { location, offset: whole("offset") ?? 0, length: whole("length") };
}
