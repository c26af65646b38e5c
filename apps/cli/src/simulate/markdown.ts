import { size } from "../output.js";
import type { Reach } from "./experiment.js";
import type { Plot } from "./plots.js";
import type { Results, Row, Spread } from "./results.js";

/** Results as a page: what the paper says and what came out here, a table for each setting, plots. */
export function markdownOf(results: Results, plots: readonly Plot[]): string {
	const { about, rows, reach } = results;
	const settings = [...new Set(rows.map(({ setting }) => setting))];
	const blocks = [`# ${about.title}`, ...comparisonOf(results)];
	for (const setting of settings) {
		if (setting !== "") blocks.push(`## ${setting}`);
		blocks.push(
			tableOf(
				rows.filter((row) => row.setting === setting),
				reach,
			),
		);
		for (const { file, title } of plots.filter((plot) => plot.setting === setting)) blocks.push(`![${title}](${file})`);
	}
	const failures = rows.flatMap((row) => row.failures.map(({ seed, reason }) => `- ${nameOf(row)}, seed ${seed}: ${reason}`));
	if (failures.length > 0) blocks.push("## Runs that did not complete", failures.join("\n"));
	return `${blocks.join("\n\n")}\n`;
}

function comparisonOf({ about, rows }: Results): string[] {
	const { claim, citation, text, result } = about;
	if ([claim, citation, text, result].every((part) => part === undefined)) return [];
	const ours = result === undefined ? rows.map((row) => `${nameOf(row)}: ${headlineOf(row)}`).join("<br>") : result;
	const cells = [claim ?? "–", ours, text ?? "–"].map((cell) =>
		cell
			.trim()
			.replaceAll(/\s*\n\s*/g, " ")
			.replaceAll("|", "\\|"),
	);
	return [
		...(citation === undefined ? [] : [citation.trim()]),
		["| The paper | Here | Why |", "| --- | --- | --- |", `| ${cells.join(" | ")} |`].join("\n"),
	];
}

const nameOf = ({ strategy, setting }: Row): string => (setting === "" ? strategy : `${strategy} (${setting})`);

/** The number that people look at first. */
function headlineOf({ final }: Row): string {
	const name = ["accuracy", "loss"].find((metric) => final[metric] !== undefined) ?? Object.keys(final)[0];
	return name === undefined ? "no evaluation" : `${name} ${spreadText(final[name]!)}`;
}

const goalText = ({ metric, atLeast, atMost }: Reach): string => `${metric} ${atMost === undefined ? `≥ ${atLeast}` : `≤ ${atMost}`}`;

/** mean ± standard deviation, and the range. */
export function spreadText({ mean, std, min, max, count }: Spread): string {
	const text = (x: number): string => (Math.abs(x) >= 100 ? x.toFixed(1) : x.toFixed(4));
	return count === 1 ? text(mean) : `${text(mean)} ± ${text(std)} (${text(min)} to ${text(max)})`;
}

function tableOf(rows: readonly Row[], reach: Results["reach"]): string {
	const metrics = [...new Set(rows.flatMap(({ final }) => Object.keys(final)))].sort((a, b) =>
		a === "accuracy" ? -1 : b === "accuracy" ? 1 : a < b ? -1 : 1,
	);
	const isTimed = rows.some(({ virtualSeconds }) => virtualSeconds.max > 0);
	const hasLost = rows.some(({ unanswered, refusals }) => unanswered > 0 || Object.keys(refusals).length > 0);
	const goal = reach === undefined ? undefined : goalText(reach);
	const head = [
		"Strategy",
		...metrics,
		...(goal === undefined ? [] : [`Rounds to ${goal}`, `Bytes to ${goal}`, ...(isTimed ? [`Virtual seconds to ${goal}`] : [])]),
		"Up per report",
		"Down per report",
		"All bytes",
		...(isTimed ? ["Virtual seconds"] : []),
		"Seconds",
		...(hasLost ? ["Unanswered tasks", "Refused reports"] : []),
	];
	const lines = rows.map((row) => [
		row.strategy,
		...metrics.map((name) => (row.final[name] === undefined ? "–" : spreadText(row.final[name]))),
		...(goal === undefined
			? []
			: row.reached
				? [String(row.reached.round), size(Math.round(row.reached.bytes)), ...(isTimed ? [row.reached.virtualSeconds.toFixed(1)] : [])]
				: ["–", "–", ...(isTimed ? ["–"] : [])]),
		size(Math.round(row.bytesUpPerReport.mean)),
		size(Math.round(row.bytesDownPerReport.mean)),
		size(Math.round(row.bytes.mean)),
		...(isTimed ? [row.virtualSeconds.mean.toFixed(1)] : []),
		row.seconds.mean.toFixed(1),
		...(hasLost
			? [
					String(row.unanswered),
					Object.entries(row.refusals)
						.map(([code, count]) => `${count} ${code}`)
						.join(", ") || "0",
				]
			: []),
	]);
	const all = [head, head.map((_, i) => (i === 0 ? "---" : "---:")), ...lines];
	return all.map((line) => `| ${line.join(" | ")} |`).join("\n");
}
