import { RondoError } from "@rondo/errors";
import { intOf } from "./gradients/rule.js";
import { RESERVED_PREFIX } from "./graph/check-graph.js";
import { encodeGraph } from "./graph/encode.js";
import type { Ref } from "./graph/graph-builder.js";
import {
	bytesPerElement,
	type ElementArray,
	type ElementType,
	type Graph,
	int64s,
	isElementType,
	type Node,
	newArray,
	nodeTitle,
	sizeOf,
	type Tensor,
	type Value,
} from "./graph/ir.js";
import type { Ort, OrtSession, OrtTensor } from "./session/runtime.js";

/** What is known of a model for inputs of fixed sizes before it is run. */
export interface StaticSizes {
	/** Type and dimensions of every value. */
	readonly sizes: ReadonlyMap<string, Ref>;
	/** Values that nodes make and that depend on sizes alone. */
	readonly constants: ReadonlyMap<string, Tensor>;
}

/** Operators whose result is the same for all data of one size. */
export const SIZE_OPERATORS: ReadonlySet<string> = new Set(["Shape", "Size"]);

interface Options {
	/** All dimensions of its inputs are given. */
	readonly graph: Graph;
	/** Values that depend on the elements of inputs, beyond their sizes. */
	readonly varying: ReadonlySet<string>;
	readonly maxBytes: number;
}

/**
 * Finds out how large every value of a model will be, and refuses what is too large while it does not exist yet.
 * ONNX Runtime infers sizes without running anything, as long as sizes that are computed (a reshape to what was read off
 * another value) are constants. So this goes in stages: what is known makes some of those computations runnable, and their
 * results make more known. Each stage runs only arithmetic on sizes that are known to be small enough.
 * @throws BAD_MODEL for a model that cannot be run, or has a value whose size depends on data; TOO_LARGE
 */
export async function staticSizes(ort: Ort, { graph: whole, varying, maxBytes }: Options): Promise<StaticSizes> {
	const constants = new Map<string, Tensor>();
	/** Sizes that ONNX Runtime cannot infer and that were found by running the node. */
	const found = new Map<string, Value>();
	const all = new Map<string, Ref>();
	let graph = whole;
	for (;;) {
		const sizes = await inferred(ort, graph, found);
		checkTotal(graph, sizes, maxBytes);
		for (const [name, { type, dims }] of sizes) if (dims !== undefined) all.set(name, { name, type, dims });
		const isOpen = ({ outputs }: Node): boolean => outputs.some((output) => output !== "" && sizes.get(output)?.dims === undefined);
		const firstOpen = graph.nodes.find(isOpen);

		const ready = new Map<string, Tensor>();
		const runnable: Node[] = [];
		const made = new Set<string>();
		for (const node of graph.nodes) {
			const [output] = node.outputs;
			const read = sizes.get(node.inputs[0] ?? "")?.dims;
			if (SIZE_OPERATORS.has(node.op) && node.domain === "" && read !== undefined) ready.set(output!, sizeConstant(node, read));
			else if (isOpen(node) || node.outputs.some((name) => varying.has(name))) continue;
			else if (!node.inputs.every((name) => name === "" || graph.initializers.has(name) || made.has(name) || ready.has(name))) continue;
			else runnable.push(node);
			for (const name of node.outputs) made.add(name);
		}
		if (runnable.length > 0) {
			const initializers = new Map([...graph.initializers, ...ready]);
			for (const [name, tensor] of await run(ort, { ...graph, inputs: [], initializers, nodes: runnable })) ready.set(name, tensor);
		}
		if (ready.size === 0 && firstOpen !== undefined) {
			const results = await runAlone(ort, graph, firstOpen, sizes);
			if (firstOpen.outputs.some((name) => varying.has(name))) {
				for (const [name, { type, dims }] of results) found.set(name, { name, type, dims });
			} else for (const entry of results) ready.set(...entry);
		}
		for (const [name, tensor] of ready) {
			constants.set(name, tensor);
			all.set(name, { name, type: tensor.type, dims: tensor.dims });
		}
		if (firstOpen === undefined) return { sizes: all, constants };
		graph = {
			...graph,
			nodes: graph.nodes.filter(({ outputs }) => !outputs.some((output) => output !== "" && ready.has(output))),
			initializers: new Map([...graph.initializers, ...ready]),
		};
	}
}

