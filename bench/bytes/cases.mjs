// The rows of the byte table: each strategy as its paper would run it, and the smaller encodings that it offers.

/** @typedef {{ label: string, strategy: string, options: object, cohort?: false }} Case `cohort`: false where the options say who takes part */

const SGD = { batchSize: 32, learningRate: 0.05 };
const KSEED = { candidates: 4096, localSteps: 200, learningRate: 1e-3 };
const RANKED = { batchSize: 32, localEpochs: 1, outputAxis: "last" };

/** @type {readonly Case[]} */
export const CASES = [
	{ label: "FedAvg, float32", strategy: "fedavg", options: SGD },
	{ label: "FedAvg, bf16", strategy: "fedavg", options: { ...SGD, codec: "bf16" } },
	{ label: "FedAvg, int8", strategy: "fedavg", options: { ...SGD, codec: "int8" } },
	{ label: "FedAvg, int4", strategy: "fedavg", options: { ...SGD, codec: "int4" } },
	{ label: "FedAvg, top-k, 1 %", strategy: "fedavg", options: { ...SGD, codec: "top-k", codecShare: 0.01 } },
	{ label: "FedAvg, DARE, 10 %", strategy: "fedavg", options: { ...SGD, codec: "dare", codecShare: 0.1 } },
	{ label: "FedAvg, seeded sparse, 1 %", strategy: "fedavg", options: { ...SGD, codec: "seeded-sparse", codecShare: 0.01 } },
	{ label: "FedAvg, median", strategy: "fedavg", options: { ...SGD, reducer: "median" } },
	{ label: "FedAvgM", strategy: "fedavgm", options: SGD },
	{ label: "FedProx", strategy: "fedprox", options: SGD },
	{ label: "FedAdagrad", strategy: "fedadagrad", options: SGD },
	{ label: "FedAdam", strategy: "fedadam", options: SGD },
	{ label: "FedYogi", strategy: "fedyogi", options: SGD },
	{ label: "FedNova", strategy: "fednova", options: SGD },
	{ label: "FedBuff", strategy: "fedbuff", cohort: false, options: { ...SGD, concurrency: 4, bufferSize: 4 } },
	{ label: "SCAFFOLD", strategy: "scaffold", options: SGD },
	{ label: "EF21, 1 %", strategy: "ef21", options: { ...SGD, codecShare: 0.01 } },
	{ label: "FRL", strategy: "frl", options: RANKED },
	{ label: "FRL, sparse ballots, 10 %", strategy: "frl", options: { ...RANKED, ballot: "sparse", ballotShare: 0.1 } },
	{ label: "RFFL", strategy: "rffl", options: { ...SGD, gamma: 0.5 } },
	{ label: "Ferret, 512 bases a block", strategy: "ferret", options: { ...SGD, bases: 512 } },
	{ label: "Ferret, 512, one byte each", strategy: "ferret", options: { ...SGD, bases: 512, scalars: "byte" } },
	{ label: "FedKSeed, K 4096, τ 200", strategy: "fedkseed", options: KSEED },
	{ label: "FedKSeed-Pro, K 4096, τ 200", strategy: "fedkseed", options: { ...KSEED, sampling: "pro" } },
	{ label: "FedKSeed, one byte a scalar", strategy: "fedkseed", options: { ...KSEED, scalars: "byte" } },
	{ label: "FedKSeed, τ 20, one byte", strategy: "fedkseed", options: { ...KSEED, localSteps: 20, scalars: "byte" } },
	{ label: "Just One Byte, 30 samples", strategy: "just-one-byte", options: { samples: 30, learningRate: 1e-3 } },
];
