import type { Reducer } from "../contract.js";
import { distancesToCombination } from "../reducing/combinations.js";
import { checkCount, checkPairs, combine, gramOf, middleOf, numberArgument, orderlessSum } from "../reducing/reducer-kit.js";

const STEPS = 10;

/**
 * Centred clipping: Karimireddy, He, Jaggi, "Learning from History for Byzantine Robust Optimization", ICML 2021,
 * arXiv:2012.10333: v ← v + (1/n) Σ (x_i − v)·min(1, τ / ‖x_i − v‖), so that no report moves the
 * center by more than τ/n in one step.
 *
 * Departs from the paper: it starts from 0, no change of the model, instead of the last round's result, since a reducer keeps
 * no state and these reports are changes already; τ is `normBound`, or with 0 the median distance to v, anew in each of 10
 * steps. Reports count once, whatever their weights. Holds while fewer than half of the reports are malicious. The scores are
 * the `distance` of a report to the result, and `clip`, the factor of its last pull. Limit case: a τ that no distance exceeds
 * gives the plain mean.
 */
export const centeredClip: Reducer = {
	name: "centered-clip",
	summary: "Steps from 0 to the mean of which each report's pull is bounded (Karimireddy et al., ICML 2021, arXiv:2012.10333).",
	parameters: ["normBound"],
	check(args, reports) {
		checkCount("centered-clip", args, 1);
		numberArgument("centered-clip", "normBound", args[0]);
		checkPairs("centered-clip", reports);
	},
	reduce(stack, args) {
		const { count } = stack;
		const dots = gramOf(stack);
		// v = Σ factors_i·x_i / count: its distances follow from the dot products, and the factors add up to `count` at most.
		let factors: Float64Array = new Float64Array(count);
		const distances = () =>
			distancesToCombination(
				dots,
				factors.map((factor) => factor / count),
			);
		let clips: Float64Array = factors;
		for (let step = 0; step < STEPS; step++) {
			const from = distances();
			const radius = args[0] === 0 ? middleOf(from) : (args[0] as number);
			clips = from.map((distance) => (distance <= radius ? 1 : radius / distance));
			const kept = 1 - orderlessSum(clips) / count;
			factors = factors.map((factor, i) => factor * kept + clips[i]!);
		}
		const to = distances();
		return { center: combine(stack, factors, count), scores: Array.from(clips, (clip, i) => ({ clip, distance: to[i]! })) };
	},
};
