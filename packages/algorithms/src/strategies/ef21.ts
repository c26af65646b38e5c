import { topK } from "../codecs/top-k.js";
import { type CohortOptions, checkCohort, cohortPlan, cohortSchema } from "../cohort.js";
import type { ClientId, Lane, Received, Strategy, Types } from "../contract.js";
import { bytesOfLane } from "../encoding/codec-options.js";
import { clamped, float32AtMost, float32Values, type ValueType } from "../encoding/codec-values.js";
import { type LocalSgdOptions, localSgd, localSgdProperties } from "../local-training/local-sgd.js";
import { encodePlain, type Vec, vecOf } from "../plain.js";

/** Options of EF21. */
export interface Ef21Config extends LocalSgdOptions, CohortOptions {
	/** Factor of the mean of the clients' estimates. */
	readonly serverLearningRate: number;
	/** Largest change of one weight, and largest element of an estimate. */
	readonly absMax: number;
	/** Share of the elements that a report holds. */
	readonly codecShare: number;
	readonly codecValues: ValueType;
	/** What a client counts: its number of examples, or as much as every other. */
	readonly weighting: "examples" | "equal";
	/** Rounds after which a client that has not reported again is no longer counted. */
	readonly maxAge: number;
}

/** Types of EF21. */
export interface Ef21Types extends Types {
	config: Ef21Config;
	/** The model, Σ w_i g_i and Σ w_i over the clients that count. */
	state: { readonly model: Vec<"f32">; readonly sum: Vec<"f64">; readonly weight: number };
	/** g_i, w_i and the round of the client's last report. */
	member: { readonly g: Vec<"f32">; readonly weight: number; readonly round: number };
	task: { readonly model: Vec<"f32">; readonly g: Vec<"f32"> | null };
	report: null;
	/** g_i as it will be: the device keeps its content, so that the next task's needs no download. */
	carry: { readonly g: Vec<"f32"> };
}

const NO_DIGEST = "0".repeat(64);

/** What travels: up to the difference of two numbers within ±absMax. */
const laneOf = ({ absMax, codecShare, codecValues }: Ef21Config, length: number): Lane => ({
	length,
	absMax: 2 * absMax,
	combine: "mean",
	codec: [topK.name, codecShare, codecValues],
});

/** g_i + u_i as float32, within ±absMax: on device and server the same bytes. */
const added = (g: Float32Array | undefined, u: ArrayLike<number>, absMax: number): Float32Array =>
	clamped(
		Float32Array.from(u, (x, j) => (g === undefined ? 0 : g[j]!) + x),
		float32AtMost(absMax),
	);

/**
 * EF21: Richtárik, Sokolov, Fatkhullin, "EF21: A New, Simpler, Theoretically Better, and Practically Faster Error Feedback",
 * NeurIPS 2021, arXiv:2106.05203, Algorithm 2, with partial participation as EF21-PP in Fatkhullin, Sokolov, Gorbunov, Li,
 * Richtárik, "EF21 with Bells & Whistles", 2021, arXiv:2110.03294.
 *
 * For each client i there is an estimate g_i of what it would send, at first 0. A client in the round trains from x to Δ_i =
 * x_i − x, sends u_i = TopK(Δ_i − g_i) and sets g_i ← g_i + u_i; absent clients keep theirs. The server sets
 * x ← x + serverLearningRate · Σ w_i g_i / Σ w_i over all clients that have reported within maxAge rounds. What top-k leaves
 * out of one report is in the difference of the next, so that nothing is lost, where plain top-k stalls.
 *
 * The server holds a copy of every g_i, the task names it, and a device that has it still downloads nothing: equal content has
 * one digest. A device that lost its state gets the copy; no wrong term can stay in the sum. The price is 4·d bytes on the
 * server for each client within maxAge, and that the server reads single reports.
 *
 * Departs from the paper: Δ_i of local training stands for −γ ∇f_i(x), which it is after one full-batch step with learning
 * rate γ; clients that have never reported do not count as 0 in the mean; those silent for more than maxAge rounds are left out,
 * because a client that is gone would push x the same way for ever; g_i is held within ±absMax, where an honest one lies, so that
 * hostile reports cannot pile up. EF21-W (Richtárik, Gasanov, Burlachenko, ICLR 2024, arXiv:2402.10774) weighs gradients to
 * allow larger steps; with a compressor like TopK, for which TopK(s·v) = s·TopK(v), its iterates are those of EF21.
 * Limit case: with codecShare 1, all clients in every round and the same weights each time it is FedAvg.
 */
