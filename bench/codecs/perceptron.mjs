// A perceptron with one hidden layer of rectified units in plain JavaScript: a trainer that needs no library.
import { randomFromSeed } from "@rondo/kernels";
import { layoutOf } from "@rondo/tensors";

/** Weights are [inputs][hidden], the hidden biases, [hidden][classes], the biases of the classes. */
export function perceptron(inputs, hidden, classes) {
	const layout = layoutOf([
		{ name: "hidden.weight", shape: [inputs, hidden] },
		{ name: "hidden.bias", shape: [hidden] },
		{ name: "classes.weight", shape: [hidden, classes] },
		{ name: "classes.bias", shape: [classes] },
	]);
	const [, { from: hiddenBias }, { from: second }, { from: classBias }] = layout.tensors;
	const activity = new Float64Array(hidden);
	const logits = new Float64Array(classes);

	/** Fills `activity` and `logits`. */
	function forward(weights, values, at) {
		for (let h = 0; h < hidden; h++) activity[h] = weights[hiddenBias + h];
		for (let i = 0; i < inputs; i++) {
			const value = values[at + i];
			if (value === 0) continue;
			for (let h = 0; h < hidden; h++) activity[h] += value * weights[i * hidden + h];
		}
		for (let c = 0; c < classes; c++) logits[c] = weights[classBias + c];
		for (let h = 0; h < hidden; h++) {
			if (activity[h] <= 0) activity[h] = 0;
			else for (let c = 0; c < classes; c++) logits[c] += activity[h] * weights[second + h * classes + c];
		}
	}

	/** Cross-entropy; `logits` become chances. */
	function crossEntropy(label) {
		const top = Math.max(...logits);
		let total = 0;
		for (let c = 0; c < classes; c++) {
			logits[c] = Math.exp(logits[c] - top);
			total += logits[c];
		}
		for (let c = 0; c < classes; c++) logits[c] /= total;
		return -Math.log(Math.max(logits[label], Number.MIN_VALUE));
	}

	const trainer = {
		description: `perceptron ${inputs}-${hidden}-${classes}`,
		async loss(weights, { size, inputs: values, labels }) {
			let loss = 0;
			for (let row = 0; row < size; row++) {
				forward(weights, values, row * inputs);
				loss += crossEntropy(labels[row]) / size;
			}
			return loss;
		},
		async gradient(weights, { size, inputs: values, labels }, out) {
			const sum = new Float64Array(weights.length);
			let loss = 0;
			for (let row = 0; row < size; row++) {
				forward(weights, values, row * inputs);
				loss += crossEntropy(labels[row]) / size;
				logits[labels[row]] -= 1;
				for (let c = 0; c < classes; c++) sum[classBias + c] += logits[c] / size;
				for (let h = 0; h < hidden; h++) {
					if (activity[h] === 0) continue;
					let back = 0;
					for (let c = 0; c < classes; c++) {
						sum[second + h * classes + c] += (activity[h] * logits[c]) / size;
						back += weights[second + h * classes + c] * logits[c];
					}
					back /= size;
					sum[hiddenBias + h] += back;
					for (let i = 0; i < inputs; i++) sum[i * hidden + h] += back * values[row * inputs + i];
				}
			}
			out.set(sum);
			return loss;
		},
		async evaluate(weights, data) {
			for await (const { size, inputs: values, labels } of data.batches(data.numExamples, randomFromSeed("order"))) {
				let right = 0;
				for (let row = 0; row < size; row++) {
					forward(weights, values, row * inputs);
					if (logits.indexOf(Math.max(...logits)) === labels[row]) right++;
				}
				return { accuracy: right / size };
			}
		},
	};

	/** Uniform up to ±√(6 / inputs of the layer), biases 0. */
	function initial(random) {
		const weights = new Float32Array(layout.length);
		const words = random.words(0, new Uint32Array(layout.length));
		for (const [{ from, to }, width] of [
			[layout.tensors[0], inputs],
			[layout.tensors[2], hidden],
		])
			for (let j = from; j < to; j++) weights[j] = (words[j] / 2 ** 31 - 1) * Math.sqrt(6 / width);
		return weights;
	}
	return { layout, trainer, initial };
}
