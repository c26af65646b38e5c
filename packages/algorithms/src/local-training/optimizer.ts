import { RondoError } from "@rondo/errors";
import type { Optimizer } from "../contract.js";

/** An optimizer with every default filled in. */
export type ResolvedOptimizer =
	| { readonly kind: "sgd"; readonly momentum: number; readonly clipNorm: number }
	| {
			readonly kind: "adam";
			readonly beta1: number;
			readonly beta2: number;
			readonly epsilon: number;
			readonly weightDecay: number;
			/** Infinity: gradients are not clipped. */
			readonly clipNorm: number;
	  };

/**
 * Checks an optimizer and fills in its defaults; what trainers with `begin` start from.
 * @throws INVALID_ARGUMENT that names the field and its value
 */
export function resolveOptimizer(optimizer: Optimizer): ResolvedOptimizer {
	const { kind, clipNorm = Number.POSITIVE_INFINITY } = optimizer;
	check("clipNorm", clipNorm, "positive", clipNorm > 0);
	if (kind === "sgd") {
		const { momentum = 0 } = optimizer;
		check("momentum", momentum, "from 0 to below 1", momentum >= 0 && momentum < 1);
		return { kind, momentum, clipNorm };
	}
	if (kind !== "adam") {
		throw new RondoError("INVALID_ARGUMENT", `optimizer.kind must be "sgd" or "adam", got ${JSON.stringify(kind)}`);
	}
	const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0 } = optimizer;
	check("beta1", beta1, "from 0 to below 1", beta1 >= 0 && beta1 < 1);
	check("beta2", beta2, "from 0 to below 1", beta2 >= 0 && beta2 < 1);
	check("epsilon", epsilon, "positive and finite", epsilon > 0 && epsilon < Number.POSITIVE_INFINITY);
	check("weightDecay", weightDecay, "finite and not negative", weightDecay >= 0 && weightDecay < Number.POSITIVE_INFINITY);
	return { kind, beta1, beta2, epsilon, weightDecay, clipNorm };
}

function check(field: string, value: number, wanted: string, isRight: boolean): void {
	if (!isRight) throw new RondoError("INVALID_ARGUMENT", `optimizer.${field} must be ${wanted}, got ${value}`, { details: { field } });
}
