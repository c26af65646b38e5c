import { RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";
import { Ajv, type ErrorObject } from "ajv";
import type { Strategy, Types } from "./contract.js";

const ajv = new Ajv({ useDefaults: true, strict: true, verbose: true });

/**
 * The configuration of a run: `options` (default: none) with every default filled in. The argument is not changed.
 * @throws UNKNOWN_OPTION that lists the options there are; INVALID_ARGUMENT that names option, value and what is allowed
 */
export function resolveConfig<T extends Types>(strategy: Strategy<T>, options: unknown, layout: Layout): T["config"] {
	const config = copyOf(options ?? {}, strategy.name);
	const validate = ajv.compile(strategy.schema);
	if (!validate(config)) throw refusalOf(strategy.name, validate.errors![0]!);
	strategy.check?.(config, layout);
	return config;
}

/** Validation writes the defaults into what it is given. */
function copyOf(options: unknown, name: string): unknown {
	try {
		return structuredClone(options);
	} catch (cause) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`the options of ${name} are not data: ${cause instanceof Error ? cause.message : String(cause)}`,
			{ cause },
		);
	}
}

function refusalOf(name: string, error: ErrorObject): RondoError {
	const at = error.instancePath.slice(1).replaceAll("/", ".");
	if (error.keyword === "additionalProperties") {
		const option = [at, String(error.params.additionalProperty)].filter(Boolean).join(".");
		const known = Object.keys(error.parentSchema?.properties ?? {});
		return new RondoError("UNKNOWN_OPTION", `${name} has no option ${option}; it has: ${known.join(", ") || "none"}`, {
			details: { option, known },
		});
	}
	const allowed = error.keyword === "enum" ? `must be one of ${JSON.stringify(error.schema)}` : error.message;
	const subject = at === "" ? `the options of ${name}` : `option ${at} of ${name}`;
	const value = typeof error.data === "number" ? String(error.data) : JSON.stringify(error.data);
	return new RondoError("INVALID_ARGUMENT", `${subject} ${allowed}, got ${value}`, { details: { option: at, value: error.data } });
}
