import { cohortSchema } from "../cohort.js";
import type { Strategy } from "../contract.js";
import { localSgd } from "../local-training/local-sgd.js";
import { deltaWork, type FedAvgConfig, type FedAvgTypes, fedavg, fedavgProperties } from "./fedavg.js";

/** Options of FedProx. */
export interface FedProxConfig extends FedAvgConfig {
	/** Weight of the proximal term. */
	readonly mu: number;
}

/** Types of FedProx. */
export interface FedProxTypes extends FedAvgTypes {
	config: FedProxConfig;
}

/**
 * FedProx: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated Optimization in Heterogeneous Networks", MLSys 2020,
 * arXiv:1812.06127, equation 2: clients minimise L(w) + (mu / 2)·‖w − w_global‖², the squared norm, so that each step's
 * gradient gains mu·(w − w_global). The server half is FedAvg's.
 *
 * Departs from the paper as most implementations do: every client runs the same number of local epochs, where the
 * paper lets each stop at its own γ-inexact solution. Limit case: with mu 0 the reports are those of FedAvg.
 */
export const fedprox: Strategy<FedProxTypes> = {
	// Its functions read FedAvg's options only; TypeScript compares the types as wholes.
	...(fedavg as unknown as Strategy<FedProxTypes>),
	name: "fedprox",
	version: 1,
	summary: "FedAvg with a proximal term that holds clients near the global model (Li et al., MLSys 2020, arXiv:1812.06127).",
	about: {
		paper: "Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, Federated Optimization in Heterogeneous Networks, MLSys 2020, arXiv:1812.06127",
		chooseWhen:
			"When clients take many local steps on data that differ strongly and FedAvg wanders or diverges. With a small mu it costs nothing; with a large one it slows learning down.",
		bytesUp: "4·d; with another codec see docs/codecs.md",
		bytesDown: "4·d",
	},
	schema: cohortSchema({
		...fedavgProperties,
		mu: { type: "number", minimum: 0, maximum: 1000, default: 0.01, description: "weight of the proximal term; 0 is FedAvg" },
	}),
	async train(task, client) {
		const start = await client.read(task.model);
		const { mu } = client.config;
		const trained = await localSgd(start, client, client.config, (gradient, weights) => {
			for (let j = 0; j < gradient.length; j++) gradient[j]! += mu * (weights[j]! - start[j]!);
		});
		return deltaWork(start, trained, client.data.numExamples);
	},
};
