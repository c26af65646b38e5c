import type { ErrorCode, RondoError } from "@rondo/errors";

/** The command worked and the answer is no, which it has said already: exit code 1. */
export class AnswerIsNo extends Error {}

/** What to do about an error, where the message does not say so itself. */
const NEXT_STEPS: { readonly [C in ErrorCode]?: string } = {
	DEADLINE: "try again; the coordinator may be busy",
	UNAUTHENTICATED: "pass a token with --token, --token-file or RONDO_TOKEN; `rondo serve` says where the admin token lies",
	TOKEN_EXPIRED: "create another token with `rondo token create`",
	TOKEN_REVOKED: "create another token with `rondo token create`",
	FORBIDDEN: "this needs an admin token: `rondo token create --scope admin`",
	UNKNOWN_STRATEGY: "GET /api/v1/strategies lists the strategies of the coordinator",
	FOLDER_LOCKED: "stop the other process or choose another folder",
	DISK_FULL: "make room on the disk and try again",
	PROTOCOL_TOO_OLD: "update this installation of Rondo",
};

/** One line that says what went wrong and, where Rondo knows, what to do next. */
export function describeFailure({ code, message }: RondoError): string {
	const next = NEXT_STEPS[code];
	return `error ${code}: ${oneLine(message)}${next === undefined ? "" : `; ${next}`}`;
}

/** The error as `--format json` prints it. */
export const failureRecord = ({ code, message, details }: RondoError) => ({
	error: { code, message, details, next: NEXT_STEPS[code] ?? null },
});

/** The error and its causes with their stacks, for `--debug`. */
export function traceOf(error: unknown): string {
	const lines: string[] = [];
	for (let at = error; at instanceof Error; at = at.cause) lines.push(`${lines.length === 0 ? "" : "caused by "}${at.stack ?? at.message}`);
	return lines.join("\n");
}

const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, " ");
