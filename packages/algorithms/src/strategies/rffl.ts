import { isRondoError } from "@rondo/errors";
import { dot, norm, normSquared, portableTanh, topK } from "@rondo/kernels";
import { type CohortOptions, checkCohort, cohortPlan, cohortSchema } from "../cohort.js";
import type { At, Client, ClientId, Folded, Metrics, Received, Strategy, Types } from "../contract.js";
import { type LocalSgdOptions, localSgd, localSgdProperties } from "../local-training/local-sgd.js";
import { bytesOf, contentDigest, encodePlain, isVec, type Vec, vecOf } from "../plain.js";
import {
	giveShares,
	type Judged,
	judged,
	type ReputationOptions,
	type Reputed,
	STANDING_SCORES,
	standingsOf,
	updateReputations,
} from "../rewards/reputation.js";
import { type Patch, patched, writePatch } from "../rewards/sparse-patch.js";

/** Options of RFFL. */
export interface RfflConfig extends LocalSgdOptions, CohortOptions, ReputationOptions {
	/** Factor of the learning rate from round to round. */
	readonly lrDecay: number;
	/** Γ, largest Euclidean norm of a client's change in one round. */
	readonly gamma: number;
	/** What a client's change is compared with: the others' weighted sum, or that of all. */
	readonly reference: "leave-one-out" | "all";
	/** Steepness a of q = tanh(a·r/max r)/tanh(a); 0: q = r/max r. */
	readonly altruism: number;
	/** The model that a client's first task starts from. */
	readonly newcomers: "base" | "initial";
}

/** What the server keeps of one client. */
type Member = Reputed & {
	/** Its private model after its last report that was applied. */
	readonly model: Vec<"f32">;
	/** That model as what to add to the one that the client made itself and named `base`; null: nothing smaller than the model. */
	readonly reward: (Patch & { readonly base: string }) | null;
	/** Reports that were applied. */
	readonly reports: number;
};

/** Types of RFFL. */
export interface RfflTypes extends Types {
	config: RfflConfig;
	/** The model of nobody in particular: of newcomers, of the evaluation. */
	state: { readonly base: Vec<"f32"> };
	member: Member;
	task: Pick<Member, "model" | "reward">;
	/** Digest of start + delta as the client keeps it. */
	report: { readonly base: string };
	carry: null;
}

/** Room for the rounding to float32 of a change that was scaled to the norm Γ. */
const NORM_ROOM = 1 + 1e-6;
/** Elements that sums of products are taken over at once; part of what their bytes are. */
const TILE = 65_536;
const MAX_REASON_LENGTH = 80;
const CACHE_KEY = "rffl/1 own model";

/** A report of the round and what comes of it. */
interface Participant extends Judged {
	readonly report: Received<RfflTypes>;
	/** Factor that brings a change beyond Γ back to it. */
	readonly scale: number;
	/** Norm of the change after that. */
	readonly norm: number;
}

/**
 * RFFL: Xu, Lyu, "A Reputation Mechanism Is All You Need: Collaborative Fairness and Adversarial Robustness in Federated
 * Learning", FL-ICML 2021, arXiv:2011.10464. Every client has a model of its own, and gets from the others what its
 * reputation is worth.
 *
 * Client i trains from w_i, sends Δ_i with ‖Δ_i‖ ≤ Γ and keeps w_i + Δ_i. The server sets u = Σ s_i Δ_i, with s_i ∝ n_i in
 * the first round and s_i ∝ r_i later; φ_i = max(0, cos(Δ_i, u_−i)); r_i ← α·r_i + (1 − α)·φ_i, scaled to the sum that the
 * clients present had before. From round warmupRounds + 1 on, r_i < β = thresholdFactor/|R| removes i or puts it on probation.
 * q_i = r_i / max r; of each tensor of u the ⌈q_i·n⌉ elements of largest magnitude (ties to the lower index) are i's reward, and
 * w_i ← w_i + Δ_i + reward_i.
 *
 * Departs from the paper: u_−i leaves Δ_i out, so that a client does not vouch for itself (`reference: "all"` is the paper's);
 * φ is never negative, because a negative weight would subtract a client from the model; only clients that report are scored
 * and rewarded, and they share among themselves the reputation they had, so that absence costs nothing (with all present the
 * sum is 1, as in the paper); a client that comes later starts at the mean reputation; it takes `patience` reports in a row below
 * β, because one odd cosine takes a client of few examples below it for a round. Changes are clipped to Γ, as in the
 * authors' code, not stretched to it. On probation a client weighs nothing and gets no reward, is scored against the others,
 * and is back once r_i ≥ β. With `altruism` a, q = tanh(a·x)/tanh(a), x = r/max r, of the authors' later work. The base model,
 * where newcomers start, goes by 2u a round: what a client with the mean change and the whole reward goes by.
 *
 * Models are the server's: w_i + Δ_i + reward_i is computed there with the operations of the client and named by its digest.
 * A client that still has w_i + Δ_i downloads the reward, any other the model; a lost reward cannot split the two.
 * Limit case: with one client each round adds 2Δ.
 */
