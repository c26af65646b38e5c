import { availableParallelism } from "node:os";
import { type RondoError, toRondoError } from "@rondo/errors";
import { changesWork, checkSimulation, openThreadPool, simulate, type ThreadPool } from "@rondo/simulation";
import type { Output } from "../output.js";
import { type CellResult, type Ground, groundOf, type RoundResult, runCell, simulationOf, workloadOptionsOf } from "./cell.js";
import { loadDataset } from "./dataset.js";
import { cellDigest, FileDigests } from "./digest.js";
import type { Path } from "./document.js";
import type { Cell, Setting } from "./experiment.js";
import { ResultsFolder } from "./folder.js";
import { markdownOf, spreadText } from "./markdown.js";
import { plotsOf } from "./plots.js";
import type { ReadExperiment } from "./read-experiment.js";
import { type Results, resultsOf } from "./results.js";

/** What the command line says beside the experiment. */
export interface RunOptions {
	/** Folder of the results. */
	readonly out: string;
	/** 0: one per core. */
	readonly threads: number;
	/** Names of the cells to run; default: all. */
	readonly only?: readonly string[];
}

/**
 * Runs what an experiment has left to run, then writes its results.
 * @throws what `checkSimulation` and `simulate` throw, refusals before the first cell starts; CANCELLED
 */
export async function runExperiment(read: ReadExperiment, options: RunOptions, out: Output, signal: AbortSignal): Promise<Results> {
	const { experiment, registry, document } = read;
	const cells = chosenCells(read, options.only);
	const grounds = new Grounds();
	const digests = new FileDigests();
	const folder = await ResultsFolder.open(options.out);
	const strategyOf = (cell: Cell) => registry.strategy(cell.strategy.name);
	for (const cell of cells) {
		if (cell.seed !== experiment.seeds[0]) continue;
		await checkCell(read, cell, grounds);
	}
	const planned = await Promise.all(
		cells.map(async (cell) => ({
			cell,
			digest: await cellDigest(cell, strategyOf(cell), experiment, digests),
			known: await folder.cell(cell.name),
		})),
	);
	const todo = planned.filter(({ digest, known }) => known?.digest !== digest);
	const changed = todo.filter(({ known }) => known !== undefined).length;
	const threads = options.threads === 0 ? availableParallelism() : options.threads;
	out.emit(
		{ event: "experiment", cells: cells.length, finished: cells.length - todo.length, changed, threads, out: options.out },
		() =>
			`${cells.length} cells, ${cells.length - todo.length} finished before${changed === 0 ? "" : `, ${changed} of them changed since and run again`}; ${threads} threads, results in ${options.out}`,
	);
	const finished = new Map<string, CellResult>(
		planned.flatMap(({ digest, known }) => (known?.digest === digest ? [[known.name, known]] : [])),
	);
	if (todo.length > 0) {
		const pool = await openThreadPool({
			threads,
			workload: new URL("./workload.js", import.meta.url).href,
			strategies: experiment.modules,
		});
		const progress = out.progress();
		const totalRounds = todo.reduce((sum, { cell }) => sum + cell.setting.rounds, 0);
		let doneRounds = 0;
		try {
			await probeAttacks(
				read,
				todo.map(({ cell }) => cell),
				grounds,
				pool,
				signal,
			);
			for (const { cell, digest } of todo) {
				const ground = await grounds.of(cell.setting);
				const result = await runCell(cell, {
					ground,
					strategy: strategyOf(cell),
					pool,
					digest,
					signal,
					onRound: (round) => progress.update(++doneRounds, totalRounds, roundText(cell, round)),
				});
				await folder.keepCell(result);
				finished.set(cell.name, result);
				out.emit({ event: "cell", ...summaryOf(result) }, () => cellText(result, finished.size, cells.length));
			}
		} finally {
			progress.stop();
			await pool.close();
			await grounds.dispose();
		}
	}
	// Cells outside --only count where they are there and of this experiment.
	for (const cell of experiment.cells) {
		if (finished.has(cell.name)) continue;
		const known = await folder.cell(cell.name);
		if (known !== undefined && known.digest === (await cellDigest(cell, strategyOf(cell), experiment, digests)))
			finished.set(cell.name, known);
	}
	const results = resultsOf(
		experiment,
		experiment.cells.flatMap(({ name }) => finished.get(name) ?? []),
	);
	const plots = plotsOf(results);
	await folder.keepResults(results, markdownOf(results, plots), plots);
	return results;

	function chosenCells({ experiment: { cells: all } }: ReadExperiment, only: readonly string[] | undefined): readonly Cell[] {
		const unknown = only?.find((name) => !all.some((cell) => cell.name === name));
		if (unknown !== undefined)
			throw document.refusal([], `has no cell ${JSON.stringify(unknown)}; it has: ${all.map(({ name }) => name).join(", ")}`);
		return only === undefined ? all : all.filter(({ name }) => only.includes(name));
	}
}

