import { ERROR_CODES, type ErrorCode, isRondoError } from "@rondo/errors";
import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";

/** Longest value that an answer repeats, characters of JSON. */
const MAX_SHOWN = 200;

/** Body of an error answer (RFC 9457). */
export interface ProblemBody {
	readonly type: string;
	readonly title: string;
	readonly status: number;
	readonly detail: string;
	readonly instance: string;
	readonly code: ErrorCode;
	readonly field?: string;
	readonly value?: unknown;
}

interface Description {
	readonly code: ErrorCode;
	readonly detail: string;
	/** Where HTTP has a more exact status than the code. */
	readonly status?: number;
	readonly field?: string;
	readonly value?: unknown;
}

/** Answers a request with any error; the only place of the REST edge that does. Faults of the server are logged, with their cause. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
	const { code, detail, status: exact, field, value } = describe(error, request);
	const { title, http } = ERROR_CODES[code];
	const status = exact ?? http;
	if (status === 500) request.log.error({ err: error, code }, "request failed");
	else if (status > 500) request.log.warn({ err: error, code }, "request failed");
	else request.log.debug({ code, field }, "request refused");
	const body: ProblemBody = {
		type: `urn:rondo:error:${code}`,
		title,
		status,
		detail,
		instance: pathOf(request),
		code,
		...(field === undefined ? {} : { field }),
		...(value === undefined ? {} : { value }),
	};
	if (status === 401) void reply.header("www-authenticate", "Bearer");
	return reply.code(status).type("application/problem+json").serializer(JSON.stringify).send(body);
}

/** Path of the request, without its query. */
export const pathOf = (request: FastifyRequest): string => request.url.split("?", 1)[0]!;

function describe(error: unknown, request: FastifyRequest): Description {
	if (isRondoError(error)) {
		// What went wrong inside is for the log only.
		if (error.code === "INTERNAL") return internal(request);
		const { field, path, value } = (error.details ?? {}) as Readonly<Record<string, unknown>>;
		const name = typeof field === "string" ? field : typeof path === "string" ? path : undefined;
		return { code: error.code, detail: error.message, ...(name === undefined ? {} : { field: name, value: shown(name, value) }) };
	}
	const { validation, statusCode = 500, message = "", code = "" } = error as Partial<FastifyError>;
	if (validation !== undefined) return describeValidation(error as FastifyError, request);
	if (statusCode === 413) {
		const declared = request.headers["content-length"];
		const limit = request.routeOptions.bodyLimit;
		return {
			code: "TOO_LARGE",
			detail: `the body${declared === undefined ? "" : ` of ${declared} bytes`} is larger than the limit of ${limit} bytes`,
			field: "body",
		};
	}
	if (statusCode === 415) {
		const type = request.headers["content-type"] ?? "none";
		return {
			code: "INVALID_ARGUMENT",
			status: 415,
			detail: `content-type ${JSON.stringify(type.slice(0, MAX_SHOWN))} is not one that this route takes`,
			field: "content-type",
		};
	}
	if (statusCode >= 400 && statusCode < 500) {
		return {
			code: statusCode === 404 ? "NOT_FOUND" : "INVALID_ARGUMENT",
			status: statusCode,
			detail: message,
			...(code.startsWith("FST_ERR_CTP") ? { field: "body" } : {}),
		};
	}
	return internal(request);
}

const internal = (request: FastifyRequest): Description => ({
	code: "INTERNAL",
	detail: `the server failed; its log has the details under request ${request.id}`,
});

const PARTS = { body: "body", querystring: "query", params: "path", headers: "header" } as const;

/** Names the field and its value for the first thing that a schema objects to. */
function describeValidation({ validation, validationContext = "body" }: FastifyError, request: FastifyRequest): Description {
	const { instancePath, keyword, params, message = "is invalid" } = validation![0]!;
	const part = validationContext as keyof typeof PARTS;
	const given: unknown = request[part === "querystring" ? "query" : part];
	const extra =
		keyword === "additionalProperties" ? params.additionalProperty : keyword === "required" ? params.missingProperty : undefined;
	const steps = [...instancePath.split("/").slice(1), ...(typeof extra === "string" ? [extra] : [])].map((step) =>
		step.replaceAll("~1", "/").replaceAll("~0", "~"),
	);
	const field = steps.join(".").slice(0, MAX_SHOWN) || PARTS[part];
	const found = steps.reduce<unknown>(
		(inside, step) => (typeof inside === "object" && inside !== null ? (inside as Record<string, unknown>)[step] : undefined),
		given,
	);
	const value = shown(field, found);
	const wanted =
		keyword === "additionalProperties"
			? "is not a field of this request"
			: keyword === "required"
				? "is required"
				: keyword === "enum"
					? `must be one of ${(params.allowedValues as readonly unknown[]).join(", ")}`
					: message;
	const where = field === PARTS[part] ? `the ${field}` : `${PARTS[part]} field ${JSON.stringify(field)}`;
	return {
		code: "INVALID_ARGUMENT",
		detail: `${where}${value === undefined ? "" : ` = ${JSON.stringify(value)}`} ${wanted}`,
		field,
		value,
	};
}

/** A value as an answer may repeat it: not a secret, and short. */
function shown(field: string, value: unknown): unknown {
	if (value === undefined || value instanceof Uint8Array || /secret|token|password/i.test(field)) return undefined;
	const json = JSON.stringify(value, (_key, item: unknown) => (typeof item === "bigint" ? String(item) : item));
	if (json === undefined) return undefined;
	return json.length <= MAX_SHOWN ? (JSON.parse(json) as unknown) : `${json.slice(0, MAX_SHOWN)}…`;
}
