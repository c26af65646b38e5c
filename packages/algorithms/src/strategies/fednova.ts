import { cohortSchema } from "../cohort.js";
import type { Strategy } from "../contract.js";
import { localSgd } from "../local-training/local-sgd.js";
import { type FedAvgConfig, type FedAvgTypes, fedavg, fedavgProperties } from "./fedavg.js";

/** Options of FedNova. */
export interface FedNovaConfig extends FedAvgConfig {
	/** ρ: v ← ρ v + g, w ← w − η v in local steps; v starts at 0 in each round. */
	readonly localMomentum: number;
}

/** Types of FedNova. */
export interface FedNovaTypes extends FedAvgTypes {
	config: FedNovaConfig;
}

/** base^exponent for a whole exponent, by squaring: the same on every machine. */
function power(base: number, exponent: number): number {
	let result = 1;
	for (let square = base, left = exponent; left > 0; left = Math.floor(left / 2)) {
		if (left % 2 === 1) result *= square;
		square *= square;
	}
	return result;
}

/**
 * ‖a‖₁: how often the gradients of `steps` local steps count together in the change of the weights, in learning rates.
 * It is the number of steps without momentum; with it step k's gradient counts (1 − ρ^(steps − k)) / (1 − ρ) times.
 */
export const accumulated = (steps: number, momentum: number): number =>
	(steps - (momentum * (1 - power(momentum, steps))) / (1 - momentum)) / (1 - momentum);

const stepsOf = ({ localEpochs, batchSize }: FedNovaConfig, examples: number): number => localEpochs * Math.ceil(examples / batchSize);

/**
 * FedNova: Wang, Liu, Liang, Joshi, Poor, "Tackling the Objective Inconsistency Problem in Heterogeneous Federated
 * Optimization", NeurIPS 2020, arXiv:2007.07481, equation 5 and section 4.
 *
 * Clients with more examples take more local steps, so that FedAvg counts them twice: by their weight and by how far they
 * go. Here client i divides its change Δ_i by ‖a_i‖₁, the number of its steps or with momentum what they add up to, and the
 * server sets w ← w + serverLearningRate · τ_eff · Σ p_i Δ_i / ‖a_i‖₁ with p_i = n_i / Σ n_i and τ_eff = Σ p_i ‖a_i‖₁.
 *
 * τ_eff is computed from the numbers of examples that weigh the reports: a client cannot claim other steps than those its
 * weight implies. Beyond maxExamples both are those of maxExamples. Departs from the paper: no proximal term. Limit case:
 * clients with equally many steps make it FedAvg, but for roundings.
 */
export const fednova: Strategy<FedNovaTypes> = {
	...(fedavg as unknown as Strategy<FedNovaTypes>),
	name: "fednova",
	version: 1,
	summary: "FedAvg of changes per local step, fair to clients that take few (Wang et al., NeurIPS 2020, arXiv:2007.07481).",
	about: {
		paper:
			"Wang, Liu, Liang, Joshi, Poor, Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization, NeurIPS 2020, arXiv:2007.07481",
		chooseWhen:
			"When clients hold very different numbers of examples and take several epochs: FedAvg then leads to the optimum of a few large clients. It costs nothing where all take equally many steps.",
		bytesUp: fedavg.about!.bytesUp,
		bytesDown: fedavg.about!.bytesDown,
	},
	schema: cohortSchema({
		...fedavgProperties,
		localMomentum: {
			type: "number",
			minimum: 0,
			maximum: 0.999,
			default: 0,
			description: "momentum of the local steps, from 0 in each round",
		},
	}),
	// Of each report the weight alone: τ_eff is a mean over clients.
	needs: { reads: "reports", trainer: "gradient" },
	finish(state, { lanes, reports }, { io, config }) {
		const delta = lanes.delta!;
		let examples = 0;
		let total = 0;
		for (const { weight } of reports) {
			// Weights are numbers of examples but for the rounding to 2^-32 of maxExamples.
			const count = Math.max(1, Math.round(weight));
			examples += count;
			total += count * accumulated(stepsOf(config, count), config.localMomentum);
		}
		const effective = total / examples;
		const factor = config.serverLearningRate * effective;
		const model = io.write("f32", state.model.length, (from, to) =>
			io.read(state.model, from, to).map((weight, j) => weight + factor * delta[from + j]!),
		);
		return { state: { model }, metrics: { effectiveSteps: effective } };
	},
	async train(task, client) {
		const { config, data } = client;
		const start = await client.read(task.model);
		const velocity = config.localMomentum === 0 ? undefined : new Float32Array(start.length);
		const { weights, meanLoss } = await localSgd(
			start,
			client,
			config,
			velocity &&
				((gradient) => {
					for (let j = 0; j < gradient.length; j++) gradient[j] = velocity[j] = config.localMomentum * velocity[j]! + gradient[j]!;
				}),
		);
		const norm = accumulated(stepsOf(config, data.numExamples), config.localMomentum);
		return {
			header: null,
			lanes: { delta: weights.map((weight, j) => (weight - start[j]!) / norm) },
			numExamples: data.numExamples,
			metrics: { loss: meanLoss },
		};
	},
};
