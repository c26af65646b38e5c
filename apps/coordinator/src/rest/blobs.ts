import { RondoError } from "@rondo/errors";
import { Type } from "@sinclair/typebox";
import { ADMIN, type Area, PROBLEM } from "./api.js";
import { sendBlob } from "./byte-stream.js";
import { DigestParams } from "./schemas.js";

/** Raw content of the content-addressed store. */
export const blobRoutes: Area = (api, { blobs }) => {
	const content = {
		description: "The bytes.",
		content: { "application/octet-stream": { schema: Type.Unsafe<unknown>({ type: "string", format: "binary" }) } },
	};
	api.get(
		"/blobs/:digest",
		{
			...ADMIN,
			schema: {
				operationId: "readBlob",
				summary: "Bytes of a blob.",
				tags: ["blobs"],
				params: DigestParams,
				response: { 200: content, default: PROBLEM },
			},
		},
		async ({ params: { digest } }, reply) => {
			if ((await blobs.stat(digest)).size === undefined)
				throw new RondoError("NOT_FOUND", `no blob has the digest ${digest}`, { details: { field: "digest", value: digest } });
			return sendBlob(reply, { digest, path: blobs.path(digest) });
		},
	);
};
