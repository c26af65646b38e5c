import { deflateRawSync, inflateRawSync } from "node:zlib";
import { RondoError } from "@rondo/errors";
import { checkLayout, type Layout } from "@rondo/tensors";
import { checkGraph } from "./graph/check-graph.js";
import { decodeGraph } from "./graph/decode.js";
import { encodeGraph } from "./graph/encode.js";
import type { Graph, Value } from "./graph/ir.js";
import type { Lora } from "./lora/apply-lora.js";
import { isLossName, LOSSES } from "./losses.js";

/** Most bytes of a graph without weights, once unpacked: a manifest comes from whoever made the run. */
const MAX_GRAPH_BYTES = 64 * 2 ** 20;

/** A model as runs keep it: plain JSON beside the weights. */
export interface OnnxManifest {
	readonly format: "onnx";
	/** One of `LOSSES`, or the output that already is a loss. */
	readonly loss: string;
	/**
	 * The graph without its trained weights (an ONNX file, raw deflate, base64); they are inputs of it, named as in the
	 * layout.
	 */
	readonly graph: string;
	/** The output that the loss is put on, or that is the loss. */
	readonly output: string;
	/** The input that takes a batch's `inputs`. */
	readonly input: string;
	/** The input that takes a batch's `labels`, for a model that computes its own loss from them. */
	readonly labels?: string;
	/** Weights that are not trained and too large for the graph; they are inputs of it too. */
	readonly frozen?: FrozenWeights;
	/** What of the content-addressed store belongs to the model: the coordinator keeps it, clients fetch it. */
	readonly assets?: readonly ModelAsset[];
	/** Low-rank adapters, where they are what is trained. */
	readonly lora?: Lora;
	/** Weights that PyTorch has the other way round, [out, in]: the exporter transposed them. */
	readonly transposed?: readonly string[];
	/** Whether training drops what the graph's Dropout nodes say; default: no. */
	readonly dropout?: boolean;
	/** What the trainer can do: "loss" where some operator has no gradient; the reason then. */
	readonly trainer: "gradient" | "loss";
	readonly reason?: string;
}

/** Weights beside the graph, float32, in the order of their layout. */
export interface FrozenWeights {
	/** Content digest of the flat vector's bytes. */
	readonly digest: string;
	readonly layout: Layout;
}

/** A blob that a model needs. */
export interface ModelAsset {
	/** Content digest, 64 hexadecimal digits. */
	readonly digest: string;
	readonly bytes: number;
}

/** A model ready to be trained. */
export interface OnnxModel {
	/** Trained and frozen weights are inputs. */
	readonly graph: Graph;
	/** Names of the trained weights in layout order. */
	readonly parameters: readonly string[];
	readonly frozen: FrozenWeights | undefined;
	readonly loss: string;
	readonly output: string;
	readonly input: string;
	readonly labels: string | undefined;
	/** Whether training drops what Dropout nodes say, unless a trainer is told otherwise. */
	readonly dropout: boolean;
}

/** Inputs of the graph that are fed from batches, and those that are weights. */
export function inputsOf({ graph, parameters, frozen }: Pick<OnnxModel, "graph" | "parameters" | "frozen">): {
	readonly data: readonly Value[];
	readonly weights: readonly Value[];
} {
	const names = new Set([...parameters, ...(frozen?.layout.tensors ?? []).map(({ name }) => name)]);
	return { data: graph.inputs.filter(({ name }) => !names.has(name)), weights: graph.inputs.filter(({ name }) => names.has(name)) };
}

/** The graph part of a manifest. */
export const packGraph = (graph: Graph): string => deflateRawSync(encodeGraph(graph)).toString("base64");

/**
 * Reads a manifest.
 * @throws INVALID_ARGUMENT for a field that is not as it must be, BAD_MODEL for the graph, SHAPE_MISMATCH where layout and
 * graph differ
 */
