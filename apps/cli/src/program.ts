import { readFileSync } from "node:fs";
import { RondoError, toRondoError } from "@rondo/errors";
import { Command, CommanderError, Option } from "commander";
import { addAgentCommand } from "./commands/agent.js";
import { addClientCommands } from "./commands/client.js";
import { addDemoCommand } from "./commands/demo.js";
import { addModelCommands } from "./commands/model.js";
import { addRunCommands } from "./commands/run.js";
import { addServeCommand } from "./commands/serve.js";
import { addSimulateCommand } from "./commands/simulate.js";
import { addTokenCommands } from "./commands/token.js";
import type { Context } from "./context.js";
import { EXIT_CODES, exitCodeOf } from "./exit-codes.js";
import { AnswerIsNo, describeFailure, failureRecord, traceOf } from "./failure.js";

const VERSION = (JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { readonly version: string }).version;

/** The `rondo` command with all its subcommands. */
export function createProgram(context: Context): Command {
	const program = new Command("rondo")
		.description("Federated learning: coordinator, clients and runs.")
		.addOption(
			new Option("--format <format>", "text for people, json for programs (one value, or one per line)")
				.choices(["text", "json"])
				.default("text"),
		)
		.option("--debug", "print the stack of an error")
		.version(VERSION, "--version", "print the version")
		.helpCommand(false)
		.configureHelp({ showGlobalOptions: true })
		.configureOutput({ writeOut: (text) => context.stdout.write(text), writeErr: () => undefined })
		.exitOverride();
	addDemoCommand(program, context);
	addServeCommand(program, context);
	addAgentCommand(program, context);
	addSimulateCommand(program, context);
	addModelCommands(program, context);
	addRunCommands(program, context);
	addTokenCommands(program, context);
	addClientCommands(program, context);
	return program;
}

/**
 * Runs one command.
 * @param args without the names of program and script
 * @returns the exit code
 */
export async function runCli(args: readonly string[], context: Context): Promise<number> {
	const program = createProgram(context);
	try {
		await program.parseAsync(args, { from: "user" });
		return EXIT_CODES.ok.code;
	} catch (thrown) {
		if (thrown instanceof AnswerIsNo) return EXIT_CODES.failed.code;
		if (thrown instanceof CommanderError && thrown.exitCode === 0) return EXIT_CODES.ok.code;
		const error = thrown instanceof CommanderError ? usageError(thrown) : toRondoError(thrown);
		// The options of a command line that could not be parsed are not known.
		const asked = (name: string): boolean => program.opts()[name] !== undefined || args.includes(`--${name}`);
		const json = program.opts().format === "json" || args.includes("--format=json") || args[args.indexOf("--format") + 1] === "json";
		context.stderr.write(`${json ? JSON.stringify(failureRecord(error)) : describeFailure(error)}\n`);
		if (asked("debug")) context.stderr.write(`${traceOf(thrown)}\n`);
		return exitCodeOf(error);
	}
}

function usageError(error: CommanderError): RondoError {
	if (error.code === "commander.help") return new RondoError("INVALID_ARGUMENT", "a command is missing; `rondo --help` lists them");
	const code =
		error.code === "commander.unknownOption" || error.code === "commander.unknownCommand" ? "UNKNOWN_OPTION" : "INVALID_ARGUMENT";
	return new RondoError(code, `${error.message.replace(/^error: |\.$/g, "")}; add --help to see what there is`, { cause: error });
}
