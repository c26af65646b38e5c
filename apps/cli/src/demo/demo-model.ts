import { extname } from "node:path";
import { RondoError } from "@rondo/errors";
import type { ModelSource } from "../model-source/model-source.js";
import { readModel } from "../model-source/read-model.js";
import { type DemoChoices, type DemoPlan, planOf } from "./plan.js";

const PIXELS = 784;
const DIGITS = 10;

/**
 * The choices with a trainer among them: onnx where it is installed and the model has a graph for it, else tfjs.
 * @throws TRAINER_FAILED when onnx is asked for and not installed, with the command that installs it
 */
export async function withTrainer(choices: DemoChoices): Promise<DemoChoices> {
	const { isOrtInstalled, loadOrt } = await import("@rondo/trainer-onnx");
	if (choices.trainer === "onnx") await loadOrt();
	if (choices.trainer !== undefined) return choices;
	const extension = extname(planOf(choices).model);
	const isKeras = extension === ".json" || extension === ".safetensors";
	return { ...choices, trainer: !isKeras && (extension === ".onnx" || (await isOrtInstalled())) ? "onnx" : "tfjs" };
}

/**
 * The model of a plan, once it is known to fit the digits and the trainer.
 * @throws INVALID_ARGUMENT that names what does not fit, and what `readModel` throws
 */
export async function readDemoModel({ model, seed, trainer }: DemoPlan): Promise<ModelSource> {
	const refuse = (problem: string): RondoError =>
		new RondoError("INVALID_ARGUMENT", `--model ${model} ${problem}`, { details: { field: "model", value: model } });
	const read = await readModel(model, { seed, ...(extname(model) === ".onnx" ? { loss: "softmax-cross-entropy" } : {}) });
	const { format, architecture } = (read.manifest ?? {}) as { readonly format?: unknown; readonly architecture?: unknown };
	if (trainer === "onnx" && format !== "onnx") throw refuse("has no ONNX graph; --trainer tfjs goes with it");
	if (trainer === "tfjs" && architecture === undefined) throw refuse("has no Keras topology; --trainer onnx goes with it");
	const [inputs, classes] = sizesOf(read);
	if (inputs !== undefined && inputs !== PIXELS) throw refuse(`takes ${inputs} values per example, a digit has ${PIXELS}`);
	if (classes !== undefined && classes < DIGITS) throw refuse(`knows ${classes} classes, there are ${DIGITS} digits`);
	if (typeof read.onnx?.inputs[0]?.dims?.[0] === "number")
		throw refuse(`takes batches of ${read.onnx.inputs[0].dims[0]} only; leave the first dimension open when it is exported`);
	return read;
}

/** Values per example and classes, where the model fixes them. */
function sizesOf({ onnx, layout, manifest }: ModelSource): readonly [number | undefined, number | undefined] {
	if (onnx !== undefined) {
		const dims = onnx.inputs.find(({ name }) => name === onnx.input)?.dims?.slice(1) ?? [null];
		const classes = onnx.outputs[0]?.dims?.at(-1);
		return [
			dims.every((size) => typeof size === "number") ? dims.reduce((product: number, size) => product * (size as number), 1) : undefined,
			typeof classes === "number" ? classes : undefined,
		];
	}
	// Layers of another file say it in their topology, which TensorFlow.js reads.
	if ((manifest as { readonly format?: unknown } | null)?.format !== "onnx") return [undefined, undefined];
	return [layout.tensors[0]?.shape[0], layout.tensors.at(-1)?.shape[0]];
}
