import { expect, test } from "vitest";
import type { RunClientView } from "./api-types.js";
import { runClientTable } from "./run-clients.js";

const client = (id: string, more: Partial<RunClientView> = {}): RunClientView => ({
	client: id,
	name: `name-${id}`,
	connected: true,
	leased: 12,
	applied: 11,
	lastRound: 11,
	bytesDown: 2_500_000,
	bytesUp: 12,
	scoredRound: 11,
	scores: { standing: 1, reputation: 0.123456 },
	state: { standing: "live", reason: "", model: { dtype: "f32", length: 3 } },
	...more,
});

test("a table has a column for every score, and the texts of the state", () => {
	const text = runClientTable([
		client("a"),
		client("b", { connected: false, scores: { standing: 0 }, state: { reason: "round 11: too low", standing: "removed" } }),
		client("c", { applied: 0, lastRound: null, scores: {}, state: null }),
	]);
	const lines = text.split("\n").map((line) => line.trim().split(/ {2,}/));
	expect(lines).toEqual([
		["CLIENT", "NAME", "STATE", "REPORTS", "LAST ROUND", "DOWN", "UP", "REPUTATION", "STANDING", "NOTES"],
		["a", "name-a", "connected", "11/12", "11", "2.5 MB", "12 B", "0.1235", "1", "live"],
		["b", "name-b", "away", "11/12", "11", "2.5 MB", "12 B", "-", "0", "round 11: too low; removed"],
		["c", "name-c", "connected", "0/12", "-", "2.5 MB", "12 B", "-", "-", "-"],
	]);
});

test("nobody took part", () => {
	expect(runClientTable([])).toContain("CLIENT");
});
