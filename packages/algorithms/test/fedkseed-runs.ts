import { type Perturbations, perturb, perturbations } from "@rondo/kernels";
import { unpackSteps } from "../src/ledgers/step-report.js";
import { type FedKSeedTypes, fedkseed } from "../src/strategies/fedkseed.js";
import { atOf, playRound, type Run } from "./fixture.js";
import { devicesOf } from "./problems.js";

export const OPTIONS = {
	candidates: 16,
	localSteps: 8,
	learningRate: 0.125,
	epsilon: 2 ** -7,
	batchSize: 100,
	cohortSize: 3,
	maxExamples: 64,
};

/** The candidates of an epoch, by the paths that docs/shared-randomness.md gives the run's node. */
export const familyOf = (run: Run<FedKSeedTypes>, epoch = 0): Perturbations =>
	perturbations(epoch === 0 ? run.shared.at("z") : run.shared.at("z", "epoch", epoch), run.config.noise);

/** The values of one candidate. */
export function signsOf(run: Run<FedKSeedTypes>, k: number, epoch = 0): number[] {
	const zeros = new Float32Array(run.layout.length);
	perturb(zeros, 1, familyOf(run, epoch), k, zeros);
	return [...zeros];
}

export const stepsOf = (run: Run<FedKSeedTypes>, { header }: { readonly header: FedKSeedTypes["report"] }) =>
	unpackSteps(header, run.config);

/** Rounds in which all devices report: state and model after each. */
export async function play(
	run: Run<FedKSeedTypes>,
	rounds: number,
	devices = devicesOf(),
): Promise<{ readonly state: FedKSeedTypes["state"]; readonly model: Float32Array }[]> {
	let state = fedkseed.init(atOf(run));
	const played: { state: FedKSeedTypes["state"]; model: Float32Array }[] = [];
	for (let round = 1; round <= rounds; round++) {
		const { outcome, model } = await playRound(run, state, round, devices);
		state = outcome.state;
		played.push({ state, model });
	}
	return played;
}
