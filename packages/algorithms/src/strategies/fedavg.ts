import { type CohortOptions, checkCohort, cohortPlan, cohortSchema } from "../cohort.js";
import type { Strategy, Types } from "../contract.js";
import { type LocalSgd, type LocalSgdOptions, localSgd, localSgdProperties } from "../local-training/local-sgd.js";
import { encodePlain, type Vec, vecOf } from "../plain.js";
import { checkUpdate, type UpdateOptions, updateBytes, updateLane, updateProperties } from "../update-lane.js";

/** Options of FedAvg. */
export interface FedAvgConfig extends LocalSgdOptions, UpdateOptions, CohortOptions {
	/** Factor of the mean update. */
	readonly serverLearningRate: number;
}

/** Types of FedAvg. */
export interface FedAvgTypes extends Types {
	config: FedAvgConfig;
	state: { readonly model: Vec<"f32"> };
	member: null;
	task: { readonly model: Vec<"f32"> };
	report: null;
	carry: null;
}

/** The options but for the cohort's, as JSON Schema properties. */
export const fedavgProperties = {
	...localSgdProperties,
	serverLearningRate: {
		type: "number",
		exclusiveMinimum: 0,
		maximum: 1000,
		default: 1,
		description: "factor of the mean update; 1 is FedAvg",
	},
	...updateProperties,
} as const;

/** The report of local training: the change of the weights, and the mean loss as a metric. */
export const deltaWork = (start: Float32Array, { weights, meanLoss }: LocalSgd, numExamples: number) => ({
	header: null,
	lanes: { delta: weights.map((weight, j) => weight - start[j]!) },
	numExamples,
	metrics: { loss: meanLoss },
});

/**
 * FedAvg: McMahan, Moore, Ramage, Hampson, Agüera y Arcas, "Communication-Efficient Learning of Deep Networks from
 * Decentralized Data", AISTATS 2017, arXiv:1602.05629, Algorithm 1.
 *
 * Clients send Δ_i = w_i − w; the server sets w ← w + serverLearningRate · Σ n_i Δ_i / Σ n_i over the clients that
 * reported, with one rounding to float32. With serverLearningRate 1 this is the paper's mean of the w_i, whose
 * weights are likewise those of the clients in the round. Limit case: one client with one full-batch step is gradient
 * descent.
 */
export const fedavg: Strategy<FedAvgTypes> = {
	name: "fedavg",
	version: 1,
	summary: "Federated averaging of local SGD (McMahan et al., AISTATS 2017, arXiv:1602.05629).",
	about: {
		paper:
			"McMahan, Moore, Ramage, Hampson, Agüera y Arcas, Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017, arXiv:1602.05629",
		chooseWhen:
			"First: it is what every other strategy is compared with. Choose another one when clients' data differ strongly, when 4 bytes a weight are too many, or when some clients cannot be trusted.",
		bytesUp: "4·d; with another codec see docs/codecs.md",
		bytesDown: "4·d",
	},
	schema: cohortSchema(fedavgProperties),
	needs: { reads: "lanes", trainer: "gradient" },
	check(config, layout) {
		checkCohort(config);
		checkUpdate(config, layout);
	},
	bounds: (config, layout) => ({
		task: encodePlain({ model: vecOf("f32", layout.length, "0".repeat(64)) }).length,
		download: 4 * layout.length,
		report: encodePlain(null).length + updateBytes(config, layout),
	}),
	init: (at) => ({ model: at.initial }),
	plan: (_state, { config, layout }) => ({
		...cohortPlan(config),
		lanes: { delta: updateLane(config, layout) },
	}),
	task: (state) => ({ model: state.model }),
	finish(state, folded, { io, config }) {
		const delta = folded.lanes.delta!;
		const model = io.write("f32", state.model.length, (from, to) =>
			io.read(state.model, from, to).map((weight, j) => weight + config.serverLearningRate * delta[from + j]!),
		);
		return { state: { model } };
	},
	model: (state) => state.model,
	assemble: (task, client) => client.read(task.model),
	async train(task, client) {
		const start = await client.read(task.model);
		return deltaWork(start, await localSgd(start, client, client.config), client.data.numExamples);
	},
};
