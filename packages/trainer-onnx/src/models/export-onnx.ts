import { RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";
import { encodeGraph } from "../graph/encode.js";
import type { Node, Tensor } from "../graph/ir.js";
import { inputsOf, readManifest } from "../model.js";
import { frozenNumbers } from "../session/frozen.js";

/**
 * A model with its weights as one ONNX file: to run a trained model elsewhere, or to bring one that was made here. Names are
 * those of the layout; what is no weight is written as Constant nodes, so that nobody takes it for one.
 * @param weights `layout.length` elements; copied
 * @param frozen the model's frozen weights, where its manifest names some
 * @throws SHAPE_MISMATCH for weights of another length, and what a manifest that is not as it must be throws
 */
export function exportOnnx(
	manifest: unknown,
	layout: Layout,
	weights: Float32Array,
	frozen?: Float32Array | Uint8Array,
): Uint8Array<ArrayBuffer> {
	if (weights.length !== layout.length)
		throw new RondoError("SHAPE_MISMATCH", `weights has ${weights.length} elements, the layout ${layout.length}`);
	const model = readManifest(manifest, layout);
	const { graph } = model;
	const initializers = new Map<string, Tensor>();
	const constants = [...graph.initializers].map(
		([name, tensor]): Node => ({ op: "Constant", domain: "", name: "", inputs: [], outputs: [name], attributes: { value: { tensor } } }),
	);
	const add = ({ tensors }: Layout, values: Float32Array): void => {
		for (const { name, shape, from, to } of tensors) initializers.set(name, { type: "float32", dims: shape, data: values.slice(from, to) });
	};
	add(layout, weights);
	if (model.frozen !== undefined) add(model.frozen.layout, frozenNumbers(model.frozen, frozen));
	return encodeGraph({ ...graph, inputs: inputsOf(model).data, initializers, nodes: [...constants, ...graph.nodes] });
}
