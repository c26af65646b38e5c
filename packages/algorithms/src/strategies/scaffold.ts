import { type CohortOptions, checkCohort, cohortPlan, cohortSchema } from "../cohort.js";
import type { Strategy, Types } from "../contract.js";
import { type LocalSgdOptions, localSgd, localSgdProperties } from "../local-training/local-sgd.js";
import { encodePlain, type Vec, vecOf } from "../plain.js";

/** Options of SCAFFOLD. */
export interface ScaffoldConfig extends LocalSgdOptions, CohortOptions {
	/** Factor of the mean update, η_g. */
	readonly serverLearningRate: number;
	/** Largest change of one weight that a report may hold. */
	readonly absMax: number;
	/** Largest change of one element of a control variate that a report may hold. */
	readonly controlAbsMax: number;
	/** Share of the clients that may have lost their control variates before the run ends. */
	readonly maxLostShare: number;
}

/** Types of SCAFFOLD. */
export interface ScaffoldTypes extends Types {
	config: ScaffoldConfig;
	/** The model x, the sum of all clients' control variates, and c, that sum over the population. */
	state: { readonly model: Vec<"f32">; readonly total: Vec<"f64">; readonly control: Vec<"f32"> };
	/** A client whose control variate is in the sum. */
	member: { readonly lost: boolean };
	task: { readonly model: Vec<"f32">; readonly control: Vec<"f32"> };
	report: null;
	carry: { readonly control: Vec<"f32"> };
}

const NO_DIGEST = "0".repeat(64);

/**
 * SCAFFOLD: Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, "SCAFFOLD: Stochastic Controlled Averaging for Federated
 * Learning", ICML 2020, arXiv:1910.06378, Algorithm 1 with option II.
 *
 * Client i keeps a control variate c_i, the server c = (1/N) Σ c_i over all N clients. A client takes K local steps
 * y ← y − η_l (g(y) − c_i + c) from y = x, sets c_i⁺ = c_i − c + (x − y) / (K η_l) and reports y − x and c_i⁺ − c_i. The server
 * adds η_g times the mean of the first to x, and 1/N times the sum of the second to c. Reports have equal weights, as in the
 * paper: with weights n_i the corrections −c_i + c would not cancel in the mean.
 *
 * Device state follows what was applied: a report that was accepted and then discarded moves neither c_i nor c. A device that
 * lost its state starts again from c_i = 0, while its former c_i stays in c for good. The server knows whose c_i it has added
 * up, counts such clients (metric `lostClients`), and ends the run once they are more than maxLostShare of the population. It
 * could not take the former c_i out without holding a copy for each client, 4·d bytes.
 *
 * Departs from the paper: local steps are epochs, so that K differs from client to client with their data; the server keeps
 * the sum of the c_i and not c, so that c is right when clients join later. Lanes travel as float32: with a lossy codec c would
 * part from the mean of the c_i. Limit case: with one client c − c_i is 0 and it is FedAvg; so is every first round, with equal
 * weights.
 */
