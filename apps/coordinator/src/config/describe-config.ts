import { type CoordinatorConfig, KEY_SPECS } from "./schema.js";

/** One line per key: name, value and source in columns. Secrets show only that they are set. */
export function printConfig(config: CoordinatorConfig): string {
	const rows = KEY_SPECS.map(({ key, secret }) => {
		const value = config[key];
		const shown = value === undefined ? "(not set)" : secret ? "***" : Array.isArray(value) ? value.join(", ") || "(none)" : String(value);
		return [key, shown, config.sources[key] ?? ""] as const;
	});
	const width = (column: 0 | 1): number => Math.max(...rows.map((row) => row[column].length));
	return rows.map(([key, value, source]) => `${key.padEnd(width(0))}  ${value.padEnd(width(1))}  ${source}`.trimEnd()).join("\n");
}

/** The table of all keys in docs/configuration.md. */
export function configTable(): string {
	const head = ["Key", "Environment", "Flag", "Allowed", "Default", "Meaning"];
	const rows = KEY_SPECS.map(({ key, environment, flag, allowed, schema, secret }) => {
		const value: unknown = schema.default;
		const shown = value === undefined ? "not set" : Array.isArray(value) ? "empty" : `\`${value}\``;
		return [`\`${key}\``, `\`${environment}\``, `\`${flag}\``, allowed, shown, `${schema.description}${secret ? " Secret." : ""}`];
	});
	return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
