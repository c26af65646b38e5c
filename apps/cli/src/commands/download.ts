import { access, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bytesOf, contentDigest } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { readSafetensors, writeSafetensors } from "@rondo/tensors";
import type { NamedWeights, OnnxManifest } from "@rondo/trainer-onnx";
import type { Api } from "../api.js";
import type { ModelView, RunView } from "../api-types.js";

/** A model on disk. */
export interface SavedModel {
	/** The file, or the folder of a PEFT adapter. */
	readonly file: string;
	readonly bytes: number;
	readonly commit: number;
	readonly round: number;
	/** Digest of the run's float32 weights. */
	readonly digest: string;
}

export interface DownloadOptions {
	/** Default: RUN-COMMIT.safetensors, of a client RUN-COMMIT-CLIENT.safetensors. */
	readonly output?: string;
	/** Id of the client whose own model it is; default: the global one. */
	readonly client?: string;
	/** All weights of a model with adapters, merged. */
	readonly mergeLora?: boolean;
	/** Folder for the adapters alone. */
	readonly peft?: string;
	/** Replaces files. */
	readonly force?: boolean;
}

/** What PyTorch's libraries want to see in a safetensors file. */
const PYTORCH = { format: "pt" };

/**
 * Saves the newest model of a run, or that of one of its clients, once its weights are known to have the digest that the coordinator names.
 * @throws ALREADY_EXISTS for a file that is there, DIGEST_MISMATCH, INVALID_ARGUMENT for adapters of a model that has none
 */
export async function downloadModel(
	api: Api,
	run: string,
	{ output, client, mergeLora = false, peft, force = false }: DownloadOptions,
): Promise<SavedModel> {
	const { id, name, model } = await api.get<RunView>(`/runs/${encodeURIComponent(run)}`);
	const of = client === undefined ? "" : `/clients/${encodeURIComponent(client)}`;
	const { headers, body } = await api.download(`/runs/${encodeURIComponent(id)}${of}/model`);
	const commit = Number(headers["rondo-commit"]);
	const file = peft ?? output ?? `${[name, commit, ...(client === undefined ? [] : [client])].join("-")}.safetensors`;
	try {
		const field = peft === undefined ? "output" : "peft";
		const targets = peft === undefined ? [file] : [join(file, "adapter_model.safetensors"), join(file, "adapter_config.json")];
		if (!force) await requireAbsent(field, targets);
		const content = await collect(body);
		const trained = readSafetensors(content);
		const digest = String(headers.etag).replaceAll('"', "");
		const found = contentDigest(bytesOf(trained.weights));
		if (found !== digest)
			throw new RondoError("DIGEST_MISMATCH", `the weights have the digest ${found}, the coordinator announced ${digest}`);
		const adapted = { ...trained, model: async () => api.get<ModelView>(`/models/${encodeURIComponent(model)}`) };
		const contents = peft !== undefined ? await peftFiles(api, adapted) : [mergeLora ? await mergedFile(api, adapted) : content];
		if (peft !== undefined) await mkdir(peft, { recursive: true }).catch((cause: NodeJS.ErrnoException) => unwritable(field, file, cause));
		for (const [i, bytes] of contents.entries()) await writeWhole(field, targets[i]!, bytes);
		const bytes = contents.reduce((sum, part) => sum + part.length, 0);
		return { file, bytes, commit, round: Number(headers["rondo-round"]), digest };
	} finally {
		body.destroy();
	}
}

/** Trained weights, and the model that they are of. */
interface Trained extends NamedWeights {
	model(): Promise<ModelView>;
}

async function peftFiles(api: Api, { weights, model }: Trained): Promise<readonly Uint8Array[]> {
	const { peftAdapter } = await import("@rondo/trainer-onnx");
	const { manifest, layout } = await model();
	const { lora, frozen } = (manifest ?? {}) as Partial<OnnxManifest>;
	// With --lora-freeze-a the adapters' first matrices are not among the trained weights; large ones are in the store.
	const isApart = lora?.targets.some(({ a }) => frozen?.layout.tensors.some(({ name }) => name === a)) === true;
	const { config, ...adapter } = peftAdapter({ manifest, layout, weights }, isApart ? await blob(api, frozen!.digest) : undefined);
	return [
		writeSafetensors(adapter.layout, adapter.weights, PYTORCH),
		new TextEncoder().encode(`${JSON.stringify(config, undefined, 2)}\n`),
	];
}

async function mergedFile(api: Api, { weights, model }: Trained): Promise<Uint8Array> {
	const { mergeLora } = await import("@rondo/trainer-onnx");
	const { manifest, layout } = await model();
	const { frozen } = (manifest ?? {}) as Partial<OnnxManifest>;
	const merged = mergeLora({ manifest, layout, weights }, frozen === undefined ? undefined : await blob(api, frozen.digest));
	return writeSafetensors(merged.layout, merged.weights, PYTORCH);
}

/** @throws DIGEST_MISMATCH */
async function blob(api: Api, digest: string): Promise<Uint8Array> {
	const bytes = await api.bytes(`/blobs/${encodeURIComponent(digest)}`);
	const found = contentDigest(bytes);
	if (found !== digest) throw new RondoError("DIGEST_MISMATCH", `blob ${digest} arrived with the digest ${found}`);
	return bytes;
}

async function collect(body: AsyncIterable<Buffer>): Promise<Uint8Array> {
	const parts: Buffer[] = [];
	for await (const part of body) parts.push(part);
	return Buffer.concat(parts);
}

/** @throws ALREADY_EXISTS */
async function requireAbsent(field: string, files: readonly string[]): Promise<void> {
	for (const file of files) {
		if (await exists(file))
			throw new RondoError("ALREADY_EXISTS", `${file} is there already; pass --force to replace it, or another --${field}`, {
				details: { field, value: file },
			});
	}
}

/** The file is there as a whole, or not at all. */
async function writeWhole(field: string, file: string, content: Uint8Array): Promise<void> {
	const part = `${file}.part`;
	try {
		await writeFile(part, content);
		await rename(part, file);
	} catch (cause) {
		await rm(part, { force: true });
		unwritable(field, file, cause as NodeJS.ErrnoException);
	}
}

/** What cannot be made there is the caller's to change; a full disk is not. */
function unwritable(field: string, file: string, cause: NodeJS.ErrnoException): never {
	if (cause.syscall !== "open" && cause.syscall !== "mkdir") throw cause;
	throw new RondoError("INVALID_ARGUMENT", `--${field} ${file} cannot be written: ${cause.message}`, {
		cause,
		details: { field, value: file },
	});
}

const exists = (file: string): Promise<boolean> =>
	access(file).then(
		() => true,
		() => false,
	);
