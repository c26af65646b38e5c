import { describe, expect, it } from "vitest";
import type { Api } from "./api.js";
import type { RoundView, RunView } from "./api-types.js";
import { finishedRounds, roundLine } from "./rounds.js";

const row = (kind: RoundView["kind"], round: number, phase: RoundView["phase"], more: Partial<RoundView> = {}): RoundView => ({
	...{
		kind,
		round,
		attempt: 1,
		phase,
		reason: null,
		metrics: {},
		leased: 2,
		accepted: 2,
		bytesDown: 20,
		bytesUp: 10,
		openedAt: "2026-01-01T00:00:00.000Z",
	},
	closedAt: phase === "committed" || phase === "abandoned" ? "2026-01-01T00:00:01.500Z" : null,
	...more,
});

const run = (rounds: number, phase: RunView["phase"] = "running"): RunView =>
	({ id: "r", rounds, phase, settings: { rounds: 9, minClients: 1, evaluateEvery: 1 } }) as RunView;

const apiWith = (rows: readonly RoundView[]): Api =>
	({
		list: async () => rows,
		get: async () => ({
			tasks: [
				{ client: "a", bytesUp: 10, bytesDown: 1500 },
				{ client: "b", bytesUp: 10, bytesDown: 20 },
			],
		}),
	}) as unknown as Api;

describe("finishedRounds", () => {
	const evaluated = row("evaluate", 1, "committed", { metrics: { accuracy: 0.5, loss: 1.25 } });

	it("joins training and evaluation and leaves attempts out that were abandoned", async () => {
		const rows = [row("train", 1, "abandoned"), row("train", 1, "committed", { attempt: 2 }), evaluated];
		const rounds = await finishedRounds(apiWith(rows), run(1));
		expect(rounds).toMatchObject([
			{
				round: 1,
				attempt: 2,
				committed: true,
				accuracy: 0.5,
				loss: 1.25,
				reports: 2,
				seconds: 1.5,
				clients: [{ client: "a", up: 10, down: 1500 }, { client: "b" }],
			},
		]);
		expect(roundLine(rounds[0]!, 10)).toBe(
			"round  1/10  accuracy 50.00 %  loss 1.2500  reports 2/2  per client 10 B up, 20 B to 1.5 kB down  1.5 s",
		);
	});

	it("waits for an evaluation to come, but not for long", async () => {
		const rows = [row("train", 1, "committed"), evaluated, row("train", 2, "committed"), row("evaluate", 2, "planned")];
		expect((await finishedRounds(apiWith(rows), run(2))).map(({ round }) => round)).toEqual([1]);
		expect((await finishedRounds(apiWith(rows), run(5))).map(({ round, accuracy }) => [round, accuracy])).toEqual([
			[1, 0.5],
			[2, null],
		]);
		expect(await finishedRounds(apiWith(rows), run(2, "stopped"))).toHaveLength(2);
		expect(await finishedRounds(apiWith(rows), run(2, "stopped"), 2)).toHaveLength(1);
	});
});
