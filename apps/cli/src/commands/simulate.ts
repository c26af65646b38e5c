import { basename, extname } from "node:path";
import { integer, repeated } from "@rondo/agent";
import { isRondoError, RondoError } from "@rondo/errors";
import { type Command, Option } from "commander";
import { type Context, outputOf } from "../context.js";
import { AnswerIsNo } from "../failure.js";

/** `rondo simulate` */
export function addSimulateCommand(program: Command, context: Context): void {
	program
		.command("simulate")
		.description("Runs an experiment: strategies, seeds and settings, many clients in this process. Goes on where it was interrupted.")
		.argument("<experiment>", "YAML file; docs/simulation.md describes it")
		.option("--out <folder>", "folder of the results (default: the experiment's name and -results)")
		.addOption(new Option("--threads <count>", "threads that clients run in; 0: one per core").argParser(integer(0, 1024)).default(0))
		.addOption(new Option("--only <cell>", "run this cell alone; may be repeated").argParser(repeated))
		.action(async (file: string, { out, threads, only }: { out?: string; threads: number; only?: string[] }, command: Command) => {
			const output = outputOf(command, context);
			const [{ readExperiment }, { resultText, runExperiment }] = await Promise.all([
				import("../simulate/read-experiment.js"),
				import("../simulate/run-experiment.js"),
			]);
			const folder = out ?? `${basename(file, extname(file))}-results`;
			const read = await readExperiment(file);
			const results = await runExperiment(
				read,
				{ out: folder, threads, ...(only === undefined ? {} : { only }) },
				output,
				context.stop,
			).catch((error: unknown) => {
				if (!context.stop.aborted || !isRondoError(error) || error.code !== "CANCELLED") throw error;
				throw new RondoError("CANCELLED", `interrupted; the same command goes on with the cells that are not in ${folder}`, {
					cause: error,
				});
			});
			output.emit(
				{ event: "results", out: folder, rows: results.rows.map(({ curve: _curve, ...row }) => row) },
				() => `\n${resultText(results)}`,
			);
			if (results.rows.some(({ failures }) => failures.length > 0)) throw new AnswerIsNo();
		});
}
