import { isRondoError, RondoError } from "@rondo/errors";

// PostgreSQL's SQLSTATEs (appendix A of its manual) behind the codes that Prisma gives them.
const STATE_OF_PRISMA_CODE: Readonly<Record<string, string>> = { P2002: "23505", P2003: "23503", P2034: "40001" };
/** Prisma could not reach the server, lost it, or waited too long for a connection or transaction. */
const UNREACHABLE_PRISMA_CODES: ReadonlySet<string> = new Set(["P1001", "P1002", "P1008", "P1017", "P2024", "P2028"]);
const UNREACHABLE_SYSTEM_CODES: ReadonlySet<string> = new Set(["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "ENOTFOUND"]);
const DISK_FULL_STATE = "53100";

interface Coded {
	readonly code?: unknown;
	readonly cause?: unknown;
	readonly originalCode?: unknown;
	readonly meta?: { readonly driverAdapterError?: unknown };
}

/** The error and what lies below it: Prisma's, its adapter's, the driver's. */
function* layersOf(error: unknown): Generator<Coded> {
	let next = error;
	for (let depth = 0; depth < 6 && typeof next === "object" && next !== null; depth++) {
		const layer = next as Coded;
		yield layer;
		next = layer.meta?.driverAdapterError ?? layer.cause;
	}
}

/** SQLSTATE of a failed query, however deep Prisma and its adapters wrapped it. */
export function sqlStateOf(error: unknown): string | undefined {
	for (const { code, originalCode } of layersOf(error)) {
		if (typeof originalCode === "string") return originalCode;
		if (typeof code !== "string") continue;
		const known = STATE_OF_PRISMA_CODE[code];
		if (known !== undefined) return known;
		// Prisma's own codes look like SQLSTATEs of class P1 and P2, which PostgreSQL does not have.
		if (/^[0-9A-Z]{5}$/.test(code) && !/^P[1-9]/.test(code)) return code;
	}
	return undefined;
}

/** Whether a unique index refused a row. */
export const isUniqueViolation = (error: unknown): boolean => sqlStateOf(error) === "23505";

/** What callers of the store see of an error: DISK_FULL, UNAVAILABLE or INTERNAL that names the transaction; RondoErrors as they are. */
export function databaseErrorOf(transaction: string, error: unknown): RondoError {
	if (isRondoError(error)) return error;
	const state = sqlStateOf(error);
	const details = { transaction, ...(state === undefined ? {} : { sqlState: state }) };
	const text = (error instanceof Error ? error.message : String(error)).trim().split("\n").at(-1);
	if (state === DISK_FULL_STATE)
		return new RondoError("DISK_FULL", `the database's disk is full in "${transaction}": ${text}`, { details, cause: error });
	const unreachable = [...layersOf(error)].some(
		({ code }) => typeof code === "string" && (UNREACHABLE_PRISMA_CODES.has(code) || UNREACHABLE_SYSTEM_CODES.has(code)),
	);
	// Classes 08 (connection) and 57P (shutdown) and 53300 (too many connections).
	if (unreachable || (state !== undefined && /^(08|57P|53300)/.test(state))) {
		return new RondoError("UNAVAILABLE", `the database did not answer in "${transaction}": ${text}`, { details, cause: error });
	}
	return new RondoError("INTERNAL", `transaction "${transaction}" failed: ${text}`, { details, cause: error });
}
