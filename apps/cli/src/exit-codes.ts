import type { RondoError } from "@rondo/errors";

/** Exit codes of every command and what they mean; docs/cli.md has the same table. */
export const EXIT_CODES = {
	ok: { code: 0, meaning: "Done." },
	failed: { code: 1, meaning: "The run failed or was stopped, or content does not match its digest (`run verify`, `run download`)." },
	usage: { code: 2, meaning: "An unknown command or option, or a value that cannot be used." },
	unreachable: { code: 3, meaning: "The coordinator cannot be reached or does not answer." },
	refused: { code: 4, meaning: "No valid token or credential, or one that does not allow this." },
	notFound: { code: 5, meaning: "The named thing does not exist, or no longer does." },
	conflict: { code: 6, meaning: "The state of the run, folder or name does not allow this." },
	internal: { code: 70, meaning: "A failure that is none of these; `--debug` shows where." },
	interrupted: { code: 130, meaning: "Interrupted by Ctrl-C before the end; `serve` and `agent` end with 0." },
} as const satisfies Record<string, { readonly code: number; readonly meaning: string }>;

/** The exit code of a command that ended with this error. */
export function exitCodeOf({ code, spec }: RondoError): number {
	if (code === "REPLAY_MISMATCH" || code === "MODEL_MISMATCH" || code === "DIGEST_MISMATCH") return EXIT_CODES.failed.code;
	if (code === "CANCELLED") return EXIT_CODES.interrupted.code;
	switch (spec.http) {
		case 400:
		case 413:
		case 426:
			return EXIT_CODES.usage.code;
		case 401:
		case 403:
			return EXIT_CODES.refused.code;
		case 404:
			return EXIT_CODES.notFound.code;
		case 409:
			return EXIT_CODES.conflict.code;
		case 503:
		case 504:
			return EXIT_CODES.unreachable.code;
		default:
			return EXIT_CODES.internal.code;
	}
}
