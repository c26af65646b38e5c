import { readFile } from "node:fs/promises";
import { isRondoError, RondoError } from "@rondo/errors";
import { type Layout, layoutOf } from "@rondo/tensors";
import { hasDropout, noDropout } from "../dropout.js";
import { checkGraph, prune } from "../graph/check-graph.js";
import { type DecodeOptions, decodeGraph } from "../graph/decode.js";
import type { Dim, Graph, Tensor, Value } from "../graph/ir.js";
import { refuseRandom } from "../graph/random-operators.js";
import { applyLora, type Lora, type LoraOptions } from "../lora/apply-lora.js";
import { isLossName, LOSSES } from "../losses.js";
import { inputsOf, type OnnxManifest, type OnnxModel, packGraph } from "../model.js";
import type { Ort } from "../session/runtime.js";
import { type SpecializedModel, specialize } from "../specialize.js";
import { gradientGraph } from "../training-graph.js";
import { externalDataBeside } from "./external-data.js";
import { freezeWeights } from "./freeze-weights.js";
import { normalize } from "./normalize.js";
import { type Selection, selectParameters } from "./parameters.js";
import { type Renaming, renameWeights } from "./rename-weights.js";
import { type Tie, tieWeights } from "./tie-weights.js";

export interface ImportOptions extends Selection {
	/** One of `LOSSES`, or the name of an output that already is a loss. */
	readonly loss: string;
	/** The output that the loss is put on; default: the first. */
	readonly output?: string;
	/** The input that takes a batch's `inputs`; default: the first that takes neither labels nor masks. */
	readonly input?: string;
	/** For a model that computes its own loss: the input that takes the labels; default: one whose name says so. */
	readonly labels?: string;
	/** Training drops what the model's Dropout nodes say, unless a trainer is told otherwise. */
	readonly dropout?: boolean;
	/** Adapters beside chosen weights are trained instead of the weights; what `train` names is trained too. */
	readonly lora?: LoraOptions;
}

/** A model read from a file. */
export interface ImportedModel {
	readonly manifest: OnnxManifest;
	/** The trained weights in canonical order: that in which the graph first reads them. */
	readonly layout: Layout;
	/** `layout.length` elements. */
	readonly weights: Float32Array;
	readonly inputs: readonly Value[];
	readonly outputs: readonly Value[];
	/** Copies of one weight that the file had and the model no longer has. */
	readonly ties: readonly Tie[];
	/** Weights that have another name than in the file. */
	readonly renamings: readonly Renaming[];
	/** Weights that stay as they are. */
	readonly frozen: readonly string[];
	/** Those of them that are not in the graph, in the order of `manifest.frozen.layout`. */
	readonly frozenWeights?: Float32Array;
}

/** @throws NOT_FOUND for a missing file, and what `importOnnx` throws */
export async function importOnnxFile(ort: Ort, file: string, options: ImportOptions): Promise<ImportedModel> {
	const bytes = await readFile(file).catch((cause: Error) => {
		throw new RondoError("NOT_FOUND", `${file} cannot be read: ${cause.message}`, { cause, details: { field: "source", value: file } });
	});
	return importOnnx(ort, bytes, options, { readExternal: externalDataBeside(file) });
}

/**
 * Reads a forward model and prepares it for training: chooses the trained weights, takes them out of the graph, and tries
 * whether their gradient can be derived. One that has none is imported all the same: its manifest says what is missing, and
 * strategies that only ask for losses work with it.
 * @throws BAD_MODEL, INVALID_ARGUMENT, TOO_LARGE; NOT_FINITE for weights that hold NaN or infinity
 */
