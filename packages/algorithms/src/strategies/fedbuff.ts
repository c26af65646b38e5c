import { RondoError } from "@rondo/errors";
import { cohortSchema, sharedProperties } from "../cohort.js";
import type { Plan, Strategy } from "../contract.js";
import type { LocalSgdOptions } from "../local-training/local-sgd.js";
import { type FedAvgTypes, fedavg, fedavgProperties } from "./fedavg.js";

/** Options of FedBuff. */
export interface FedBuffConfig extends LocalSgdOptions {
	/** Factor of the buffer's mean update. */
	readonly serverLearningRate: number;
	/** Largest change of one weight that a report may hold. */
	readonly absMax: number;
	/** Clients that train at any time. */
	readonly concurrency: number;
	/** Reports that make one update of the model, K in the paper. */
	readonly bufferSize: number;
	/** Updates of the model after which a report counts no more. */
	readonly maxStaleness: number;
	/** Fewest reports that make an update at the deadline. */
	readonly quorum: number;
	/** Time for one lease and for one buffer, milliseconds. */
	readonly deadlineMs: number;
	readonly onMiss: Plan["onMiss"];
}

/** Types of FedBuff. */
export interface FedBuffTypes extends Omit<FedAvgTypes, "config"> {
	config: FedBuffConfig;
}

const { deadlineMs, onMiss } = sharedProperties;

/**
 * FedBuff: Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek, Huba, "Federated Learning with Buffered Asynchronous
 * Aggregation", AISTATS 2022, arXiv:2106.06639, Algorithms 1 and 2, without its secure aggregation.
 *
 * `concurrency` clients train at any time; one that reports is replaced at once. A client that was handed w_{t−τ} sends
 * its change Δ_i; when bufferSize = K changes are there, whatever models they started from,
 * w_{t+1} = w_t + serverLearningRate · (1/K) · Σ_i s(τ_i) · Δ_i with the staleness weight s(τ) = 1/√(1 + τ) of the paper's
 * experiments. Numbers of examples do not weigh.
 *
 * Departs from the paper: clients train for epochs of their data, as in FedAvg, and not for a fixed number of steps; a
 * client whose model would be more than maxStaleness updates old is called off, which makes the bound that the paper's
 * analysis assumes; a buffer that is not full at the deadline is applied with K its number of reports. s is rounded to
 * 2^-32, which keeps the sum exact. Limit case: with maxStaleness 0 and clients that report in turn, every buffer is a
 * round of FedAvg with equal weights.
 */
export const fedbuff: Strategy<FedBuffTypes> = {
	// Its other functions read the model and absMax only; TypeScript compares the types as wholes.
	...(fedavg as unknown as Strategy<FedBuffTypes>),
	name: "fedbuff",
	version: 1,
	summary: "Buffered asynchronous averaging: nobody waits for the slowest client (Nguyen et al., AISTATS 2022, arXiv:2106.06639).",
	about: {
		paper:
			"Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek, Huba, Federated Learning with Buffered Asynchronous Aggregation, AISTATS 2022, arXiv:2106.06639",
		chooseWhen:
			"When clients' speeds differ by much and waiting for the slowest, or leaving them out, costs too much. With clients of like speed FedAvg makes better use of each report: updates of an older model help less. Which reports meet in a buffer depends on timing, so two runs differ; each can be replayed from its log.",
		bytesUp: "4·d",
		bytesDown: "4·d",
	},
	schema: cohortSchema(
		{
			...fedavgProperties,
			concurrency: { type: "integer", minimum: 1, maximum: 100_000, default: 20, description: "clients that train at any time" },
			bufferSize: {
				type: "integer",
				minimum: 1,
				maximum: 100_000,
				default: 10,
				description: "reports that make one update of the model, K in the paper",
			},
			maxStaleness: {
				type: "integer",
				minimum: 0,
				maximum: 1000,
				default: 20,
				description: "updates of the model after which a report counts no more",
			},
			quorum: {
				type: "integer",
				minimum: 1,
				maximum: 100_000,
				default: 1,
				description: "fewest reports that make an update at the deadline",
			},
		},
		{ deadlineMs, onMiss },
	),
	check({ quorum, bufferSize }) {
		if (quorum > bufferSize)
			throw new RondoError("INVALID_ARGUMENT", `option quorum of fedbuff must be at most bufferSize (${bufferSize}), got ${quorum}`);
	},
	plan: (_state, { config, layout }) => ({
		leases: config.concurrency,
		closeAt: config.bufferSize,
		quorum: config.quorum,
		deadlineMs: config.deadlineMs,
		maxStaleness: config.maxStaleness,
		// The largest weight, s(0).
		maxExamples: 1,
		onMiss: config.onMiss,
		lanes: { delta: { length: layout.length, absMax: config.absMax, combine: "mean", codec: ["f32"] } },
	}),
	weigh: (_numExamples, staleness) => 1 / Math.sqrt(1 + staleness),
	finish(state, { lanes, weight, count }, { io, config }) {
		const delta = lanes.delta!;
		// The lane is Σ s·Δ / Σ s, and the paper divides by the number of reports.
		const rate = config.serverLearningRate * (weight / count);
		const model = io.write("f32", state.model.length, (from, to) =>
			io.read(state.model, from, to).map((w, j) => w + rate * delta[from + j]!),
		);
		return { state: { model }, metrics: { meanStalenessWeight: weight / count } };
	},
};
