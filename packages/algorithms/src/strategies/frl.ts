import { RondoError } from "@rondo/errors";
import { addSparseRanks, argsort, type Random } from "@rondo/kernels";
import type { Layout } from "@rondo/tensors";
import { packRankings, type RankedPart, rankingBytes, unpackRankings } from "../codecs/ranking.js";
import { type CohortOptions, checkCohort, cohortPlan, cohortSchema } from "../cohort.js";
import type { At, Client, Io, Strategy, Types } from "../contract.js";
import {
	dropLowest,
	droppedOf,
	edgePopup,
	fixedWeights,
	initialOrder,
	type RankedTensor,
	rankedTensors,
	type SubnetworkOptions,
	scoresOf,
} from "../local-training/edge-popup.js";
import { type LocalSgdOptions, localSgd, localSgdProperties } from "../local-training/local-sgd.js";
import { encodePlain, type Vec, vecOf } from "../plain.js";

/** Options of FRL. */
export interface FrlConfig extends LocalSgdOptions, SubnetworkOptions, CohortOptions {
	/** Factor of the learning rate from round to round. */
	readonly learningRateDecay: number;
	readonly momentum: number;
	/** Share of a score that each step's gradient gains. */
	readonly weightDecay: number;
	/** "full": whole rankings travel. "sparse": only their highest edges. */
	readonly ballot: "full" | "sparse";
	/** Share of each tensor's edges in a sparse ballot. */
	readonly ballotShare: number;
	/** Values of tensors of fewer than two dimensions. */
	readonly unranked: "zero" | "initial";
}

/** One packed ranking per ranked tensor, lowest edge first; the values of all other elements where they are not 0. */
type Subnetwork = { readonly order: Vec<"u8"> } | { readonly order: Vec<"u8">; readonly unranked: Vec<"f32"> };

/** Types of FRL. */
export interface FrlTypes extends Types {
	config: FrlConfig;
	state: Subnetwork;
	member: null;
	task: Subnetwork;
	report: null;
	carry: null;
}

/** As many as a codec's specification on the wire has room for. */
const MAX_RANKED_TENSORS = 256;

const randomOf = ({ shared }: { readonly shared: Random }): Random => shared.at("edge-popup");
const wholeRankings = (tensors: readonly RankedTensor[]): RankedPart[] => tensors.map(({ size }): RankedPart => [size, size]);

/** What a ballot holds of each ranked tensor. */
const ballotOf = (tensors: readonly RankedTensor[], { ballot, ballotShare }: FrlConfig): RankedPart[] =>
	tensors.map(({ size }): RankedPart => [size, ballot === "full" ? size : size - droppedOf(size, ballotShare)]);

/** base^exponent by repeated squaring. */
function power(base: number, exponent: number): number {
	let result = 1;
	for (let factor = base, left = exponent; left > 0; left = Math.floor(left / 2), factor *= factor) if (left % 2 === 1) result *= factor;
	return result;
}

/** The elements of all tensors that are not ranked, one after the other. */
const unrankedOf = (layout: Layout, tensors: readonly RankedTensor[]) => {
	const ranked = new Set(tensors.map(({ name }) => name));
	return layout.tensors.filter(({ name }) => !ranked.has(name));
};

/** θ, and what the tensors that are not ranked hold. */
function weightsOf(
	{ layout, config, shared }: Pick<At<FrlTypes>, "layout" | "config" | "shared">,
	tensors: readonly RankedTensor[],
	unranked: Float32Array | undefined,
): Float32Array {
	const weights = fixedWeights(layout.length, tensors, config.gain, randomOf({ shared }));
	let at = 0;
	for (const { from, to } of unranked === undefined ? [] : unrankedOf(layout, tensors)) {
		weights.set(unranked!.subarray(at, at + to - from), from);
		at += to - from;
	}
	return weights;
}

const writeOrder = (io: Io, tensors: readonly RankedTensor[], order: (tensor: number) => Uint32Array): Vec<"u8"> => {
	const bytes = packRankings(wholeRankings(tensors), order);
	return io.write("u8", bytes.length, (from, to) => bytes.subarray(from, to));
};

