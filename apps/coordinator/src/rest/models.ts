import { randomUUID } from "node:crypto";
import { arrayFrom, bytesPerElement, CHUNK_BYTES } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { LIMITS } from "@rondo/protocol";
import { checkLayout, type Layout } from "@rondo/tensors";
import { Type } from "@sinclair/typebox";
import type { FastifyRequest } from "fastify";
import { assetsOf } from "../blobs/assets.js";
import { checkFinite } from "../engine/import-weights.js";
import type { Services } from "../services.js";
import { ADMIN, type Area, PROBLEM, READ } from "./api.js";
import { IdParams, Model, ModelSummary, NewModel, PageQuery, pageOf, ref, Weights } from "./schemas.js";
import { layoutView, modelSummary, modelView, pageView } from "./views.js";

/** Largest safetensors file; it is converted in memory. */
const MAX_WEIGHTS_FILE_BYTES = 256 * 1024 * 1024;
/** Largest description of a model: a layout names every tensor, a manifest may hold an architecture. */
const MAX_MODEL_JSON_BYTES = 4 * 1024 * 1024;

/** Models: weights are uploaded first, then named together with their architecture. */
export const modelRoutes: Area = (api, services, { maxBlobBytes }) => {
	const { store } = services;
	const tags = ["models"];
	api.addContentTypeParser("application/octet-stream", (request: FastifyRequest, body: AsyncIterable<Buffer>) =>
		collect(body, request.routeOptions.bodyLimit, Number(request.headers["content-length"] ?? Number.NaN)),
	);

	api.put(
		"/models/weights",
		{
			...ADMIN,
			bodyLimit: Math.min(MAX_WEIGHTS_FILE_BYTES, maxBlobBytes),
			schema: {
				operationId: "uploadWeights",
				summary: "Takes the weights of a model as a safetensors file (application/octet-stream) and keeps them as float32.",
				tags,
				body: { content: { "application/octet-stream": { schema: Type.Unknown() } } },
				response: { 200: ref(Weights), default: PROBLEM },
			},
		},
		async ({ body, actor }) => {
			if (!(body instanceof ArrayBuffer))
				throw new RondoError("INVALID_ARGUMENT", "the body must be a safetensors file sent as application/octet-stream", {
					details: { field: "body" },
				});
			const { digest, layout } = await services.importWeights(body);
			await store.appendAudit({ actor, action: "weights.upload", subject: digest, details: { parameters: layout.length } });
			return { digest, parameters: layout.length, layout: layoutView(layout) };
		},
	);
	api.post(
		"/models",
		{
			...ADMIN,
			bodyLimit: MAX_MODEL_JSON_BYTES,
			schema: {
				operationId: "createModel",
				summary: "Names uploaded weights and describes their architecture.",
				tags,
				body: NewModel,
				response: { 201: ref(Model), default: PROBLEM },
			},
		},
		async ({ body: { name, weights, manifest, layout: given }, actor }, reply) => {
			const layout = checkLayout(given);
			checkDescription(layout, manifest);
			await checkWeights(services, weights, layout);
			await checkAssets(services, manifest);
			const id = randomUUID();
			const row = await store.createModel(
				{ id, name, weights, parameters: layout.length, layout, manifest },
				{ actor, action: "model.create", subject: id, details: { name, weights, parameters: layout.length } },
			);
			return reply.code(201).header("location", `/api/v1/models/${id}`).send(modelView(row));
		},
	);
	api.get(
		"/models",
		{
			...READ,
			schema: {
				operationId: "listModels",
				summary: "Models, without layout and manifest.",
				tags,
				querystring: PageQuery,
				response: { 200: pageOf(ref(ModelSummary)), default: PROBLEM },
			},
		},
		async ({ query }) => pageView(await store.listModels(query), modelSummary),
	);
	api.get(
		"/models/:id",
		{
			...READ,
			schema: { operationId: "getModel", summary: "One model.", tags, params: IdParams, response: { 200: ref(Model), default: PROBLEM } },
		},
		async ({ params: { id } }) => {
			const row = await store.getModel(id);
			if (row === null)
				throw new RondoError("NOT_FOUND", `no model has the id or name ${JSON.stringify(id)}`, { details: { field: "id", value: id } });
			return modelView(row);
		},
	);
};

