import { type NoiseKind, type Perturbations, perturb, perturbations, randomFromSeed } from "@rondo/kernels";
import { expect, it } from "vitest";
import { projections, subtractCombination } from "./shared-bases.js";

/** A vector whose elements differ in size and sign. */
const vectorOf = (length: number): Float32Array => Float32Array.from({ length }, (_, j) => ((j * 37) % 101) / 101 - 0.4);

/** Δ~ = (1/K) Σ (z_k · Δ) z_k. */
function reconstruct(delta: Float32Array, count: number, z: Perturbations): Float32Array {
	const out = new Float32Array(delta.length);
	subtractCombination(
		out,
		projections(delta, count, z).map((gamma) => -gamma / count),
		z,
		out,
	);
	return out;
}

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, value, j) => sum + value * b[j]!, 0);
const relativeError = (made: Float32Array, wanted: Float32Array): number => {
	const error = made.map((value, j) => value - wanted[j]!);
	return dot(error, error) / dot(wanted, wanted);
};
const family = (seed: string | number, kind: NoiseKind = "noise/1"): Perturbations => perturbations(randomFromSeed(`bases ${seed}`), kind);

it("reconstructs without bias: the mean of twenty is the vector, and not a third of it", () => {
	const delta = vectorOf(100);
	const mean = new Float32Array(100);
	for (let i = 0; i < 20; i++) {
		reconstruct(delta, 1000, family(i)).forEach((value, j) => {
			mean[j]! += value / 20;
		});
	}
	expect(relativeError(mean, delta)).toBeLessThan(0.01);
	expect(Math.abs(dot(mean, delta) / dot(delta, delta) - 1)).toBeLessThan(0.02);
});

it.each([
	[100, 100],
	[100, 1000],
	[1000, 1000],
	[1000, 4096],
])("the squared error for %s elements and %s independent bases is (d - 1) / K", (length, count) => {
	const delta = vectorOf(length);
	const repeats = 12;
	let mean = 0;
	for (let i = 0; i < repeats; i++) mean += relativeError(reconstruct(delta, count, family(i)), delta) / repeats;
	expect(Math.abs(mean / ((length - 1) / count) - 1)).toBeLessThan(0.1);
});

it("the cosine of reconstruction and vector is 1 / √(1 + d/K)", () => {
	const delta = vectorOf(1000);
	const made = reconstruct(delta, 4096, family(1));
	expect(Math.abs(dot(made, delta) / Math.sqrt(dot(made, made) * dot(delta, delta)) - 1 / Math.sqrt(1 + 1000 / 4096))).toBeLessThan(0.01);
});

it("the reconstruction of a sum is the sum of the reconstructions", () => {
	const [a, b] = [vectorOf(300), vectorOf(300).reverse()];
	const sum = a.map((value, j) => value + b[j]!);
	const z = family(3);
	const [ra, rb, rs] = [a, b, sum].map((vector) => reconstruct(vector, 64, z)) as [Float32Array, Float32Array, Float32Array];
	expect(Math.max(...rs.map((value, j) => Math.abs(value - ra[j]! - rb[j]!)))).toBeLessThan(1e-5 * Math.sqrt(300));
});

it.each([15, 4096])("a whole group of structured bases gives %s elements back", (length) => {
	const delta = vectorOf(length);
	expect(relativeError(reconstruct(delta, 4096, family(4, "noise/2")), delta)).toBeLessThan(1e-12);
});

it.each(["noise/1", "noise/2"] as const)("%s: is what float64 gives, in one piece or in parts", (kind) => {
	const weights = vectorOf(5000);
	const coefficients = Float32Array.from({ length: 70 }, (_, k) => (k % 7) / 700 - 0.004);
	const z = family(5, kind);
	const wanted = Float64Array.from(weights);
	const sign = new Float32Array(5000);
	for (const [k, c] of coefficients.entries()) {
		perturb(new Float32Array(5000), 1, z, k, sign);
		for (let j = 0; j < 5000; j++) wanted[j]! -= c * sign[j]!;
	}
	const whole = new Float32Array(5000);
	subtractCombination(weights, coefficients, z, whole);
	expect(Math.max(...whole.map((value, j) => Math.abs(value - wanted[j]!)))).toBeLessThan(1e-6);
	const parts = weights.slice();
	for (const [from, to] of [
		[0, 33],
		[33, 4100],
		[4100, 5000],
	] as const)
		subtractCombination(parts.subarray(from, to), coefficients, z, parts.subarray(from, to), from);
	expect(parts).toEqual(whole);
});

it("takes zeros, and refuses what is not finite", () => {
	const z = family(6);
	expect(projections(new Float32Array(10), 3, z)).toEqual(new Float64Array(3));
	const out = new Float32Array(2);
	subtractCombination(Float32Array.of(1, 2), new Float32Array(3), z, out);
	expect([...out]).toEqual([1, 2]);
	for (const odd of [Number.NaN, Number.POSITIVE_INFINITY]) {
		const refusal = expect.objectContaining({ code: "NOT_FINITE" });
		expect(() => projections(Float32Array.of(0, odd), 3, z)).toThrow(refusal);
		expect(() => subtractCombination(out, Float32Array.of(odd), z, out)).toThrow(refusal);
	}
});
