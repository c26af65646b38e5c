import type { Plain } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";
import type { TfjsLoss } from "./objective.js";

/**
 * Topology of a Keras layers model: what `model.toJSON(null, false)` gives in TensorFlow.js, and the `modelTopology`
 * (or its `model_config`) of a model.json file. Plain JSON, no weights.
 */
export type LayersArchitecture = { readonly class_name: string; readonly config: Plain; readonly [key: string]: Plain };

/** A model as a run needs it: what to compute, how its weights lie, and where they start. */
export interface LayersModelParts {
	readonly architecture: LayersArchitecture;
	/** The trainable weights in the model's own order. */
	readonly layout: Layout;
	/** `layout.length` elements. */
	readonly weights: Float32Array;
}

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * `value` once it looks like a topology; TensorFlow.js judges the rest of it.
 * @throws INVALID_ARGUMENT that names the field
 */
export function checkArchitecture(value: unknown): LayersArchitecture {
	if (!isObject(value))
		throw new RondoError("INVALID_ARGUMENT", `architecture must be an object, got ${Array.isArray(value) ? "an array" : typeof value}`);
	if (typeof value.class_name !== "string") {
		throw new RondoError("INVALID_ARGUMENT", `architecture.class_name must be a string, got ${typeof value.class_name}`);
	}
	if (typeof value.config !== "object" || value.config === null) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`architecture.config must be an object, got ${value.config === null ? "null" : typeof value.config}`,
		);
	}
	return value as LayersArchitecture;
}

/**
 * The same model up to what its loss starts from. Cross-entropy from logits cannot overflow or take log 0, from
 * probabilities it can: a softmax that ends a classifier, or a sigmoid before binary cross-entropy, becomes the identity.
 * Elsewhere they stay part of the model.
 */
export function logitsArchitecture(architecture: LayersArchitecture, loss: TfjsLoss): LayersArchitecture {
	const copy = structuredClone(architecture) as unknown as Json;
	if (loss === "mse") return copy as unknown as LayersArchitecture;
	const activation = loss === "binary-cross-entropy" ? "sigmoid" : "softmax";
	let last = outputLayer(copy);
	// The last layer may itself be a model.
	for (let inner = last; inner !== undefined; inner = outputLayer(inner)) last = inner;
	if (last !== undefined && isObject(last.config)) {
		if (last.class_name === "Softmax" && activation === "softmax") {
			last.class_name = "Activation";
			last.config.activation = "linear";
		} else if (last.config.activation === activation) last.config.activation = "linear";
	}
	return copy as unknown as LayersArchitecture;
}

/** The layer entry that makes the output of a Sequential or functional model; undefined for other layers. */
function outputLayer(model: Json): Json | undefined {
	const { config } = model;
	const layers: unknown = isObject(config) ? config.layers : config;
	if (!Array.isArray(layers)) return undefined;
	const entries = layers.filter(isObject);
	const outputs: unknown = isObject(config) ? config.output_layers : undefined;
	if (!Array.isArray(outputs)) return entries.at(-1);
	// [[name, node, tensor]], or [name, node, tensor] where there is one output.
	const name: unknown = outputs.flat()[0];
	return entries.find((layer) => layer.name === name);
}
