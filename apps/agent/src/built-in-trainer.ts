import type { Trainer } from "@rondo/algorithms";
import type { WorkloadModel } from "@rondo/client";
import { RondoError } from "@rondo/errors";
import { randomFromSeed } from "@rondo/kernels";
import { createOnnxTrainer, isOrtInstalled } from "@rondo/trainer-onnx";
import type { LayersArchitecture, TfjsLoss } from "@rondo/trainer-tfjs";
import type { TrainerChoice } from "./trainer-choice.js";

/**
 * The trainer of a run, by what the manifest of its model has: `format: "onnx"` with a graph, a Keras `architecture`, or both. Agents
 * of one seed drop other elements by their index, and the same again after a restart.
 * @throws INVALID_ARGUMENT for a manifest that the wanted trainer cannot use
 * @throws TRAINER_FAILED when no device or backend is there, with the command that installs what is missing
 */
export async function createBuiltInTrainer(
	{ layout, manifest, asset }: WorkloadModel,
	choice: TrainerChoice & { readonly seed: string; readonly index: number },
): Promise<Trainer> {
	const { format, architecture, loss, dropout } = (typeof manifest === "object" && manifest !== null ? manifest : {}) as {
		readonly format?: unknown;
		readonly architecture?: unknown;
		readonly loss?: unknown;
		readonly dropout?: unknown;
	};
	const has = { onnx: format === "onnx", tfjs: architecture !== undefined && architecture !== null };
	const refuse = (wanted: string): RondoError =>
		new RondoError("INVALID_ARGUMENT", `the model's manifest must have ${wanted}, got format ${JSON.stringify(format)}`, {
			details: { field: "manifest.format", value: format },
		});
	const { device, backend, threads } = choice;
	const trainer = choice.trainer === "auto" ? await bestOf(has) : choice.trainer;
	switch (trainer) {
		case undefined:
			throw refuse('format "onnx" or a Keras architecture; other models need a --workload module');
		case "onnx": {
			if (!has.onnx) throw refuse('format "onnx" for --trainer onnx');
			return createOnnxTrainer({
				manifest,
				layout,
				frozen: asset,
				device,
				...(threads === 0 ? {} : { threads }),
				...(dropout === true ? { dropout: { random: randomFromSeed(`rondo-dropout/1/${choice.seed}`).at(choice.index) } } : {}),
			});
		}
		case "tfjs": {
			if (!has.tfjs) throw refuse("a Keras architecture for --trainer tfjs");
			// TensorFlow.js takes a second to load.
			const { createTfjsTrainer } = await import("@rondo/trainer-tfjs");
			return createTfjsTrainer({
				architecture: architecture as LayersArchitecture,
				layout,
				backend,
				...(loss === undefined ? {} : { loss: loss as TfjsLoss }),
			});
		}
	}
}

async function bestOf(has: { readonly onnx: boolean; readonly tfjs: boolean }): Promise<"onnx" | "tfjs" | undefined> {
	if (!has.tfjs) return has.onnx ? "onnx" : undefined;
	return has.onnx && (await isOrtInstalled()) ? "onnx" : "tfjs";
}
