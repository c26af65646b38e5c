import { RondoError } from "@rondo/errors";

/** Who holds what. */
export interface PartitionSummary {
	/** The class indices that occur, ascending. */
	readonly classes: readonly number[];
	/** In the order of the parts. `counts[i]` examples are of class `classes[i]`. */
	readonly clients: readonly { readonly examples: number; readonly counts: readonly number[] }[];
}

/**
 * Counts the classes of each part.
 * @param parts example indices of each client
 * @param labels class index of each example
 * @throws INVALID_ARGUMENT for an index without a label
 */
export function summarize(parts: readonly Uint32Array[], labels: Int32Array): PartitionSummary {
	const classes = [...new Set(labels)].sort((a, b) => a - b);
	const column = new Map(classes.map((label, i) => [label, i]));
	const clients = parts.map((part, client) => {
		const counts = classes.map(() => 0);
		for (const row of part) {
			const label = labels[row];
			if (label === undefined) {
				throw new RondoError("INVALID_ARGUMENT", `parts[${client}] holds example ${row}, there are ${labels.length} labels`);
			}
			counts[column.get(label)!]!++;
		}
		return { examples: part.length, counts };
	});
	return { classes, clients };
}

/**
 * The summary as a text table, one line per client and one for the total.
 * @param names one per client; default: their numbers from 0
 */
export function formatSummary(summary: PartitionSummary, names: readonly string[] = summary.clients.map((_, i) => String(i))): string {
	const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
	const total = summary.classes.map((_, i) => sum(summary.clients.map(({ counts }) => counts[i]!)));
	const lines = [
		["client", "examples", ...summary.classes.map((label) => `class ${label}`)],
		...summary.clients.map(({ examples, counts }, i) => [names[i] ?? String(i), String(examples), ...counts.map(String)]),
		["total", String(sum(summary.clients.map(({ examples }) => examples))), ...total.map(String)],
	];
	const widths = lines[0]!.map((_, i) => lines.reduce((width, line) => Math.max(width, line[i]!.length), 0));
	return lines.map((line) => line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  ")).join("\n");
}
