import { type Command, Option } from "commander";
import { Api } from "./api.js";
import { readToken } from "./files.js";
import { Output, type Sink } from "./output.js";

/** What a command knows of the process it runs in. */
export interface Context {
	readonly env: { readonly [name: string]: string | undefined };
	readonly stdout: Sink;
	readonly stderr: Sink;
	/** Aborts at the first Ctrl-C or SIGTERM: end in good order. */
	readonly stop: AbortSignal;
	/** Aborts at the second: end at once. */
	readonly kill: AbortSignal;
	/** Sends a message to the process that started this one, if the two have a channel. */
	readonly tellParent?: (message: object) => void;
}

/** Where a command prints, after `--format`. */
export const outputOf = (command: Command, { stdout, stderr }: Context): Output =>
	new Output({ json: command.optsWithGlobals().format === "json", stdout, stderr });

const DEFAULT_URL = "http://127.0.0.1:8080";

/** Variables of the environment that belong to commands, not to the coordinator's configuration. */
export const CLI_VARIABLES = ["RONDO_URL", "RONDO_TOKEN"] as const;

/** Adds the options of every command that talks to a coordinator. */
export const connected = (command: Command): Command =>
	command
		.addOption(new Option("--url <url>", `REST address of the coordinator (RONDO_URL; default: ${DEFAULT_URL})`))
		.addOption(new Option("--token <token>", "admin or read token (RONDO_TOKEN); visible in process lists, so prefer the others"))
		.addOption(new Option("--token-file <file>", "file that holds the token").conflicts("token"))
		.addOption(new Option("--ca <file>", "PEM file of the authority that signed the coordinator's certificate"));

/** The coordinator that the options of `connected` name. @throws INVALID_ARGUMENT, NOT_FOUND for a file */
export async function apiOf(command: Command, { env }: Context): Promise<Api> {
	const { url, token, tokenFile, ca } = command.opts<{ url?: string; token?: string; tokenFile?: string; ca?: string }>();
	return Api.open({
		url: url ?? env.RONDO_URL ?? DEFAULT_URL,
		token: tokenFile === undefined ? (token ?? env.RONDO_TOKEN) : await readToken(tokenFile),
		...(ca === undefined ? {} : { caFile: ca }),
	});
}