/** Datasets and models, each made once. */
class Grounds {
	readonly #datasets = new Map<string, ReturnType<typeof loadDataset>>();
	readonly #grounds = new Map<string, Promise<Ground>>();

	of(setting: Setting): Promise<Ground> {
		const { dataset, model, trainer } = setting;
		const datasetKey = JSON.stringify(dataset);
		const key = JSON.stringify([dataset, model, trainer]);
		const loaded = this.#datasets.get(datasetKey) ?? loadDataset(dataset);
		this.#datasets.set(datasetKey, loaded);
		const made = this.#grounds.get(key) ?? groundOf(setting, loaded);
		this.#grounds.set(key, made);
		return made;
	}

	async dispose(): Promise<void> {
		for (const ground of this.#grounds.values()) await (await ground).dispose();
	}
}

/** Everything that can be found out before a cell runs; refusals name the line of the field that they are about. */
async function checkCell({ experiment, registry, document }: ReadExperiment, cell: Cell, grounds: Grounds): Promise<void> {
	const index = experiment.strategies.indexOf(cell.strategy);
	try {
		checkSimulation(simulationOf(cell, await grounds.of(cell.setting), registry.strategy(cell.strategy.name)));
	} catch (thrown) {
		const error = toRondoError(thrown);
		throw document.located(pathOf(cell, index, error), error);
	}
}

/** The field that a refusal is about, by what it names. */
function pathOf({ strategy, setting }: Cell, index: number, { details, message }: RondoError): Path {
	const field = String(details.option ?? details.field ?? "");
	const [option] = field.split(".") as [string];
	if (option in strategy.options) return ["strategies", index, "options", option];
	if (option in setting.options) return ["options", option];
	if (option === "adversary") return ["adversaries"];
	if (option === "behaviour") return field.split(".");
	const [, part] = /^(dataset|partition|model|clients|adversaries)\b/.exec(message) ?? [];
	return part === undefined ? ["strategies", index] : [part];
}

/**
 * Whether a forged report would be accepted shows only in a report: before the first cell, each attack is tried for one round
 * in which all clients make it.
 */
async function probeAttacks(
	{ experiment, registry, document }: ReadExperiment,
	cells: readonly Cell[],
	grounds: Grounds,
	pool: ThreadPool,
	signal: AbortSignal,
): Promise<void> {
	for (const cell of cells) {
		if (cell.seed !== experiment.seeds[0]) continue;
		for (const [i, { attacks }] of cell.setting.adversaries.entries()) {
			if (!attacks.some(changesWork)) continue;
			const ground = await grounds.of(cell.setting);
			const simulation = simulationOf(cell, ground, registry.strategy(cell.strategy.name));
			try {
				await simulate({
					...simulation,
					clients: simulation.clients.map((client) => ({ ...client, adversary: attacks })),
					behaviour: {},
					rounds: 1,
					pool,
					signal,
					manifest: ground.model.manifest,
					assets: ground.model.assets,
					workloadOptions: workloadOptionsOf(cell),
				});
			} catch (error) {
				throw document.located(["adversaries", i], toRondoError(error));
			}
		}
	}
}

const metricsText = (metrics: Readonly<Record<string, number>> | undefined): string =>
	Object.entries(metrics ?? {})
		.map(([name, value]) => ` ${name} ${value.toFixed(4)}`)
		.join("");

const roundText = ({ name, setting }: Cell, { round, evaluation }: RoundResult): string =>
	`${name} round ${round}/${setting.rounds}${metricsText(evaluation)}`;

const summaryOf = ({
	name,
	phase,
	reason,
	rounds,
	seconds,
	stateDigest,
	modelDigest,
	peakRssBytes,
	refusals,
	firstRefusal,
}: CellResult) => ({
	name,
	phase,
	reason,
	rounds: rounds.length,
	evaluation: rounds.findLast(({ evaluation }) => evaluation !== undefined)?.evaluation ?? null,
	seconds,
	peakRssBytes,
	stateDigest,
	modelDigest,
	refusals,
	firstRefusal,
});

function cellText(result: CellResult, done: number, all: number): string {
	const { name, phase, reason, rounds, seconds, refusals, firstRefusal } = result;
	const last = rounds.findLast(({ evaluation }) => evaluation !== undefined)?.evaluation;
	const refused = Object.values(refusals).reduce((sum, count) => sum + count, 0);
	const first = refused === 0 ? "" : `; ${refused} tasks without a report, the first of ${firstRefusal}`;
	return `${done}/${all} ${name}: ${rounds.length} rounds,${metricsText(last)}, ${seconds.toFixed(1)} s${phase === "completed" ? "" : `; ${phase}: ${reason}`}${first}`;
}

/** One line for each strategy and setting. */
export const resultText = ({ rows }: Results): string =>
	rows
		.map(({ setting, strategy, final }) => {
			const numbers = Object.entries(final).map(([name, spread]) => `${name} ${spreadText(spread)}`);
			return `${strategy}${setting === "" ? "" : ` (${setting})`}: ${numbers.join(", ")}`;
		})
		.join("\n");
