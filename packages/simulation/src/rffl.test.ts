import { type AnyStrategy, builtInStrategies, type Plain, type Vec } from "@rondo/algorithms";
import { replayRun } from "@rondo/rounds";
import { layoutOf } from "@rondo/tensors";
import { expect, test } from "vitest";
import { quadratic, rowsOf } from "../test/quadratic.js";
import { simulate } from "./simulate.js";

const rffl = builtInStrategies.find(({ name }) => name === "rffl")!;
const WIDTH = 40;
const ROUNDS = 8;
const ABSENT_IN = 3;

type Row = {
	readonly model: Vec<"f32">;
	readonly reward: Plain;
	readonly standing: string;
	readonly reports: number;
	readonly reason: string;
};

/** c4 reports the opposite of what it trained. */
const attacked: AnyStrategy = {
	...rffl,
	async train(task, client) {
		const work = await rffl.train(task, client);
		return client.id === "c4" ? { ...work, lanes: { delta: work.lanes.delta!.map((value) => -value) } } : work;
	},
};

test("a removed client is not drawn again, an absent one goes on where it was, and the log replays", async () => {
	const { phase, rounds, refusals, members, engine, store, records, reports } = await simulate({
		strategy: attacked,
		options: { learningRate: 0.1, gamma: 10, cohortSize: 5, quorum: 2, warmupRounds: 2, patience: 3 },
		layout: layoutOf([{ name: "w", shape: [WIDTH] }]),
		initial: new Float32Array(WIDTH),
		publicSeed: "0a".repeat(32),
		secretSeed: "0b".repeat(32),
		clients: Array.from({ length: 5 }, (_, i) => ({
			id: `c${i}`,
			trainer: quadratic,
			data: rowsOf(
				WIDTH,
				Array.from({ length: WIDTH * (i + 1) }, (_x, j) => ((j * 7 + i) % 11) / 11),
			),
			present: (round: number) => i !== 1 || round !== ABSENT_IN,
		})),
		rounds: ROUNDS,
	});
	expect([phase, refusals]).toEqual(["completed", []]);
	expect(rounds.map(({ clients }) => clients.join(" "))).toEqual([
		"c0 c1 c2 c3 c4",
		"c0 c1 c2 c3 c4",
		"c0 c2 c3 c4",
		...new Array(ROUNDS - 3).fill("c0 c1 c2 c3"),
	]);
	expect(rounds[2]!.scores.c4).toMatchObject({ standing: 0, reputation: 0, quota: 0 });
	const rowOf = (client: string) => members.get(client) as unknown as Row;
	expect(rowOf("c4")).toMatchObject({ standing: "removed", reports: 3, reward: null, reason: expect.stringContaining("round 3") });
	expect(rowOf("c1")).toMatchObject({ standing: "live", reports: ROUNDS - 1, reason: "" });

	const position = { state: null, members, round: ROUNDS + 1, commit: ROUNDS, population: 5 };
	for (const client of ["c0", "c1", "c2", "c3"]) expect(engine.model(position, members.get(client))).toEqual(rowOf(client).model);
	// Honest clients end near the common minimum, the attacker where it took itself.
	const distance = (client: string) => Math.hypot(...store.read(rowOf(client).model).map((weight) => weight - 5 / 11));
	for (const client of ["c0", "c1", "c2", "c3"]) expect(distance(client)).toBeLessThan(distance("c4"));

	const report = async (task: string): Promise<Uint8Array> => reports.get(task)!;
	for await (const step of replayRun({ records, report, engine, head: records.at(-1)!.hash })) expect(step.ok).toBe(true);
});
