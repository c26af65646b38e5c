import { createWriteStream } from "node:fs";
import { access, readFile, rename, rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { bytesOf, contentDigest } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { readSafetensors } from "@rondo/tensors";
import type { Api } from "../api.js";
import type { RunView } from "../api-types.js";

/** A model on disk. */
export interface SavedModel {
	readonly file: string;
	readonly bytes: number;
	readonly commit: number;
	readonly round: number;
	/** Digest of the float32 weights. */
	readonly digest: string;
}

/**
 * Saves the newest model of a run, once its weights are known to have the digest that the coordinator names.
 * @throws ALREADY_EXISTS for a file that is there, DIGEST_MISMATCH
 */
export async function downloadModel(
	api: Api,
	run: string,
	options: { readonly file?: string; readonly force?: boolean },
): Promise<SavedModel> {
	const { id, name } = await api.get<RunView>(`/runs/${encodeURIComponent(run)}`);
	const { headers, body } = await api.download(`/runs/${encodeURIComponent(id)}/model`);
	const commit = Number(headers["rondo-commit"]);
	const digest = String(headers.etag).replaceAll('"', "");
	const file = options.file ?? `${name}-${commit}.safetensors`;
	const part = `${file}.part`;
	try {
		if (options.force !== true && (await exists(file))) {
			throw new RondoError("ALREADY_EXISTS", `${file} is there already; pass --force to replace it, or another --output`, {
				details: { field: "output", value: file },
			});
		}
		await pipeline(body, createWriteStream(part));
		const content = await readFile(part);
		const found = contentDigest(bytesOf(readSafetensors(content).weights));
		if (found !== digest)
			throw new RondoError("DIGEST_MISMATCH", `the weights have the digest ${found}, the coordinator announced ${digest}`);
		await rename(part, file);
		return { file, bytes: content.length, commit, round: Number(headers["rondo-round"]), digest };
	} catch (error) {
		await rm(part, { force: true });
		if ((error as NodeJS.ErrnoException).syscall === "open") {
			throw new RondoError("INVALID_ARGUMENT", `--output ${file} cannot be written: ${(error as Error).message}`, {
				cause: error,
				details: { field: "output", value: file },
			});
		}
		throw error;
	} finally {
		body.destroy();
	}
}

const exists = (file: string): Promise<boolean> =>
	access(file).then(
		() => true,
		() => false,
	);
