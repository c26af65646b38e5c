import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { ERROR_CODES, type ErrorCode, isRondoError, RondoError } from "@rondo/errors";

/** Trailing metadata with Rondo's error code. */
export const ERROR_CODE_KEY = "rondo-error-code";
/** Trailing metadata with the error's details: a JSON object in ASCII. */
export const ERROR_DETAILS_KEY = "rondo-error-details";

// Trailers travel in one HTTP/2 header block, of which common peers accept 16 KiB.
const MAX_DETAILS_CHARS = 4096;
const MAX_MESSAGE_CHARS = 1024;

/**
 * What a status means that carries no Rondo code: the transport or a proxy made it. CANCELLED is not among them: whoever
 * cancelled a call knows, and for anybody else it is a connection that broke.
 */
const BY_STATUS: { readonly [grpcStatus: number]: ErrorCode } = {
	[status.INVALID_ARGUMENT]: "INVALID_ARGUMENT",
	[status.DEADLINE_EXCEEDED]: "DEADLINE",
	[status.NOT_FOUND]: "NOT_FOUND",
	[status.ALREADY_EXISTS]: "ALREADY_EXISTS",
	[status.PERMISSION_DENIED]: "FORBIDDEN",
	[status.RESOURCE_EXHAUSTED]: "TOO_LARGE",
	[status.FAILED_PRECONDITION]: "CONFLICT",
	[status.ABORTED]: "CONFLICT",
	[status.OUT_OF_RANGE]: "INVALID_ARGUMENT",
	[status.DATA_LOSS]: "DIGEST_MISMATCH",
	[status.UNAUTHENTICATED]: "UNAUTHENTICATED",
};

/**
 * The gRPC status of an error. A RondoError keeps code, message and details; any other error is told as INTERNAL
 * without its message, which belongs into the log and not to the peer.
 */
export function toServiceError(error: unknown): ServiceError {
	const { code, message, details } = isRondoError(error) ? error : new RondoError("INTERNAL", "internal error; the log has the details");
	const metadata = new Metadata();
	metadata.set(ERROR_CODE_KEY, code);
	metadata.set(ERROR_DETAILS_KEY, encodeDetails(details));
	const text = message.slice(0, MAX_MESSAGE_CHARS);
	return Object.assign(new Error(text), { code: ERROR_CODES[code].grpc as status, details: text, metadata });
}

/**
 * The RondoError that a peer sent, or what a status of the transport means: UNAVAILABLE unless it says more. Total:
 * metadata is only believed where it is well-formed.
 */
export function fromServiceError(error: unknown): RondoError {
	if (isRondoError(error)) return error;
	if (!isStatus(error)) {
		return new RondoError("INTERNAL", error instanceof Error ? error.message : String(error), { cause: error });
	}
	const code = error.metadata.get(ERROR_CODE_KEY)[0];
	if (typeof code === "string" && Object.hasOwn(ERROR_CODES, code)) {
		return new RondoError(code as ErrorCode, error.details, {
			details: decodeDetails(error.metadata.get(ERROR_DETAILS_KEY)[0]),
			cause: error,
		});
	}
	const known = BY_STATUS[error.code] ?? "UNAVAILABLE";
	return new RondoError(known, `${status[error.code] ?? error.code}: ${error.details}`, {
		details: { grpcStatus: error.code },
		cause: error,
	});
}

function isStatus(error: unknown): error is ServiceError {
	return (
		error instanceof Error && "code" in error && typeof error.code === "number" && "metadata" in error && error.metadata instanceof Metadata
	);
}

function encodeDetails(details: Readonly<Record<string, unknown>>): string {
	// Details are whatever the thrower put there: what JSON cannot say (a bigint, a cycle) must not hide the error.
	try {
		const json = JSON.stringify(details, (_key, value: unknown) => (typeof value === "bigint" ? value.toString() : value)).replace(
			/[^\x20-\x7e]/g,
			(char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
		);
		return json.length <= MAX_DETAILS_CHARS ? json : '{"omitted":"too large"}';
	} catch (cause) {
		return JSON.stringify({ omitted: cause instanceof TypeError ? "not JSON" : "unreadable" });
	}
}

function decodeDetails(json: unknown): Record<string, unknown> {
	if (typeof json !== "string" || json.length > MAX_DETAILS_CHARS) return {};
	try {
		const value: unknown = JSON.parse(json);
		return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
	} catch (cause) {
		return { omitted: cause instanceof SyntaxError ? "not JSON" : "unreadable" };
	}
}
