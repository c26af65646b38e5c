import type { Strategy } from "../contract.js";
import { ADAPTIVE_PAPER, type AdaptiveTypes, adaptive, betaProperty, FEDAVG_BYTES } from "../server-optimizer.js";
import type { FedAdamConfig } from "./fedadam.js";

/**
 * FedYogi: Algorithm 2 of Reddi et al., "Adaptive Federated Optimization", ICLR 2021, arXiv:2003.00295, with
 * v_t = v_{t−1} − (1 − β₂) Δ_t² sign(v_{t−1} − Δ_t²): where updates become small v falls by steps of their own size, not by a
 * share of v, so that it forgets large ones slowly (`adaptive` has the rest). v stays positive: it falls by at most
 * (1 − β₂) v. Limit case: with beta1 0 and a tau far above the updates it is FedAvg with the server learning rate
 * serverLearningRate / (2 tau).
 */
export const fedyogi: Strategy<AdaptiveTypes<FedAdamConfig>> = {
	...adaptive<FedAdamConfig>(
		0.03,
		0.9,
		{ beta2: betaProperty(0.99, "weight 1 − beta2 of a squared update") },
		(v, square, { beta2 }) => v - (1 - beta2) * square * Math.sign(v - square),
	),
	name: "fedyogi",
	version: 1,
	summary: "FedAvg with Yogi on the server (Reddi et al., ICLR 2021, arXiv:2003.00295).",
	about: {
		paper: ADAPTIVE_PAPER,
		chooseWhen:
			"Where fedadam is unsteady: its step sizes grow back more slowly after rounds with small updates. It has the same options and needs the same tuning.",
		...FEDAVG_BYTES,
	},
};