export const rffl: Strategy<RfflTypes> = {
	name: "rffl",
	version: 1,
	summary:
		"A model for each client, better the more it contributes; free riders and attackers lose reputation (Xu and Lyu, FL-ICML 2021, arXiv:2011.10464).",
	about: {
		paper:
			"Xu, Lyu, A Reputation Mechanism Is All You Need: Collaborative Fairness and Adversarial Robustness in Federated Learning, FL-ICML 2021, arXiv:2011.10464",
		chooseWhen:
			"When clients want models in proportion to what they contribute, or some may send noise or reversed updates. Not when honest clients hold few classes each: their updates point elsewhere and cost them reputation. Flipped labels are not found.",
		bytesUp: "4·d + 78",
		bytesDown: "at most 4·d; about 4·q·d and a bit for each weight, where q is the client's quota",
	},
	schema: cohortSchema({
		...localSgdProperties,
		lrDecay: { type: "number", exclusiveMinimum: 0, maximum: 1, default: 1, description: "factor of the learning rate, each round" },
		gamma: {
			type: "number",
			minimum: 1e-6,
			maximum: 1e6,
			default: 0.5,
			description: "largest Euclidean norm of a client's change in a round",
		},
		alpha: { type: "number", minimum: 0, maximum: 0.999, default: 0.95, description: "share of the old reputation in the new one" },
		reference: {
			type: "string",
			enum: ["leave-one-out", "all"],
			default: "leave-one-out",
			description: "what a change is compared with: the sum of the other clients, or of all as in the paper",
		},
		thresholdFactor: {
			type: "number",
			minimum: 0,
			maximum: 0.999,
			default: 1 / 3,
			description: "least reputation as a share of the mean; 0 judges nobody",
		},
		warmupRounds: { type: "integer", minimum: 0, maximum: 1_000_000, default: 10, description: "rounds in which nobody is judged" },
		patience: {
			type: "integer",
			minimum: 1,
			maximum: 1000,
			default: 10,
			description: "reports in a row below the least reputation that it takes, those of the warm-up included; 1 is the paper's",
		},
		onBelowThreshold: {
			type: "string",
			enum: ["remove", "probation"],
			default: "remove",
			description: "below the least reputation: out for good, or without weight and reward until it recovers",
		},
		altruism: {
			type: "number",
			minimum: 0,
			maximum: 20,
			default: 0,
			description: "above 0: quotas through tanh of this steepness, which raises those of weaker clients",
		},
		newcomers: {
			type: "string",
			enum: ["base", "initial"],
			default: "base",
			description: "the model a client starts from: what the others have learned on average, or the initial one",
		},
	}),
	needs: { reads: "reports", trainer: "gradient" },
	check: checkCohort,

	bounds(_config, { length }) {
		const model = vecOf("f32", length, "0".repeat(64));
		const reward = { base: "0".repeat(64), positions: vecOf("u8", length, "0".repeat(64)), values: model };
		const standing = "probation";
		const row: Member = {
			model,
			reward,
			reputation: 1 / 3,
			standing,
			reports: 2 ** 32,
			below: 2 ** 32,
			reason: "x".repeat(MAX_REASON_LENGTH),
		};
		return {
			task: encodePlain({ model, reward }).length,
			// The model and a reward, which is smaller: a reward that turns out not to fit was downloaded too.
			download: 8 * length,
			report: encodePlain({ base: "0".repeat(64) }).length + 4 * length,
			member: encodePlain(row).length,
		};
	},

	init: (at) => ({ base: at.initial }),

	plan(_state, { config, layout, population, members }) {
		const exclude = Array.from(members())
			.filter(([, { standing }]) => standing === "removed")
			.map(([client]) => client);
		const cohort = cohortPlan(config);
		const most = Math.max(1, population - exclude.length);
		const lanes = { delta: { length: layout.length, absMax: config.gamma * NORM_ROOM, combine: "mean", codec: ["f32"] } } as const;
		if (exclude.length === 0) return { ...cohort, lanes };
		const [leases, closeAt, quorum] = [cohort.leases, cohort.closeAt, cohort.quorum].map((count) => Math.min(count, most));
		return { ...cohort, leases: leases!, closeAt: closeAt!, quorum: quorum!, lanes, exclude };
	},

	task: (state, member, at) => ({ model: startOf(state, member, at), reward: member?.reward ?? null }),

	finish(state, folded, at) {
		const { io, layout } = at;
		const members = new Map(at.members());
		const participants = participantsOf(folded, at.config);
		const before = { ...standingsOf(members), clipped: participants.filter(({ scale }) => scale < 1).length };
		if (participants.length === 0) return { state, metrics: before };
		giveShares(participants, members);
		const u = weightedSum(participants, layout.length);
		for (const participant of participants) participant.phi = contribution(participant, participants, u, at.config);
		const reputations = updateReputations(participants, members, at.round, at.config);
		const rows = new Map<ClientId, Member>();
		for (const [client, member] of members) {
			const reputation = reputations.get(client) ?? member.reputation;
			if (reputation !== member.reputation) rows.set(client, { ...member, reputation });
		}
		let top = 0;
		for (const reputation of reputations.values()) top = Math.max(top, reputation);
		const sum = Float32Array.from(u);
		const scores = new Map<ClientId, Metrics>();
		for (const participant of participants) {
			const { report, phi, standing } = participant;
			const quota = standing === "live" ? quotaOf(participant.reputation / top, at.config.altruism) : 0;
			rows.set(report.client, rowOf(participant, sum, quota, state, at));
			const score = { reputation: participant.reputation, quota, standing: STANDING_SCORES[standing] };
			scores.set(report.client, phi === undefined ? score : { ...score, phi });
		}
		const base = io.write("f32", layout.length, (from, to) => io.read(state.base, from, to).map((weight, j) => weight + 2 * u[from + j]!));
		return {
			state: { base },
			members: rows,
			scores,
			metrics: { ...standingsOf(new Map([...members, ...rows])), clipped: before.clipped },
		};
	},

	model: (state, member) => member?.model ?? state.base,

	assemble,

	async train(task, client) {
		const { config } = client;
		const start = await assemble(task, client);
		let learningRate = config.learningRate;
		for (let round = 1; round < client.round; round++) learningRate *= config.lrDecay;
		const { weights, meanLoss } = await localSgd(start, client, { ...config, learningRate });
		const delta = weights.map((weight, j) => weight - start[j]!);
		const length = norm(delta);
		if (length > config.gamma) for (let j = 0; j < delta.length; j++) delta[j]! *= config.gamma / length;
		// What the server computes from the report, byte for byte.
		const own = client.keep(
			"f32",
			start.map((weight, j) => weight + delta[j]!),
		);
		client.cache.set(CACHE_KEY, own);
		return {
			header: { base: own.sha256 },
			lanes: { delta },
			numExamples: client.data.numExamples,
			metrics: { loss: meanLoss, updateNorm: length },
		};
	},
};

