import type { Batch } from "@rondo/algorithms";
import { type ConvolutionalSpec, layoutOfSpec, type ModelSpec, NORM_EPSILON, sizesOf, type TransformerSpec } from "./model-spec.js";

// The models of the conformance suite in float64, written for clarity.

type Numbers = ArrayLike<number>;
/** Reads the tensors of a layout in their order. */
type Take = () => Numbers;

/** @returns the mean loss of the batch, in float64; labels of −100 do not count */
export function referenceLoss(spec: ModelSpec, weights: Numbers, batch: Batch): number {
	const losses = perPlace(spec, weights, batch, (outputs, labels) => {
		if (spec.loss === "mse") return mean(outputs.map((output, k) => (output - labels[k]!) ** 2));
		if (spec.loss === "binary-cross-entropy") {
			// −t·ln σ(y) − (1−t)·ln(1−σ(y)), without σ, which is 0 or 1 for large |y|.
			return mean(outputs.map((y, k) => Math.max(y, 0) - y * labels[k]! + Math.log1p(Math.exp(-Math.abs(y)))));
		}
		const largest = Math.max(...outputs);
		return largest + Math.log(outputs.reduce((sum, logit) => sum + Math.exp(logit - largest), 0)) - outputs[labels[0]!]!;
	});
	return mean(losses);
}

/** @returns the share of counted places where the label has the largest logit; of binary outputs that are on the side of their target */
export function referenceAccuracy(spec: ModelSpec, weights: Numbers, batch: Batch): number {
	return mean(
		perPlace(spec, weights, batch, (logits, labels) => {
			if (spec.loss === "binary-cross-entropy") return mean(logits.map((logit, k) => (logit > 0 === labels[k]! > 0.5 ? 1 : 0)));
			return logits.indexOf(Math.max(...logits)) === labels[0] ? 1 : 0;
		}),
	);
}

