import { size } from "../output.js";
import type { LabelledSetting, StrategyEntry } from "./experiment.js";
import type { Row } from "./results.js";

/** A figure that a text takes from the results: `{strategy}`, `{setting / strategy}`, either with ` | what`. */
export interface Figure {
	readonly source: string;
	readonly setting: string;
	readonly strategy: string;
	readonly what: string;
}

/** What of a row a text may name, beside its metrics and `worst METRIC`; accuracy by default. */
const FACTS: { readonly [what: string]: (row: Row) => string } = {
	up: ({ bytesUpPerReport }) => size(Math.round(bytesUpPerReport.mean)),
	down: ({ bytesDownPerReport }) => size(Math.round(bytesDownPerReport.mean)),
	bytes: ({ bytes }) => size(Math.round(bytes.mean)),
	"rounds to goal": ({ reached }) => (reached ? String(reached.round) : "–"),
	"bytes to goal": ({ reached }) => (reached ? size(Math.round(reached.bytes)) : "–"),
	"seconds to goal": ({ reached }) => (reached ? reached.virtualSeconds.toFixed(0) : "–"),
};

/** The figures that a text names, in order. */
export function figuresOf(text: string): Figure[] {
	return [...text.matchAll(/\{([^{}]+)\}/g)].map(([source, inner]) => {
		const [row, what = "accuracy"] = inner!.split(" | ") as [string, string?];
		const cut = row.lastIndexOf(" / ");
		return { source, setting: cut < 0 ? "" : row.slice(0, cut), strategy: cut < 0 ? row : row.slice(cut + 3), what };
	});
}

/** Why results will have no such row; undefined when they will. */
export function problemOf(
	{ source, setting, strategy }: Figure,
	settings: readonly LabelledSetting[],
	strategies: readonly StrategyEntry[],
): string | undefined {
	if (!strategies.some(({ label }) => label === strategy))
		return `names ${source}; strategies are: ${strategies.map(({ label }) => label).join("; ")}`;
	if (!settings.some(({ label }) => label === setting))
		return `names ${source}; settings are: ${settings.map(({ label }) => label || "none").join("; ")}`;
	return undefined;
}

/** The text with its figures filled in; "–" where the results have none, as when cells were not run yet. */
export function withFigures(text: string, rows: readonly Row[]): string {
	return figuresOf(text).reduce((filled, figure) => {
		const row = rows.find(({ setting, strategy }) => setting === figure.setting && strategy === figure.strategy);
		return filled.replaceAll(figure.source, row === undefined ? "–" : figureText(row, figure.what));
	}, text);
}

function figureText(row: Row, what: string): string {
	const fact = FACTS[what];
	if (fact !== undefined) return fact(row);
	const [, worst, metric] = /^(worst )?(.+)$/.exec(what)!;
	const spread = row.final[metric!];
	if (spread === undefined) return "–";
	// The worst of a loss is its largest, of anything else its least.
	const value = worst === undefined ? spread.mean : metric === "loss" ? spread.max : spread.min;
	return value.toFixed(3);
}