export function readManifest(manifest: unknown, layout: Layout): OnnxModel {
	const fields = (typeof manifest === "object" && manifest !== null ? manifest : {}) as { readonly [name: string]: unknown };
	const refuse = (name: string, wanted: string): RondoError =>
		new RondoError("INVALID_ARGUMENT", `manifest.${name} must be ${wanted}, got ${JSON.stringify(fields[name])?.slice(0, 80)}`, {
			details: { field: `manifest.${name}` },
		});
	const text = (name: string): string => {
		const value = fields[name];
		if (typeof value !== "string") throw refuse(name, "a string");
		return value;
	};
	if (fields.format !== "onnx") throw refuse("format", '"onnx"');
	const graph = checkGraph(unpackGraph(text("graph")));
	const inputs = new Map(graph.inputs.map((input) => [input.name, input]));
	const named = (name: string, among: (value: string) => boolean): string => {
		const value = text(name);
		if (!among(value)) throw refuse(name, name === "output" ? "an output of the graph" : "an input of the graph that is no weight");
		return value;
	};
	const frozen = fields.frozen === undefined ? undefined : frozenOf(fields.frozen);
	checkWeights(layout, "layout", inputs);
	if (frozen !== undefined) checkWeights(frozen.layout, "manifest.frozen.layout", inputs);
	const weights = new Set([...layout.tensors, ...(frozen?.layout.tensors ?? [])].map(({ name }) => name));
	if (weights.size < layout.tensors.length + (frozen?.layout.tensors.length ?? 0))
		throw refuse("frozen", "of weights that are not trained");
	const isData = (value: string): boolean => inputs.has(value) && !weights.has(value);
	const output = named("output", (value) => graph.outputs.some(({ name }) => name === value));
	const loss = text("loss");
	if (!isLossName(loss) && loss !== output) throw refuse("loss", `one of ${LOSSES.join(", ")}, or the output`);
	if (fields.dropout !== undefined && typeof fields.dropout !== "boolean") throw refuse("dropout", "true or false");
	return {
		graph,
		parameters: layout.tensors.map(({ name }) => name),
		frozen,
		loss,
		output,
		input: named("input", isData),
		labels: fields.labels === undefined ? undefined : named("labels", isData),
		dropout: fields.dropout === true,
	};
}

/** @throws SHAPE_MISMATCH where a weight is no such input of the graph */
function checkWeights({ tensors }: Layout, field: string, inputs: ReadonlyMap<string, Value>): void {
	for (const { name, shape } of tensors) {
		const { dims, type } = inputs.get(name) ?? {};
		if (type !== undefined && type !== "float32")
			throw new RondoError("SHAPE_MISMATCH", `weight ${JSON.stringify(name)} is of type ${type} in the graph; weights are float32`);
		if (dims === undefined || String(dims) !== String(shape)) {
			const found = dims === undefined ? "no such weight" : `it with dimensions [${dims.join(", ")}]`;
			throw new RondoError("SHAPE_MISMATCH", `weight ${JSON.stringify(name)}: the ${field} has shape [${shape}], the graph ${found}`);
		}
	}
}

/** @throws INVALID_ARGUMENT */
function frozenOf(value: unknown): FrozenWeights {
	const { digest, layout } = (typeof value === "object" && value !== null ? value : {}) as { readonly [name: string]: unknown };
	if (typeof digest !== "string" || !/^[0-9a-f]{64}$/.test(digest))
		throw new RondoError("INVALID_ARGUMENT", "manifest.frozen.digest must be a content digest of 64 hexadecimal digits", {
			details: { field: "manifest.frozen.digest" },
		});
	return { digest, layout: checkLayout(layout) };
}

function unpackGraph(packed: string): Graph {
	let bytes: Uint8Array;
	try {
		bytes = inflateRawSync(Buffer.from(packed, "base64"), { maxOutputLength: MAX_GRAPH_BYTES });
	} catch (cause) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`manifest.graph is not deflated base64 of at most ${MAX_GRAPH_BYTES} bytes: ${(cause as Error).message}`,
			{
				cause,
				details: { field: "manifest.graph" },
			},
		);
	}
	return decodeGraph(bytes);
}
