import { RondoError } from "@rondo/errors";
import { type Perturbations, project, projectionUnit, rebuild } from "@rondo/kernels";

const largest = (values: ArrayLike<number>): number => {
	let peak = 0;
	for (let j = 0; j < values.length; j++) {
		const magnitude = Math.abs(values[j]!);
		if (!(magnitude < Number.POSITIVE_INFINITY)) throw new RondoError("NOT_FINITE", `element ${j} is ${values[j]}`);
		if (magnitude > peak) peak = magnitude;
	}
	return peak;
};

/**
 * γ_k = Σ_j z_k[j] · values[j] for k below `count`, exactly, after values are rounded to 2^-23 of the largest of them.
 * @throws NOT_FINITE for a value that is not finite
 */
export function projections(values: Float32Array, count: number, z: Perturbations): Float64Array {
	const out = new Float64Array(count);
	const peak = largest(values);
	if (peak === 0) return out;
	const unit = projectionUnit(peak);
	project(values, unit, z, out);
	return out.map((gamma) => gamma * unit);
}

/**
 * out[j] = weights[j] − Σ_k c_k · z_k[from + j], where the c_k are rounded to 2^-23 of the largest of them; the sum is exact
 * and the difference rounded once. Equal coefficients give equal bytes everywhere, however the vector is cut into parts.
 * `out` may be `weights`.
 * @throws NOT_FINITE for a coefficient that is not finite
 */
export function subtractCombination(
	weights: Float32Array,
	coefficients: Float32Array | Float64Array,
	z: Perturbations,
	out: Float32Array,
	from = 0,
): void {
	const peak = largest(coefficients);
	if (peak === 0) {
		if (out !== weights) out.set(weights);
		return;
	}
	const unit = projectionUnit(peak);
	rebuild(
		weights,
		Int32Array.from(coefficients, (c) => Math.round(c / unit)),
		unit,
		z,
		out,
		from,
	);
}
