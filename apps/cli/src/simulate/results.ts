import type { CellResult, RoundResult } from "./cell.js";
import type { About, Experiment, Reach, Setting } from "./experiment.js";
import { withFigures } from "./figures.js";

/** A number over the seeds. */
export interface Spread {
	readonly mean: number;
	/** Sample standard deviation; 0 for one seed. */
	readonly std: number;
	readonly min: number;
	readonly max: number;
	readonly count: number;
}

/** One strategy in one setting, over all seeds. */
export interface Row {
	readonly setting: string;
	readonly strategy: string;
	readonly seeds: readonly number[];
	readonly parameters: number;
	/** Runs that did not complete, with their reasons. */
	readonly failures: readonly { readonly seed: number; readonly reason: string }[];
	/** Means over the last evaluations, by metric. */
	readonly final: { readonly [metric: string]: Spread };
	/** Per report: what a client sends, and what it is sent. */
	readonly bytesUpPerReport: Spread;
	readonly bytesDownPerReport: Spread;
	readonly bytes: Spread;
	/** Time of the last commit in the simulation; 0 where nothing takes time. */
	readonly virtualSeconds: Spread;
	readonly seconds: Spread;
	readonly peakRssBytes: number;
	readonly unanswered: number;
	readonly refusals: { readonly [code: string]: number };
	readonly curve: readonly CurvePoint[];
	/** The first evaluation whose mean reaches the goal; null when none does, missing without a goal. */
	readonly reached?: CurvePoint | null;
}

/** One evaluation, over the seeds. */
export interface CurvePoint {
	readonly round: number;
	/** Sent and received by all clients until then, mean. */
	readonly bytes: number;
	readonly virtualSeconds: number;
	readonly metrics: { readonly [metric: string]: Spread };
}

/** What `results.json` holds. */
export interface Results {
	/** Its texts have their figures. */
	readonly about: About;
	/** The goal of the first setting that has one. */
	readonly reach?: Reach;
	readonly rows: readonly Row[];
	readonly cells: readonly {
		readonly name: string;
		readonly digest: string;
		readonly stateDigest: string;
		readonly modelDigest: string | null;
	}[];
}

/** @throws RangeError-free: an empty list is a spread of zeros */
export function spreadOf(values: readonly number[]): Spread {
	if (values.length === 0) return { mean: 0, std: 0, min: 0, max: 0, count: 0 };
	const mean = values.reduce((a, b) => a + b) / values.length;
	const squares = values.reduce((sum, x) => sum + (x - mean) ** 2, 0);
	return {
		mean,
		std: values.length === 1 ? 0 : Math.sqrt(squares / (values.length - 1)),
		min: Math.min(...values),
		max: Math.max(...values),
		count: values.length,
	};
}

/** Aggregates cells over seeds, in the order of the experiment. */
export function resultsOf(experiment: Experiment, cells: readonly CellResult[]): Results {
	const rows = experiment.settings.flatMap(({ label, setting }) =>
		experiment.strategies.flatMap(({ label: strategy }) => {
			const own = cells.filter((cell) => cell.setting === label && cell.strategy === strategy);
			return own.length === 0 ? [] : [rowOf(label, strategy, own, setting.metrics)];
		}),
	);
	const reach = experiment.settings.find(({ setting }) => setting.metrics.reach !== undefined)?.setting.metrics.reach;
	return {
		about: filled(experiment.about, rows),
		...(reach === undefined ? {} : { reach }),
		rows,
		cells: cells.map(({ name, digest, stateDigest, modelDigest }) => ({ name, digest, stateDigest, modelDigest })),
	};
}

function filled(about: About, rows: readonly Row[]): About {
	const { text, result } = about;
	return {
		...about,
		...(text === undefined ? {} : { text: withFigures(text, rows) }),
		...(result === undefined ? {} : { result: withFigures(result, rows) }),
	};
}

