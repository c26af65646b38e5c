import { RondoError } from "@rondo/errors";
import { writeSafetensors } from "@rondo/tensors";
import { type ImportOptions, importOnnxFile, LOSSES, loadOrt } from "@rondo/trainer-onnx";
import type { ModelSource } from "./model-source.js";
import type { OnnxChoices } from "./onnx-facts.js";

/**
 * Reads a forward model and takes its trained weights out of it.
 * @throws INVALID_ARGUMENT, BAD_MODEL, NOT_FOUND, TRAINER_FAILED with the command that installs onnxruntime-node
 */
export async function readOnnx(file: string, choices: OnnxChoices): Promise<ModelSource> {
	const { loss } = choices;
	if (loss === undefined)
		throw new RondoError("INVALID_ARGUMENT", `${file} needs --loss: ${LOSSES.join(", ")}, or an output of the model that is a loss`, {
			details: { field: "loss" },
		});
	const { train, freeze, output, input, labels, dropout, lora, loraRank, loraAlpha, loraFreezeA } = choices;
	if (lora === undefined && (loraRank !== undefined || loraAlpha !== undefined || loraFreezeA !== undefined))
		throw new RondoError(
			"INVALID_ARGUMENT",
			"--lora-rank, --lora-alpha and --lora-freeze-a go with --lora, which says what weights get adapters",
			{
				details: { field: "lora" },
			},
		);
	const options: ImportOptions = {
		loss,
		...(train === undefined ? {} : { train }),
		...(freeze === undefined ? {} : { freeze }),
		...(output === undefined ? {} : { output }),
		...(input === undefined ? {} : { input }),
		...(labels === undefined ? {} : { labels }),
		...(dropout === undefined ? {} : { dropout }),
		...(lora === undefined
			? {}
			: {
					lora: {
						targets: lora,
						...(loraRank === undefined ? {} : { rank: loraRank }),
						...(loraAlpha === undefined ? {} : { alpha: loraAlpha }),
						...(loraFreezeA === undefined ? {} : { freezeA: loraFreezeA }),
					},
				}),
	};
	const { manifest, layout, weights, inputs, outputs, frozen, frozenWeights, ties } = await importOnnxFile(await loadOrt(), file, options);
	const { graph: _graph, format: _format, frozen: beside, assets: _assets, transposed: _transposed, ...roles } = manifest;
	return {
		file: writeSafetensors(layout, weights),
		layout,
		manifest,
		...(beside === undefined ? {} : { assets: new Map([[beside.digest, writeSafetensors(beside.layout, frozenWeights!)]]) }),
		onnx: { ...roles, inputs, outputs, frozen, ties },
	};
}
