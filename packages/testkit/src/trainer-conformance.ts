import assert from "node:assert/strict";
import type { Batch, Data, Trainer } from "@rondo/algorithms";
import { type Random, randomFromSeed } from "@rondo/kernels";

/**
 * The classifier that every trainer can compute: dense layers, relu between them, mean cross-entropy of the softmax.
 * Flat layout: for each layer the kernel [inputs][units], row-major, then the bias [units].
 */
export interface DenseSpec {
	readonly inputs: number;
	/** Units of each hidden layer; empty for softmax regression. */
	readonly hidden: readonly number[];
	readonly classes: number;
}

/** Vitest's `test`, as much of it as the suite uses. */
export type RegisterTest = (name: string, body: () => Promise<void>) => unknown;

const SPECS: readonly DenseSpec[] = [
	{ inputs: 6, hidden: [], classes: 4 },
	{ inputs: 6, hidden: [5], classes: 4 },
	{ inputs: 3, hidden: [7, 4], classes: 2 },
];
/** float32 arithmetic against float64: relative to the largest number of the comparison. */
const TOLERANCE = 2e-5;

/**
 * The contract of the Trainer port, as tests. Losses are compared with a float64 computation of this file, gradients
 * with its central differences.
 * @param test registers one test
 * @param makeTrainer a fresh trainer of the classifier; the suite disposes it
 */
export function trainerConformance(test: RegisterTest, makeTrainer: (spec: DenseSpec) => Promise<Trainer>): void {
	const each = (name: string, body: (trainer: Trainer, spec: DenseSpec, random: Random) => Promise<void>): void => {
		for (const spec of SPECS) {
			const widths = [spec.inputs, ...spec.hidden, spec.classes].join("-");
			test(`${name} (${widths})`, async () => {
				const trainer = await makeTrainer(spec);
				try {
					await body(trainer, spec, randomFromSeed(widths).at(name));
				} finally {
					await trainer.dispose?.();
				}
			});
		}
	};

	each("loss is the mean cross-entropy, for any batch size", async (trainer, spec, random) => {
		for (const [i, size] of [1, 2, 7, 32].entries()) {
			const { weights, batch } = draw(spec, size, random.at(i));
			assertNear(await trainer.loss(weights, batch), referenceLoss(spec, weights, batch), "loss");
		}
	});

	each("gradient is that of the loss and fills all of out", async (trainer, spec, random) => {
		for (const [i, size] of [1, 5, 32].entries()) {
			const { weights, batch } = draw(spec, size, random.at(i));
			const out = new Float32Array(weights.length).fill(Number.NaN);
			assertNear(await trainer.gradient(weights, batch, out), referenceLoss(spec, weights, batch), "loss");
			const wanted = centralDifferences(spec, weights, batch);
			const scale = wanted.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
			for (const [j, value] of wanted.entries()) assertNear(out[j]!, value, `gradient[${j}]`, scale);
		}
	});

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

	each("large logits neither overflow nor lose the loss", async (trainer, spec, random) => {
		const { weights, batch } = draw(spec, 8, random);
		for (let i = 0; i < weights.length; i++) weights[i]! *= 100;
		const out = new Float32Array(weights.length);
		assertNear(await trainer.loss(weights, batch), referenceLoss(spec, weights, batch), "loss");
		assertNear(await trainer.gradient(weights, batch, out), referenceLoss(spec, weights, batch), "loss");
		assert.ok(out.every(Number.isFinite), "the gradient is finite");
	});

	each("evaluate counts every example once", async (trainer, spec, random) => {
		const { weights, batch } = draw(spec, 301, random);
		const wanted = { loss: referenceLoss(spec, weights, batch), accuracy: referenceAccuracy(spec, weights, batch) };
		// Batches of the size asked for, and small ones that fall across the end of an epoch.
		for (const longest of [Number.POSITIVE_INFINITY, 40]) {
			const metrics = await trainer.evaluate(weights, dataOf(batch, longest));
			assertNear(metrics.loss!, wanted.loss, "loss");
			if (metrics.accuracy !== undefined) assertNear(metrics.accuracy, wanted.accuracy, "accuracy");
			assert.deepEqual(await trainer.evaluate(weights, dataOf(batch, longest)), metrics);
		}
	});
}