/**
 * Federated Rank Learning: Mozaffari, Shejwalkar, Houmansadr, "Every Vote Counts: Ranking-Based Training of Federated
 * Learning to Resist Poisoning Attacks", USENIX Security 2023, arXiv:2110.04350.
 *
 * Weights are never trained: θ = ± gain / √fanIn, with signs from the public run seed. What is learned is which of them a
 * subnetwork keeps. Clients and server share a ranking R of each tensor's n edges, lowest first; it turns into scores by
 * giving the j-th edge of R the j-th lowest initial score. A client trains the scores by edge-popup (see `edgePopup`) with
 * v ← momentum·v + ∂L/∂s + weightDecay·s, s ← s − η_t·v, η_t = learningRate · learningRateDecay^(t − 1), and sends
 * R_i = argsort(s). The server counts votes: W_e = Σ_i (place of e in R_i), R ← argsort(W). The model is θ without the
 * ⌊(1 − sparsity)·n⌋ lowest edges of each tensor.
 *
 * A ballot counts 1, whatever the client's number of examples, and the round machine takes one per client and round; one
 * that is no permutation is refused, so that nobody moves an edge's reputation by more than n − 1. Equal scores and equal
 * reputations are ordered by the lower edge first, and sums of ranks are exact integers: the result does not depend on the
 * order of arrival. A ballot made from an older ranking is as valid as any. Sparse FRL: only the m highest edges travel;
 * they count n − m … n − 1, all others 0. With a tenth of the edges that costs accuracy: 0.88 against 0.95 on the digits of
 * UCI (`npm run bench:frl`).
 *
 * Departs from the authors' code: masks are chosen by the signed score that also makes the ranking (there by its
 * magnitude, so that the lowest-ranked edges are kept too), and initial scores are not negative; sorting is stable; the
 * learning rate is constant within a round (there cosine annealing over its epochs). The run's initial weights are not
 * used: tensors of fewer than two dimensions (biases) stay at 0, or with unranked "initial" at their initial values, which
 * scales of normalisation layers need. Robustness comes from the share of malicious ballots in each round, not in the
 * population: small cohorts are unsafe.
 * Limit case: the vote of one client is its own ranking.
 */
