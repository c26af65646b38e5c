import { basename, dirname, extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { loadRegistry, type Registry } from "@rondo/algorithms";
import { toRondoError } from "@rondo/errors";
import { checkAdversary } from "@rondo/simulation";
import { Ajv, type ErrorObject } from "ajv";
import { readText } from "../files.js";
import { ExperimentDocument, type Path } from "./document.js";
import {
	type About,
	type AdversaryGroup,
	type Cell,
	type Experiment,
	type LabelledSetting,
	type Setting,
	type StrategyEntry,
	slugOf,
} from "./experiment.js";
import { figuresOf, problemOf } from "./figures.js";
import { ATTACKS, DATASETS, EXPERIMENT, type Kinds, MODELS, PARTITIONS, TRAINERS } from "./schema.js";

type Raw = Record<string, unknown>;

const ajv = new Ajv({ useDefaults: true, strict: true, strictTypes: false, verbose: true });
const validateExperiment = ajv.compile(EXPERIMENT);
const validators = new Map<Kinds, Map<string, ReturnType<Ajv["compile"]>>>();

/** What the command line knows of an experiment and its strategies. */
export interface ReadExperiment {
	readonly experiment: Experiment;
	readonly registry: Registry;
	readonly document: ExperimentDocument;
}

/**
 * Reads an experiment file: every field is checked, defaults are filled in, the grid is multiplied out.
 * @throws NOT_FOUND, INVALID_ARGUMENT, UNKNOWN_OPTION, UNKNOWN_STRATEGY that name file, line, field and value
 */
export async function readExperiment(file: string): Promise<ReadExperiment> {
	const path = resolve(file);
	const document = new ExperimentDocument(basename(file), await readText(file, "experiment"));
	const raw = document.data();
	if (typeof raw !== "object" || raw === null || Array.isArray(raw)) throw document.refusal([], "must be a map of fields");
	const short = shorthand(raw as Raw, document);
	check(validateExperiment, short, document, []);
	const { grid, ...base } = structuredClone(short) as Raw & { readonly grid: Record<string, unknown[]> };
	const { strategies, modules, registry } = await strategiesOf(base.strategies as Raw[], dirname(path), document);
	const settings = combinationsOf(base, grid, document).map(({ label, raw: combined, from }) => ({
		label,
		setting: settingOf(combined, dirname(path), document, from),
	}));
	const seeds = base.seeds as number[];
	const cells = settings.flatMap((setting) => strategies.flatMap((strategy) => seeds.map((seed) => cellOf(setting, strategy, seed))));
	const about = aboutOf(base, file, settings, strategies, document);
	return { experiment: { file: path, about, settings, strategies, modules, seeds, cells }, registry, document };
}

/** What pages say; what it names must be there, which shows before anything runs. */
function aboutOf(
	base: Raw,
	file: string,
	settings: readonly LabelledSetting[],
	strategies: readonly StrategyEntry[],
	document: ExperimentDocument,
): About {
	const about = (base.about ?? { title: basename(file, extname(file)) }) as About;
	for (const [i, { settings: named = [] }] of (about.plots ?? []).entries()) {
		const unknown = named.find((name) => !settings.some(({ label }) => label === name));
		if (unknown !== undefined)
			throw document.refusal(
				["about", "plots", i, "settings"],
				`names ${JSON.stringify(unknown)}; the grid has: ${settings.map(({ label }) => label).join("; ")}`,
			);
	}
	for (const field of ["text", "result"] as const) {
		for (const figure of figuresOf(about[field] ?? "")) {
			const problem = problemOf(figure, settings, strategies);
			if (problem !== undefined) throw document.refusal(["about", field], problem);
		}
	}
	return about;
}

function cellOf({ label, setting }: LabelledSetting, strategy: StrategyEntry, seed: number): Cell {
	const name = [slugOf(label), slugOf(strategy.label), `seed${seed}`].filter(Boolean).join("-");
	return { name, settingLabel: label, setting, strategy, seed };
}

/** Kinds and names that stand alone become maps, a number of seeds the seeds from 1. */
function shorthand(raw: Raw, document: ExperimentDocument): Raw {
	const kinds = ["dataset", "partition", "model", "trainer"].filter((field) => typeof raw[field] === "string");
	const { seeds, strategies } = raw;
	if (typeof seeds === "number" && !(Number.isInteger(seeds) && seeds >= 1 && seeds <= 1000))
		throw document.refusal(["seeds"], `must be a list of seeds or their number from 1 to 1000, got ${seeds}`);
	return {
		...raw,
		...Object.fromEntries(kinds.map((field) => [field, { kind: raw[field] }])),
		...(typeof seeds === "number" ? { seeds: Array.from({ length: seeds }, (_, i) => i + 1) } : {}),
		...(Array.isArray(strategies)
			? {
					strategies: strategies.map((entry: unknown) =>
						typeof entry !== "string" ? entry : /\.[mc]?js$/.test(entry) ? { file: entry } : { name: entry },
					),
				}
			: {}),
		...(Array.isArray(raw.adversaries) ? { adversaries: raw.adversaries.map(groupShorthand) } : {}),
	};
}

/** `{ share: 0.2, kind: sign-flip, scale: 3 }` is a group with one attack. */
function groupShorthand(group: unknown): unknown {
	if (typeof group !== "object" || group === null || !("kind" in group)) return group;
	const { count, share, ...attack } = group as Raw;
	return { ...(count === undefined ? {} : { count }), ...(share === undefined ? {} : { share }), attacks: [attack] };
}

/** Built-in strategies by name, those of files by name or all that the file has. */
async function strategiesOf(entries: readonly Raw[], folder: string, document: ExperimentDocument) {
	const files = new Map<string, string[]>();
	const urlOf = (file: string): string => pathToFileURL(resolve(folder, file)).href;
	for (const [i, { file }] of entries.entries()) {
		if (file === undefined || files.has(urlOf(file as string))) continue;
		try {
			const known = new Set((await loadRegistry([])).strategies().map(({ name }) => name));
			const added = (await loadRegistry([urlOf(file as string)])).strategies().map(({ name }) => name);
			files.set(
				urlOf(file as string),
				added.filter((name) => !known.has(name)),
			);
		} catch (error) {
			throw document.located(["strategies", i], toRondoError(error));
		}
	}
	const modules = [...files.keys()];
	const registry = await loadRegistry(modules);
	const strategies = entries.flatMap((entry, i): StrategyEntry[] => {
		const { name, file, label, options } = entry as { name?: string; file?: string; label?: string; options: Raw };
		const names = name !== undefined ? [name] : file !== undefined ? files.get(urlOf(file))! : undefined;
		if (names === undefined) throw document.refusal(["strategies", i], "must have a name or a file");
		for (const one of names) {
			try {
				registry.strategy(one);
			} catch (error) {
				throw document.located(["strategies", i], toRondoError(error));
			}
		}
		return names.map((one) => ({ name: one, label: names.length === 1 ? (label ?? one) : one, options }));
	});
	const slugs = strategies.map(({ label }) => slugOf(label));
	const twice = slugs.findIndex((slug, i) => slugs.indexOf(slug) !== i);
	if (twice >= 0)
		throw document.refusal(["strategies"], `has two entries labelled ${JSON.stringify(strategies[twice]!.label)}; give them labels`);
	return { strategies, modules, registry };
}

/** Every combination of the grid, with the fields that it sets. */
function combinationsOf(base: Raw, grid: Record<string, unknown[]>, document: ExperimentDocument) {
	let combinations: { readonly label: string; readonly raw: Raw; readonly from: readonly string[] }[] = [
		{ label: "", raw: base, from: [] },
	];
	for (const [field, values] of Object.entries(grid)) {
		if (/^(strategies|seeds|grid|about)\b/.test(field)) throw document.refusal(["grid", field], `cannot vary ${field}`);
		combinations = combinations.flatMap(({ label, raw, from }) =>
			values.map((value) => {
				const named = labelled(field, value);
				const set = shorthand(withField(structuredClone(raw), field.split("."), structuredClone(named.value)), document);
				return { label: [label, named.label].filter(Boolean).join(", "), raw: set, from: [...from, field] };
			}),
		);
	}
	const labels = combinations.map(({ label }) => slugOf(label));
	const twice = labels.findIndex((label, i) => labels.indexOf(label) !== i);
	if (twice >= 0) throw document.refusal(["grid"], `has two combinations named ${JSON.stringify(combinations[twice]!.label)}`);
	return combinations;
}

function labelled(field: string, value: unknown): { readonly label: string; readonly value: unknown } {
	if (typeof value === "object" && value !== null && !Array.isArray(value) && "label" in value && "value" in value)
		return { label: String(value.label), value: value.value };
	const short = field.split(".").at(-1)!;
	const kind = (value as { readonly kind?: unknown } | null)?.kind;
	return {
		label: `${short}=${typeof kind === "string" ? kind : typeof value === "object" ? JSON.stringify(value) : String(value)}`,
		value,
	};
}

function withField(raw: Raw, [key, ...rest]: readonly string[], value: unknown): Raw {
	if (rest.length === 0) return { ...raw, [key!]: value };
	const inner = raw[key!];
	return { ...raw, [key!]: withField((typeof inner === "object" && inner !== null ? inner : {}) as Raw, rest, value) };
}

/** Checks one combination. @param from fields of the grid, which refusals may be about */
function settingOf(raw: Raw, folder: string, document: ExperimentDocument, from: readonly string[]): Setting {
	const at = (path: Path): Path => {
		const field = from.find((name) => path.join(".").startsWith(name) || name.startsWith(path.join(".")));
		return field === undefined ? path : ["grid", field];
	};
	check(validateExperiment, raw, document, [], at);
	// The schema has made sure of these.
	const { clients, rounds, options, behaviour, maxReplans, evaluateEvery, metrics, ...parts } = raw as unknown as Setting;
	const { dataset, partition, model, trainer } = parts as unknown as Readonly<Record<string, Raw>>;
	const { reach } = metrics;
	if (reach !== undefined && (reach.atLeast === undefined) === (reach.atMost === undefined))
		throw document.refusal(at(["metrics", "reach"]), "must have either atLeast or atMost");
	const adversaries = (raw.adversaries as { attacks: Raw[] }[]).map((group, i) => {
		const attacks = group.attacks.map((attack, j) => kindOf(attack, ATTACKS, document, ["adversaries", i, "attacks", j], at));
		const checked = { ...group, attacks } as unknown as AdversaryGroup;
		if ((checked.count === undefined) === (checked.share === undefined))
			throw document.refusal(at(["adversaries", i]), "must have either a count or a share");
		try {
			checkAdversary(`adversaries[${i}].attacks`, checked.attacks);
		} catch (error) {
			throw document.located(at(["adversaries", i]), toRondoError(error));
		}
		return checked;
	});
	const absolute = (spec: Raw): Raw => (typeof spec.file === "string" ? { ...spec, file: resolve(folder, spec.file) } : spec);
	return {
		dataset: absolute(kindOf(dataset!, DATASETS, document, ["dataset"], at)) as never,
		partition: kindOf(partition!, PARTITIONS, document, ["partition"], at) as never,
		model: absolute(kindOf(model!, MODELS, document, ["model"], at)) as never,
		trainer: kindOf(trainer!, TRAINERS, document, ["trainer"], at) as never,
		clients,
		rounds,
		options,
		adversaries,
		behaviour,
		maxReplans,
		evaluateEvery,
		metrics,
	};
}

type Locate = (path: Path) => Path;

/** A part that comes in kinds, with the defaults of its kind. */
function kindOf(value: Raw, kinds: Kinds, document: ExperimentDocument, path: Path, at: Locate): Raw {
	const { kind, ...rest } = value;
	if (typeof kind !== "string" || !Object.hasOwn(kinds, kind))
		throw document.refusal(at([...path, "kind"]), `must be one of ${Object.keys(kinds).join(", ")}, got ${JSON.stringify(kind ?? null)}`);
	const known = validators.get(kinds) ?? new Map();
	validators.set(kinds, known);
	if (!known.has(kind)) known.set(kind, ajv.compile({ type: "object", additionalProperties: false, required: [], ...kinds[kind] }));
	const filled = structuredClone(rest);
	check(known.get(kind)!, filled, document, path, at);
	return { kind, ...filled };
}

function check(
	validate: ReturnType<Ajv["compile"]>,
	value: unknown,
	document: ExperimentDocument,
	path: Path,
	at: Locate = (same) => same,
): void {
	if (validate(value)) return;
	const [error] = validate.errors!;
	throw refusalOf(error!, document, path, at);
}

function refusalOf(error: ErrorObject, document: ExperimentDocument, base: Path, at: Locate): Error {
	const inner = error.instancePath.split("/").slice(1);
	const path = [...base, ...inner.map((key) => (/^[0-9]+$/.test(key) ? Number(key) : key.replaceAll("~1", "/").replaceAll("~0", "~")))];
	const got = `got ${JSON.stringify(error.data)}`;
	switch (error.keyword) {
		case "additionalProperties": {
			const known = Object.keys(error.parentSchema?.properties ?? {});
			const unknown = String(error.params.additionalProperty);
			return document.refusal(at([...path, unknown]), `is not known here; known are ${known.join(", ") || "none"}`, "UNKNOWN_OPTION");
		}
		case "required":
			return document.refusal(at(path), `lacks ${String(error.params.missingProperty)}`);
		case "enum":
			return document.refusal(at(path), `must be one of ${(error.schema as unknown[]).join(", ")}, ${got}`);
		default:
			return document.refusal(at(path), `${error.message}, ${got}`);
	}
}
