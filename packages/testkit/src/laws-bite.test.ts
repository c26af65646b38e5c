import { type AnyStrategy, builtInStrategies, type Folded } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { expect, test } from "vitest";
import { LAWS, type LawName } from "./laws.js";

const fedavg = builtInStrategies.find(({ name }) => name === "fedavg")!;
const options = { learningRate: 0.5, batchSize: 4 };
let calls = 0;
const scaled = (folded: Folded, factor: (j: number) => number): Folded => ({
	...folded,
	lanes: { delta: folded.lanes.delta!.map((x, j) => x * factor(j)) },
});
const HIDDEN = Symbol("hidden");

/** For each law a strategy that breaks it. The one left out no strategy can break: the engine sees to it. */
const BREAKERS: {
	readonly [name in Exclude<LawName, "NaN and infinities in a report are refused">]: readonly [RegExp, Partial<AnyStrategy>];
} = {
	"inputs stay unchanged": [
		/finish changed its arguments/,
		{
			finish: (state, folded, at) => {
				folded.lanes.delta![0] = 0;
				return fedavg.finish(state, folded, at);
			},
		},
	],
	"same seeds, same bytes": [
		/deep-equal/,
		{
			finish: (state, folded, at) =>
				fedavg.finish(
					state,
					scaled(folded, () => 1 + ++calls / 1000),
					at,
				),
		},
	],
	"order of arrival is irrelevant": [
		/deep-equal/,
		{
			train: async (task, client) => {
				const work = await fedavg.train(task, client);
				return { ...work, numExamples: work.numExamples + (++calls % 4) };
			},
		},
	],
	"state survives its encoding in mid-run": [
		/deep-equal/,
		{
			finish: (state: { [HIDDEN]?: number }, folded, at) => {
				const seen = (state[HIDDEN] ?? 0) + 1;
				const outcome = fedavg.finish(
					state,
					scaled(folded, () => seen),
					at,
				);
				return { ...outcome, state: { ...outcome.state, [HIDDEN]: seen } };
			},
		},
	],
	"the log replays": [
		/^commit 1: metrics$/,
		{ finish: (state, folded, at) => ({ ...fedavg.finish(state, folded, at), metrics: { calls: ++calls } }) },
	],
	"identical clients give that client's result": [
		/deep-equal/,
		{
			finish: (state, folded, at) =>
				fedavg.finish(
					state,
					scaled(folded, () => folded.count),
					at,
				),
		},
	],
	"one client and one weight are enough": [
		/the weight went from 0 to -/,
		{
			finish: (state, folded, at) =>
				fedavg.finish(
					state,
					scaled(folded, (j) => (j === 0 ? -1 : 1)),
					at,
				),
		},
	],
	"a client without examples declines": [
		/'c1'/,
		{
			train: async (task, client) => {
				if (client.data.numExamples > 0) return fedavg.train(task, client);
				return { header: null, lanes: { delta: new Float32Array(client.layout.length) }, numExamples: 1 };
			},
		},
	],
	"losses that are not numbers reach no model": [
		/'completed'/,
		{
			train: async (task, client) => {
				try {
					return await fedavg.train(task, client);
				} catch (error) {
					expect(error).toBeInstanceOf(RondoError);
					return { header: null, lanes: { delta: new Float32Array(client.layout.length) }, numExamples: 1 };
				}
			},
		},
	],
	"real sizes are within the plan, and the plan is within the bounds": [
		/blobs have 60 bytes, bounds.download is 4/,
		{ bounds: (config, layout) => ({ ...fedavg.bounds(config, layout), download: 4 }) },
	],
	"clients ask the trainer for no more than is declared": [/asked for more than "loss"/, { needs: { reads: "lanes", trainer: "loss" } }],
	"clients assemble the coordinator's weights": [/Float32Array/, { assemble: async (_task, client) => client.read(client.initial) }],
	progress: [
		/the loss went from 1\.\d+ to 0\.6/,
		{
			finish: (state, folded, at) =>
				fedavg.finish(
					state,
					scaled(folded, (j) => (j % 3 === 0 ? 1 : 0)),
					at,
				),
		},
	],
	use: [
		/unequal/,
		{
			finish: (state, folded, at) =>
				fedavg.finish(
					state,
					scaled(folded, () => 0),
					at,
				),
		},
	],
};

test.each(Object.entries(BREAKERS) as [LawName, readonly [RegExp, Partial<AnyStrategy>]][])(
	"the law is broken by a strategy that breaks it: %s",
	async (name, [message, change]) => {
		await expect(LAWS[name].holds({ strategy: { ...fedavg, ...change }, options })).rejects.toThrow(message);
	},
);
