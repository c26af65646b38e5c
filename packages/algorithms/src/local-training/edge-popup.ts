import { argsort, type Random, topK } from "@rondo/kernels";
import type { Layout, TensorSpec } from "@rondo/tensors";
import type { Trainer } from "../contract.js";

/** Which axis of a weight tensor counts a layer's outputs. */
export type OutputAxis = "auto" | "first" | "last";

/** How a subnetwork is chosen from fixed weights. */
export interface SubnetworkOptions {
	/** Share of each tensor's edges that the subnetwork keeps. */
	readonly sparsity: number;
	/** Of the fixed weights, which are ± gain / √(inputs of a unit). */
	readonly gain: number;
	readonly outputAxis: OutputAxis;
}

/** A tensor whose edges are ranked. */
export interface RankedTensor extends TensorSpec {
	/** Number of edges. */
	readonly size: number;
	/** Edges that the subnetwork leaves out: the lowest. */
	readonly dropped: number;
	/** Inputs of one unit of the layer. */
	readonly fanIn: number;
}

/** The number of lowest edges that a mask drops: ⌊(1 − k) · n⌋ in float64, so that n − ⌊(1 − k) · n⌋ are kept. */
export const droppedOf = (n: number, sparsity: number): number => Math.floor((1 - sparsity) * n);

/** The tensors of two or more dimensions, in layout order: those that subnetworks are chosen in. */
export function rankedTensors(layout: Layout, { sparsity, outputAxis }: Omit<SubnetworkOptions, "gain">): readonly RankedTensor[] {
	return layout.tensors
		.filter(({ shape, from, to }) => shape.length >= 2 && to > from)
		.map((tensor) => {
			const size = tensor.to - tensor.from;
			const { name, shape } = tensor;
			const isLast = outputAxis === "last" || (outputAxis === "auto" && /(^|[/._])kernel$/.test(name));
			return { ...tensor, size, dropped: droppedOf(size, sparsity), fanIn: size / shape.at(isLast ? -1 : 0)! };
		});
}

/**
 * The fixed weights θ, `layout.length` elements: ± gain / √fanIn in ranked tensors, the signs being bits of the run's seed
 * (Ramanujan, Wortsman, Kembhavi, Farhadi, Rastegari, "What's Hidden in a Randomly Weighted Neural Network?", CVPR 2020,
 * arXiv:1911.13299: signed Kaiming constant), 0 in all others.
 */
export function fixedWeights(length: number, tensors: readonly RankedTensor[], gain: number, random: Random): Float32Array {
	const weights = new Float32Array(length);
	for (const { name, from, size, fanIn } of tensors) {
		const words = random.at("sign", name).words(0, new Uint32Array(Math.ceil(size / 32)));
		const value = gain / Math.sqrt(fanIn);
		for (let e = 0; e < size; e++) weights[from + e] = (words[e >>> 5]! >>> (e & 31)) & 1 ? -value : value;
	}
	return weights;
}

/** The scores that a tensor's edges start from before the first vote: uniform in [0, 1/√fanIn), what |Kaiming uniform, a = √5| is. */
export function initialScores({ name, size, fanIn }: RankedTensor, random: Random): Float32Array {
	const words = random.at("score", name).words(0, new Uint32Array(size));
	const bound = 1 / Math.sqrt(fanIn);
	return Float32Array.from(words, (word) => (word / 2 ** 32) * bound);
}

/** The ranking that a tensor starts from: its edges by initial score. */
export const initialOrder = (tensor: RankedTensor, random: Random): Uint32Array => argsort(initialScores(tensor, random));

/** Writes the scores of a ranking into `out`: the j-th lowest edge gets the j-th lowest initial score, so every round starts from the same values. */
export function scoresOf(tensor: RankedTensor, order: Uint32Array, random: Random, out: Float32Array): void {
	const sorted = initialScores(tensor, random).sort();
	for (let j = 0; j < sorted.length; j++) out[order[j]!] = sorted[j]!;
}

/** Sets the lowest edges of a tensor to 0 in `weights`, given its ranking, lowest first. */
export function dropLowest({ from, dropped }: RankedTensor, order: Uint32Array, weights: Float32Array): void {
	for (let j = 0; j < dropped; j++) weights[from + order[j]!] = 0;
}

/**
 * The trainer as a function of scores s instead of weights (edge-popup): its weights are w = θ · m(s), where m drops the lowest
 * scores of each tensor, ties from the lower index on, and its gradient is that of the mask, ∂L/∂s = θ · ∂L/∂w, passed straight
 * through the choice of the mask to every edge, dropped or not.
 * Elements of other tensors keep what θ holds, whatever their scores.
 * @param theta as `fixedWeights` makes them, `layout.length` elements
 */
export function edgePopup(trainer: Trainer, theta: Float32Array, tensors: readonly RankedTensor[]): Trainer {
	const weights = new Float32Array(theta.length);
	const negated = tensors.map(({ size }) => new Float32Array(size));
	const masked = (scores: Float32Array): Float32Array => {
		weights.set(theta);
		for (const [i, { from, size, dropped }] of tensors.entries()) {
			const below = negated[i]!;
			for (let e = 0; e < size; e++) below[e] = -scores[from + e]!;
			for (const e of topK(below, dropped)) weights[from + e] = 0;
		}
		return weights;
	};
	return {
		loss: async (scores, batch) => trainer.loss(masked(scores), batch),
		async gradient(scores, batch, out) {
			const loss = await trainer.gradient(masked(scores), batch, out);
			for (let e = 0; e < out.length; e++) out[e]! *= theta[e]!;
			return loss;
		},
		evaluate: async (scores, data) => trainer.evaluate(masked(scores), data),
	};
}
