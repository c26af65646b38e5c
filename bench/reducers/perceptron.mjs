// A perceptron of one hidden layer for small images, in float64: weights [inputs][hidden], biases, [hidden][classes], biases.
import { layoutOf } from "@rondo/tensors";

export const layoutFor = (inputs, hidden, classes) =>
	layoutOf([
		{ name: "hidden.kernel", shape: [inputs, hidden] },
		{ name: "hidden.bias", shape: [hidden] },
		{ name: "out.kernel", shape: [hidden, classes] },
		{ name: "out.bias", shape: [classes] },
	]);

/** Mean loss and accuracy of a batch; adds the mean gradient to `out` if it is given. */
function pass(weights, { size, inputs, labels }, hidden, classes, out) {
	const width = inputs.length / size;
	const [b1, w2, b2] = [width * hidden, (width + 1) * hidden, (width + 1) * hidden + hidden * classes];
	const h = new Float64Array(hidden);
	const back = new Float64Array(hidden);
	const p = new Float64Array(classes);
	let [loss, correct] = [0, 0];
	for (let row = 0; row < size; row++) {
		for (let k = 0; k < hidden; k++) h[k] = weights[b1 + k];
		for (let i = 0; i < width; i++) {
			const x = inputs[row * width + i];
			if (x !== 0) for (let k = 0; k < hidden; k++) h[k] += x * weights[i * hidden + k];
		}
		for (let c = 0; c < classes; c++) p[c] = weights[b2 + c];
		for (let k = 0; k < hidden; k++) {
			if (h[k] <= 0) h[k] = 0;
			else for (let c = 0; c < classes; c++) p[c] += h[k] * weights[w2 + k * classes + c];
		}
		const top = Math.max(...p);
		const label = labels[row];
		if (p.indexOf(top) === label) correct++;
		let total = 0;
		for (let c = 0; c < classes; c++) total += Math.exp(p[c] - top);
		loss += Math.log(total) + top - p[label];
		if (out === undefined) continue;
		for (let c = 0; c < classes; c++) {
			p[c] = (Math.exp(p[c] - top) / total - (c === label ? 1 : 0)) / size;
			out[b2 + c] += p[c];
		}
		for (let k = 0; k < hidden; k++) {
			back[k] = 0;
			if (h[k] === 0) continue;
			for (let c = 0; c < classes; c++) {
				back[k] += p[c] * weights[w2 + k * classes + c];
				out[w2 + k * classes + c] += p[c] * h[k];
			}
			out[b1 + k] += back[k];
		}
		for (let i = 0; i < width; i++) {
			const x = inputs[row * width + i];
			if (x !== 0) for (let k = 0; k < hidden; k++) out[i * hidden + k] += x * back[k];
		}
	}
	return { loss: loss / size, accuracy: correct / size };
}

export const trainerFor = (hidden, classes) => ({
	description: `perceptron ${hidden}-${classes}`,
	loss: async (weights, batch) => pass(weights, batch, hidden, classes).loss,
	gradient: async (weights, batch, out) => {
		const sum = new Float64Array(weights.length);
		const { loss } = pass(weights, batch, hidden, classes, sum);
		out.set(sum);
		return loss;
	},
	evaluate: async (weights, data) => {
		for (const batch of data.batches(data.numExamples, { at: () => ({ words: (_from, out) => out, at: () => undefined }) }))
			return pass(weights, batch, hidden, classes);
		throw new Error("there is nothing to evaluate on");
	},
});
