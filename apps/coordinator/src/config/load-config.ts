import { readFileSync } from "node:fs";
import { RondoError } from "@rondo/errors";
import { Value } from "@sinclair/typebox/value";
import { type ConfigKey, type CoordinatorConfig, KEY_SPECS, type KeySpec } from "./schema.js";

/** Names the JSON file, as `--config` does. */
export const CONFIG_FILE_VARIABLE = "RONDO_CONFIG";

export interface ConfigInput {
	/** Path of a JSON file; wins over RONDO_CONFIG. */
	readonly file?: string;
	/** Usually `process.env`; variables without the prefix RONDO_ are not looked at. */
	readonly env: { readonly [name: string]: string | undefined };
	/** By key, not by flag name; undefined is as good as absent. */
	readonly flags: { readonly [key: string]: unknown };
}

/**
 * The configuration from defaults, file, environment and flags; later ones win.
 * @throws UNKNOWN_OPTION for a key or RONDO_ variable that does not exist, INVALID_ARGUMENT for a value or file that cannot be
 * used; both name the source
 */
export function loadConfig({ file, env, flags }: ConfigInput): CoordinatorConfig {
	const values: Record<string, unknown> = {};
	const sources: Record<string, string> = {};
	const put = (spec: KeySpec, value: unknown, source: string): void => {
		values[spec.key] = checked(spec, value, source);
		sources[spec.key] = source;
	};
	for (const spec of KEY_SPECS) if (spec.schema.default !== undefined) put(spec, structuredClone(spec.schema.default), "default");

	const path = file ?? env[CONFIG_FILE_VARIABLE];
	if (path !== undefined) {
		const keys = KEY_SPECS.map(({ key }) => key);
		for (const [key, value] of Object.entries(readFile(path)))
			put(KEY_SPECS[indexOf(key, keys, `key in file ${path}`)]!, value, `file ${path}`);
	}
	const variables = [...KEY_SPECS.map(({ environment }) => environment), CONFIG_FILE_VARIABLE];
	for (const [name, text] of Object.entries(env)) {
		if (!name.startsWith("RONDO_") || text === undefined) continue;
		const spec = KEY_SPECS[indexOf(name, variables, "environment variable")];
		if (spec !== undefined) put(spec, fromText(spec, text), `environment ${name}`);
	}
	const names = KEY_SPECS.map(({ key }) => key);
	for (const [key, value] of Object.entries(flags)) {
		if (value === undefined) continue;
		const spec = KEY_SPECS[indexOf(key, names, "flag")]!;
		put(spec, typeof value === "string" ? fromText(spec, value) : value, `flag ${spec.flag}`);
	}

	const tls = ["tlsCertificate", "tlsKey"] as const;
	const missing = tls.find((key) => values[key] === undefined);
	const given = tls.find((key) => values[key] !== undefined);
	if (missing !== undefined && given !== undefined) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`${given} = ${JSON.stringify(values[given])} (${sources[given]}) needs ${missing}, which is not set; set both or none`,
			{
				details: { field: missing },
			},
		);
	}
	// Every value was checked against its part of the schema.
	return { ...values, sources } as unknown as CoordinatorConfig;
}

function readFile(path: string): object {
	let value: unknown;
	try {
		value = JSON.parse(readFileSync(path, "utf8"));
	} catch (cause) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`configuration file ${path} cannot be read as JSON: ${cause instanceof Error ? cause.message : String(cause)}`,
			{ cause },
		);
	}
	if (typeof value !== "object" || value === null || Array.isArray(value)) {
		throw new RondoError("INVALID_ARGUMENT", `configuration file ${path} must hold a JSON object`);
	}
	return value;
}

/** Text of an environment variable or flag as the type that the key has; text that has no such value stays text and fails the check. */
function fromText({ schema }: KeySpec, text: string): unknown {
	if (schema.type === "integer") return /^-?[0-9]+$/.test(text.trim()) ? Number(text) : text;
	if (schema.type === "array") return text === "" ? [] : text.split(",").map((part) => part.trim());
	return text;
}

function checked({ key, schema, secret, allowed }: KeySpec, value: unknown, source: string): unknown {
	if (Value.Check(schema, value)) return value;
	const shown = secret ? "(a secret)" : JSON.stringify(value);
	throw new RondoError("INVALID_ARGUMENT", `${key} = ${shown} (${source}) must be ${allowed}`, {
		details: { field: key, source, ...(secret ? {} : { value }) },
	});
}

function indexOf(name: string, known: readonly string[], what: string): number {
	const index = known.indexOf(name as ConfigKey);
	if (index >= 0) return index;
	const nearest = known.toSorted((a, b) => distance(a, name) - distance(b, name))[0]!;
	throw new RondoError("UNKNOWN_OPTION", `unknown ${what}: ${JSON.stringify(name.slice(0, 80))}; did you mean ${nearest}?`, {
		details: { field: name, suggestion: nearest },
	});
}

/** Levenshtein's edit distance, letters compared without case. */
function distance(a: string, b: string): number {
	const to = b.toLowerCase().slice(0, 80);
	let row = Array.from({ length: to.length + 1 }, (_, i) => i);
	for (const [i, letter] of [...a.toLowerCase()].entries()) {
		const next = [i + 1];
		for (let j = 0; j < to.length; j++) next.push(Math.min(next[j]! + 1, row[j + 1]! + 1, row[j]! + (to[j] === letter ? 0 : 1)));
		row = next;
	}
	return row.at(-1)!;
}
