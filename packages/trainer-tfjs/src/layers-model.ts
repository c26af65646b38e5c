import { RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";
import type { LayersModel, layers, SymbolicTensor } from "@tensorflow/tfjs";
import { type LayersArchitecture, logitsArchitecture } from "./architecture.js";
import type { TfjsLoss } from "./objective.js";
import type { Runtime } from "./runtime.js";

type Layer = layers.Layer;

/** @throws INVALID_ARGUMENT when TensorFlow.js cannot make a model of it */
export async function buildModel(runtime: Runtime, architecture: LayersArchitecture, loss: TfjsLoss): Promise<LayersModel> {
	const { tf } = runtime;
	const topology = logitsArchitecture(architecture, loss) as Parameters<typeof tf.models.modelFromJSON>[0];
	return runtime.exclusive(async () => {
		try {
			return await tf.models.modelFromJSON(topology);
		} catch (cause) {
			const message = cause instanceof Error ? cause.message : String(cause);
			throw new RondoError("INVALID_ARGUMENT", `architecture is not a layers model: ${message}`, { cause });
		}
	});
}

/** What one row of inputs must be. */
export interface InputForm {
	/** Shape of one example. */
	readonly shape: readonly number[];
	/** Inputs are token ids below this: an embedding reads them. Undefined: features. */
	readonly tokens: number | undefined;
}

/**
 * The model's input, once the model is one that a flat vector of weights is all of.
 * @throws INVALID_ARGUMENT
 */
export function inputForm(model: LayersModel): InputForm {
	const refuse = (problem: string): RondoError => new RondoError("INVALID_ARGUMENT", `architecture ${problem}`);
	if (model.inputs.length !== 1 || model.outputs.length !== 1) {
		throw refuse(`must have one input and one output, got ${model.inputs.length} and ${model.outputs.length}`);
	}
	const shape = model.inputs[0]!.shape.slice(1);
	if (shape.some((size) => size === null)) throw refuse(`must have a fixed input shape, got [${shape.map(String).join(", ")}]`);
	// Neither would travel or be trained: the run would silently be of another model.
	const [fixed] = model.nonTrainableWeights;
	if (fixed !== undefined) throw refuse(`has the non-trainable weight ${fixed.originalName}; all weights must be trainable`);
	if (hasRegularizer(model)) throw refuse("has a weight regularizer; regularise in the strategy instead");
	const embeddings = readersOf(model.inputs[0]!).filter((layer) => layer.getClassName() === "Embedding");
	const sizes = embeddings.map((layer) => layer.weights[0]!.shape[0]!);
	return { shape: shape as number[], tokens: sizes.length === 0 ? undefined : Math.min(...sizes) };
}

/** The layers that read an input, those within nested models too. */
function readersOf(input: SymbolicTensor): Layer[] {
	return input.sourceLayer.outboundNodes.flatMap(({ outboundLayer }) => {
		return "layers" in outboundLayer ? (outboundLayer as unknown as LayersModel).inputs.flatMap(readersOf) : [outboundLayer];
	});
}

function hasRegularizer(layer: Layer): boolean {
	const inner: unknown = "layers" in layer ? layer.layers : undefined;
	return layer.losses.length > 0 || (Array.isArray(inner) && inner.some(hasRegularizer));
}

/** @throws SHAPE_MISMATCH when layout and trainable weights differ */
export function checkWeights(model: LayersModel, layout: Layout): void {
	const show = (name: string | undefined, shape: readonly (number | null)[] | undefined): string =>
		name === undefined ? "nothing" : `${name} [${(shape ?? []).join(", ")}]`;
	const wanted = model.trainableWeights;
	for (let i = 0; i < Math.max(wanted.length, layout.tensors.length); i++) {
		const weight = wanted[i];
		const tensor = layout.tensors[i];
		if (weight === undefined || tensor === undefined || String(weight.shape) !== String(tensor.shape)) {
			const model = show(weight?.originalName, weight?.shape);
			throw new RondoError("SHAPE_MISMATCH", `weight ${i}: the model has ${model}, the layout ${show(tensor?.name, tensor?.shape)}`);
		}
	}
}
