import { readFile } from "node:fs/promises";
import { dirname, isAbsolute, join, normalize } from "node:path";
import { RondoError } from "@rondo/errors";
import { layoutOf } from "@rondo/tensors";
import { checkArchitecture, type LayersModelParts } from "./architecture.js";
import { openRuntime } from "./runtime.js";

interface WeightSpec {
	readonly name: string;
	readonly shape: number[];
	readonly dtype: "float32";
}

/**
 * Reads a TensorFlow.js layers model: model.json and the float32 weight files beside it, as `model.save`, Keras's
 * `tfjs.converters` and `tensorflowjs_converter` write them.
 * @throws NOT_FOUND for a missing file; INVALID_ARGUMENT that names file and field for one that is not as it must be
 */
export async function loadLayersModel(modelJsonPath: string): Promise<LayersModelParts> {
	const refuse = (field: string, problem: string): RondoError =>
		new RondoError("INVALID_ARGUMENT", `${modelJsonPath}: ${field} ${problem}`, { details: { file: modelJsonPath, field } });
	const file = parseJson(await read(modelJsonPath), modelJsonPath);
	const topology =
		isObject(file.modelTopology) && "model_config" in file.modelTopology ? file.modelTopology.model_config : file.modelTopology;
	const architecture = checkArchitecture(topology);

	const specs: WeightSpec[] = [];
	const shards: Uint8Array[] = [];
	if (!Array.isArray(file.weightsManifest)) throw refuse("weightsManifest", "must be an array");
	for (const [i, group] of file.weightsManifest.entries()) {
		const field = `weightsManifest[${i}]`;
		if (!isObject(group) || !Array.isArray(group.paths) || !Array.isArray(group.weights))
			throw refuse(field, "must have arrays paths and weights");
		for (const [j, weight] of group.weights.entries()) specs.push(weightSpec(weight, `${field}.weights[${j}]`, refuse));
		for (const path of group.paths as unknown[]) {
			// A downloaded model must not make the reader open other files of the machine.
			if (typeof path !== "string" || isAbsolute(path) || normalize(path).startsWith("..")) {
				throw refuse(`${field}.paths`, `must lie beside model.json, got ${JSON.stringify(path)}`);
			}
			shards.push(await read(join(dirname(modelJsonPath), path)));
		}
	}
	const wantedBytes = 4 * layoutOf(specs).length;
	const weightData = new Uint8Array(Buffer.concat(shards));
	if (weightData.length !== wantedBytes)
		throw refuse("weightsManifest", `declares ${wantedBytes} bytes of weights, its files have ${weightData.length}`);

	// TensorFlow.js knows which name belongs to which weight, also for the names that Keras writes.
	const { tf, exclusive } = await openRuntime("cpu");
	return exclusive(async () => {
		try {
			const handler = tf.io.fromMemory({ modelTopology: architecture, weightSpecs: specs, weightData: weightData.buffer });
			const model = await tf.loadLayersModel(handler);
			const layout = layoutOf(model.trainableWeights.map(({ originalName, shape }) => ({ name: originalName, shape: shape as number[] })));
			const weights = new Float32Array(layout.length);
			for (const [i, { from }] of layout.tensors.entries()) weights.set(model.trainableWeights[i]!.read().dataSync() as Float32Array, from);
			model.dispose();
			return { architecture, layout, weights };
		} catch (cause) {
			throw new RondoError("INVALID_ARGUMENT", `${modelJsonPath}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
		}
	});
}

function weightSpec(value: unknown, field: string, refuse: (field: string, problem: string) => RondoError): WeightSpec {
	if (!isObject(value) || typeof value.name !== "string") throw refuse(`${field}.name`, "must be a string");
	if (value.dtype !== "float32" || value.quantization !== undefined) {
		const found = value.quantization === undefined ? JSON.stringify(value.dtype) : "quantized weights";
		throw refuse(field, `(${value.name}) must be plain float32, got ${found}`);
	}
	return { name: value.name, shape: value.shape as number[], dtype: "float32" };
}

function parseJson(bytes: Uint8Array, path: string): Record<string, unknown> {
	try {
		const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
		if (isObject(value)) return value;
	} catch (cause) {
		throw new RondoError("INVALID_ARGUMENT", `${path}: is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
	}
	throw new RondoError("INVALID_ARGUMENT", `${path}: must hold a JSON object`);
}

async function read(path: string): Promise<Uint8Array> {
	try {
		return await readFile(path);
	} catch (cause) {
		throw new RondoError("NOT_FOUND", `cannot read ${path}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
	}
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);