/** The model that a client trains from. */
const startOf = (state: RfflTypes["state"], member: Member | undefined, { config, initial }: At<RfflTypes>): Vec<"f32"> =>
	member?.model ?? (config.newcomers === "base" ? state.base : initial);

/** The client's model: its own after the last task and the reward, where it still has it and the result has the model's digest. */
async function assemble(task: RfflTypes["task"], client: Client<RfflTypes>): Promise<Float32Array> {
	const { model, reward } = task;
	const own = client.cache.get(CACHE_KEY);
	if (reward === null || !isVec(own) || own.sha256 !== reward.base || own.length !== model.length) return client.read(model);
	try {
		// First of all what may be gone: the coordinator does not have it.
		const base = await client.read(own as Vec<"f32">);
		const next = patched(base, await client.read(reward.positions), await client.read(reward.values));
		if (contentDigest(bytesOf(next)) === model.sha256) {
			client.keep("f32", next);
			return next;
		}
	} catch (error) {
		if (!isRondoError(error) || error.code === "CANCELLED") throw error;
	}
	return client.read(model);
}

/** The reports that count, in client-id order, with changes beyond Γ scaled back: only a client that ignores the rules sends one. */
function participantsOf({ reports }: Folded<RfflTypes>, { gamma }: RfflConfig): Participant[] {
	return reports
		.filter(({ member }) => member?.standing !== "removed")
		.map((report) => {
			let squared = 0;
			for (let from = 0; ; from += TILE) {
				const tile = report.lane("delta", from, from + TILE);
				if (tile.length === 0) break;
				squared += normSquared(tile);
			}
			const length = Math.sqrt(squared);
			const scale = length > gamma * NORM_ROOM ? gamma / length : 1;
			const { client, weight, member } = report;
			return { ...judged(client, weight, member), report, scale, norm: length * scale };
		});
}

