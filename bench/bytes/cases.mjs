// The rows of the byte table: each strategy as its paper would run it, and the smaller encodings that it offers.

/** @typedef {{ label: string, strategy: string, options: object }} Case */

/** @type {readonly Case[]} */
export const CASES = [
	{ label: "FedAvg", strategy: "fedavg", options: { batchSize: 32, learningRate: 0.1 } },
	{ label: "FedKSeed, K 4096, τ 200", strategy: "fedkseed", options: { candidates: 4096, localSteps: 200, learningRate: 1e-3 } },
];
