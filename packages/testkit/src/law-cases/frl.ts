import type { StrategyCase } from "../law-kit.js";
export const cases: readonly StrategyCase[] = (["full", "sparse"] as const).map((ballot) => ({
	label: ballot,
	options: { ballot, ballotShare: 0.5, gain: 6, batchSize: 4, learningRate: 0.1 },
	exempt: { "one client and one weight are enough": "ranks" as const },
	limit: ["", async () => {}],
}));
