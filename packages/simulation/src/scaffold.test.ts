import { type AnyStrategy, builtInStrategies, type Work } from "@rondo/algorithms";
import { layoutOf } from "@rondo/tensors";
import { expect, test } from "vitest";
import { clientsOf } from "../test/quadratic.js";
import { type SimulateOptions, type SimulationResult, simulate } from "./simulate.js";

const scaffold = builtInStrategies.find(({ name }) => name === "scaffold")!;
const options = { learningRate: 0.25, localEpochs: 2, cohortSize: 3, quorum: 2 };
const base: SimulateOptions = {
	strategy: scaffold,
	options,
	layout: layoutOf([{ name: "w", shape: [3] }]),
	initial: Float32Array.of(4, 4, 4),
	publicSeed: "01".repeat(32),
	secretSeed: "02".repeat(32),
	clients: clientsOf(3),
	rounds: 4,
	settings: { maxReplans: 2 },
};

/** SCAFFOLD whose clients, but for the first, fail in the first attempt of round 2: c0's accepted report is discarded. */
function failingOnce(): AnyStrategy {
	const attempts = new Map<string, number>();
	return {
		...scaffold,
		train: async (task, client): Promise<Work> => {
			const key = `${client.round} ${client.id}`;
			attempts.set(key, (attempts.get(key) ?? 0) + 1);
			const isLost = client.round === 2 && client.id !== "c0" && attempts.get(key) === 1;
			return scaffold.train(task, isLost ? { ...client, data: { ...client.data, numExamples: 0 } } : client);
		},
	};
}

/** What a run came to: weights and the control variates on the server. */
const ends = ({ store, weights, state }: SimulationResult) => {
	const { control, total } = state as never as { readonly control: never; readonly total: never };
	return [weights, store.read(control), store.read(total)];
};

test("a report that is accepted and discarded moves no control variate, on the device or on the server", async () => {
	const discarded = await simulate({ ...base, strategy: failingOnce() });
	expect([discarded.phase, discarded.refusals.length]).toEqual(["completed", 2]);
	expect(discarded.rounds.map(({ attempt }) => attempt)).toEqual([1, 2, 1, 1]);
	expect(discarded.rounds.map(({ metrics }) => [metrics.freshClients, metrics.lostClients])).toEqual([
		[3, 0],
		[0, 0],
		[0, 0],
		[0, 0],
	]);
	// All data fits in one batch, so that the second attempt's draws change nothing: the run is the one without a miss.
	expect(ends(discarded)).toEqual(ends(await simulate(base)));
});

test("if it moved the device's, the run would be another", async () => {
	const hasty = await simulate({ ...base, strategy: { ...failingOnce(), needs: { ...scaffold.needs, carry: "latest" } } });
	expect(hasty.phase).toBe("completed");
	expect(ends(hasty)).not.toEqual(ends(await simulate(base)));
});

test("without device state the run ends, and says why", async () => {
	const forgetful: AnyStrategy = {
		...scaffold,
		train: (task, client) => scaffold.train(task, client.id === "c1" ? { ...client, carry: undefined } : client),
	};
	const { phase, reason, rounds } = await simulate({ ...base, strategy: forgetful });
	expect([phase, rounds.length]).toEqual(["completed", 2]);
	expect(reason).toMatch(/^1 of 3 clients have lost their control variates, more than the share maxLostShare of 0.1/);
});
