import { portableExp } from "@rondo/kernels";

const MAX_SAMPLING_WEIGHT = 255;

/**
 * The chance of each candidate under FedKSeed-Pro as whole numbers from 94 to 255: proportional to softmax(u), where
 * v_k = h_k / n_k and u_k = (v_k − min v) / (max v − min v + 1e-10). All chances lie within a factor e, so one byte
 * holds them to 0.3 %.
 * @param h sums of clipped |gradient| per candidate
 * @param n numbers of them, at least 1 each
 */
export function samplingWeights(h: Float64Array, n: Float64Array): Uint8Array {
	const importance = h.map((sum, k) => sum / n[k]!);
	let low = Number.POSITIVE_INFINITY;
	let high = Number.NEGATIVE_INFINITY;
	for (const v of importance) {
		low = Math.min(low, v);
		high = Math.max(high, v);
	}
	const exps = importance.map((v) => portableExp((v - low) / (high - low + 1e-10)));
	const largest = portableExp((high - low) / (high - low + 1e-10));
	return Uint8Array.from(exps, (e) => Math.max(1, Math.round((MAX_SAMPLING_WEIGHT * e) / largest)));
}
