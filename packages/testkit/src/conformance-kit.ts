import type { Batch, Trainer } from "@rondo/algorithms";
import type { Random } from "@rondo/kernels";
import { layoutOfSpec, type ModelSpec, sizesOf } from "./model-spec.js";

/** A test with one model: its trainer is disposed afterwards. */
export type EachModel = (
	name: string,
	body: (trainer: Trainer, spec: ModelSpec, random: Random) => Promise<void>,
	applies?: (spec: ModelSpec) => boolean,
) => void;

/** Labels are classes; those of −100 do not count. */
export const isClassifier = ({ loss }: ModelSpec): boolean => loss === "softmax-cross-entropy" || loss === "causal-lm";

/** Weights and a batch in which no two numbers are alike. */
export function draw(spec: ModelSpec, size: number, random: Random): { weights: Float32Array; batch: Batch } {
	const { inputs, places, outputs } = sizesOf(spec);
	const words = (name: string, length: number): Uint32Array => random.at(name).words(0, new Uint32Array(length));
	const uniform = (name: string, length: number): Float32Array =>
		Float32Array.from(words(name, length), (word) => (2 * word) / 2 ** 32 - 1);
	const integers = (name: string, length: number, below: number): Int32Array =>
		Int32Array.from(words(name, length), (word) => word % below);
	const labels: Record<ModelSpec["loss"], () => Batch["labels"]> = {
		"softmax-cross-entropy": () => integers("labels", size, outputs),
		"causal-lm": () => integers("labels", size * places, outputs).map((label, i) => (i % places === (i / places) % places ? -100 : label)),
		mse: () => uniform("labels", size * outputs),
		"binary-cross-entropy": () => uniform("labels", size * outputs).map((label) => (label + 1) / 2),
	};
	return {
		weights: uniform("weights", layoutOfSpec(spec).length),
		batch: {
			size,
			inputs: spec.kind === "transformer" ? integers("inputs", size * inputs, spec.vocabulary) : uniform("inputs", size * inputs),
			labels: labels[spec.loss](),
		},
	};
}
