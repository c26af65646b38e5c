import { layoutOf } from "@rondo/tensors";
import { sharedProperties } from "./cohort.js";
import { resolveConfig } from "./config.js";
import type { AnyStrategy } from "./contract.js";
import { builtInStrategies } from "./registry.js";
import { updateProperties } from "./update-lane.js";

interface OptionSchema {
	readonly type?: string;
	readonly enum?: readonly unknown[];
	readonly minimum?: number;
	readonly exclusiveMinimum?: number;
	readonly maximum?: number;
	readonly default?: unknown;
	readonly description?: string;
}

type Options = readonly (readonly [name: string, option: OptionSchema])[];

/** Options with one meaning wherever they occur: the very same schema objects. */
const GROUPS: readonly { readonly title: string; readonly anchor: string; readonly properties: Readonly<Record<string, OptionSchema>> }[] =
	[
		{
			title: "Options of an update",
			anchor: "options-of-an-update",
			properties: updateProperties as Readonly<Record<string, OptionSchema>>,
		},
		{ title: "Options of a round", anchor: "options-of-a-round", properties: sharedProperties as Readonly<Record<string, OptionSchema>> },
	];

/** The model of the worked numbers: two matrices, 10^6 weights. */
const EXAMPLE = layoutOf([
	{ name: "first.kernel", shape: [1000, 500] },
	{ name: "second.kernel", shape: [500, 1000] },
]);

/** The strategies and their options as Markdown: the generated part of docs/algorithms.md. */
export function describeStrategies(strategies: readonly AnyStrategy[] = builtInStrategies): string {
	const overview = table(
		["Strategy", "What it is", "Bytes up", "Bytes down"],
		strategies.map((s) => [`[\`${s.name}\`](#${s.name})`, s.summary, s.about?.bytesUp ?? "", s.about?.bytesDown ?? ""]),
	);
	const worked = [
		`Most bytes per client and round for a model of ${count(EXAMPLE.length)} weights, with the default options: what a submission is told and what is enforced. Where less is sent as a rule, as to clients that still have what they need, \`npm run bench:bytes\` shows it. A first task also brings the model itself, ${count(4 * EXAMPLE.length)} bytes, where the strategy does not send it anyway.`,
		table(
			["Strategy", "Up", "Down", "Both, of float32 both ways"],
			strategies.map((s) => {
				const { task, download, report } = s.bounds(resolveConfig(s, {}, EXAMPLE), EXAMPLE);
				const share = (100 * (report + task + download)) / (8 * EXAMPLE.length);
				return [`\`${s.name}\``, count(report), count(task + download), `${share.toPrecision(3)} %`];
			}),
			[1, 2, 3],
		),
	].join("\n\n");
	const groups = GROUPS.map(({ title, properties }) => `### ${title}\n\n${optionTable(Object.entries(properties))}`);
	return [overview, worked, ...strategies.map(section), ...groups].join("\n\n");
}

function section(s: AnyStrategy): string {
	const options = optionsOf(s);
	const isGrouped = (option: OptionSchema): boolean => GROUPS.some(({ properties }) => Object.values(properties).includes(option));
	const has = (option: OptionSchema): boolean => options.some(([, own]) => own === option);
	const notes = GROUPS.flatMap(({ title, anchor, properties }) => {
		const all = Object.entries(properties);
		const lacks = all.flatMap(([name, option]) => (has(option) ? [] : [`\`${name}\``]));
		if (lacks.length === all.length) return [];
		return [`[${title.toLowerCase()}](#${anchor})${lacks.length === 0 ? "" : ` without ${lacks.join(", ")}`}`];
	});
	const { trainer, carry } = s.needs;
	const member = s.bounds(resolveConfig(s, {}, EXAMPLE), EXAMPLE).member ?? 0;
	const needs = [
		trainer === "none" ? "no trainer" : `a trainer with ${trainer === "gradient" ? "gradients" : "losses alone"}`,
		...(carry === undefined ? [] : ["devices that keep state between rounds"]),
		...(member === 0 ? [] : ["a server that keeps state of every client"]),
		s.reads !== undefined
			? "single reports at the server with some options"
			: s.needs.reads === "reports"
				? "single reports at the server"
				: "no more than sums at the server, unless a reducer is chosen",
	];
	return [
		`### ${s.name}`,
		`Version ${s.version}. ${s.summary}`,
		...(s.about === undefined
			? []
			: [
					`**When to choose it.** ${s.about.chooseWhen}`,
					`- Paper: ${s.about.paper}\n- Needs: ${needs.join("; ")}\n- Bytes up: ${s.about.bytesUp}\n- Bytes down: ${s.about.bytesDown}`,
				]),
		optionTable(options.filter(([, option]) => !isGrouped(option))),
		...(notes.length === 0 ? [] : [`Also the ${notes.join(" and the ")}.`]),
	].join("\n\n");
}

const count = (value: number): string => value.toLocaleString("en-US");

const optionsOf = ({ schema }: AnyStrategy): Options => Object.entries((schema as { readonly properties?: object }).properties ?? {});

const optionTable = (options: Options): string =>
	table(
		["Option", "Default", "Allowed", "Meaning"],
		options.map(([name, option]) => [`\`${name}\``, shown(option.default), allowed(option), option.description ?? ""]),
	);

function allowed(option: OptionSchema): string {
	if (option.enum !== undefined) return option.enum.map(shown).join(", ");
	const low = option.exclusiveMinimum === undefined ? `from ${shown(option.minimum)}` : `above ${shown(option.exclusiveMinimum)}`;
	return `${option.type} ${low} to ${shown(option.maximum)}`;
}

/** A power of two below 1/1000 reads better as one. */
function shown(value: unknown): string {
	for (let exponent = 10; typeof value === "number" && exponent <= 60; exponent++) if (value === 2 ** -exponent) return `2^-${exponent}`;
	return `\`${typeof value === "string" ? value : JSON.stringify(value)}\``;
}

const table = (head: readonly string[], rows: readonly (readonly string[])[], numbers: readonly number[] = []): string =>
	[head, head.map((_, column) => (numbers.includes(column) ? "---:" : "---")), ...rows]
		.map((cells) => `| ${cells.join(" | ")} |`)
		.join("\n");
