import { describe, expect, it } from "vitest";
import { atOf, clientOf, foldOf, playRound, runOf } from "../../test/fixture.js";
import { batchOf, devicesOf, gap, lossAndGradient, WEIGHTS } from "../../test/problems.js";
import { fedavg } from "./fedavg.js";
import { fedbuff } from "./fedbuff.js";

const OPTIONS = { learningRate: 0.25, batchSize: 100, localEpochs: 3, serverLearningRate: 0.75, concurrency: 3, bufferSize: 2 };

/** Who reports to which buffer, and to which model: ann twice to the first, cid and bob late. */
const BUFFERS: readonly (readonly (readonly [client: string, model: number])[])[] = [
	[
		["ann", 0],
		["ann", 0],
	],
	[
		["ann", 1],
		["bob", 0],
	],
	[
		["bob", 1],
		["cid", 0],
	],
];

/** The equations in float64. */
function reference(staleness: (tau: number) => number = (tau) => 1 / Math.sqrt(1 + tau)): number[][] {
	const models = [WEIGHTS.slice()];
	for (const buffer of BUFFERS) {
		const next = models.at(-1)!.slice();
		for (const [client, version] of buffer) {
			let local = models[version]!.slice();
			for (let step = 0; step < OPTIONS.localEpochs; step++) {
				const [, gradient] = lossAndGradient(local, batchOf(client));
				local = local.map((w, j) => w - OPTIONS.learningRate * gradient[j]!);
			}
			const tau = models.length - 1 - version;
			local.forEach((w, j) => {
				next[j]! += (OPTIONS.serverLearningRate * staleness(tau) * (w - models[version]![j]!)) / buffer.length;
			});
		}
		models.push(next);
	}
	return models;
}

it("three buffers with stale reports agree with the equations", async () => {
	const run = runOf(fedbuff, OPTIONS, WEIGHTS);
	const devices = new Map(devicesOf().map((device) => [device.id, device]));
	const states = [fedbuff.init(atOf(run))];
	for (const [index, buffer] of BUFFERS.entries()) {
		const [state, at] = [states.at(-1)!, atOf(run, index + 1)];
		const works = await Promise.all(
			buffer.map(([client, version]) =>
				fedbuff.train(fedbuff.task(states[version]!, undefined, atOf(run, version + 1)), clientOf(run, devices.get(client)!, version + 1)),
			),
		);
		const staleness = buffer.map(([, version]) => index - version);
		const folded = foldOf(run, works, fedbuff.plan(state, at), staleness);
		const outcome = fedbuff.finish(state, folded, at);
		expect(outcome.metrics!.meanStalenessWeight).toBeCloseTo(staleness.reduce((sum, tau) => sum + 1 / Math.sqrt(1 + tau), 0) / 2, 9);
		states.push(outcome.state);
		expect(gap(run.store.io.read(outcome.state.model), reference()[index + 1]!)).toBeLessThan(1e-6);
	}
	// The trajectories are far enough apart for agreement to mean something.
	expect(gap(reference()[3]!, WEIGHTS)).toBeGreaterThan(0.1);
	expect(gap(reference()[3]!, reference(() => 1)[3]!)).toBeGreaterThan(0.01);
	expect(gap(reference()[3]!, reference((tau) => 1 / (1 + tau))[3]!)).toBeGreaterThan(0.01);
});

describe("fedbuff", () => {
	it("hands out `concurrency` tasks, closes at `bufferSize`, and weighs by staleness alone", () => {
		const run = runOf(fedbuff, { ...OPTIONS, concurrency: 7, maxStaleness: 5, quorum: 2 }, WEIGHTS);
		const plan = fedbuff.plan(fedbuff.init(atOf(run)), atOf(run));
		expect(plan).toMatchObject({ leases: 7, closeAt: 2, quorum: 2, maxStaleness: 5, maxExamples: 1 });
		expect([0, 3, 8].map((tau) => fedbuff.weigh!(1, tau, run.config))).toEqual([1, 1 / 2, 1 / 3]);
	});

	it("with fresh reports is FedAvg with equal weights, byte for byte", async () => {
		const buffered = runOf(fedbuff, { ...OPTIONS, bufferSize: 3 }, WEIGHTS);
		const { concurrency: _concurrency, bufferSize: _bufferSize, ...local } = OPTIONS;
		const averaged = runOf(fedavg, { ...local, cohortSize: 3, maxExamples: 1 }, WEIGHTS);
		let [a, b] = [fedbuff.init(atOf(buffered)), fedavg.init(atOf(averaged))];
		for (let round = 1; round <= 3; round++) {
			const [one, other] = [await playRound(buffered, a, round, devicesOf()), await playRound(averaged, b, round, devicesOf())];
			[a, b] = [one.outcome.state, other.outcome.state];
			expect(one.model).toEqual(other.model);
		}
	});

	it("refuses a quorum that no buffer could reach", () => {
		expect(() => runOf(fedbuff, { ...OPTIONS, quorum: 3 }, WEIGHTS)).toThrow(
			expect.objectContaining({ code: "INVALID_ARGUMENT", message: "option quorum of fedbuff must be at most bufferSize (2), got 3" }),
		);
	});
});