function assertNear(actual: number, wanted: number, what: string, scale = Math.max(1, Math.abs(wanted))): void {
	assert.ok(Math.abs(actual - wanted) <= TOLERANCE * scale, `${what} is ${actual}, the reference is ${wanted}`);
}

/** Weights and a batch in which no two numbers are alike. */
function draw(spec: DenseSpec, size: number, random: Random): { weights: Float32Array; batch: Batch } {
	const uniform = (name: string, length: number): Float32Array =>
		Float32Array.from(random.at(name).words(0, new Uint32Array(length)), (word) => (2 * word) / 2 ** 32 - 1);
	const labels = Int32Array.from(random.at("labels").words(0, new Uint32Array(size)), (word) => word % spec.classes);
	return { weights: uniform("weights", parameters(spec)), batch: { size, inputs: uniform("inputs", size * spec.inputs), labels } };
}

const widthsOf = ({ inputs, hidden, classes }: DenseSpec): number[] => [inputs, ...hidden, classes];

function parameters(spec: DenseSpec): number {
	const widths = widthsOf(spec);
	return widths.slice(1).reduce((sum, units, i) => sum + (widths[i]! + 1) * units, 0);
}

/** The rows of one batch, endlessly, in batches of at most `longest` rows that ignore where an epoch ends. */
function dataOf(all: Batch, longest: number): Data {
	const width = all.inputs.length / all.size;
	return {
		numExamples: all.size,
		*batches(size) {
			for (let next = 0; ; ) {
				const rows = Array.from({ length: Math.min(size, longest) }, () => next++ % all.size);
				const inputs = Float32Array.from(rows.flatMap((row) => [...all.inputs.subarray(row * width, (row + 1) * width)]));
				yield { size: rows.length, inputs, labels: Int32Array.from(rows, (row) => all.labels[row]!) };
			}
		},
	};
}

/** Logits of one row, in float64. */
function referenceLogits(spec: DenseSpec, weights: ArrayLike<number>, row: ArrayLike<number>): number[] {
	const widths = widthsOf(spec);
	let values = Array.from(row);
	let at = 0;
	for (let layer = 1; layer < widths.length; layer++) {
		const units = widths[layer]!;
		const bias = at + values.length * units;
		const sums = Array.from({ length: units }, (_, unit) =>
			values.reduce((sum, value, i) => sum + value * weights[at + i * units + unit]!, weights[bias + unit]!),
		);
		values = layer === widths.length - 1 ? sums : sums.map((sum) => Math.max(0, sum));
		at = bias + units;
	}
	return values;
}

function perRow<T>(spec: DenseSpec, weights: ArrayLike<number>, batch: Batch, of: (logits: number[], label: number) => T): T[] {
	return Array.from(batch.labels, (label, i) =>
		of(referenceLogits(spec, weights, batch.inputs.subarray(i * spec.inputs, (i + 1) * spec.inputs)), label),
	);
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

function referenceLoss(spec: DenseSpec, weights: ArrayLike<number>, batch: Batch): number {
	const crossEntropy = (logits: number[], label: number): number => {
		const largest = Math.max(...logits);
		return largest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0)) - logits[label]!;
	};
	return mean(perRow(spec, weights, batch, crossEntropy));
}

function referenceAccuracy(spec: DenseSpec, weights: ArrayLike<number>, batch: Batch): number {
	return mean(perRow(spec, weights, batch, (logits, label) => (logits.indexOf(Math.max(...logits)) === label ? 1 : 0)));
}

function centralDifferences(spec: DenseSpec, weights: Float32Array, batch: Batch): Float64Array {
	const at = Float64Array.from(weights);
	const step = 1e-5;
	return at.map((value, j) => {
		at[j] = value + step;
		const above = referenceLoss(spec, at, batch);
		at[j] = value - step;
		const below = referenceLoss(spec, at, batch);
		at[j] = value;
		return (above - below) / (2 * step);
	});
}
