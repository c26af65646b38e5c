import { hex32, integer, repeated } from "@rondo/agent";
import { RondoError } from "@rondo/errors";
import { type Command, Option } from "commander";
import type { RunClientView, RunView } from "../api-types.js";
import { apiOf, type Context, connected, outputOf } from "../context.js";
import { AnswerIsNo } from "../failure.js";
import { readJson } from "../files.js";
import { keyValue } from "../key-value.js";
import { fields, size, table } from "../output.js";
import { finishedRounds, ROUND_HEAD, roundCells } from "../rounds.js";
import { runClientTable } from "../run-clients.js";
import { watchRun } from "../watch.js";
import { type DownloadOptions, downloadModel } from "./download.js";

interface SubmitOptions {
	readonly from?: string;
	readonly option?: Readonly<Record<string, unknown>>;
	readonly start: boolean;
	readonly [field: string]: unknown;
}

/** `rondo run …` */
export function addRunCommands(program: Command, context: Context): void {
	const group = program.command("run").description("Runs: submit, watch, control, check.");
	addSubmit(group, context);
	connected(group.command("list").description("All runs.")).action(async (_options: unknown, command: Command) => {
		const api = await apiOf(command, context);
		const runs = await api.list<RunView>("/runs");
		outputOf(command, context).emit(runs, () =>
			table(
				["NAME", "ID", "STRATEGY", "PHASE", "ROUNDS", "CREATED"],
				runs.map((run) => [run.name, run.id, run.strategy, run.phase, `${run.rounds}/${run.settings.rounds}`, run.createdAt]),
			),
		);
	});
	connected(onRun(group, "show", "One run, its settings and its rounds.")).action(
		async (id: string, _options: unknown, command: Command) => {
			const api = await apiOf(command, context);
			const run = await api.get<RunView>(pathOf(id));
			const rounds = await finishedRounds(api, run);
			outputOf(command, context).emit(
				{ ...run, finished: rounds },
				() => `${fields({ ...run })}\n\n${table(ROUND_HEAD, rounds.map(roundCells), { right: [0, 1, 2, 3, 4, 5, 6] })}`,
			);
		},
	);
	connected(onRun(group, "clients", "Clients that took part, their newest scores and their standing.")).action(
		async (id: string, _options: unknown, command: Command) => {
			const api = await apiOf(command, context);
			const clients = await api.list<RunClientView>(`${pathOf(id)}/clients`);
			outputOf(command, context).emit(clients, () => runClientTable(clients));
		},
	);
	connected(onRun(group, "watch", "Follows a run to its end; exit code 0 when it completes.")).action(
		async (id: string, _options: unknown, command: Command) => {
			const run = await watchRun(await apiOf(command, context), id, outputOf(command, context), context.stop);
			if (run.phase !== "completed") throw new AnswerIsNo(`run ${run.name} is ${run.phase}`);
		},
	);
	for (const [action, description] of [
		["start", "Starts a run that was submitted with --no-start."],
		["pause", "Lets the open round end and plans no other."],
		["resume", "Goes on with a paused run."],
		["stop", "Ends a run for good; its model stays."],
	] as const) {
		connected(onRun(group, action, description)).action(async (id: string, _options: unknown, command: Command) => {
			const run = await (await apiOf(command, context)).post<RunView>(`${pathOf(id)}/${action}`);
			outputOf(command, context).emit(run, () => `run ${run.name} is ${run.phase}`);
		});
	}
	connected(onRun(group, "verify", "Recomputes a run from its initial model and its reports, here, and compares every round."))
		.addOption(new Option("--strategies <module>", "module with additional strategies; may be repeated").argParser(repeated))
		.action(async (id: string, { strategies = [] }: { strategies?: string[] }, command: Command) => {
			// Loads the coordinator's store of content, which other commands need not wait for.
			const { verifyRun } = await import("./verify.js");
			await verifyRun(await apiOf(command, context), id, { strategies, out: outputOf(command, context), stop: context.stop });
		});
	connected(onRun(group, "download", "The newest model of a run as a safetensors file."))
		.option("-o, --output <file>", "where to; default: RUN-COMMIT.safetensors")
		.option("--client <id>", "the client's own model, where the strategy has one for each")
		.option("--merge-lora", "of a model with adapters: all of its weights, the adapters merged into them, under PyTorch's names")
		.addOption(
			new Option("--peft <folder>", "of a model with adapters: the adapters alone, as the PEFT library reads them").conflicts([
				"mergeLora",
				"output",
			]),
		)
		.option("--force", "replace files that are there")
		.action(async (id: string, options: DownloadOptions, command: Command) => {
			const saved = await downloadModel(await apiOf(command, context), id, options);
			outputOf(command, context).emit(saved, () => `${saved.file}: round ${saved.round}, ${size(saved.bytes)}, digest ${saved.digest}`);
		});
}

