import { parseArgs } from "node:util";
import { RondoError, toRondoError } from "@rondo/errors";
import { printConfig } from "./config/describe-config.js";
import { type ConfigInput, loadConfig } from "./config/load-config.js";
import { KEY_SPECS } from "./config/schema.js";
import { probeReadiness } from "./health.js";

// The coordinator's own command, for images that hold neither the CLI nor a trainer. `rondo serve` is the same server.

const USAGE = `usage: rondo-coordinator [serve] [--config FILE] [--print-config] [KEY…]
       rondo-coordinator health [--config FILE] [KEY…]

serve    Runs the coordinator until SIGTERM or SIGINT.
health   Exits 0 when the coordinator on this machine is ready, else 1.

Keys, each also an environment variable and a key of the file:
${KEY_SPECS.map(({ flag, environment }) => `  ${flag.padEnd(24)} ${environment}`).join("\n")}

Exit codes: 0 after an orderly stop, 2 for arguments or a configuration that cannot be used, 1 for everything else.
`;

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

interface Arguments extends Pick<ConfigInput, "file" | "flags"> {
	readonly command: "serve" | "health";
	readonly printConfig: boolean;
	readonly help: boolean;
}

/** @throws UNKNOWN_OPTION for an unknown flag, INVALID_ARGUMENT for another command than the two. */
function readArguments(args: readonly string[]): Arguments {
	const keyOf = new Map(KEY_SPECS.map(({ flag, key }) => [flag.slice(2), key]));
	const options = {
		config: { type: "string" },
		"print-config": { type: "boolean" },
		help: { type: "boolean", short: "h" },
		...Object.fromEntries([...keyOf.keys()].map((flag) => [flag, { type: "string" }] as const)),
	} as const;
	const { values, positionals } = parse(args, options);
	const [command = "serve", ...rest] = positionals;
	if ((command !== "serve" && command !== "health") || rest.length > 0) {
		throw new RondoError("INVALID_ARGUMENT", `command must be serve or health, got ${JSON.stringify(positionals.join(" "))}`, {
			details: { field: "command", value: positionals },
		});
	}
	const { config, "print-config": print, help, ...flags } = values as { readonly [name: string]: string | boolean | undefined };
	return {
		command,
		...(typeof config === "string" ? { file: config } : {}),
		printConfig: print === true,
		help: help === true,
		flags: Object.fromEntries(Object.entries(flags).map(([flag, value]) => [keyOf.get(flag) ?? flag, value])),
	};
}

function parse(
	args: readonly string[],
	options: NonNullable<Parameters<typeof parseArgs>[0]>["options"] & object,
): Pick<ReturnType<typeof parseArgs>, "values" | "positionals"> {
	try {
		return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
	} catch (cause) {
		// Node's second sentence explains how such a text could be passed as a positional argument.
		const [what] = (cause instanceof Error ? cause.message : String(cause)).split(". ");
		throw new RondoError("UNKNOWN_OPTION", `${what}; --help lists all`, { cause });
	}
}

/** The exit code. */
async function main(args: readonly string[]): Promise<number> {
	const { command, printConfig: print, help, ...input } = readArguments(args);
	if (help) {
		process.stdout.write(USAGE);
		return 0;
	}
	const config = loadConfig({ ...input, env: process.env });
	if (print) {
		process.stdout.write(`${printConfig(config)}\n`);
		return 0;
	}
	if (command === "health") {
		await probeReadiness(config);
		return 0;
	}
	// A probe every few seconds need not load the server.
	const { serve } = await import("./serve.js");
	await serve(config, stopSignal(), ({ adminTokenFile }) => {
		if (adminTokenFile !== undefined) process.stderr.write(`an admin token was written to ${adminTokenFile}\n`);
	});
	return 0;
}

/** Aborts at the first SIGTERM or SIGINT; another one then ends the process at once. */
function stopSignal(): AbortSignal {
	const stop = new AbortController();
	const signals = ["SIGTERM", "SIGINT"] as const;
	const onSignal = (): void => {
		for (const signal of signals) process.removeListener(signal, onSignal);
		stop.abort();
	};
	for (const signal of signals) process.on(signal, onSignal);
	return stop.signal;
}

/** Health probes know two answers; 2 is reserved by the container runtimes. */
function exitCodeOf(error: RondoError, args: readonly string[]): number {
	return error.spec.http === 400 && args[0] !== "health" ? EXIT_USAGE : EXIT_FAILED;
}

const args = process.argv.slice(2);
try {
	process.exit(await main(args));
} catch (thrown) {
	const error = toRondoError(thrown);
	process.stderr.write(`error ${error.code}: ${error.message}\n`);
	process.exit(exitCodeOf(error, args));
}
