import { RondoError } from "@rondo/errors";
import type { Random } from "@rondo/kernels";
import { layoutOf } from "@rondo/tensors";
import type { LayersArchitecture, LayersModelParts } from "./architecture.js";

export interface DenseClassifierOptions {
	/** Values per example. */
	readonly inputs: number;
	/** Units of each hidden layer; empty for softmax regression. */
	readonly hidden: readonly number[];
	readonly classes: number;
	/** Where initial kernels are drawn from. */
	readonly random: Random;
}

const MAX_UNITS = 2 ** 24;

/**
 * A classifier of dense layers: relu, then softmax over the classes. Needs no TensorFlow.js, and equal seeds give equal
 * bytes on every machine. Kernels start uniform in ±sqrt(6 / (in + out)) (X. Glorot, Y. Bengio, "Understanding the
 * difficulty of training deep feedforward neural networks", AISTATS 2010, eq. 16), biases at 0; softmax regression, being
 * convex, starts at 0 altogether.
 * @example denseClassifier({ inputs: 784, hidden: [64], classes: 10, random: randomFromSeed("demo") }).layout.length // 50890
 * @throws INVALID_ARGUMENT that names the option and its value
 */
export function denseClassifier(options: DenseClassifierOptions): LayersModelParts {
	const { inputs, hidden, classes, random } = options;
	checkUnits("inputs", inputs, 1);
	for (const [i, units] of hidden.entries()) checkUnits(`hidden[${i}]`, units, 1);
	checkUnits("classes", classes, 2);

	const widths = [inputs, ...hidden, classes];
	const tensors = hidden.concat(classes).flatMap((units, i) => [
		{ name: `dense_${i}/kernel`, shape: [widths[i]!, units] },
		{ name: `dense_${i}/bias`, shape: [units] },
	]);
	const layout = layoutOf(tensors);
	const weights = new Float32Array(layout.length);
	if (hidden.length > 0) {
		for (const { name, shape, from, to } of layout.tensors) {
			if (shape.length === 2) glorotUniform(weights.subarray(from, to), shape[0]!, shape[1]!, random.at("initial", name));
		}
	}
	return { architecture: sequential(inputs, hidden, classes), layout, weights };
}

function glorotUniform(out: Float32Array, fanIn: number, fanOut: number, random: Random): void {
	const limit = Math.sqrt(6 / (fanIn + fanOut));
	const words = random.words(0, new Uint32Array(out.length));
	// The middles of 2^32 equal cells of [-1, 1]: symmetric, and no weight of exactly 0.
	for (let i = 0; i < out.length; i++) out[i] = ((words[i]! - 2 ** 31 + 0.5) / 2 ** 31) * limit;
}

function sequential(inputs: number, hidden: readonly number[], classes: number): LayersArchitecture {
	const zeros = { class_name: "Zeros", config: {} };
	const layers = [...hidden, classes].map((units, i) => ({
		class_name: "Dense",
		config: {
			name: `dense_${i}`,
			trainable: true,
			dtype: "float32",
			...(i === 0 ? { batch_input_shape: [null, inputs] } : {}),
			units,
			activation: i === hidden.length ? "softmax" : "relu",
			use_bias: true,
			kernel_initializer: zeros,
			bias_initializer: zeros,
		},
	}));
	return { class_name: "Sequential", config: { name: "dense_classifier", layers } };
}

function checkUnits(field: string, value: number, least: number): void {
	if (!Number.isSafeInteger(value) || value < least || value > MAX_UNITS) {
		throw new RondoError("INVALID_ARGUMENT", `${field} must be an integer from ${least} to 2^24, got ${value}`, { details: { field } });
	}
}