/** What ONNX Runtime says of a value before anything is run; no dimensions: not all are known. */
interface Inferred {
	readonly type: ElementType;
	readonly dims: readonly number[] | undefined;
}

async function inferred(ort: Ort, graph: Graph, found: ReadonlyMap<string, Value>): Promise<ReadonlyMap<string, Inferred>> {
	const sizes = new Map<string, Inferred>();
	for (const { name, type, dims } of graph.inputs) sizes.set(name, { type, dims: dims as readonly number[] });
	for (const [name, { type, dims }] of graph.initializers) sizes.set(name, { type, dims });
	const made = graph.nodes.flatMap(({ outputs }) => outputs.filter((output) => output !== ""));
	if (made.length === 0) return sizes;
	// An unknown rank looks like that of a scalar; the size of the shape tells them apart.
	const rankOf = (name: string): string => `${RESERVED_PREFIX}rank/${name}`;
	const ranks = made.map((name): Node => ({ op: "Shape", domain: "", name: "", inputs: [name], outputs: [rankOf(name)], attributes: {} }));
	const outputs = [...found.values()].filter(({ name }) => made.includes(name));
	const analysed: Graph = { ...graph, nodes: [...graph.nodes, ...ranks], outputs };
	const untyped = [...made.filter((name) => !found.has(name)), ...made.map(rankOf)];
	const session = await openUnoptimized(ort, encodeGraph(analysed, untyped), graph.inputs);
	try {
		const metadata = new Map(session.outputMetadata.map((entry) => [entry.name, entry]));
		for (const name of made) {
			const value = metadata.get(name);
			const rank = metadata.get(rankOf(name));
			if (value?.isTensor !== true || !isElementType(value.type))
				throw new RondoError("BAD_MODEL", `value ${JSON.stringify(name)} is of a type that training graphs cannot hold`, {
					details: { value: name },
				});
			const isKnown = rank?.isTensor === true && rank.shape[0] === value.shape.length;
			const dims = isKnown && value.shape.every((size) => typeof size === "number") ? (value.shape as readonly number[]) : undefined;
			sizes.set(name, { type: value.type, dims });
		}
		return sizes;
	} finally {
		await session.release();
	}
}

function checkTotal(graph: Graph, sizes: ReadonlyMap<string, Inferred>, maxBytes: number): void {
	let bytes = 0;
	const add = (name: string, what: string): void => {
		const { type, dims } = sizes.get(name)!;
		if (dims === undefined) return;
		const own = sizeOf(dims) * bytesPerElement(type);
		bytes += own;
		checkBytes(bytes, `${what} of dimensions [${dims.join(", ")}] (${own} bytes), with all values before it,`, maxBytes);
	};
	for (const { name } of graph.inputs) add(name, `input ${JSON.stringify(name)}`);
	for (const node of graph.nodes)
		for (const output of node.outputs) if (output !== "") add(output, `the result ${JSON.stringify(output)} of ${nodeTitle(node)}`);
}

export function checkBytes(bytes: number, what: string, maxBytes: number): void {
	if (bytes <= maxBytes) return;
	throw new RondoError(
		"TOO_LARGE",
		`${what} would take ${bytes} bytes, more than the limit of ${maxBytes}; use smaller batches or inputs`,
		{
			details: { bytes, limit: maxBytes },
		},
	);
}

/** The result of Shape or Size. */
function sizeConstant(node: Node, dims: readonly number[]): Tensor {
	if (node.op === "Size") return { ...int64s(sizeOf(dims)), dims: [] };
	const axis = (value: number): number => Math.min(dims.length, Math.max(0, value < 0 ? value + dims.length : value));
	return int64s(...dims.slice(axis(intOf(node, "start", 0)), axis(intOf(node, "end", dims.length))));
}

