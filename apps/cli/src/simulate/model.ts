import { RondoError } from "@rondo/errors";
import { type Random, randomFromSeed } from "@rondo/kernels";
import { type Layout, readSafetensors } from "@rondo/tensors";
import type { LoadedDataset } from "./dataset.js";
import type { ModelSpec, Setting, TrainerSpec } from "./experiment.js";

/** A model that a simulation starts from. */
export interface SimulationModel {
	readonly layout: Layout;
	readonly manifest: unknown;
	readonly assets: ReadonlyMap<string, Uint8Array>;
	initial(random: Random): Float32Array;
}

/**
 * The model of a setting, made to fit its dataset.
 * @throws INVALID_ARGUMENT that says what does not fit; what `readModel` throws
 */
export async function modelOf({ model, trainer }: Pick<Setting, "model" | "trainer">, { shape }: LoadedDataset): Promise<SimulationModel> {
	const refuse = (problem: string): RondoError => new RondoError("INVALID_ARGUMENT", `model ${model.kind} ${problem}`);
	if (trainer.kind === "tfjs" && model.kind !== "mlp") throw refuse("has no Keras topology, which trainer tfjs needs; only mlp has one");
	if (model.kind === "onnx") return onnxFile(model);
	if (model.kind === "gpt2") {
		if (shape.kind !== "tokens") throw refuse("needs a dataset of tokens");
		const { gpt2 } = await import("@rondo/trainer-onnx");
		const { width, layers, heads } = model;
		return blueprint(gpt2({ vocabulary: shape.vocabulary, contextLength: shape.length, width, layers, heads }));
	}
	if (shape.kind !== "vector") throw refuse("classifies vectors, the dataset has sequences of tokens");
	const { lenet, mlp } = await import("@rondo/trainer-onnx");
	if (model.kind === "lenet") {
		const size = Math.sqrt(shape.inputs);
		if (!Number.isInteger(size) || size % 4 !== 0 || size < 16)
			throw refuse(`needs square images of at least 16 × 16 pixels, a multiple of 4 a side; the examples have ${shape.inputs} values`);
		return blueprint(lenet({ size, classes: shape.classes }));
	}
	const { hidden, bias } = model;
	const made = mlp({ inputs: shape.inputs, hidden, classes: shape.classes, bias });
	if (trainer.kind === "onnx") return blueprint(made);
	if (!bias) throw refuse("without biases needs trainer onnx");
	const { denseClassifier } = await import("@rondo/trainer-tfjs");
	const { architecture } = denseClassifier({ inputs: shape.inputs, hidden, classes: shape.classes, random: randomFromSeed("unused") });
	return blueprint({ ...made, manifest: { ...made.manifest, architecture } as typeof made.manifest });
}

interface Blueprint {
	readonly layout: Layout;
	readonly manifest: unknown;
	initialWeights(random: Random): Float32Array;
}

const blueprint = (made: Blueprint): SimulationModel => ({
	layout: made.layout,
	manifest: made.manifest,
	assets: new Map(),
	initial: (random) => made.initialWeights(random),
});

async function onnxFile({ file, loss, train, freeze }: ModelSpec & { readonly kind: "onnx" }): Promise<SimulationModel> {
	const { readModel } = await import("../model-source/read-model.js");
	const read = await readModel(file, { loss, ...(train === undefined ? {} : { train }), ...(freeze === undefined ? {} : { freeze }) });
	const { weights } = readSafetensors(read.file);
	const assets = new Map(Array.from(read.assets ?? [], ([digest, bytes]) => [digest, bytesOfWeights(bytes)]));
	return { layout: read.layout, manifest: read.manifest, assets, initial: () => weights };
}

/** The content that a manifest's digest names: the weights themselves. */
function bytesOfWeights(file: Uint8Array): Uint8Array {
	const { weights } = readSafetensors(file);
	return new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength).slice();
}

/** How the agent's trainers are asked for what an experiment names. */
export const trainerChoice = (spec: TrainerSpec) =>
	({
		trainer: spec.kind,
		device: spec.kind === "onnx" ? spec.device : "auto",
		backend: spec.kind === "tfjs" ? spec.backend : "auto",
		// Clients share the cores: one thread each, which also keeps the order of sums.
		threads: 1,
	}) as const;