/** u = Σ share · Δ in float64, added in client-id order. */
function weightedSum(participants: readonly Participant[], length: number): Float64Array {
	const u = new Float64Array(length);
	for (const { report, share, scale } of participants) {
		if (share === 0) continue;
		const factor = share * scale;
		for (let from = 0; from < length; from += TILE) {
			const tile = report.lane("delta", from, from + TILE);
			for (let j = 0; j < tile.length; j++) u[from + j]! += factor * tile[j]!;
		}
	}
	return u;
}

/** φ, from 0 to 1; undefined when no other client is in the reference. */
function contribution(
	{ report, share, scale, norm: length }: Participant,
	participants: readonly Participant[],
	u: Float64Array,
	{ reference }: RfflConfig,
): number | undefined {
	const others = participants.some((other) => other.report !== report && other.share > 0);
	if (!others && (reference === "leave-one-out" || share === 0)) return undefined;
	const left = reference === "leave-one-out" ? share * scale : 0;
	let product = 0;
	let squared = 0;
	for (let from = 0; from < u.length; from += TILE) {
		const tile = report.lane("delta", from, from + TILE);
		const against = u.slice(from, from + TILE);
		if (left > 0) for (let j = 0; j < tile.length; j++) against[j]! -= left * tile[j]!;
		product += dot(tile, against);
		squared += normSquared(against);
	}
	const norms = length * Math.sqrt(squared);
	return norms > 0 ? Math.min(1, Math.max(0, (product * scale) / norms)) : 0;
}

/** The share of u that a reputation is worth. @param relative reputation over the largest one */
const quotaOf = (relative: number, altruism: number): number =>
	altruism === 0 ? relative : Math.min(1, portableTanh(altruism * relative) / portableTanh(altruism));

/** The row of a client after its report: own model and reward added as the client adds them. */
function rowOf(participant: Participant, u: Float32Array, quota: number, state: RfflTypes["state"], at: At<RfflTypes>): Member {
	const { io, layout } = at;
	const { report, scale, reputation, standing, below, reason } = participant;
	const start = startOf(state, report.member, at);
	const index = largest(u, quota, at);
	const values = Float32Array.from(index, (j) => u[j]!);
	let next = 0;
	const model = io.write("f32", layout.length, (from, to) => {
		const delta = report.lane("delta", from, to);
		const tile = io.read(start, from, to).map((weight, j) => weight + Math.fround(scale * delta[j]!));
		for (; next < index.length && index[next]! < to; next++) tile[index[next]! - from]! += values[next]!;
		return tile;
	});
	const base = baseOf(report.header);
	const patch = index.length === 0 || base === undefined ? null : writePatch(io, index, values, layout.length);
	const reports = (report.member?.reports ?? 0) + 1;
	return { model, reward: patch === null ? null : { base: base!, ...patch }, reputation, standing, reports, below, reason };
}

/** Of each tensor the ⌈quota · n⌉ elements of largest magnitude, ascending. */
function largest(u: Float32Array, quota: number, { layout }: At<RfflTypes>): Uint32Array {
	const parts = layout.tensors.map(({ from, to }) =>
		topK(u.subarray(from, to), Math.min(to - from, Math.ceil(quota * (to - from))), "magnitude").map((j) => j + from),
	);
	const index = new Uint32Array(parts.reduce((sum, { length }) => sum + length, 0));
	let at = 0;
	for (const part of parts) {
		index.set(part, at);
		at += part.length;
	}
	return index;
}

/** The digest that a header names; undefined for anything else, which costs its sender a larger download and nobody anything. */
function baseOf(header: unknown): string | undefined {
	const { base } = (typeof header === "object" && header !== null ? header : {}) as { readonly base?: unknown };
	return typeof base === "string" && /^[0-9a-f]{64}$/.test(base) ? base : undefined;
}
