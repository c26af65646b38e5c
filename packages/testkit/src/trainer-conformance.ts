import assert from "node:assert/strict";
import type { Batch, Data, Trainer } from "@rondo/algorithms";
import { randomFromSeed } from "@rondo/kernels";
import { draw, type EachModel, isClassifier } from "./conformance-kit.js";
import { localTrainingConformance } from "./local-training-conformance.js";
import { layoutOfSpec, type ModelSpec } from "./model-spec.js";
import { referenceAccuracy, referenceGradient, referenceLoss } from "./reference-model.js";

/** Vitest's `test`, as much of it as the suite uses. */
export type RegisterTest = (name: string, body: () => Promise<void>) => unknown;

/** What a trainer can do, where that is not everything. */
export interface ConformanceOptions {
	/** Kinds of models to test with; default: all. */
	readonly kinds?: readonly ModelSpec["kind"][];
	/** Whether the trainer has `begin`. */
	readonly localTraining: boolean;
}

const SPECS: readonly ModelSpec[] = [
	{ kind: "dense", loss: "softmax-cross-entropy", inputs: 6, hidden: [], outputs: 4 },
	{ kind: "dense", loss: "softmax-cross-entropy", inputs: 6, hidden: [5], outputs: 4 },
	{ kind: "dense", loss: "softmax-cross-entropy", inputs: 3, hidden: [7, 4], outputs: 2 },
	{ kind: "dense", loss: "mse", inputs: 5, hidden: [6], outputs: 3 },
	{ kind: "dense", loss: "binary-cross-entropy", inputs: 5, hidden: [6], outputs: 1 },
	{ kind: "dense", loss: "binary-cross-entropy", inputs: 4, hidden: [], outputs: 3 },
	// Neither size is even after the first or the second step: what is left over at the edges must be dropped.
	{ kind: "convolutional", loss: "softmax-cross-entropy", height: 11, width: 12, channels: 2, filters: [3, 4], classes: 3 },
	{ kind: "transformer", loss: "causal-lm", vocabulary: 7, positions: 5, width: 4, hidden: 6 },
];
/** Losses in float32 against float64, relative to the loss or 1. */
const LOSS_TOLERANCE = 2e-5;
/** ‖a − b‖ / ‖b‖ of the gradient of each tensor. */
const GRADIENT_TOLERANCE = 1e-4;
/** A reference gradient below this proves nothing: a gradient of 0 would be near it. */
const SMALLEST_NORM = 1e-3;

/**
 * The contract of the Trainer port, as tests. Losses are compared with a float64 computation of the same model, gradients
 * with its central differences, tensor by tensor.
 * @param test registers one test
 * @param makeTrainer a fresh trainer of the model over the weights of `layoutOfSpec`; the suite disposes it
 */
