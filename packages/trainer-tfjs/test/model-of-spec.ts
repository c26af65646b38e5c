import type { Layout } from "@rondo/tensors";
import { enableProdMode, input, type LayersModel, layers, model, type SymbolicTensor, sequential } from "@tensorflow/tfjs";
import { layoutOfSpec, type ModelSpec, NORM_EPSILON, type TransformerSpec } from "../../testkit/src/model-spec.js";
import type { LayersArchitecture } from "../src/architecture.js";
import type { TfjsLoss } from "../src/objective.js";

// Keeps TensorFlow.js from advertising its native package on the console.
enableProdMode();

/** A model of the conformance suite as Keras layers. */
export function modelOfSpec(spec: ModelSpec): { architecture: LayersArchitecture; layout: Layout; loss: TfjsLoss } {
	const architecture = built(spec).toJSON(null, false) as unknown as LayersArchitecture;
	return { architecture, layout: layoutOfSpec(spec), loss: spec.loss };
}

function built(spec: ModelSpec): LayersModel {
	switch (spec.kind) {
		case "dense": {
			const end = { mse: "linear", "binary-cross-entropy": "sigmoid", "softmax-cross-entropy": "softmax" } as const;
			return sequential({
				layers: [...spec.hidden, spec.outputs].map((units, i) =>
					layers.dense({
						units,
						activation: i === spec.hidden.length ? end[spec.loss] : "relu",
						...(i === 0 ? { inputShape: [spec.inputs] } : {}),
					}),
				),
			});
		}
		case "convolutional": {
			const [first, second] = spec.filters;
			const inputShape = [spec.height, spec.width, spec.channels];
			return sequential({
				layers: [
					layers.conv2d({ inputShape, filters: first, kernelSize: 3, padding: "same", activation: "relu" }),
					layers.maxPooling2d({ poolSize: 2 }),
					layers.conv2d({ filters: second, kernelSize: 3, strides: 2 }),
					layers.flatten(),
					layers.dense({ units: spec.classes }),
				],
			});
		}
		case "transformer":
			return transformer(spec);
	}
}

function transformer({ vocabulary, positions, width, hidden }: TransformerSpec): LayersModel {
	const through = (layer: { apply(of: SymbolicTensor | SymbolicTensor[]): unknown }, ...of: SymbolicTensor[]): SymbolicTensor =>
		layer.apply(of.length === 1 ? of[0]! : of) as SymbolicTensor;
	const dense = (units: number, more = {}) => layers.dense({ units, ...more });
	const projection = (name: string) => dense(width, { name, useBias: false });

	const tokens = input({ shape: [positions], dtype: "int32" });
	const x = through(layers.embedding({ inputDim: vocabulary, outputDim: width }), tokens);
	const [q, k, v] = [projection("query"), projection("key"), projection("value")].map((layer) => through(layer, x)) as [
		SymbolicTensor,
		SymbolicTensor,
		SymbolicTensor,
	];
	const scores = through(layers.rescaling({ scale: 1 / Math.sqrt(width), offset: 0 }), through(layers.dot({ axes: 2 }), q, k));
	const attended = through(layers.dot({ axes: [2, 1] }), through(layers.activation({ activation: "softmax" }), scores), v);
	const normed = through(layers.layerNormalization({ epsilon: NORM_EPSILON }), through(layers.add(), x, attended));
	const fed = through(dense(width), through(dense(hidden, { activation: "relu" }), normed));
	return model({ inputs: tokens, outputs: through(dense(vocabulary), through(layers.add(), normed, fed)) });
}
