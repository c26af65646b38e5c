import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";
import type { Api } from "../api.js";
import type { ModelView } from "../api-types.js";
import { readJson } from "../files.js";
import { type ModelSource, manifestBytes, refusal, type SourceChoices } from "./model-source.js";

/** Options that go with an ONNX file alone. */
const ONNX_OPTIONS = [
	"loss",
	"train",
	"freeze",
	"output",
	"input",
	"labels",
	"dropout",
	"lora",
	"loraRank",
	"loraAlpha",
	"loraFreezeA",
] as const;

/**
 * The model that an argument of `rondo model import` names.
 * @throws INVALID_ARGUMENT, BAD_SAFETENSORS, BAD_MODEL, NOT_FOUND, TOO_LARGE, TRAINER_FAILED without onnxruntime-node
 */
export async function readModel(source: string, choices: SourceChoices = {}): Promise<ModelSource> {
	const { architecture, seed = "0" } = choices;
	const extension = extname(source);
	if (architecture !== undefined && extension !== ".safetensors")
		throw refusal(source, "brings its own architecture; --architecture goes with file.safetensors");
	const onnxOption = ONNX_OPTIONS.find((option) => choices[option] !== undefined);
	if (onnxOption !== undefined && extension !== ".onnx")
		throw refusal(source, `is no ONNX file; --${dashed(onnxOption)} goes with file.onnx`);
	const model = await read(source, extension, seed, choices);
	await checkManifestSize(source, model);
	return model;
}

async function read(source: string, extension: string, seed: string, choices: SourceChoices): Promise<ModelSource> {
	// Trainers and their libraries load only where they are wanted.
	if (extension === ".onnx") return (await import("./onnx-source.js")).readOnnx(source, choices);
	if (source.startsWith("dense:")) return (await import("./dense-source.js")).denseModel(source, seed);
	if (extension === ".json") {
		const [{ loadLayersModel }, { writeSafetensors }] = await Promise.all([import("@rondo/trainer-tfjs"), import("@rondo/tensors")]);
		const { architecture, layout, weights } = await loadLayersModel(source);
		return { file: writeSafetensors(layout, weights), layout, manifest: kerasManifest(architecture) };
	}
	if (extension !== ".safetensors") throw refusal(source, "must end in .onnx, .safetensors or .json, or begin with dense:");
	const file = await readFile(source).catch((cause: NodeJS.ErrnoException) => {
		throw new RondoError("NOT_FOUND", `${source} cannot be read: ${cause.message}`, { cause, details: { field: "source", value: source } });
	});
	const { readSafetensors } = await import("@rondo/tensors");
	const { architecture } = choices;
	return {
		file,
		layout: readSafetensors(file).layout,
		manifest: architecture === undefined ? null : kerasManifest(await readTopology(architecture)),
	};
}

/** A description travels to every client in one message. @throws TOO_LARGE */
async function checkManifestSize(source: string, { manifest }: ModelSource): Promise<void> {
	const { LIMITS } = await import("@rondo/protocol");
	const bytes = manifestBytes(manifest);
	if (bytes <= LIMITS.manifestBytes) return;
	throw new RondoError(
		"TOO_LARGE",
		`source ${JSON.stringify(source)}: the graph without its trained weights takes ${bytes} bytes, clients take descriptions of at most ${LIMITS.manifestBytes}`,
		{ details: { field: "source", value: source, bytes, limit: LIMITS.manifestBytes } },
	);
}

const kerasManifest = (architecture: unknown) => ({ format: "keras-layers", architecture, loss: "softmax-cross-entropy" });

async function readTopology(file: string): Promise<unknown> {
	const topology = await readJson(file, "architecture");
	if (typeof (topology as { class_name?: unknown } | null)?.class_name !== "string") {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`--architecture ${file} must hold a Keras layers topology: an object with class_name and config`,
			{ details: { field: "architecture", value: file } },
		);
	}
	return topology;
}

/** As it is written on the command line. */
const dashed = (option: string): string => option.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Uploads weights, then names them. @throws ALREADY_EXISTS for a name that is taken, DIGEST_MISMATCH */
export async function importModel(api: Api, name: string, { file, manifest, assets = new Map() }: ModelSource): Promise<ModelView> {
	for (const [wanted, asset] of assets) {
		const { digest } = await api.put<{ readonly digest: string }>("/models/weights", asset);
		if (digest !== wanted)
			throw new RondoError(
				"DIGEST_MISMATCH",
				`the coordinator keeps weights that are not trained as ${digest}, they have the digest ${wanted}`,
			);
	}
	const { digest, layout } = await api.put<{ readonly digest: string; readonly layout: Layout }>("/models/weights", file);
	return api.post<ModelView>("/models", { name, weights: digest, layout, manifest });
}
