import type { ResolvedOptimizer } from "@rondo/algorithms";
import type { GraphBuilder, Ref } from "./graph/graph-builder.js";

/** Scalars that a step is told, float32: their names as graph inputs, and their values at step `t` (from 1). */
export interface StepScalars {
	readonly names: readonly string[];
	valuesAt(t: number, learningRate: number): readonly number[];
}

/** How one kind of optimiser becomes part of a graph. */
export interface OptimizerPlan extends StepScalars {
	/** Vectors of state per parameter, all 0 at first. */
	readonly states: number;
	/**
	 * The next weights and states of one parameter.
	 * @param scalars in the order of `names`
	 */
	update(
		g: GraphBuilder,
		weight: Ref,
		gradient: Ref,
		states: readonly Ref[],
		scalars: readonly Ref[],
	): { readonly weight: Ref; readonly states: readonly Ref[] };
}

/** Keeps the quotient of a clipped gradient finite, as in PyTorch's clip_grad_norm_. */
const CLIP_EPSILON = 1e-6;

/**
 * - sgd: v ← μ·v + g, w ← w − η·v (no v for μ = 0). B. T. Polyak, 1964, in the form of I. Sutskever et al., ICML 2013.
 * - adam: D. Kingma, J. Ba, "Adam", ICLR 2015, algorithm 1; with `weightDecay` AdamW: I. Loshchilov, F. Hutter, ICLR 2019,
 *   algorithm 2, the decay scaled by the learning rate as in PyTorch.
 */
export function planOptimizer(optimizer: ResolvedOptimizer): OptimizerPlan {
	if (optimizer.kind === "sgd") {
		const { momentum } = optimizer;
		return {
			names: ["learning-rate"],
			valuesAt: (_t, learningRate) => [learningRate],
			states: momentum === 0 ? 0 : 1,
			update: (g, weight, gradient, [velocity], [learningRate]) => {
				const direction = velocity === undefined ? gradient : g.add(g.mul(velocity, momentum), gradient);
				return { weight: g.sub(weight, g.mul(direction, learningRate!)), states: velocity === undefined ? [] : [direction] };
			},
		};
	}
	const { beta1, beta2, epsilon, weightDecay } = optimizer;
	return {
		names: weightDecay === 0 ? ["step-size", "inverse-root"] : ["step-size", "inverse-root", "kept"],
		// η / (1 − β1ᵗ), 1 / √(1 − β2ᵗ) and 1 − η·decay, in float64 on the host.
		valuesAt: (t, learningRate) => {
			const scalars = [learningRate / (1 - beta1 ** t), 1 / Math.sqrt(1 - beta2 ** t)];
			return weightDecay === 0 ? scalars : [...scalars, 1 - learningRate * weightDecay];
		},
		states: 2,
		update: (g, weight, gradient, [m, v], [stepSize, inverseRoot, kept]) => {
			const nextM = g.add(g.mul(m!, beta1), g.mul(gradient, 1 - beta1));
			const nextV = g.add(g.mul(v!, beta2), g.mul(g.mul(gradient, gradient), 1 - beta2));
			const root = g.add(g.mul(g.unary("Sqrt", nextV), inverseRoot!), epsilon);
			const decayed = kept === undefined ? weight : g.mul(weight, kept);
			return { weight: g.sub(decayed, g.mul(g.div(nextM, root), stepSize!)), states: [nextM, nextV] };
		},
	};
}

/** All gradients scaled down together, so that their common norm is at most `clipNorm`. */
export function clipGradients(g: GraphBuilder, gradients: readonly Ref[], clipNorm: number): readonly Ref[] {
	const squares = gradients.map((gradient) => g.total(g.mul(gradient, gradient)));
	const norm = g.unary(
		"Sqrt",
		squares.reduce((sum, square) => g.add(sum, square)),
	);
	const factor = g.binary("Min", g.div(clipNorm, g.add(norm, CLIP_EPSILON)), 1);
	return gradients.map((gradient) => g.mul(gradient, factor));
}