/** Operators whose result has a size that elements of inputs say. */
const SIZED_BY_VALUES = new Set([
	"AffineGrid",
	"BlackmanWindow",
	"CenterCropPad",
	"Col2Im",
	"ConstantOfShape",
	"DFT",
	"Expand",
	"HammingWindow",
	"HannWindow",
	"MaxUnpool",
	"OneHot",
	"Pad",
	"Range",
	"Reshape",
	"Resize",
	"STFT",
	"Slice",
	"Split",
	"Squeeze",
	"Tile",
	"TopK",
	"Unsqueeze",
	"Upsample",
]);

/**
 * One node whose inputs are known but whose result's size is not: an operator that ONNX Runtime has no inference for. What
 * can grow beyond its inputs has one, once the sizes in its inputs are constants.
 */
async function runAlone(ort: Ort, graph: Graph, node: Node, sizes: ReadonlyMap<string, Inferred>): Promise<ReadonlyMap<string, Tensor>> {
	if (SIZED_BY_VALUES.has(node.op))
		throw new RondoError("BAD_MODEL", `${nodeTitle(node)}: the size of its result depends on data, which a training graph cannot have`, {
			details: { op: node.op },
		});
	const given = [...new Set(node.inputs.filter((name) => name !== "" && !graph.initializers.has(name)))];
	const inputs = given.map((name): Value => ({ name, type: sizes.get(name)!.type, dims: sizes.get(name)!.dims }));
	return run(ort, { ...graph, nodes: [node], inputs });
}

/** All values that the nodes make from zeros. @throws INVALID_ARGUMENT where they do not go with the sizes of the inputs */
export async function run(ort: Ort, graph: Graph): Promise<ReadonlyMap<string, Tensor>> {
	const made = graph.nodes.flatMap(({ outputs }) => outputs.filter((output) => output !== ""));
	const read = new Set(graph.nodes.flatMap(({ inputs }) => inputs));
	const inputs = graph.inputs.filter(({ name }) => read.has(name));
	const initializers = new Map([...graph.initializers].filter(([name]) => read.has(name)));
	const session = await openUnoptimized(ort, encodeGraph({ ...graph, inputs, initializers, outputs: [] }, made), inputs);
	try {
		const results = await session.run(zeros(ort, inputs));
		return new Map(
			Object.entries(results).map(([name, { type, dims, data }]) => {
				if (!isElementType(type)) throw new RondoError("BAD_MODEL", `value ${JSON.stringify(name)} is of type ${type}`);
				return [name, { type, dims, data: data as ElementArray }];
			}),
		);
	} catch (cause) {
		if (cause instanceof RondoError) throw cause;
		throw doesNotRun(inputs, cause);
	} finally {
		await session.release();
	}
}

function zeros(ort: Ort, inputs: readonly Value[]): Record<string, OrtTensor> {
	return Object.fromEntries(
		inputs.map(({ name, type, dims }) => {
			const sizes = dims as readonly number[];
			return [name, new ort.Tensor(type as "float32", newArray(type, sizeOf(sizes)) as Float32Array, sizes)];
		}),
	);
}

async function openUnoptimized(ort: Ort, bytes: Uint8Array<ArrayBuffer>, inputs: readonly Value[]): Promise<OrtSession> {
	try {
		return await ort.InferenceSession.create(bytes, {
			executionProviders: ["cpu"],
			graphOptimizationLevel: "disabled",
			logSeverityLevel: 4,
		});
	} catch (cause) {
		// The file says nothing wrong of sizes that it leaves open: these sizes do not go with it.
		if (messageOf(cause).includes("ShapeInferenceError")) throw doesNotRun(inputs, cause);
		throw new RondoError("BAD_MODEL", `ONNX Runtime refuses the model: ${messageOf(cause)}`, { cause });
	}
}

/** Inputs that a message names. */
const MAX_NAMED = 8;

export function doesNotRun(inputs: readonly Value[], cause: unknown): RondoError {
	const sizes = inputs.map(({ name, dims }) => `${name} [${dims?.join(", ")}]`);
	const on = sizes.length === 0 ? "" : ` on inputs ${sizes.slice(0, MAX_NAMED).join(", ")}${sizes.length > MAX_NAMED ? ", …" : ""}`;
	return new RondoError("INVALID_ARGUMENT", `the model does not run${on}: ${messageOf(cause)}`, { cause });
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