/** Central differences of `referenceLoss`; their error is some 1e-10 where the loss is smooth. */
export function referenceGradient(spec: ModelSpec, weights: Float32Array, batch: Batch): Float64Array {
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

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** `of` each place that counts: its outputs and its labels (one class, or a target for each output). */
function perPlace<T>(spec: ModelSpec, weights: Numbers, batch: Batch, of: (outputs: number[], labels: number[]) => T): T[] {
	const { inputs, places } = sizesOf(spec);
	const labelsPerPlace = batch.labels.length / (batch.size * places);
	const flat = Float64Array.from(weights);
	const tensors = layoutOfSpec(spec).tensors.map(({ from, to }) => flat.subarray(from, to));
	const rows = Array.from({ length: batch.size }, (_, i) => outputsOf(spec, tensors, batch.inputs.subarray(i * inputs, (i + 1) * inputs)));
	return rows.flat().flatMap((outputs, place) => {
		const labels = Array.from(batch.labels.subarray(place * labelsPerPlace, (place + 1) * labelsPerPlace));
		return labels[0] === -100 ? [] : [of(outputs, labels)];
	});
}

/** Outputs at each place of one row. */
function outputsOf(spec: ModelSpec, tensors: readonly Numbers[], row: Numbers): number[][] {
	const inOrder = tensors.values();
	const take = (): Numbers => inOrder.next().value!;
	switch (spec.kind) {
		case "dense": {
			let values = Array.from(row);
			for (const [i, units] of [...spec.hidden, spec.outputs].entries()) {
				values = dense(values, take(), units, take());
				if (i < spec.hidden.length) values = relu(values);
			}
			return [values];
		}
		case "convolutional":
			return [convolutional(spec, take, row)];
		case "transformer":
			return transformer(spec, take, row);
	}
}

const relu = (values: readonly number[]): number[] => values.map((value) => Math.max(0, value));

function dense(values: Numbers, kernel: Numbers, units: number, bias?: Numbers): number[] {
	return Array.from({ length: units }, (_, unit) => {
		let sum = bias?.[unit] ?? 0;
		for (let i = 0; i < values.length; i++) sum += values[i]! * kernel[i * units + unit]!;
		return sum;
	});
}

interface Image {
	readonly height: number;
	readonly width: number;
	readonly channels: number;
	/** [height, width, channels] */
	readonly values: Numbers;
}

function convolutional({ height, width, channels, filters, classes }: ConvolutionalSpec, take: Take, row: Numbers): number[] {
	const first = convolve({ height, width, channels, values: row }, take(), take(), filters[0], { padding: 1, stride: 1 });
	const pooled = pool({ ...first, values: relu(Array.from(first.values)) });
	const second = convolve(pooled, take(), take(), filters[1], { padding: 0, stride: 2 });
	return dense(second.values, take(), classes, take());
}

function convolve(
	image: Image,
	kernel: Numbers,
	bias: Numbers,
	filters: number,
	{ padding, stride }: { readonly padding: number; readonly stride: number },
): Image {
	const [height, width] = [image.height, image.width].map((size) => Math.floor((size + 2 * padding - 3) / stride) + 1) as [number, number];
	const values: number[] = [];
	for (let y = 0; y < height; y++) {
		for (let x = 0; x < width; x++) {
			for (let f = 0; f < filters; f++) {
				let sum = bias[f]!;
				for (let ky = 0; ky < 3; ky++) {
					for (let kx = 0; kx < 3; kx++) {
						const [iy, ix] = [y * stride + ky - padding, x * stride + kx - padding];
						if (iy < 0 || ix < 0 || iy >= image.height || ix >= image.width) continue;
						for (let c = 0; c < image.channels; c++) {
							const weight = kernel[((ky * 3 + kx) * image.channels + c) * filters + f]!;
							sum += weight * image.values[(iy * image.width + ix) * image.channels + c]!;
						}
					}
				}
				values.push(sum);
			}
		}
	}
	return { height, width, channels: filters, values };
}

/** Maximum over 2×2 with stride 2. */
function pool(image: Image): Image {
	const { channels } = image;
	const [height, width] = [Math.floor(image.height / 2), Math.floor(image.width / 2)];
	const values = Array.from({ length: height * width * channels }, (_, at) => {
		const [y, x, c] = [Math.floor(at / channels / width), Math.floor(at / channels) % width, at % channels];
		const value = (dy: number, dx: number): number => image.values[((2 * y + dy) * image.width + 2 * x + dx) * channels + c]!;
		return Math.max(value(0, 0), value(0, 1), value(1, 0), value(1, 1));
	});
	return { height, width, channels, values };
}

function transformer({ vocabulary, width, hidden }: TransformerSpec, take: Take, tokens: Numbers): number[][] {
	const embeddings = Array.from(take());
	const x = Array.from(tokens, (token) => embeddings.slice(token * width, (token + 1) * width));
	const projected = (): number[][] => {
		const kernel = take();
		return x.map((values) => dense(values, kernel, width));
	};
	const [queries, keys, values] = [projected(), projected(), projected()];
	const [gamma, beta, kernel0, bias0, kernel1, bias1, kernel, bias] = [take(), take(), take(), take(), take(), take(), take(), take()];
	return x.map((residual, i) => {
		const scores = keys.map((key) => key.reduce((sum, k, d) => sum + k * queries[i]![d]!, 0) / Math.sqrt(width));
		const largest = Math.max(...scores);
		const exps = scores.map((score) => Math.exp(score - largest));
		const total = exps.reduce((a, b) => a + b, 0);
		const attended = residual.map((r, d) => r + values.reduce((sum, value, j) => sum + (exps[j]! / total) * value[d]!, 0));
		const center = mean(attended);
		const scale = 1 / Math.sqrt(mean(attended.map((value) => (value - center) ** 2)) + NORM_EPSILON);
		const normed = attended.map((value, d) => (value - center) * scale * gamma[d]! + beta[d]!);
		const fed = dense(relu(dense(normed, kernel0, hidden, bias0)), kernel1, width, bias1);
		return dense(
			normed.map((value, d) => value + fed[d]!),
			kernel,
			vocabulary,
			bias,
		);
	});
}
