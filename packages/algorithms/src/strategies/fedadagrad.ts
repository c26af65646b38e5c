import type { Strategy } from "../contract.js";
import { ADAPTIVE_PAPER, type AdaptiveTypes, adaptive, FEDAVG_BYTES } from "../server-optimizer.js";

/**
 * FedAdagrad: Algorithm 2 of Reddi et al., "Adaptive Federated Optimization", ICLR 2021, arXiv:2003.00295, with
 * v_t = v_{t−1} + Δ_t²: the more a weight has moved, the smaller its further steps (`adaptive` has the rest). As in the
 * paper's experiments beta1 is 0 by default. Limit case: with beta1 0 and a tau far above the updates it is FedAvg with
 * the server learning rate serverLearningRate / (2 tau).
 */
export const fedadagrad: Strategy<AdaptiveTypes> = {
	...adaptive(0.1, 0, {}, (v, square) => v + square),
	name: "fedadagrad",
	version: 1,
	summary: "FedAvg with Adagrad on the server (Reddi et al., ICLR 2021, arXiv:2003.00295).",
	about: {
		paper: ADAPTIVE_PAPER,
		chooseWhen:
			"When weights differ much in how often examples touch them, as with sparse inputs. Its steps only ever shrink: in long runs fedadam or fedyogi go on learning.",
		...FEDAVG_BYTES,
	},
};
