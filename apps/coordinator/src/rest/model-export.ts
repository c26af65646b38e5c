import type { ClientId } from "@rondo/algorithms";
import { safetensorsHeader } from "@rondo/tensors";
import { Type } from "@sinclair/typebox";
import type { FastifyReply } from "fastify";
import type { ModelExport } from "../services.js";
import type { RunRow } from "../store/store.js";
import { sendBlob } from "./byte-stream.js";

/** The answer with a model in a route's list of responses. */
export const SAFETENSORS = {
	description: "A safetensors file.",
	content: { "application/octet-stream": { schema: Type.Unsafe<unknown>({ type: "string", format: "binary" }) } },
};

/** Answers with weights of a run as a safetensors file. @throws BLOB_MISSING */
export function sendModel(
	reply: FastifyReply,
	run: RunRow,
	{ layout, commit, round, digest, path, bytes }: ModelExport,
	client?: ClientId,
): Promise<FastifyReply> {
	const name = [run.name, commit, ...(client === undefined ? [] : [client])].join("-").replace(/[^A-Za-z0-9._-]/g, "_");
	void reply
		.header("rondo-commit", commit)
		.header("rondo-round", round)
		.header("content-disposition", `attachment; filename="${name}.safetensors"`);
	const about = { run: run.id, commit: String(commit), round: String(round), ...(client === undefined ? {} : { client }) };
	return sendBlob(reply, { digest, path, bytes }, safetensorsHeader(layout, about));
}
