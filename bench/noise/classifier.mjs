// Softmax regression, and a perceptron of one hidden layer, over images that are mostly background: forward passes only.
import { layoutOf } from "@rondo/tensors";

/** Pixels that are added to the first layer at a time; lists of them are filled up with zeros. */
const STEP = 4;
/** Pixels in each direction: of an image, of a coarse one, of a square that makes one pixel of those, and of the margin left out. */
const WIDTH = 28;
const COARSE = 8;
const SQUARE = 3;
const MARGIN = 2;

/**
 * 28 x 28 bytes per image to 8 x 8: how many of the 3 x 3 pixels of a square are above 0, as in the digits of Alpaydin and Kaynak
 * (UCI, 1998), without the outermost two rows and columns.
 * @returns bytes, 255 for all nine
 */
export function coarseImages(images) {
	const count = images.length / WIDTH ** 2;
	const out = new Uint8Array(count * COARSE ** 2);
	for (let image = 0; image < count; image++) {
		for (let row = 0; row < COARSE * SQUARE; row++) {
			const from = image * WIDTH ** 2 + (row + MARGIN) * WIDTH + MARGIN;
			const to = image * COARSE ** 2 + COARSE * Math.floor(row / SQUARE);
			for (let column = 0; column < COARSE * SQUARE; column++) if (images[from + column] > 0) out[to + Math.floor(column / SQUARE)]++;
		}
	}
	return out.map((on) => Math.round((255 * on) / SQUARE ** 2));
}

/** The pixels above 0 of each example: where its list ends, their indices and values. */
function sparseOf({ size, inputs }) {
	const width = inputs.length / size;
	const ends = new Int32Array(size);
	const room = size * Math.ceil(width / STEP) * STEP;
	const [pixels, values] = [new Int32Array(room), new Float64Array(room)];
	let at = 0;
	for (let example = 0; example < size; example++) {
		for (let pixel = 0; pixel < width; pixel++) {
			const value = inputs[example * width + pixel];
			if (value === 0) continue;
			pixels[at] = pixel;
			values[at++] = value;
		}
		while (at % STEP !== 0) at++;
		ends[example] = at;
	}
	return { ends, pixels: pixels.slice(0, at), values: values.slice(0, at) };
}

/** out[u] += Σ values[p] · weights[pixels[p] · units + u] for the entries `from` to `to` of the lists. */
function addPixels(out, weights, units, { pixels, values }, from, to) {
	for (let p = from; p < to; p += STEP) {
		const [a, b, c, d] = [pixels[p] * units, pixels[p + 1] * units, pixels[p + 2] * units, pixels[p + 3] * units];
		const [x, y, z, v] = [values[p], values[p + 1], values[p + 2], values[p + 3]];
		for (let u = 0; u < units; u++) out[u] += x * weights[a + u] + y * weights[b + u] + (z * weights[c + u] + v * weights[d + u]);
	}
}

/**
 * A classifier of dense layers, relu between them, softmax at the end.
 * @param widths inputs, hidden units if any, classes
 */
export function classifier(widths) {
	const [inputs, first] = widths;
	const classes = widths.at(-1);
	const hidden = widths.length === 3;
	const layout = layoutOf(
		widths.slice(1).flatMap((units, i) => [
			{ name: `dense_${i}/kernel`, shape: [widths[i], units] },
			{ name: `dense_${i}/bias`, shape: [units] },
		]),
	);
	const [firstBias, lastBias] = [inputs * first, layout.length - classes];
	const activations = new Float64Array(first);
	const logits = hidden ? new Float64Array(classes) : activations;
	const sparse = new WeakMap();
	let total = 0;
	let correct = 0;

	function addExample(weights, lists, from, to, label) {
		for (let u = 0; u < first; u++) activations[u] = weights[firstBias + u];
		addPixels(activations, weights, first, lists, from, to);
		if (hidden) {
			for (let c = 0; c < classes; c++) logits[c] = weights[lastBias + c];
			for (let u = 0, row = firstBias + first; u < first; u++, row += classes) {
				const activation = activations[u];
				if (activation > 0) for (let c = 0; c < classes; c++) logits[c] += activation * weights[row + c];
			}
		}
		let largest = 0;
		for (let c = 1; c < classes; c++) if (logits[c] > logits[largest]) largest = c;
		let sum = 0;
		for (let c = 0; c < classes; c++) sum += Math.exp(logits[c] - logits[largest]);
		total += Math.log(sum) + logits[largest] - logits[label];
		if (largest === label) correct++;
	}

	/** Mean loss and share of right answers. */
	function measure(weights, batch) {
		let lists = sparse.get(batch);
		if (lists === undefined) {
			lists = sparseOf(batch);
			sparse.set(batch, lists);
		}
		total = 0;
		correct = 0;
		let from = 0;
		for (let example = 0; example < batch.size; example++) {
			addExample(weights, lists, from, lists.ends[example], batch.labels[example]);
			from = lists.ends[example];
		}
		return { loss: total / batch.size, accuracy: correct / batch.size };
	}

	return {
		layout,
		/** Kernels uniform in ±sqrt(6 / (in + out)) (Glorot, Bengio, AISTATS 2010), biases 0; without a hidden layer all 0. */
		initial(random) {
			const weights = new Float32Array(layout.length);
			for (const { name, shape, from, to } of hidden ? layout.tensors : []) {
				if (shape.length < 2) continue;
				const limit = Math.sqrt(6 / (shape[0] + shape[1]));
				const words = random.at(name).words(0, new Uint32Array(to - from));
				for (let i = 0; i < words.length; i++) weights[from + i] = ((words[i] - 2 ** 31 + 0.5) / 2 ** 31) * limit;
			}
			return weights;
		},
		trainer: { loss: (weights, batch) => Promise.resolve(measure(weights, batch).loss) },
		measure,
	};
}
