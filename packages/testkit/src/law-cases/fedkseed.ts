import assert from "node:assert/strict";
import { perturb, perturbations, randomFrom } from "@rondo/kernels";
import { decodeReport } from "@rondo/rounds";
import { completed, furthest, SEEDS, type StrategyCase, softmaxClients } from "../law-kit.js";

const one = softmaxClients(1);

export const cases: readonly StrategyCase[] = (["uniform", "pro"] as const).map((sampling) => ({
	label: sampling,
	options: { sampling, candidates: 512, localSteps: 40, learningRate: 0.1, batchSize: 12 },
	// Pro adds up how often and how strongly candidates were used: more clients are more evidence.
	exempt: sampling === "pro" ? { "identical clients give that client's result": "sums" as const } : {},
	limit: [
		"one step of one client moves the weights by −learningRate · g · z_k",
		async (strategy) => {
			const options = { sampling, candidates: 8, localSteps: 1, learningRate: 0.25, batchSize: 12 };
			const { weights, reports, engine, store } = await completed({ strategy, options }, { clients: one, rounds: 1 });
			const [bytes] = reports.values();
			const [[k], [g]] = decodeReport(bytes!).header as unknown as [Uint16Array, Float32Array];
			const z = perturbations(randomFrom(Uint8Array.from(Buffer.from(SEEDS.publicSeed, "hex"))).at("z"), "noise/2");
			const wanted = store.read(engine.parts.initial).slice();
			perturb(wanted, -0.25 * g!, z, k!, wanted);
			assert.ok(Math.abs(g!) > 0.01);
			assert.ok(furthest(weights!, wanted) < 1e-7);
		},
	],
}));