export const frl: Strategy<FrlTypes> = {
	name: "frl",
	version: 1,
	summary: "Clients vote on which edges of a fixed random network to keep (Mozaffari et al., USENIX Security 2023, arXiv:2110.04350).",
	about: {
		paper:
			"Mozaffari, Shejwalkar, Houmansadr, Every Vote Counts: Ranking-Based Training of Federated Learning to Resist Poisoning Attacks, USENIX Security 2023, arXiv:2110.04350",
		chooseWhen:
			"When up to a fifth of the clients of a round may be malicious and the model is trained from nothing: a ballot can move an edge by a bounded number of places and nothing else. Not for tuning a pretrained model, whose weights it does not use, and not with cohorts of ten: of 25 ballots or more, a third are seldom malicious where a fifth of the clients are.",
		bytesUp: "Σ over tensors of n edges: n·⌈log₂ n⌉ / 8 (ballotShare of it under sparse)",
		bytesDown: "Σ over tensors of n edges: n·⌈log₂ n⌉ / 8",
	},
	schema: cohortSchema({
		...localSgdProperties,
		learningRate: { ...localSgdProperties.learningRate, default: 0.4, description: "step size of the local SGD on scores" },
		batchSize: { ...localSgdProperties.batchSize, default: 8 },
		localEpochs: { ...localSgdProperties.localEpochs, default: 2 },
		learningRateDecay: {
			type: "number",
			exclusiveMinimum: 0,
			maximum: 1,
			default: 0.999,
			description: "factor of the learning rate from round to round",
		},
		momentum: { type: "number", minimum: 0, maximum: 0.999, default: 0.9, description: "momentum of the local SGD" },
		weightDecay: { type: "number", minimum: 0, maximum: 1, default: 1e-4, description: "share of a score that its gradient gains" },
		sparsity: {
			type: "number",
			minimum: 0.001,
			maximum: 0.999,
			default: 0.5,
			description: "share k of each tensor's edges that the model keeps",
		},
		gain: {
			type: "number",
			exclusiveMinimum: 0,
			maximum: 1000,
			default: Math.SQRT2,
			description: "fixed weights are ± gain / √(inputs of a unit); √2 suits relu",
		},
		outputAxis: {
			type: "string",
			enum: ["auto", "first", "last"],
			default: "auto",
			description:
				"which axis of a tensor counts a layer's outputs: first as in PyTorch and ONNX, last as in Keras; auto: last where the name ends in kernel",
		},
		ballot: {
			type: "string",
			enum: ["full", "sparse"],
			default: "full",
			description: "what travels: whole rankings, or only their highest edges",
		},
		ballotShare: {
			type: "number",
			minimum: 0.001,
			maximum: 0.999,
			default: 0.1,
			description: "share of each tensor's edges in a sparse ballot",
		},
		unranked: {
			type: "string",
			enum: ["zero", "initial"],
			default: "zero",
			description: "values of tensors of fewer than two dimensions, which nothing trains; scales of normalisation need initial",
		},
	}),
	needs: { reads: "lanes", trainer: "gradient" },

	check(config, layout) {
		checkCohort(config);
		const { length } = rankedTensors(layout, config);
		if (length === 0) {
			const names = layout.tensors.map(({ name, shape }) => `${name} [${shape.join(", ")}]`);
			throw new RondoError(
				"INVALID_ARGUMENT",
				`frl ranks the edges of tensors of two or more dimensions, and the model has none: ${names.slice(0, 8).join(", ")}`,
			);
		}
		if (length > MAX_RANKED_TENSORS) {
			throw new RondoError(
				"INVALID_ARGUMENT",
				`frl ranks at most ${MAX_RANKED_TENSORS} tensors of two or more dimensions, the model has ${length}`,
			);
		}
	},

	bounds(config, layout) {
		const tensors = rankedTensors(layout, config);
		const whole = rankingBytes(wholeRankings(tensors));
		const others = config.unranked === "initial" ? layout.length - tensors.reduce((sum, { size }) => sum + size, 0) : 0;
		const order = vecOf("u8", whole, "0".repeat(64));
		return {
			task: encodePlain(others > 0 ? { order, unranked: vecOf("f32", others, "0".repeat(64)) } : { order }).length,
			download: whole + 4 * others,
			report: encodePlain(null).length + rankingBytes(ballotOf(tensors, config)),
		};
	},

	init(at) {
		const { config, layout, io, initial } = at;
		const tensors = rankedTensors(layout, config);
		const order = writeOrder(io, tensors, (i) => initialOrder(tensors[i]!, randomOf(at)));
		const others = config.unranked === "initial" ? unrankedOf(layout, tensors) : [];
		const values = Float32Array.from(others.flatMap(({ from, to }) => [...io.read(initial, from, to)]));
		return values.length === 0 ? { order } : { order, unranked: io.write("f32", values.length, (from, to) => values.subarray(from, to)) };
	},

	plan(_state, { config, layout }) {
		const tensors = rankedTensors(layout, config);
		const length = tensors.reduce((sum, { size }) => sum + size, 0);
		const absMax = tensors.reduce((most, { size }) => Math.max(most, size - 1), 1);
		return {
			...cohortPlan(config),
			lanes: { ranks: { length, absMax, combine: "sum", codec: ["ranking", ...ballotOf(tensors, config)] } },
		};
	},

	task: (state) => state,

	weigh: () => 1,

	finish(state, folded, { config, layout, io }) {
		const tensors = rankedTensors(layout, config);
		const votes = folded.lanes.ranks!;
		const before = unpackRankings(io.read(state.order), wholeRankings(tensors));
		let from = 0;
		let kept = 0;
		let changed = 0;
		const order = writeOrder(io, tensors, (i) => {
			const { size, dropped } = tensors[i]!;
			const next = argsort(votes.subarray(from, from + size));
			const keep = new Uint8Array(size);
			for (let j = dropped; j < size; j++) keep[next[j]!] = 1;
			const last = before.next().value as Uint32Array;
			for (let j = dropped; j < size; j++) changed += 1 - keep[last[j]!]!;
			kept += size - dropped;
			from += size;
			return next;
		});
		return { state: { ...state, order }, metrics: { changedEdges: changed / kept } };
	},

	model(state, _member, at) {
		const { config, layout, io } = at;
		const tensors = rankedTensors(layout, config);
		const weights = weightsOf(at, tensors, "unranked" in state ? io.read(state.unranked) : undefined);
		let i = 0;
		for (const order of unpackRankings(io.read(state.order), wholeRankings(tensors))) dropLowest(tensors[i++]!, order, weights);
		return io.write("f32", weights.length, (from, to) => weights.subarray(from, to));
	},

	async assemble(task, client) {
		const { tensors, theta, orders } = await open(task, client);
		for (const [i, order] of orders.entries()) dropLowest(tensors[i]!, order, theta);
		return theta;
	},

	async train(task, client) {
		const { config, layout, round } = client;
		const { tensors, theta, orders } = await open(task, client);
		const start = new Float32Array(layout.length);
		for (const [i, order] of orders.entries()) {
			const { from, to } = tensors[i]!;
			scoresOf(tensors[i]!, order, randomOf(client), start.subarray(from, to));
		}
		const velocity = new Float32Array(layout.length);
		const scorer: Client<FrlTypes> = { ...client, trainer: edgePopup(client.trainer, theta, tensors) };
		const learningRate = config.learningRate * power(config.learningRateDecay, round - 1);
		const { weights: scores, meanLoss } = await localSgd(start, scorer, { ...config, learningRate }, (gradient, now) => {
			for (let e = 0; e < gradient.length; e++) {
				velocity[e] = config.momentum * velocity[e]! + gradient[e]! + config.weightDecay * now[e]!;
				gradient[e] = velocity[e]!;
			}
		});
		const parts = ballotOf(tensors, config);
		const ranks = new Float64Array(tensors.reduce((sum, { size }) => sum + size, 0));
		let at = 0;
		for (const [i, { from, to, size }] of tensors.entries()) {
			addSparseRanks(ranks.subarray(at, at + size), argsort(scores.subarray(from, to)).subarray(size - parts[i]![1]));
			at += size;
		}
		return { header: null, lanes: { ranks }, numExamples: client.data.numExamples, metrics: { loss: meanLoss } };
	},
};

/** What a task says, on the device. */
async function open(
	task: Subnetwork,
	client: Client<FrlTypes>,
): Promise<{ readonly tensors: readonly RankedTensor[]; readonly theta: Float32Array; readonly orders: readonly Uint32Array[] }> {
	const tensors = rankedTensors(client.layout, client.config);
	const theta = weightsOf(client, tensors, "unranked" in task ? await client.read(task.unranked) : undefined);
	return { tensors, theta, orders: [...unpackRankings(await client.read(task.order), wholeRankings(tensors))] };
}