export async function importOnnx(
	ort: Ort,
	bytes: Uint8Array,
	options: ImportOptions,
	decoding: DecodeOptions = {},
): Promise<ImportedModel> {
	const read = checkGraph(decodeGraph(bytes, decoding));
	const { output, input, labels } = rolesOf(read, options);
	const normal = checkGraph(normalize({ ...read, outputs: read.outputs.filter(({ name }) => name === output) }));
	const { graph: renamed, renamings } = renameWeights(prune(normal), (name) => read.initializers.has(name));
	const { graph: tied, ties } = tieWeights(renamed);
	const graph = prune(tied);
	refuseRandom(graph);
	const named = new Set(renamings.map(({ name }) => name));
	const isWeight = (name: string): boolean => read.initializers.has(name) || named.has(name);
	const { graph: adapted, lora, train } = withAdapters(graph, options, isWeight);
	const parameters = selectParameters(adapted, { ...options, train }, isWeight);
	for (const name of parameters) checkWeight(name, adapted.initializers.get(name)!);
	for (const value of graph.inputs) checkInput(value, input);
	if (options.dropout === true && !hasDropout(adapted)) throw noDropout();
	const roles = { loss: options.loss, output, input, labels };
	const { model: whole, layout, weights } = withWeightsAsInputs(adapted, parameters, roles);
	const part = freezeWeights(whole.graph);
	const model = part === undefined ? whole : { ...whole, graph: part.graph, frozen: part.frozen };
	const reason = await whyNotDifferentiable(ort, model);
	const transposed = renamings.filter((renaming) => renaming.transposed).map(({ name }) => name);
	const manifest: OnnxManifest = {
		format: "onnx",
		loss: options.loss,
		output,
		input,
		...(labels === undefined ? {} : { labels }),
		trainer: reason === undefined ? "gradient" : "loss",
		...(reason === undefined ? {} : { reason }),
		...(options.dropout === true ? { dropout: true } : {}),
		...(part === undefined ? {} : { frozen: part.frozen, assets: [{ digest: part.frozen.digest, bytes: part.values.byteLength }] }),
		...(lora === undefined ? {} : { lora }),
		...(transposed.length === 0 ? {} : { transposed }),
		graph: packGraph(model.graph),
	};
	const inGraph = [...model.graph.initializers].filter(([, { type, dims }]) => type === "float32" && dims.length > 0).map(([name]) => name);
	return {
		manifest,
		layout,
		weights,
		inputs: inputsOf(model).data,
		outputs: model.graph.outputs,
		ties,
		renamings,
		frozen: [...(part?.frozen.layout.tensors ?? []).map(({ name }) => name), ...inGraph],
		...(part === undefined ? {} : { frozenWeights: part.values }),
	};
}

/** The graph with adapters, if some are wanted, and patterns of what is trained then: they alone, and what `train` adds. */
function withAdapters(
	graph: Graph,
	{ lora: wanted, train, freeze }: ImportOptions,
	isWeight: (name: string) => boolean,
): { readonly graph: Graph; readonly lora: Lora | undefined; readonly train: readonly string[] } {
	if (wanted === undefined) return { graph, lora: undefined, train: train ?? [] };
	if (freeze !== undefined && freeze.length > 0)
		throw new RondoError("INVALID_ARGUMENT", "--freeze does not go with --lora: all but the adapters is frozen, unless --train names it", {
			details: { field: "freeze" },
		});
	const adapted = applyLora(graph, wanted, isWeight);
	const adapters = adapted.lora.targets.flatMap(({ a, b }) => (wanted.freezeA === true ? [b] : [a, b]));
	return { ...adapted, train: [...adapters, ...(train ?? [])] };
}

/** Which values of the graph a batch and the loss belong to. */
function rolesOf(
	{ inputs, outputs }: Graph,
	options: ImportOptions,
): { readonly output: string; readonly input: string; readonly labels: string | undefined } {
	const { loss } = options;
	const list = (values: readonly Value[]): string => values.map(({ name }) => name).join(", ");
	const among = (field: string, name: string, values: readonly Value[]): string => {
		if (values.some((value) => value.name === name)) return name;
		throw new RondoError("INVALID_ARGUMENT", `--${field} ${JSON.stringify(name)} is none of the model's values: ${list(values)}`, {
			details: { field, value: name },
		});
	};
	let output: string;
	if (isLossName(loss)) output = options.output === undefined ? outputs[0]!.name : among("output", options.output, outputs);
	else if (outputs.some(({ name }) => name === loss)) output = loss;
	else
		throw new RondoError(
			"INVALID_ARGUMENT",
			`--loss must be one of ${LOSSES.join(", ")} or an output of the model (${list(outputs)}), got ${JSON.stringify(loss)}`,
			{
				details: { field: "loss", value: loss },
			},
		);
	const labelled = isLossName(loss) ? undefined : (options.labels ?? inputs.find(({ name }) => /label|target|^y$/i.test(name))?.name);
	if (options.labels !== undefined) among("labels", options.labels, inputs);
	const free = inputs.filter(({ name }) => name !== labelled);
	const first = free.find(({ name }) => !/mask|token_type|position/i.test(name)) ?? free[0];
	if (first === undefined) throw new RondoError("INVALID_ARGUMENT", "the model has no input for data", { details: { field: "input" } });
	return { output, input: options.input === undefined ? first.name : among("input", options.input, free), labels: labelled };
}

