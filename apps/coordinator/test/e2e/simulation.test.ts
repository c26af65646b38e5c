import { createHash } from "node:crypto";
import { type AnyStrategy, builtInStrategies, type Data, type Trainer } from "@rondo/algorithms";
import { fromHex } from "@rondo/kernels";
import { type SimulatedClient, simulate } from "@rondo/simulation";
import { layoutOf } from "@rondo/tensors";
import { expect, test } from "vitest";
import { CoordinatorProcess } from "./coordinator-process.js";
import { startClient, WORKLOAD } from "./sdk-client.js";

// A federation over gRPC and a simulation are the same computation: with the same seeds, and reports accepted in the same order,
// every record of their logs has the same hash.

const PARAMETERS = 1_000_000;
const CLIENTS = 3;
const hex = (...path: unknown[]): string => createHash("sha256").update(JSON.stringify(path)).digest("hex");

interface Workload {
	createData(model: object, options: object): Data;
	createTrainer(model: object): Trainer;
}

const CASES: readonly (readonly [what: string, strategy: string, options: object])[] = [
	["sums of lanes, header alone on the wire", "fedkseed", { candidates: 512, localSteps: 8, learningRate: 0.01, batchSize: 4 }],
	["reports, read by a reducer", "fedavg", { learningRate: 0.1, batchSize: 4, reducer: "median" }],
	["reports, a model for each client", "rffl", { learningRate: 0.1, batchSize: 4, gamma: 100 }],
];

test.each(CASES)("%s: the log of %s over gRPC is that of the simulation", async (_what, name, more) => {
	const strategy: AnyStrategy = builtInStrategies.find((built) => built.name === name)!;
	const seeds = { publicSeed: hex("public", name), secretSeed: hex("secret", name) };
	const options = { cohortSize: CLIENTS, quorum: CLIENTS, deadlineMs: 600_000, ...more };
	const coordinator = await CoordinatorProcess.start();
	await coordinator.importModel(PARAMETERS);
	const token = await coordinator.enrolmentToken();
	const keys = Array.from({ length: CLIENTS }, (_, index) => fromHex(hex("device", index)));
	const clients = await Promise.all(keys.map((deviceKey, index) => startClient(coordinator, token, index, { deviceKey })));
	const run = await coordinator.submit({ strategy: name, rounds: 3, minClients: CLIENTS, options, ...seeds });
	expect(await coordinator.ended(run)).toMatchObject({ phase: "completed", commit: 3 });
	const { items: log } = await coordinator.get(`/runs/${run}/log?from=0&limit=100`);

	const layout = layoutOf([{ name: "x", shape: [PARAMETERS] }]);
	const { createData, createTrainer } = (await import(WORKLOAD.href)) as Workload;
	const trainer = createTrainer({ layout });
	const simulated: SimulatedClient[] = clients.map(({ clientId }, index) => ({
		id: clientId!,
		data: createData({ layout }, { index }),
		trainer,
		deviceKey: keys[index]!,
	}));
	let round = 0;
	const { records } = await simulate({
		strategy,
		options,
		layout,
		initial: new Float32Array(PARAMETERS),
		...seeds,
		run,
		clients: simulated,
		rounds: 3,
		// The order of acceptance is in the log.
		arrival: (tasks) => {
			const { accepted } = log[++round] as { readonly accepted: readonly { readonly task: string; readonly sequence: number }[] };
			const sequence = new Map(accepted.map((row) => [row.task, row.sequence]));
			return [...tasks].sort((a, b) => sequence.get(a.id)! - sequence.get(b.id)!);
		},
	});
	expect(records.map(({ commit, hash }) => [commit, hash])).toEqual(
		log.map(({ commit, hash }: { commit: number; hash: string }) => [commit, hash]),
	);
});
