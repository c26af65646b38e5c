import type { Batch } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { Scalar, Tensor, Tensor1D, Tensor2D } from "@tensorflow/tfjs";
import type { Tf } from "./runtime.js";

/** What a model is trained to make small. */
export type TfjsLoss = "softmax-cross-entropy" | "causal-lm" | "mse" | "binary-cross-entropy";

export const LOSSES: readonly TfjsLoss[] = ["softmax-cross-entropy", "causal-lm", "mse", "binary-cross-entropy"];

/** Label of a place that counts neither in the loss nor in the accuracy. */
const IGNORED = -100;

/** Sums over some rows of a batch. */
export interface Totals {
	/** What the means are over: labels that count, or rows. */
	readonly count: number;
	readonly loss: number;
	/** Right predictions; undefined where there is no right one. */
	readonly hits: number | undefined;
}

/** What a loss makes of the outputs of one model and the labels of a batch. Runs inside a scope that frees its tensors. */
export interface Objective {
	/** Elements of `batch.labels` for each row. */
	readonly labelsPerRow: number;
	/** Labels that pass `check`. */
	sampleLabels(size: number): Batch["labels"];
	/** @throws INVALID_ARGUMENT for labels of the wrong type or value; their number is right already */
	check(labels: Batch["labels"]): void;
	/** The mean loss; 0 where no label counts. */
	mean(outputs: Tensor, labels: Batch["labels"]): Scalar;
	/** Over the first `rows` rows. */
	totals(outputs: Tensor, labels: Batch["labels"], rows: number): Totals;
}

/** @throws INVALID_ARGUMENT when the model's outputs, whose shape is [batch, …], are not what the loss is of */
export function objectiveOf(tf: Tf, loss: TfjsLoss, outputShape: readonly (number | null)[]): Objective {
	const [, ...shape] = outputShape;
	const last = shape.at(-1) ?? 0;
	const refuse = (wanted: string): RondoError =>
		new RondoError(
			"INVALID_ARGUMENT",
			`architecture must end in ${wanted} for loss "${loss}", got [${outputShape.map(String).join(", ")}]`,
		);
	const isFixed = shape.every((size) => size !== null && size > 0);
	if (loss === "softmax-cross-entropy") {
		if (!isFixed || last < 2 || shape.length > 2) throw refuse("[batch, classes] or [batch, positions, classes] with 2 classes or more");
		return classification(tf, shape.length === 2 ? shape[0]! : 1, last);
	}
	if (loss === "causal-lm") {
		if (!isFixed || last < 2 || shape.length !== 2) throw refuse("[batch, positions, tokens] with 2 tokens or more");
		return classification(tf, shape[0]!, last);
	}
	if (!isFixed || shape.length !== 1) throw refuse("[batch, outputs]");
	return regression(tf, loss, last);
}

/** Mean cross-entropy between labels and softmax, for logits [batch, classes] or [batch, places, classes]. */
function classification(tf: Tf, places: number, classes: number): Objective {
	// Not −100 itself: what a backend makes of an index that is no class is its own affair.
	const indices = (labels: Int32Array): Int32Array => labels.map((label) => (label === IGNORED ? 0 : label));
	const losses = (logits: Tensor2D, labels: Int32Array): Tensor1D => {
		const wanted = tf.oneHot(tf.tensor1d(indices(labels), "int32"), classes);
		return tf.losses.softmaxCrossEntropy(wanted, logits, undefined, undefined, tf.Reduction.NONE);
	};
	return {
		labelsPerRow: places,
		sampleLabels: (size) => new Int32Array(size * places),
		check(labels) {
			if (!(labels instanceof Int32Array)) throw new RondoError("INVALID_ARGUMENT", "batch.labels must be class indices (Int32Array)");
			const outside = labels.findIndex((label) => (label < 0 || label >= classes) && label !== IGNORED);
			if (outside >= 0) {
				throw new RondoError("INVALID_ARGUMENT", `batch.labels[${outside}] is ${labels[outside]}, the model has ${classes} classes`);
			}
		},
		mean(outputs, labels) {
			const each = losses(outputs.reshape([-1, classes]), labels as Int32Array);
			if (!labels.includes(IGNORED)) return each.mean();
			const counts = Float32Array.from(labels, (label) => (label === IGNORED ? 0 : 1));
			const counted = counts.reduce((sum, one) => sum + one, 0);
			return each.mul(tf.tensor1d(counts)).sum().div(Math.max(1, counted));
		},
		totals(outputs, labels, rows) {
			const logits: Tensor2D = outputs.reshape([-1, classes]);
			const each = losses(logits, labels as Int32Array).dataSync();
			const predicted = logits.argMax(-1).dataSync();
			let count = 0;
			let loss = 0;
			let hits = 0;
			for (let i = 0; i < rows * places; i++) {
				if (labels[i] === IGNORED) continue;
				count++;
				loss += each[i]!;
				if (predicted[i] === labels[i]) hits++;
			}
			return { count, loss, hits };
		},
	};
}

/** Mean over all outputs [batch, width] of (y − t)², or of the cross-entropy between target and sigmoid of the logit. */
function regression(tf: Tf, loss: "mse" | "binary-cross-entropy", width: number): Objective {
	const losses = (outputs: Tensor, labels: Batch["labels"]): Tensor2D => {
		const targets = tf.tensor2d(labels, outputs.shape as [number, number], "float32");
		return loss === "mse"
			? tf.squaredDifference(outputs, targets)
			: tf.losses.sigmoidCrossEntropy(targets, outputs, undefined, undefined, tf.Reduction.NONE);
	};
	return {
		labelsPerRow: width,
		sampleLabels: (size) => new Float32Array(size * width),
		check(labels) {
			if (!(labels instanceof Float32Array)) throw new RondoError("INVALID_ARGUMENT", "batch.labels must be targets (Float32Array)");
			const wrong = labels.findIndex((label) => !Number.isFinite(label) || (loss !== "mse" && (label < 0 || label > 1)));
			if (wrong >= 0) {
				const wanted = loss === "mse" ? "a finite number" : "from 0 to 1";
				throw new RondoError("INVALID_ARGUMENT", `batch.labels[${wrong}] must be ${wanted}, got ${labels[wrong]}`);
			}
		},
		mean: (outputs, labels) => losses(outputs, labels).mean(),
		totals(outputs, labels, rows) {
			const each = losses(outputs, labels).dataSync() as Float32Array;
			const sum = each.subarray(0, rows * width).reduce((total, loss) => total + loss, 0);
			return { count: rows, loss: sum / width, hits: undefined };
		},
	};
}
