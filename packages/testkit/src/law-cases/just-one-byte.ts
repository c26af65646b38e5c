import assert from "node:assert/strict";
import { perturb, perturbations, randomFrom } from "@rondo/kernels";
import { decodeReport } from "@rondo/rounds";
import { completed, furthest, SEEDS, type StrategyCase, softmaxClients } from "../law-kit.js";

const one = softmaxClients(1);

export const cases: readonly StrategyCase[] = [
	{ label: "one byte, divided by the root", scalars: "byte", scaling: "sqrt", learningRate: 0.05 },
	{ label: "float32, a mean", scalars: "f32", scaling: "mean", learningRate: 0.8 },
].map(({ label, ...more }) => ({
	label,
	options: { ...more, samples: 96, batchSize: 12, snapshotEvery: 2 },
	// Every client has its own directions: more clients are more of them.
	exempt: { "identical clients give that client's result": "sums" as const },
	limit: [
		"one client with one sample moves the weights by −learningRate · g · z",
		async (strategy) => {
			const options = { ...more, samples: 1, learningRate: 0.25, batchSize: 12, scalars: "f32" };
			const { weights, reports, engine, store } = await completed({ strategy, options }, { clients: one, rounds: 1 });
			const [bytes] = reports.values();
			const [[g]] = decodeReport(bytes!).header as unknown as [Float32Array];
			const shared = randomFrom(Uint8Array.from(Buffer.from(SEEDS.publicSeed, "hex")));
			const wanted = store.read(engine.parts.initial).slice();
			perturb(wanted, -0.25 * g!, perturbations(shared.at("just-one-byte", 1, "c0"), "noise/2"), 0, wanted);
			assert.ok(Math.abs(g!) > 0.01);
			assert.ok(furthest(weights!, wanted) < 1e-7);
		},
	],
}));