function addSubmit(group: Command, context: Context): void {
	const count = (flags: string, description: string, least = 0): Option => new Option(flags, description).argParser(integer(least));
	connected(group.command("submit").description("Submits a run and, unless told otherwise, starts it."))
		.option("--from <file>", "JSON file with the fields of the submission; options of the command line win")
		.option("--model <model>", "name or id of a model")
		.option("--strategy <name>", "fedavg, fedprox, fedkseed or another strategy of the coordinator")
		.addOption(count("--rounds <count>", "rounds after which the run is complete", 1))
		.addOption(new Option("-o, --option <key=value>", "option of the strategy; may be repeated").argParser(keyValue))
		.option("--name <name>", "unique name; default: made from strategy and time")
		.addOption(count("--min-clients <count>", "connected clients that a round waits for", 1))
		.addOption(count("--wait-for-clients-ms <ms>", "longest such wait, milliseconds"))
		.addOption(count("--max-replans <count>", "missed attempts in a row after which the run fails"))
		.addOption(count("--evaluate-every <rounds>", "rounds between evaluations; 0: none"))
		.addOption(count("--evaluate-deadline-ms <ms>", "budget of one evaluation, milliseconds", 1))
		.addOption(new Option("--public-seed <hex>", "seed that everyone may know; default: random").argParser(hex32))
		.addOption(new Option("--secret-seed <hex>", "seed of the cohort draws, for experiments; default: random").argParser(hex32))
		.option("--no-start", "leave the run in phase created")
		.action(async (options: SubmitOptions, command: Command) => {
			const submission = await submissionOf(options);
			const api = await apiOf(command, context);
			const { run, cost } = await api.post<{
				readonly run: RunView;
				readonly cost: { readonly download: number; readonly report: number };
			}>("/runs", submission);
			outputOf(command, context).emit({ run, cost }, () =>
				fields({
					id: run.id,
					name: run.name,
					phase: run.phase,
					"per client and round": `at most ${size(cost.download)} down, ${size(cost.report)} up`,
				}),
			);
		});
}

const SUBMISSION_FIELDS = [
	"name",
	"model",
	"strategy",
	"rounds",
	"minClients",
	"waitForClientsMs",
	"maxReplans",
	"evaluateEvery",
	"evaluateDeadlineMs",
	"publicSeed",
	"secretSeed",
] as const;

/** @throws INVALID_ARGUMENT that names what is missing */
async function submissionOf({ from, option, start, ...given }: SubmitOptions): Promise<Record<string, unknown>> {
	const base = from === undefined ? {} : await readJson(from, "from");
	if (typeof base !== "object" || base === null || Array.isArray(base))
		throw new RondoError("INVALID_ARGUMENT", `--from ${from} must hold a JSON object`, { details: { field: "from", value: from } });
	const { options, ...rest } = base as { readonly options?: unknown; readonly [field: string]: unknown };
	const submission: Record<string, unknown> = { ...rest };
	for (const field of SUBMISSION_FIELDS) if (given[field] !== undefined) submission[field] = given[field];
	if (options !== undefined || option !== undefined) submission.options = { ...(options as object | undefined), ...option };
	if (!start) submission.start = false;
	const missing = (["model", "strategy", "rounds"] as const).filter((field) => submission[field] === undefined);
	if (missing.length > 0)
		throw new RondoError(
			"INVALID_ARGUMENT",
			`${missing.map((field) => `--${field}`).join(", ")} must be given, or stand in the file of --from`,
			{ details: { field: missing[0] } },
		);
	return submission;
}

const onRun = (group: Command, name: string, description: string): Command =>
	group.command(name).description(description).argument("<run>", "id or name of the run");
const pathOf = (id: string): string => `/runs/${encodeURIComponent(id)}`;
