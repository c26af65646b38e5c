import { type Layout, layoutOf } from "@rondo/tensors";

/** Dense layers, relu between them. */
export interface DenseSpec {
	readonly kind: "dense";
	readonly loss: "softmax-cross-entropy" | "mse" | "binary-cross-entropy";
	readonly inputs: number;
	/** Units of each hidden layer; may be empty. */
	readonly hidden: readonly number[];
	/** Classes, for the softmax. */
	readonly outputs: number;
}

/**
 * Inputs [height, width, channels], channels last; convolution 3×3 padded by 1 on each side to keep the size, relu,
 * maximum over 2×2 with stride 2 (what is left over at the lower and right edge is dropped), convolution 3×3 with stride 2
 * and no padding, flattened row by row with channels last, dense. Convolutions are cross-correlations, as everywhere.
 */
export interface ConvolutionalSpec {
	readonly kind: "convolutional";
	readonly loss: "softmax-cross-entropy";
	readonly height: number;
	readonly width: number;
	readonly channels: number;
	/** Output channels of the two convolutions. */
	readonly filters: readonly [number, number];
	readonly classes: number;
}

/** Added to the variance in the transformer's layer normalisation, which is over the last axis. */
export const NORM_EPSILON = 1e-3;

/**
 * Inputs: token ids [positions]. x = embedding; a = softmax(q·kᵀ/√width)·v with q, k, v = x·kernel, without a mask;
 * n = layer normalisation of x + a; y = n + dense(relu(dense(n))); logits = dense(y) at every position.
 */
export interface TransformerSpec {
	readonly kind: "transformer";
	readonly loss: "causal-lm";
	readonly vocabulary: number;
	readonly positions: number;
	/** Of embeddings, queries, keys and values. */
	readonly width: number;
	/** Units of the feed-forward layer. */
	readonly hidden: number;
}

/** A model that a trainer is tested with; each trainer builds it its own way over the weights of `layoutOfSpec`. */
export type ModelSpec = DenseSpec | ConvolutionalSpec | TransformerSpec;

/**
 * The flat weights of a spec, every tensor row-major. Dense kernels are [inputs, units] and multiply from the right;
 * convolution kernels are [height, width, input channels, output channels]; embeddings [vocabulary, width].
 *
 * dense: `dense_i/kernel`, `dense_i/bias` for each layer i.
 * convolutional: `conv_0/kernel`, `conv_0/bias`, `conv_1/kernel`, `conv_1/bias`, `dense/kernel`, `dense/bias`.
 * transformer: `embedding/embeddings`, `query/kernel`, `key/kernel`, `value/kernel`, `norm/gamma`, `norm/beta`,
 * `feed_0/kernel`, `feed_0/bias`, `feed_1/kernel`, `feed_1/bias`, `logits/kernel`, `logits/bias`.
 */
export function layoutOfSpec(spec: ModelSpec): Layout {
	const layer = (name: string, ...kernel: number[]): { name: string; shape: number[] }[] => [
		{ name: `${name}/kernel`, shape: kernel },
		{ name: `${name}/bias`, shape: kernel.slice(-1) },
	];
	switch (spec.kind) {
		case "dense": {
			const widths = [spec.inputs, ...spec.hidden, spec.outputs];
			return layoutOf(widths.slice(1).flatMap((units, i) => layer(`dense_${i}`, widths[i]!, units)));
		}
		case "convolutional": {
			const [first, second] = spec.filters;
			const { height, width } = convolvedSize(spec);
			return layoutOf([
				...layer("conv_0", 3, 3, spec.channels, first),
				...layer("conv_1", 3, 3, first, second),
				...layer("dense", height * width * second, spec.classes),
			]);
		}
		case "transformer": {
			const { vocabulary, width, hidden } = spec;
			const square = [width, width];
			return layoutOf([
				{ name: "embedding/embeddings", shape: [vocabulary, width] },
				{ name: "query/kernel", shape: square },
				{ name: "key/kernel", shape: square },
				{ name: "value/kernel", shape: square },
				{ name: "norm/gamma", shape: [width] },
				{ name: "norm/beta", shape: [width] },
				...layer("feed_0", width, hidden),
				...layer("feed_1", hidden, width),
				...layer("logits", width, vocabulary),
			]);
		}
	}
}

/** Size of the image after both convolutions. */
export function convolvedSize(spec: ConvolutionalSpec): { height: number; width: number } {
	const [height, width] = [spec.height, spec.width].map((size) => Math.floor((Math.floor(size / 2) - 3) / 2) + 1);
	return { height: height!, width: width! };
}

/** Elements of one row of inputs; places of one row that the model scores; outputs at each place. */
export function sizesOf(spec: ModelSpec): { inputs: number; places: number; outputs: number } {
	switch (spec.kind) {
		case "dense":
			return { inputs: spec.inputs, places: 1, outputs: spec.outputs };
		case "convolutional":
			return { inputs: spec.height * spec.width * spec.channels, places: 1, outputs: spec.classes };
		case "transformer":
			return { inputs: spec.positions, places: spec.positions, outputs: spec.vocabulary };
	}
}