export const scaffold: Strategy<ScaffoldTypes> = {
	name: "scaffold",
	version: 1,
	summary: "Local SGD corrected by control variates against client drift (Karimireddy et al., ICML 2020, arXiv:1910.06378).",
	about: {
		paper:
			"Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, SCAFFOLD: Stochastic Controlled Averaging for Federated Learning, ICML 2020, arXiv:1910.06378",
		chooseWhen:
			"When clients' data differ strongly, they take many local steps, and most of them come back round after round. Not for large populations of which each client is seen a few times: its control variate is then out of date. Devices must keep 4·d bytes between rounds.",
		bytesUp: "8·d + 4",
		bytesDown: "8·d",
	},
	schema: cohortSchema({
		...localSgdProperties,
		serverLearningRate: { type: "number", exclusiveMinimum: 0, maximum: 1000, default: 1, description: "factor of the mean update" },
		absMax: {
			type: "number",
			minimum: 1e-6,
			maximum: 1e6,
			default: 16,
			description: "largest change of one weight that a report may hold",
		},
		controlAbsMax: {
			type: "number",
			minimum: 1e-6,
			maximum: 1e6,
			default: 1000,
			description: "largest change of one element of a control variate that a report may hold",
		},
		maxLostShare: {
			type: "number",
			minimum: 0,
			maximum: 1,
			default: 0.1,
			description: "share of the clients that may lose their control variates before the run ends",
		},
	}),
	// An unapplied report must not move c_i: c lacks it. Reports are read for one number each, who had no c_i.
	needs: { reads: "reports", trainer: "gradient", carry: "applied" },
	check: checkCohort,
	bounds: (_config, { length }) => ({
		task: encodePlain({ model: vecOf("f32", length, NO_DIGEST), control: vecOf("f32", length, NO_DIGEST) }).length,
		download: 8 * length,
		report: encodePlain(null).length + 8 * length + 4,
		carry: encodePlain({ control: vecOf("f32", length, NO_DIGEST) }).length,
		member: encodePlain({ lost: false }).length,
	}),
	init: ({ initial, io }) => ({
		model: initial,
		total: io.write("f64", initial.length, (from, to) => new Float64Array(to - from)),
		control: io.write("f32", initial.length, (from, to) => new Float32Array(to - from)),
	}),
	plan: (_state, { config, layout: { length } }) => ({
		...cohortPlan(config),
		lanes: {
			delta: { length, absMax: config.absMax, combine: "mean", codec: ["f32"] },
			control: { length, absMax: config.controlAbsMax, combine: "sum", codec: ["f32"] },
			// 1 from a client that had no control variate.
			fresh: { length: 1, absMax: 1, combine: "sum", codec: ["f32"] },
		},
	}),
	task: ({ model, control }) => ({ model, control }),
	weigh: (_numExamples, _staleness, { maxExamples }) => maxExamples,

	finish(state, { lanes, reports }, { io, config, population, members }) {
		const { length } = state.model;
		const delta = lanes.delta!;
		const change = lanes.control!;
		const total = io.write("f64", length, (from, to) => io.read(state.total, from, to).map((sum, j) => sum + change[from + j]!));
		const writes = new Map<string, ScaffoldTypes["member"]>();
		let fresh = 0;
		for (const report of reports) {
			const isFresh = report.lane("fresh")[0]! !== 0;
			if (isFresh) fresh++;
			const lost = report.member?.lost === true || (report.member !== undefined && isFresh);
			if (report.member?.lost !== lost) writes.set(report.client, { lost });
		}
		let lostClients = 0;
		for (const [client, member] of members()) if (member.lost || writes.get(client)?.lost === true) lostClients++;
		return {
			state: {
				model: io.write("f32", length, (from, to) =>
					io.read(state.model, from, to).map((weight, j) => weight + config.serverLearningRate * delta[from + j]!),
				),
				total,
				control: io.write("f32", length, (from, to) => Float32Array.from(io.read(total, from, to), (sum) => sum / population)),
			},
			members: writes,
			metrics: { freshClients: fresh, lostClients },
			...(lostClients > config.maxLostShare * population
				? {
						done: {
							reason: `${lostClients} of ${population} clients have lost their control variates, more than the share maxLostShare of ${config.maxLostShare}: the server's is no longer their mean`,
						},
					}
				: {}),
		};
	},

	model: (state) => state.model,
	assemble: (task, client) => client.read(task.model),

	async train(task, client) {
		const { batchSize, localEpochs, learningRate } = client.config;
		const start = await client.read(task.model);
		const control = await client.read(task.control);
		const own = client.carry === undefined ? new Float32Array(start.length) : await client.read(client.carry.control);
		const { weights, meanLoss } = await localSgd(start, client, client.config, (gradient) => {
			for (let j = 0; j < gradient.length; j++) gradient[j]! += control[j]! - own[j]!;
		});
		const steps = localEpochs * Math.ceil(client.data.numExamples / batchSize);
		const next = own.map((c, j) => c - control[j]! + (start[j]! - weights[j]!) / (steps * learningRate));
		return {
			header: null,
			lanes: {
				delta: weights.map((weight, j) => weight - start[j]!),
				control: next.map((c, j) => c - own[j]!),
				fresh: Float32Array.of(client.carry === undefined ? 1 : 0),
			},
			numExamples: client.data.numExamples,
			metrics: { loss: meanLoss },
			carry: { control: client.keep("f32", next) },
		};
	},
};