/** A database cannot keep NUL characters in JSON, and clients take descriptions up to the protocol's limits. */
function checkDescription(layout: Layout, manifest: unknown): void {
	const json = JSON.stringify(manifest);
	for (const [field, text, limit] of [
		["layout", JSON.stringify(layout), LIMITS.layoutBytes],
		["manifest", json, LIMITS.manifestBytes],
	] as const) {
		const bytes = Buffer.byteLength(text);
		if (bytes > limit)
			throw new RondoError("TOO_LARGE", `${field} has ${bytes} bytes as JSON, clients take at most ${limit}`, {
				details: { field, bytes, limit },
			});
	}
	if (/(^|[^\\])(\\\\)*\\u0000/.test(json)) {
		throw new RondoError("INVALID_ARGUMENT", "manifest holds text with a NUL character", { details: { field: "manifest" } });
	}
}

/** Any blob can be named as weights, so its content is checked here too, piece by piece. */
async function checkWeights({ blobs }: Services, digest: string, layout: Layout): Promise<void> {
	const { size } = await blobs.stat(digest);
	if (size === undefined)
		throw new RondoError("NOT_FOUND", `no blob has the digest ${digest}; upload the weights first`, {
			details: { field: "weights", value: digest },
		});
	const perElement = bytesPerElement("f32");
	if (size !== layout.length * perElement) {
		throw new RondoError(
			"SHAPE_MISMATCH",
			`weights ${digest} has ${size} bytes, the layout of ${layout.length} float32 parameters needs ${layout.length * perElement}`,
			{
				details: { field: "weights", value: digest },
			},
		);
	}
	for (let from = 0; from < size; from += CHUNK_BYTES) {
		const piece = await blobs.read(digest, from, Math.min(from + CHUNK_BYTES, size));
		checkFinite(layout, arrayFrom("f32", piece), from / perElement);
	}
}

/**
 * What a manifest lists under `assets` stays in the store as long as the model does, so it must be there.
 * @throws INVALID_ARGUMENT, NOT_FOUND
 */
async function checkAssets({ blobs }: Services, manifest: unknown): Promise<void> {
	for (const [i, { digest, bytes }] of assetsOf(manifest).entries()) {
		const field = `manifest.assets[${i}]`;
		const { size } = await blobs.stat(digest);
		if (size === undefined)
			throw new RondoError("NOT_FOUND", `${field}: no blob has the digest ${digest}; upload it first`, {
				details: { field, value: digest },
			});
		if (size !== bytes)
			throw new RondoError("INVALID_ARGUMENT", `${field}.bytes is ${bytes}, the blob ${digest} has ${size}`, {
				details: { field: `${field}.bytes`, value: bytes },
			});
	}
}

/**
 * The whole body in a buffer of its own, grown by doubling where its length is not announced.
 * @throws TOO_LARGE
 */
async function collect(body: AsyncIterable<Buffer>, limit: number, announced: number): Promise<ArrayBuffer> {
	const refuse = (size: number): never => {
		throw new RondoError("TOO_LARGE", `the body of ${size} bytes is larger than the limit of ${limit} bytes`, {
			details: { field: "body", limit },
		});
	};
	if (announced > limit) refuse(announced);
	let bytes = new Uint8Array(Number.isSafeInteger(announced) ? announced : CHUNK_BYTES);
	let size = 0;
	for await (const piece of body) {
		if (size + piece.length > limit) refuse(size + piece.length);
		if (size + piece.length > bytes.length) {
			const grown = new Uint8Array(Math.min(limit, Math.max(2 * bytes.length, size + piece.length)));
			grown.set(bytes.subarray(0, size));
			bytes = grown;
		}
		bytes.set(piece, size);
		size += piece.length;
	}
	return size === bytes.length ? bytes.buffer : bytes.buffer.slice(0, size);
}