export const ef21: Strategy<Ef21Types> = {
	name: "ef21",
	version: 1,
	summary: "FedAvg with top-k compressed differences and error feedback (Richtárik et al., NeurIPS 2021, arXiv:2106.05203).",
	about: {
		paper:
			"Richtárik, Sokolov, Fatkhullin, EF21: A New, Simpler, Theoretically Better, and Practically Faster Error Feedback, NeurIPS 2021, arXiv:2106.05203",
		chooseWhen:
			"When uplinks are thin, clients' data differ and the same clients come back: 1 to 10 % of the weights a round, without the stalling of plain top-k. Not for large populations of which each client is seen once, nor with a server that has no room for 4·d bytes a client.",
		bytesUp: "⌈codecShare·d⌉·4 and about ⌈codecShare·d⌉ of positions (docs/codecs.md)",
		bytesDown: "4·d; 8·d after a loss of device state",
	},
	schema: cohortSchema({
		...localSgdProperties,
		serverLearningRate: {
			type: "number",
			exclusiveMinimum: 0,
			maximum: 1000,
			default: 1,
			description: "factor of the clients' mean estimate",
		},
		absMax: {
			type: "number",
			minimum: 1e-6,
			maximum: 1e6,
			default: 16,
			description: "largest change of one weight that a client may find",
		},
		codecShare: {
			type: "number",
			exclusiveMinimum: 0,
			maximum: 1,
			default: 0.05,
			description: "share of the weights that a report holds a difference of",
		},
		codecValues: { type: "string", enum: ["f32", "f16"], default: "f32", description: "how those differences travel" },
		weighting: {
			type: "string",
			enum: ["examples", "equal"],
			default: "examples",
			description: "what a client counts: its examples, or as much as every other",
		},
		maxAge: {
			type: "integer",
			minimum: 1,
			maximum: 1_000_000,
			default: 20,
			description: "rounds after which a client that has not reported again no longer counts",
		},
	}),
	needs: { reads: "reports", trainer: "gradient", carry: "applied" },
	check: checkCohort,
	bounds(config, { length }) {
		const vec = vecOf("f32", length, NO_DIGEST);
		return {
			task: encodePlain({ model: vec, g: vec }).length,
			download: 8 * length,
			report: encodePlain(null).length + bytesOfLane(laneOf(config, length)),
			carry: encodePlain({ g: vec }).length,
			// Numbers of nine bytes each.
			member: encodePlain({ g: vec, weight: 0.5, round: 2 ** 32 }).length,
		};
	},
	init: ({ initial, io }) => ({
		model: initial,
		sum: io.write("f64", initial.length, (from, to) => new Float64Array(to - from)),
		weight: 0,
	}),
	plan: (_state, { config, layout }) => ({ ...cohortPlan(config), lanes: { difference: laneOf(config, layout.length) } }),
	task: ({ model }, member) => ({ model, g: member?.g ?? null }),
	weigh: (numExamples, _staleness, { weighting, maxExamples }) => (weighting === "equal" ? maxExamples : numExamples),

	finish(state, { reports }, { io, config, round, members }) {
		const { length } = state.model;
		const next = new Map<ClientId, Ef21Types["member"] | null>();
		const before: Ef21Types["member"][] = [];
		for (const report of reports) {
			next.set(report.client, { g: estimateOf(report), weight: report.weight, round });
			if (report.member !== undefined) before.push(report.member);
		}
		let counted = reports.length;
		for (const [client, member] of members()) {
			if (next.has(client)) continue;
			if (round - member.round <= config.maxAge) {
				counted++;
				continue;
			}
			next.set(client, null);
			before.push(member);
		}
		const after = [...next.values()].filter((member) => member !== null);
		const weight =
			before.reduce((total, member) => total - member.weight, state.weight) + after.reduce((total, member) => total + member.weight, 0);
		const sum = io.write("f64", length, (from, to) => {
			const tile = io.read(state.sum, from, to).slice();
			for (const [sign, rows] of [
				[-1, before],
				[1, after],
			] as const)
				for (const row of rows) {
					const g = io.read(row.g, from, to);
					for (let j = 0; j < g.length; j++) tile[j]! += sign * row.weight * g[j]!;
				}
			return tile;
		});
		const model = io.write("f32", length, (from, to) => {
			const tile = io.read(sum, from, to);
			return io.read(state.model, from, to).map((x, j) => x + (config.serverLearningRate * tile[j]!) / weight);
		});
		return {
			state: { model, sum, weight },
			members: next,
			metrics: { countedClients: counted, forgottenClients: next.size - after.length },
		};

		function estimateOf(report: Received<Ef21Types>): Vec<"f32"> {
			const { member } = report;
			return io.write("f32", length, (from, to) =>
				added(member && io.read(member.g, from, to), report.lane("difference", from, to), config.absMax),
			);
		}
	},

	model: (state) => state.model,
	assemble: (task, client) => client.read(task.model),

	async train(task, client) {
		const { config } = client;
		const start = await client.read(task.model);
		const g = task.g === null ? undefined : await client.read(task.g);
		const { weights, meanLoss } = await localSgd(start, client, config);
		const lane = laneOf(config, start.length);
		const delta = float32Values(
			weights.map((weight, j) => weight - start[j]!),
			{ ...lane, absMax: config.absMax },
		);
		const wanted = g === undefined ? delta : delta.map((x, j) => x - g[j]!);
		// What the server will decode: encoding it again gives it again.
		const difference = topK.decode(topK.encode(wanted, lane, client.secret), lane);
		return {
			header: null,
			lanes: { difference },
			numExamples: client.data.numExamples,
			metrics: { loss: meanLoss },
			carry: { g: client.keep("f32", added(g, difference, config.absMax)) },
		};
	},
};
