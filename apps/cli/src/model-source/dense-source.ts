import { randomFromSeed } from "@rondo/kernels";
import { writeSafetensors } from "@rondo/tensors";
import { mlp } from "@rondo/trainer-onnx";
import { denseClassifier } from "@rondo/trainer-tfjs";
import { type ModelSource, refusal } from "./model-source.js";

/**
 * New dense layers, like `dense:784-64-10`. Both trainers know them: the manifest is that of an ONNX model and has the Keras
 * topology beside it, whose weights lie in the same order.
 * @throws INVALID_ARGUMENT
 */
export function denseModel(source: string, seed: string): ModelSource {
	const widths = source.slice("dense:".length).split("-").map(Number);
	if (widths.length < 2 || !/^dense:[0-9]+(-[0-9]+)+$/.test(source))
		throw refusal(source, "must name the widths of the layers, like dense:784-64-10");
	const [inputs, hidden, classes] = [widths[0]!, widths.slice(1, -1), widths.at(-1)!];
	const { architecture, layout, weights } = denseClassifier({ inputs, hidden, classes, random: randomFromSeed(seed) });
	return { file: writeSafetensors(layout, weights), layout, manifest: { ...mlp({ inputs, hidden, classes }).manifest, architecture } };
}
