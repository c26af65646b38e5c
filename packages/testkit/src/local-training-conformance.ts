import assert from "node:assert/strict";
import type { Batch, Optimizer, Trainer } from "@rondo/algorithms";
import { draw, type EachModel } from "./conformance-kit.js";
import type { ModelSpec } from "./model-spec.js";

const OPTIMIZERS: readonly Optimizer[] = [
	{ kind: "sgd" },
	{ kind: "sgd", momentum: 0.9 },
	{ kind: "sgd", momentum: 0.5, clipNorm: 0.05 },
	// A bound that is not reached.
	{ kind: "sgd", clipNorm: 1e6 },
	{ kind: "adam" },
	{ kind: "adam", beta1: 0.5, beta2: 0.75, epsilon: 1e-3 },
	{ kind: "adam", weightDecay: 0.3, clipNorm: 0.05 },
];
const STEPS = 6;
/** Of each step, so that a rate that is remembered from the first step shows. */
const rateOf = (step: number): number => 0.05 / (1 + step);
/** ‖w − reference‖ / ‖reference − start‖: Adam divides small gradients by their size, and float32 has few bits of them. */
const TOLERANCE = 1e-3;

/** What `Trainer.begin` promises, as tests. Steps are compared with the optimiser's equations in float64 over `gradient`. */
export function localTrainingConformance(each: EachModel): void {
	each(
		"local steps follow the optimizer's equations",
		async (trainer, spec, random) => {
			const { weights } = draw(spec, 1, random.at("start"));
			for (const optimizer of OPTIMIZERS) {
				const batches = batchesOf((i) => draw(spec, 5, random.at(i)).batch);
				const wanted = await reference(trainer, weights, optimizer, batches);
				const { losses, trained } = await train(trainer, weights, optimizer, batches);
				assertNear(trained, wanted.trained, weights, JSON.stringify(optimizer));
				for (const [i, loss] of wanted.losses.entries()) {
					assert.ok(Math.abs(losses[i]! - loss) <= TOLERANCE * Math.max(1, loss), `the loss of step ${i + 1} is ${losses[i]}, not ${loss}`);
				}
			}
		},
		isChosen,
	);

	each(
		"a step on micro-batches averages them by their rows",
		async (trainer, spec, random) => {
			const { weights } = draw(spec, 1, random.at("start"));
			const optimizer: Optimizer = { kind: "sgd", momentum: 0.9, clipNorm: 0.5 };
			const batches = batchesOf((i) => [1, 4, 2].map((size) => draw(spec, size, random.at(i, size)).batch));
			const wanted = await reference(trainer, weights, optimizer, batches);
			const { losses, trained } = await train(trainer, weights, optimizer, batches);
			assertNear(trained, wanted.trained, weights, "micro-batches");
			for (const [i, loss] of wanted.losses.entries()) assert.ok(Math.abs(losses[i]! - loss) <= TOLERANCE * Math.max(1, loss));
		},
		isChosen,
	);

	each(
		"equal local steps give equal bytes, whatever happens between them",
		async (trainer, spec, random) => {
			const { weights, batch } = draw(spec, 4, random.at("start"));
			const other = draw(spec, 3, random.at("other"));
			const before = structuredClone({ weights, batch });
			const batches = batchesOf(() => batch);
			for (const optimizer of OPTIMIZERS.slice(-2)) {
				const alone = await train(trainer, weights, optimizer, batches);
				const between = async (): Promise<void> => {
					await trainer.gradient(other.weights, other.batch, new Float32Array(weights.length));
					await (await trainer.begin!(other.weights, optimizer)).dispose();
				};
				assert.deepEqual(await train(trainer, weights, optimizer, batches, between), alone);
			}
			assert.deepEqual({ weights, batch }, before);
		},
		isChosen,
	);
}

/** The rules of a step have nothing to do with the model: two will do. */
const isChosen = (spec: ModelSpec): boolean => spec.kind === "transformer" || (spec.kind === "dense" && spec.hidden.length === 2);

type Steps = readonly (Batch | readonly Batch[])[];

const batchesOf = (of: (step: number) => Batch | readonly Batch[]): Steps => Array.from({ length: STEPS }, (_, i) => of(i));

interface Trained {
	readonly losses: readonly number[];
	readonly trained: ArrayLike<number>;
}

async function train(
	trainer: Trainer,
	weights: Float32Array,
	optimizer: Optimizer,
	steps: Steps,
	between: () => Promise<void> = async () => undefined,
): Promise<Trained> {
	assert.ok(trainer.begin !== undefined, "the trainer has begin");
	const training = await trainer.begin(weights, optimizer);
	const trained = new Float32Array(weights.length);
	try {
		await training.read(trained);
		assert.deepEqual(trained, weights);
		const losses: number[] = [];
		for (const [i, batch] of steps.entries()) {
			losses.push(await training.step(batch, rateOf(i)));
			await between();
		}
		await training.read(trained);
		return { losses, trained };
	} finally {
		await training.dispose();
	}
}

/** The equations of `Optimizer`, state in float64; only the gradients are the trainer's. */
async function reference(trainer: Trainer, weights: Float32Array, optimizer: Optimizer, steps: Steps): Promise<Trained> {
	const w = Float64Array.from(weights);
	const first = new Float64Array(w.length);
	const second = new Float64Array(w.length);
	const losses: number[] = [];
	for (const [i, step] of steps.entries()) {
		const batches = "size" in step ? [step] : step;
		const rows = batches.reduce((sum, { size }) => sum + size, 0);
		const g = new Float64Array(w.length);
		let loss = 0;
		for (const batch of batches) {
			const out = new Float32Array(w.length);
			loss += ((await trainer.gradient(Float32Array.from(w), batch, out)) * batch.size) / rows;
			for (let j = 0; j < g.length; j++) g[j]! += (out[j]! * batch.size) / rows;
		}
		losses.push(loss);
		const { clipNorm } = optimizer;
		const norm = Math.hypot(...g);
		if (clipNorm !== undefined && norm > clipNorm) for (let j = 0; j < g.length; j++) g[j]! *= clipNorm / norm;
		for (let j = 0; j < g.length; j++) {
			if (optimizer.kind === "sgd") {
				first[j] = (optimizer.momentum ?? 0) * first[j]! + g[j]!;
				w[j]! -= rateOf(i) * first[j]!;
			} else {
				const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0 } = optimizer;
				first[j] = beta1 * first[j]! + (1 - beta1) * g[j]!;
				second[j] = beta2 * second[j]! + (1 - beta2) * g[j]! ** 2;
				const m = first[j]! / (1 - beta1 ** (i + 1));
				const v = second[j]! / (1 - beta2 ** (i + 1));
				w[j]! -= rateOf(i) * (m / (Math.sqrt(v) + epsilon) + weightDecay * w[j]!);
			}
		}
	}
	return { losses, trained: w };
}

function assertNear(actual: ArrayLike<number>, wanted: ArrayLike<number>, start: Float32Array, what: string): void {
	const error = Math.hypot(...Array.from(wanted, (value, j) => actual[j]! - value));
	const moved = Math.hypot(...Array.from(wanted, (value, j) => value - start[j]!));
	assert.ok(moved > 1e-3 && error <= TOLERANCE * moved, `${what}: weights are off by ${error} after moving by ${moved}`);
}
