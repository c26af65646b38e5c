import { cohortSchema } from "../cohort.js";
import type { Strategy } from "../contract.js";
import type { Vec } from "../plain.js";
import { betaProperty, FEDAVG_BYTES } from "../server-optimizer.js";
import { type FedAvgConfig, type FedAvgTypes, fedavg, fedavgProperties } from "./fedavg.js";

/** Options of FedAvgM. */
export interface FedAvgMConfig extends FedAvgConfig {
	/** β: how much of the server's velocity a round keeps. */
	readonly serverMomentum: number;
}

/** Types of FedAvgM. */
export interface FedAvgMTypes extends FedAvgTypes {
	config: FedAvgMConfig;
	state: { readonly model: Vec<"f32">; readonly velocity: Vec<"f32"> };
}

/**
 * FedAvgM: Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
 * Classification", 2019, arXiv:1909.06335, section 4.3: with the mean update Δ of a round, v ← serverMomentum · v + Δ and
 * w ← w + serverLearningRate · v. The paper has no server learning rate, which is 1 here by default; with momentum β a
 * lasting update counts 1/(1 − β) times, so that β 0.9 wants about a tenth of it.
 *
 * v is kept as float32; a step is computed from the v before in float64. Limit case: with serverMomentum 0 the models are
 * FedAvg's, byte for byte.
 */
export const fedavgm: Strategy<FedAvgMTypes> = {
	...(fedavg as unknown as Strategy<FedAvgMTypes>),
	name: "fedavgm",
	version: 1,
	summary: "FedAvg with momentum on the server (Hsu et al., 2019, arXiv:1909.06335).",
	about: {
		paper:
			"Hsu, Qi, Brown, Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification, 2019, arXiv:1909.06335",
		chooseWhen:
			"When clients' data differ and small cohorts make the mean update jump from round to round: momentum averages over rounds. Divide serverLearningRate by about 1/(1 − serverMomentum) or lower the clients' learning rate.",
		...FEDAVG_BYTES,
	},
	schema: cohortSchema({ ...fedavgProperties, serverMomentum: betaProperty(0.9, "decay of the server's velocity; 0 is FedAvg") }),
	init: ({ initial, io }) => ({
		model: initial,
		velocity: io.write("f32", initial.length, (from, to) => new Float32Array(to - from)),
	}),
	finish(state, { lanes }, { io, config }) {
		const delta = lanes.delta!;
		const { length } = state.model;
		const next = (v: number, j: number): number => config.serverMomentum * v + delta[j]!;
		const model = io.write("f32", length, (from, to) => {
			const velocity = io.read(state.velocity, from, to);
			return io.read(state.model, from, to).map((weight, j) => weight + config.serverLearningRate * next(velocity[j]!, from + j));
		});
		return {
			state: { model, velocity: io.write("f32", length, (from, to) => io.read(state.velocity, from, to).map((v, j) => next(v, from + j))) },
		};
	},
};