/** Trained weights leave the file and become inputs behind those for data. */
export function withWeightsAsInputs(
	graph: Graph,
	parameters: readonly string[],
	roles: { readonly loss: string; readonly output: string; readonly input: string; readonly labels: string | undefined },
): { readonly model: OnnxModel; readonly layout: Layout; readonly weights: Float32Array } {
	const tensors = parameters.map((name) => ({ name, tensor: graph.initializers.get(name)! }));
	const layout = layoutOf(tensors.map(({ name, tensor }) => ({ name, shape: tensor.dims })));
	const weights = new Float32Array(layout.length);
	for (const [i, { from }] of layout.tensors.entries()) weights.set(tensors[i]!.tensor.data as Float32Array, from);
	const added = tensors.map(({ name, tensor }): Value => ({ name, type: "float32", dims: tensor.dims }));
	const initializers = new Map<string, Tensor>([...graph.initializers].filter(([name]) => !parameters.includes(name)));
	const model = {
		graph: { ...graph, inputs: [...graph.inputs, ...added], initializers },
		parameters,
		frozen: undefined,
		dropout: false,
		...roles,
	};
	return { model, layout, weights };
}

/** @throws NOT_FINITE, INVALID_ARGUMENT for a weight that no run takes */
function checkWeight(name: string, { data }: Tensor): void {
	const title = `weight ${JSON.stringify(name)}`;
	if (!/^[\x20-\x7e]{1,512}$/.test(name))
		throw new RondoError(
			"INVALID_ARGUMENT",
			`${title} cannot be trained under this name: names of weights are 1 to 512 printable ASCII characters; rename it in the model, or leave it out with --freeze`,
			{ details: { tensor: name } },
		);
	const at = (data as Float32Array).findIndex((value) => !Number.isFinite(value));
	if (at >= 0)
		throw new RondoError(
			"NOT_FINITE",
			`${title} holds ${data[at]} at element ${at}; training needs finite numbers: export the model again from a state before it diverged, or leave the weight out with --freeze`,
			{ details: { tensor: name, element: at } },
		);
}

/** @throws BAD_MODEL for an input that batches cannot be fitted to */
function checkInput({ name, dims }: Value, main: string): void {
	const title = `input ${JSON.stringify(name)}`;
	if (dims === undefined)
		throw new RondoError("BAD_MODEL", `${title} has no shape; export the model with one: the first dimension is the batch`, {
			details: { input: name },
		});
	if (name !== main) return;
	if (dims.length === 0)
		throw new RondoError("BAD_MODEL", `${title} has no dimensions; the first must be the batch`, { details: { input: name } });
	const open = dims.slice(1).filter((size) => typeof size !== "number");
	if (open.length > 1)
		throw new RondoError(
			"BAD_MODEL",
			`${title} has dimensions [${dims.map((size) => size ?? "?").join(", ")}]: besides the batch at most one may be open; fix the others when the model is exported (dynamic_axes or dynamic_shapes)`,
			{ details: { input: name } },
		);
}

/** Rows to try a model with. */
const TRIAL_ROWS = 2;
/** Sizes to try for other dimensions that a model leaves open, until one suits it: windows and strides need a few elements. */
const TRIAL_SIZES = [2, 16, 64, 256];

/** What stands in the way of a gradient; undefined: nothing. */
async function whyNotDifferentiable(ort: Ort, model: OnnxModel): Promise<string | undefined> {
	const fixed = await tried(ort, model);
	try {
		gradientGraph(model, fixed);
		return undefined;
	} catch (error) {
		if (isRondoError(error) && error.code === "NOT_DIFFERENTIABLE") return error.message;
		throw error;
	}
}

/** @throws what the first size threw, if the model runs on none */
async function tried(ort: Ort, { graph }: OnnxModel): Promise<SpecializedModel> {
	let first: unknown;
	const isOpen = graph.inputs.some(({ dims = [] }) => dims.slice(1).some((size) => typeof size !== "number"));
	for (const trial of isOpen ? TRIAL_SIZES : TRIAL_SIZES.slice(0, 1)) {
		const sized = (dims: readonly Dim[]): number[] =>
			dims.map((size, i) => (typeof size === "number" ? size : i === 0 ? TRIAL_ROWS : trial));
		try {
			return await specialize(ort, graph, {
				inputs: new Map(graph.inputs.map(({ name, dims = [] }) => [name, sized(dims)])),
				tryOut: true,
			});
		} catch (error) {
			first ??= error;
		}
	}
	throw first;
}
