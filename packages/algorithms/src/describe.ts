import { sharedProperties } from "./cohort.js";
import type { AnyStrategy } from "./contract.js";
import { builtInStrategies } from "./registry.js";

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

/** The strategies and their options as Markdown: the generated part of docs/algorithms.md. */
export function describeStrategies(strategies: readonly AnyStrategy[] = builtInStrategies): string {
	const overview = table(
		["Strategy", "What it is", "Asks of the trainer", "Server reads"],
		strategies.map((s) => [
			`[\`${s.name}\`](#${s.name}) version ${s.version}`,
			s.summary,
			s.needs.trainer,
			s.reads === undefined ? s.needs.reads : "by options",
		]),
	);
	// One table for what has one meaning everywhere: the very same schema object.
	const shared: Options = Object.entries(sharedProperties);
	const has = (s: AnyStrategy, option: OptionSchema) => optionsOf(s).some(([, same]) => same === option);
	const sections = strategies.map((s) => {
		const own = optionsOf(s).filter(([, option]) => !shared.some(([, same]) => same === option));
		const lacks = shared.flatMap(([name, option]) => (has(s, option) ? [] : [`\`${name}\``]));
		const note = lacks.length === 0 ? "" : `\n\nWithout ${lacks.join(", ")} as described below.`;
		return `### ${s.name}\n\n${optionTable(own)}${note}`;
	});
	return [overview, ...sections, `### Options of every strategy\n\n${optionTable(shared)}`].join("\n\n");
}

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

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
	[head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
