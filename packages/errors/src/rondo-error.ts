import { ERROR_CODES, type ErrorCode, type ErrorSpec } from "./registry.js";

export interface RondoErrorOptions {
	/** The offending field, value, shapes: whatever a program would want to read. */
	readonly details?: Readonly<Record<string, unknown>>;
	readonly cause?: unknown;
}

/** The only error class of Rondo. The message names the offending key and value; the code says how edges report it. */
export class RondoError extends Error {
	override readonly name = "RondoError";
	readonly code: ErrorCode;
	readonly details: Readonly<Record<string, unknown>>;

	constructor(code: ErrorCode, message: string, options: RondoErrorOptions = {}) {
		super(message, options.cause === undefined ? undefined : { cause: options.cause });
		this.code = code;
		this.details = options.details ?? {};
	}

	get spec(): ErrorSpec {
		return ERROR_CODES[this.code];
	}
}

/** Whether `error` is a RondoError, also one that came from another copy of this package or crossed a thread. */
export function isRondoError(error: unknown): error is RondoError {
	return (
		error instanceof Error &&
		error.name === "RondoError" &&
		"code" in error &&
		typeof error.code === "string" &&
		Object.hasOwn(ERROR_CODES, error.code)
	);
}

/** `error` itself when it is a RondoError; otherwise INTERNAL with `error` as its cause. */
export function toRondoError(error: unknown): RondoError {
	if (isRondoError(error)) return error;
	const message = error instanceof Error ? error.message : String(error);
	return new RondoError("INTERNAL", message, { cause: error });
}
