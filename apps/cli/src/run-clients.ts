import type { RunClientView } from "./api-types.js";
import { size, table } from "./output.js";

/** Clients of a run as a table: a column for each score that any of them has, then the texts that the strategy keeps. */
export function runClientTable(clients: readonly RunClientView[]): string {
	const scores = [...new Set(clients.flatMap((client) => Object.keys(client.scores)))].sort();
	const head = ["CLIENT", "NAME", "STATE", "REPORTS", "LAST ROUND", "DOWN", "UP", ...scores.map((name) => name.toUpperCase()), "NOTES"];
	const rows = clients.map((client) => [
		client.client,
		client.name,
		client.connected ? "connected" : "away",
		`${client.applied}/${client.leased}`,
		client.lastRound ?? "-",
		size(client.bytesDown),
		size(client.bytesUp),
		...scores.map((name) => decimals(client.scores[name])),
		notes(client.state),
	]);
	return table(head, rows, { right: scores.map((_, i) => 7 + i).concat(3, 4, 5, 6) });
}

const decimals = (value: number | undefined): string =>
	value === undefined ? "-" : Number.isInteger(value) ? String(value) : value.toFixed(4);

/** Short texts of the state, which say more than numbers. */
function notes(state: unknown): string {
	const entries = typeof state === "object" && state !== null ? Object.values(state) : [];
	const texts = entries.filter((value): value is string => typeof value === "string" && value !== "");
	return texts.length === 0 ? "-" : texts.join("; ");
}
