import { RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";
import { encodeGraph } from "../graph/encode.js";
import type { Tensor } from "../graph/ir.js";
import { readManifest } from "../model.js";

/**
 * A model with its weights as one ONNX file: to run a trained model elsewhere, or to bring one that was made here. Names are
 * those of the layout.
 * @param weights `layout.length` elements; copied
 * @throws SHAPE_MISMATCH for weights of another length, and what a manifest that is not as it must be throws
 */
export function exportOnnx(manifest: unknown, layout: Layout, weights: Float32Array): Uint8Array<ArrayBuffer> {
	if (weights.length !== layout.length)
		throw new RondoError("SHAPE_MISMATCH", `weights has ${weights.length} elements, the layout ${layout.length}`);
	const { graph, parameters } = readManifest(manifest, layout);
	const trained = new Set(parameters);
	const initializers = new Map<string, Tensor>(graph.initializers);
	for (const { name, shape, from, to } of layout.tensors)
		initializers.set(name, { type: "float32", dims: shape, data: weights.slice(from, to) });
	return encodeGraph({ ...graph, inputs: graph.inputs.filter(({ name }) => !trained.has(name)), initializers });
}