export function trainerConformance(
	test: RegisterTest,
	makeTrainer: (spec: ModelSpec) => Promise<Trainer>,
	{ kinds, localTraining }: ConformanceOptions,
): void {
	const specs = SPECS.filter(({ kind }) => kinds?.includes(kind) ?? true);
	const each: EachModel = (name, body, applies = () => true) => {
		for (const spec of specs.filter(applies)) {
			test(`${name} (${labelOf(spec)})`, async () => {
				const trainer = await makeTrainer(spec);
				try {
					await body(trainer, spec, randomFromSeed(labelOf(spec)).at(name));
				} finally {
					await trainer.dispose?.();
				}
			});
		}
	};

	each("loss is the mean over what counts, for any batch size", async (trainer, spec, random) => {
		for (const [i, size] of [1, 2, 7, 32].entries()) {
			const { weights, batch } = draw(spec, size, random.at(i));
			assertNear(await trainer.loss(weights, batch), referenceLoss(spec, weights, batch), "loss");
		}
	});

	each("gradient is that of the loss and fills all of out", async (trainer, spec, random) => {
		for (const [i, size] of [1, 3, spec.kind === "dense" ? 32 : 8].entries()) {
			const { weights, batch } = draw(spec, size, random.at(i));
			const out = new Float32Array(weights.length).fill(Number.NaN);
			assertNear(await trainer.gradient(weights, batch, out), referenceLoss(spec, weights, batch), "loss");
			const wanted = referenceGradient(spec, weights, batch);
			for (const { name, from, to } of layoutOfSpec(spec).tensors) {
				const norm = Math.hypot(...wanted.subarray(from, to));
				// One row may leave every unit of a relu at 0; several do not.
				if (size > 3) assert.ok(norm > SMALLEST_NORM, `the reference gradient of ${name} has norm ${norm}`);
				const error = Math.hypot(...wanted.subarray(from, to).map((value, j) => out[from + j]! - value));
				const limit = GRADIENT_TOLERANCE * Math.max(norm, SMALLEST_NORM);
				assert.ok(error <= limit, `the gradient of ${name} is off by ${error}, its norm is ${norm}`);
			}
		}
	});

	each(
		"labels of -100 are left out",
		async (trainer, spec, random) => {
			const { weights, batch } = draw(spec, 6, random);
			const labels = batch.labels.map((label, i) => (i % 3 === 0 ? -100 : label)) as Int32Array;
			const counted = { ...batch, labels };
			const out = new Float32Array(weights.length);
			const wanted = referenceLoss(spec, weights, counted);
			assertNear(await trainer.gradient(weights, counted, out), wanted, "loss");
			assertNear(await trainer.loss(weights, counted), wanted, "loss");
			const gradient = referenceGradient(spec, weights, counted);
			const error = Math.hypot(...gradient.map((value, j) => out[j]! - value));
			assert.ok(error <= GRADIENT_TOLERANCE * Math.hypot(...gradient), `the gradient is off by ${error}`);
		},
		isClassifier,
	);

	each("equal inputs give equal bytes, also at the same time as other calls", async (trainer, spec, random) => {
		const tasks = [0, 1, 2].map((i) => draw(spec, 8, random.at(i)));
		const run = async ({ weights, batch }: (typeof tasks)[number]): Promise<readonly [number, number, Float32Array]> => {
			const out = new Float32Array(weights.length);
			return [await trainer.loss(weights, batch), await trainer.gradient(weights, batch, out), out];
		};
		const alone: (readonly [number, number, Float32Array])[] = [];
		for (const task of tasks) alone.push(await run(task));
		assert.deepEqual(await Promise.all([...tasks, ...tasks].map(run)), [...alone, ...alone]);
	});

	each("inputs stay as they were", async (trainer, spec, random) => {
		const { weights, batch } = draw(spec, 8, random);
		const before = structuredClone({ weights, batch });
		await trainer.loss(weights, batch);
		await trainer.gradient(weights, batch, new Float32Array(weights.length));
		await trainer.evaluate(weights, dataOf(batch, 3));
		assert.deepEqual({ weights, batch }, before);
	});

	each(
		"large logits neither overflow nor lose the loss",
		async (trainer, spec, random) => {
			const { weights, batch } = draw(spec, 8, random);
			for (let i = 0; i < weights.length; i++) weights[i]! *= 100;
			const out = new Float32Array(weights.length);
			assertNear(await trainer.loss(weights, batch), referenceLoss(spec, weights, batch), "loss");
			assertNear(await trainer.gradient(weights, batch, out), referenceLoss(spec, weights, batch), "loss");
			assert.ok(out.every(Number.isFinite), "the gradient is finite");
		},
		// Attention over scores of thousands chooses between nearly equal ones by their last bits.
		({ kind }) => kind !== "transformer",
	);

	each("evaluate counts every example once", async (trainer, spec, random) => {
		const { weights, batch } = draw(spec, 301, random);
		const loss = referenceLoss(spec, weights, batch);
		// Batches of the size asked for, and small ones that fall across the end of an epoch.
		for (const longest of [Number.POSITIVE_INFINITY, 40]) {
			const metrics = await trainer.evaluate(weights, dataOf(batch, longest));
			assertNear(metrics.loss!, loss, "loss");
			if (metrics.accuracy !== undefined) assertNear(metrics.accuracy, referenceAccuracy(spec, weights, batch), "accuracy");
			assert.deepEqual(await trainer.evaluate(weights, dataOf(batch, longest)), metrics);
		}
	});

	if (localTraining) localTrainingConformance(each);
	else {
		each("has no local training", async ({ begin }) => assert.equal(begin, undefined));
	}
}

function labelOf(spec: ModelSpec): string {
	if (spec.kind !== "dense") return spec.kind;
	return [[spec.inputs, ...spec.hidden, spec.outputs].join("-"), ...(isClassifier(spec) ? [] : [spec.loss])].join(" ");
}

function assertNear(actual: number, wanted: number, what: string): void {
	const isNear = Math.abs(actual - wanted) <= LOSS_TOLERANCE * Math.max(1, Math.abs(wanted));
	assert.ok(isNear, `${what} is ${actual}, the reference is ${wanted}`);
}

/** The rows of one batch, endlessly, in batches of at most `longest` rows that ignore where an epoch ends. */
function dataOf(all: Batch, longest: number): Data {
	const pick = <A extends Batch["inputs"]>(values: A, rows: readonly number[]): A => {
		const width = values.length / all.size;
		const picked = rows.flatMap((row) => Array.from(values.subarray(row * width, (row + 1) * width)));
		return (values instanceof Int32Array ? Int32Array.from(picked) : Float32Array.from(picked)) as A;
	};
	return {
		numExamples: all.size,
		*batches(size) {
			for (let next = 0; ; ) {
				const rows = Array.from({ length: Math.min(size, longest) }, () => next++ % all.size);
				yield { size: rows.length, inputs: pick(all.inputs, rows), labels: pick(all.labels, rows) };
			}
		},
	};
}
