import { type FileHandle, open } from "node:fs/promises";
import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";
import { RondoError } from "@rondo/errors";
import type { FastifyReply } from "fastify";

/**
 * Answers with `head`, if there is one, and the bytes of a blob's file; never holds more than a few pieces of it. The digest
 * is the entity tag: a caller that has the content already gets 304.
 * @throws BLOB_MISSING when the file is not there or not of `bytes` bytes
 */
export async function sendBlob(
	reply: FastifyReply,
	blob: { readonly digest: string; readonly path: string; readonly bytes?: number },
	head?: Uint8Array,
): Promise<FastifyReply> {
	const tag = `"${blob.digest}"`;
	void reply.header("etag", tag);
	if (reply.request.headers["if-none-match"] === tag) return reply.code(304).send();
	const file = await openBlob(blob);
	const { size } = await file.stat();
	if (blob.bytes !== undefined && size !== blob.bytes) {
		await file.close();
		throw new RondoError("BLOB_MISSING", `blob ${blob.digest} has ${size} bytes in the store, not ${blob.bytes}`);
	}
	const out = new PassThrough();
	if (head !== undefined) out.write(head);
	// A caller that hangs up is no fault of the server.
	pipeline(file.createReadStream(), out).catch((error: unknown) =>
		reply.log.debug({ err: error, blob: blob.digest }, "download ended early"),
	);
	return reply
		.type("application/octet-stream")
		.header("content-length", size + (head?.length ?? 0))
		.send(out);
}

async function openBlob({ digest, path }: { readonly digest: string; readonly path: string }): Promise<FileHandle> {
	try {
		return await open(path, "r");
	} catch (cause) {
		throw new RondoError("BLOB_MISSING", `blob ${digest} is not in the store`, { cause });
	}
}