function rowOf(setting: string, strategy: string, cells: readonly CellResult[], { last, reach }: Setting["metrics"]): Row {
	const curve = curveOf(cells);
	const refusals: Record<string, number> = {};
	for (const [code, count] of cells.flatMap((cell) => Object.entries(cell.refusals))) refusals[code] = (refusals[code] ?? 0) + count;
	const total = ({ rounds }: CellResult, pick: (round: RoundResult) => number): number =>
		rounds.reduce((sum, round) => sum + pick(round), 0);
	const perReport = (pick: (round: RoundResult) => number): Spread =>
		spreadOf(
			cells.map(
				(cell) =>
					total(cell, pick) /
					Math.max(
						1,
						total(cell, ({ reports }) => reports),
					),
			),
		);
	return {
		setting,
		strategy,
		seeds: cells.map(({ seed }) => seed),
		parameters: cells[0]!.parameters,
		failures: cells
			.filter(({ phase }) => phase !== "completed")
			.map(({ seed, reason, phase, firstRefusal }) => ({
				seed,
				reason: [reason ?? phase, firstRefusal].filter((text) => text !== null).join("; first "),
			})),
		final: finalOf(cells, last),
		bytesUpPerReport: perReport(({ bytesUp }) => bytesUp),
		bytesDownPerReport: perReport(({ bytesDown }) => bytesDown),
		bytes: spreadOf(cells.map((cell) => total(cell, ({ bytesUp, bytesDown }) => bytesUp + bytesDown))),
		virtualSeconds: spreadOf(cells.map(({ rounds }) => (rounds.at(-1)?.atMs ?? 0) / 1000)),
		seconds: spreadOf(cells.map(({ seconds }) => seconds)),
		peakRssBytes: Math.max(...cells.map(({ peakRssBytes }) => peakRssBytes)),
		unanswered: cells.reduce((sum, cell) => sum + total(cell, (round) => round.unanswered), 0),
		refusals,
		curve,
		...(reach === undefined ? {} : { reached: curve.find((point) => reaches(point, reach)) ?? null }),
	};
}

function reaches({ metrics }: CurvePoint, { metric, atLeast, atMost }: Reach): boolean {
	const mean = metrics[metric]?.mean;
	return mean !== undefined && (atLeast === undefined || mean >= atLeast) && (atMost === undefined || mean <= atMost);
}

function finalOf(cells: readonly CellResult[], last: number): Row["final"] {
	const ends = cells.map(({ rounds }) => rounds.flatMap(({ evaluation }) => (evaluation === undefined ? [] : [evaluation])).slice(-last));
	const names = [...new Set(ends.flat().flatMap((evaluation) => Object.keys(evaluation)))];
	return Object.fromEntries(
		names.map((name) => [
			name,
			spreadOf(
				ends.flatMap((evaluations) => {
					const values = evaluations.flatMap((evaluation) => (evaluation[name] === undefined ? [] : [evaluation[name]]));
					return values.length === 0 ? [] : [values.reduce((a, b) => a + b) / values.length];
				}),
			),
		]),
	);
}

/** Only rounds that every seed evaluated: a mean over some of them would be a mean of something else. */
function curveOf(cells: readonly CellResult[]): CurvePoint[] {
	const courses = cells.map(({ rounds }) => {
		let bytes = 0;
		return rounds.flatMap((round) => {
			bytes += round.bytesUp + round.bytesDown;
			return round.evaluation === undefined ? [] : [{ ...round, evaluation: round.evaluation, bytes }];
		});
	});
	return courses[0]!.flatMap(({ round, evaluation }) => {
		const same = courses.map((course) => course.find((at) => at.round === round));
		if (same.some((at) => at === undefined)) return [];
		const all = same.map((at) => at!);
		const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b) / values.length;
		return [
			{
				round,
				bytes: mean(all.map(({ bytes }) => bytes)),
				virtualSeconds: mean(all.map(({ atMs }) => atMs / 1000)),
				metrics: Object.fromEntries(
					Object.keys(evaluation).map((name) => [
						name,
						spreadOf(all.flatMap((at) => (at.evaluation[name] === undefined ? [] : [at.evaluation[name]]))),
					]),
				),
			},
		];
	});
}
