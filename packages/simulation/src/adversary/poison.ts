import type { Batch, Data, Trainer } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { AdversarySpec } from "./spec.js";

type LabelFlip = Extract<AdversarySpec, { readonly kind: "label-flip" }>;

/** Labels of positions that count nowhere stay as they are. */
const IGNORED = -100;

/** The data under the client's label flips, each applied to what the one before made. */
export function poisonedData(data: Data, specs: readonly AdversarySpec[]): Data {
	const flips = specs.filter((spec): spec is LabelFlip => spec.kind === "label-flip");
	if (flips.length === 0) return data;
	return {
		numExamples: data.numExamples,
		async *batches(size, order) {
			for await (const batch of data.batches(size, order)) yield flips.reduce(flipped, batch);
		},
	};
}

function flipped(batch: Batch, flip: LabelFlip): Batch {
	const { labels } = batch;
	if (!(labels instanceof Int32Array))
		throw new RondoError("INVALID_ARGUMENT", "label-flip needs examples with class labels, these have targets of a regression");
	const moved = (label: number): number => {
		if (label === IGNORED) return label;
		if ("shift" in flip) return (label + flip.shift) % flip.classes;
		return label === flip.from ? flip.to : label;
	};
	return { ...batch, labels: labels.map(moved) };
}

/** The trainer of a client that replays: every loss and gradient is 0, so that local training leaves the weights as they are. */
export function withoutTraining(trainer: Trainer, specs: readonly AdversarySpec[]): Trainer {
	if (!specs.some((spec) => spec.kind === "free-rider" && spec.report === "replay")) return trainer;
	return {
		loss: async () => 0,
		gradient: async (_weights, _batch, out) => {
			out.fill(0);
			return 0;
		},
		evaluate: (weights, data) => trainer.evaluate(weights, data),
	};
}
