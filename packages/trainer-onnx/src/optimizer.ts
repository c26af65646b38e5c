import type { Optimizer } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
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
 * @throws INVALID_ARGUMENT that names the option and its value
 */
export function planOptimizer(optimizer: Optimizer): OptimizerPlan {
	const checked = (name: string, value: number, within: (value: number) => boolean, range: string): number => {
		if (!within(value))
			throw new RondoError("INVALID_ARGUMENT", `optimizer.${name} must be ${range}, got ${value}`, {
				details: { field: `optimizer.${name}`, value },
			});
		return value;
	};
	const fraction = (value: number): boolean => value >= 0 && value < 1;
	if (optimizer.clipNorm !== undefined) checked("clipNorm", optimizer.clipNorm, (value) => value > 0 && Number.isFinite(value), "positive");
	switch (optimizer.kind) {
		case "sgd": {
			const momentum = checked("momentum", optimizer.momentum ?? 0, fraction, "at least 0 and below 1");
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
		case "adam": {
			const beta1 = checked("beta1", optimizer.beta1 ?? 0.9, fraction, "at least 0 and below 1");
			const beta2 = checked("beta2", optimizer.beta2 ?? 0.999, fraction, "at least 0 and below 1");
			const epsilon = checked("epsilon", optimizer.epsilon ?? 1e-8, (value) => value > 0, "positive");
			const decay = checked("weightDecay", optimizer.weightDecay ?? 0, (value) => value >= 0 && Number.isFinite(value), "at least 0");
			return {
				names: ["step-size", "inverse-root", "kept"],
				// η / (1 − β1ᵗ), 1 / √(1 − β2ᵗ) and 1 − η·decay, in float64 on the host.
				valuesAt: (t, learningRate) => [learningRate / (1 - beta1 ** t), 1 / Math.sqrt(1 - beta2 ** t), 1 - learningRate * decay],
				states: 2,
				update: (g, weight, gradient, [m, v], [stepSize, inverseRoot, kept]) => {
					const nextM = g.add(g.mul(m!, beta1), g.mul(gradient, 1 - beta1));
					const nextV = g.add(g.mul(v!, beta2), g.mul(g.mul(gradient, gradient), 1 - beta2));
					const root = g.add(g.mul(g.unary("Sqrt", nextV), inverseRoot!), epsilon);
					const decayed = decay === 0 ? weight : g.mul(weight, kept!);
					return { weight: g.sub(decayed, g.mul(g.div(nextM, root), stepSize!)), states: [nextM, nextV] };
				},
			};
		}
		default:
			throw new RondoError(
				"INVALID_ARGUMENT",
				`optimizer.kind must be sgd or adam, got ${JSON.stringify((optimizer as { kind: unknown }).kind)}`,
				{
					details: { field: "optimizer.kind" },
				},
			);
	}
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
