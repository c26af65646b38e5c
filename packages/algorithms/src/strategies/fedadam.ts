import type { Strategy } from "../contract.js";
import { ADAPTIVE_PAPER, type AdaptiveConfig, type AdaptiveTypes, adaptive, betaProperty, FEDAVG_BYTES } from "../server-optimizer.js";

/** Options of FedAdam. */
export interface FedAdamConfig extends AdaptiveConfig {
	/** β₂: how much of the mean square so far a round keeps. */
	readonly beta2: number;
}

/**
 * FedAdam: Algorithm 2 of Reddi et al., "Adaptive Federated Optimization", ICLR 2021, arXiv:2003.00295, with
 * v_t = β₂ v_{t−1} + (1 − β₂) Δ_t² (`adaptive` has the rest). Unlike Adam of Kingma & Ba it corrects no bias, as v starts at
 * τ² and not at 0. Limit case: with beta1 0, beta2 near 1 and a tau far above the updates it is FedAvg with the server
 * learning rate serverLearningRate / (2 tau).
 */
export const fedadam: Strategy<AdaptiveTypes<FedAdamConfig>> = {
	...adaptive<FedAdamConfig>(
		0.03,
		0.9,
		{ beta2: betaProperty(0.99, "decay of the server's mean of squared updates") },
		(v, square, { beta2 }) => beta2 * v + (1 - beta2) * square,
	),
	name: "fedadam",
	version: 1,
	summary: "FedAvg with Adam on the server (Reddi et al., ICLR 2021, arXiv:2003.00295).",
	about: {
		paper: ADAPTIVE_PAPER,
		chooseWhen:
			"When FedAvg learns slowly because updates differ much in size from weight to weight, as in language models. serverLearningRate and tau need tuning: try 0.01 to 0.3 and 1e-4 to 1e-2.",
		...FEDAVG_BYTES,
	},
};
