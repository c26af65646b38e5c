import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";
import type { Command } from "commander";
import type { Api } from "../api.js";
import type { ModelView } from "../api-types.js";
import { apiOf, type Context, connected, outputOf } from "../context.js";
import { readJson } from "../files.js";
import { fields, size, table } from "../output.js";

/** A model that is ready to be sent. */
export interface ModelSource {
	/** A safetensors file. */
	readonly file: Uint8Array;
	readonly manifest: unknown;
}

/** `rondo model …` */
export function addModelCommands(program: Command, context: Context): void {
	const group = program.command("model").description("Initial models of runs.");
	connected(
		group
			.command("import")
			.description("Sends a model to the coordinator.")
			.argument("<source>", "file.safetensors, model.json of a TensorFlow.js layers model, or dense:784-64-10 for new dense layers"),
	)
		.requiredOption("--name <name>", "name that runs refer to")
		.option("--architecture <file>", "topology of the model (Keras layers JSON), for file.safetensors")
		.option("--seed <seed>", "what the kernels of dense:… are drawn from", "0")
		.action(
			async (source: string, { name, architecture, seed }: { name: string; architecture?: string; seed: string }, command: Command) => {
				const api = await apiOf(command, context);
				const model = await importModel(
					api,
					name,
					await readModel(source, { seed, ...(architecture === undefined ? {} : { architecture }) }),
				);
				outputOf(command, context).emit(model, () =>
					fields({
						id: model.id,
						name: model.name,
						parameters: model.parameters,
						bytes: size(4 * model.parameters),
						weights: model.weights,
					}),
				);
			},
		);
	connected(group.command("list").description("Models of the coordinator.")).action(async (_options: unknown, command: Command) => {
		const api = await apiOf(command, context);
		const models = await api.list<ModelView & { readonly createdAt: string }>("/models");
		outputOf(command, context).emit(models, () =>
			table(
				["NAME", "ID", "PARAMETERS", "CREATED", "WEIGHTS"],
				models.map((model) => [model.name, model.id, model.parameters, model.createdAt, model.weights]),
				{ right: [2] },
			),
		);
	});
}

/** Uploads weights, then names them. @throws ALREADY_EXISTS for a name that is taken */
export async function importModel(api: Api, name: string, { file, manifest }: ModelSource): Promise<ModelView> {
	const { digest, layout } = await api.put<{ readonly digest: string; readonly layout: Layout }>("/models/weights", file);
	return api.post<ModelView>("/models", { name, weights: digest, layout, manifest });
}

/**
 * The model that an argument of `model import` names.
 * @throws INVALID_ARGUMENT, BAD_SAFETENSORS, NOT_FOUND
 */
export async function readModel(
	source: string,
	{ architecture, seed = "0" }: { readonly architecture?: string; readonly seed?: string } = {},
): Promise<ModelSource> {
	const refuse = (problem: string): RondoError =>
		new RondoError("INVALID_ARGUMENT", `source ${JSON.stringify(source)} ${problem}`, { details: { field: "source", value: source } });
	if (architecture !== undefined && extname(source) !== ".safetensors")
		throw refuse("brings its own architecture; --architecture goes with file.safetensors");
	if (extname(source) === ".safetensors") {
		const file = await readFile(source).catch((cause: NodeJS.ErrnoException) => {
			throw new RondoError("NOT_FOUND", `${source} cannot be read: ${cause.message}`, {
				cause,
				details: { field: "source", value: source },
			});
		});
		return { file, manifest: architecture === undefined ? null : kerasManifest(await readTopology(architecture)) };
	}
	// TensorFlow.js takes a second to load: only where it is wanted.
	const { denseClassifier, loadLayersModel } = await import("@rondo/trainer-tfjs");
	const { writeSafetensors } = await import("@rondo/tensors");
	if (source.startsWith("dense:")) {
		const widths = source.slice("dense:".length).split("-").map(Number);
		if (widths.length < 2 || !/^dense:[0-9]+(-[0-9]+)+$/.test(source))
			throw refuse("must name the widths of the layers, like dense:784-64-10");
		const { randomFromSeed } = await import("@rondo/kernels");
		const model = denseClassifier({
			inputs: widths[0]!,
			hidden: widths.slice(1, -1),
			classes: widths.at(-1)!,
			random: randomFromSeed(seed),
		});
		return { file: writeSafetensors(model.layout, model.weights), manifest: kerasManifest(model.architecture) };
	}
	if (extname(source) !== ".json") throw refuse("must end in .safetensors or .json, or begin with dense:");
	const model = await loadLayersModel(source);
	return { file: writeSafetensors(model.layout, model.weights), manifest: kerasManifest(model.architecture) };
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
