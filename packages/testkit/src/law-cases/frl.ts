import assert from "node:assert/strict";
import type { Vec } from "@rondo/algorithms";
import { unpackBits } from "@rondo/kernels";
import { decodeReport } from "@rondo/rounds";
import { completed, type StrategyCase, softmaxClients } from "../law-kit.js";

const one = softmaxClients(1);
const EDGES = 12;
const BITS = 4;

export const cases: readonly StrategyCase[] = (["full", "sparse"] as const).map((ballot) => {
	const options = { ballot, ballotShare: 0.25, gain: 2, learningRate: 0.1, batchSize: 4 };
	return {
		label: ballot,
		options,
		// One weight has no rank among others: the model is refused.
		exempt: { "one client and one weight are enough": "ranks" },
		limit: [
			"the vote of one client is its own ranking, and the model its upper half; a ballot that names an edge twice is none",
			async (strategy) => {
				const { weights, reports, state, store, engine } = await completed({ strategy, options }, { clients: one, rounds: 1 });
				const [bytes] = reports.values();
				const sent = ballot === "full" ? EDGES : EDGES / 4;
				const ranking = unpackBits(decodeReport(bytes!).lanes.ranks as Uint8Array, BITS, sent);
				const plan = engine.plan({ state, members: new Map(), round: 2, commit: 1, population: 1 });
				const stuffed = { ...decodeReport(bytes!), lanes: { ranks: new Uint8Array(Math.ceil((sent * BITS) / 8)) } };
				assert.throws(() => engine.check(plan, stuffed), /lane ranks: ranking 1 of 1 has at place 1 element 0 a second time/);
				const order = unpackBits(store.read((state as { readonly order: Vec<"u8"> }).order), BITS, EDGES);
				assert.deepEqual(order.subarray(-sent), ranking);
				assert.deepEqual(
					[...weights!.keys()].filter((e) => weights![e] !== 0),
					[...order.subarray(EDGES / 2)].sort((a, b) => a - b),
				);
			},
		],
	};
});
