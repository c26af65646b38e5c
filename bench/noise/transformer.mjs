// A small causal transformer over short texts: forward passes only, in float64.
import { layoutOf } from "@rondo/tensors";

const WIDTH = 16;
const HIDDEN = 64;
/** Characters that the model sees; a text has one more, the last to predict. */
export const CONTEXT = 16;
export const VOCABULARY = 16;
const VARIANCE_FLOOR = 1e-5;

/** Tensors in layout order; kernels have one row per output. `deviation`: of the initial values; `start`: their mean. */
const TENSORS = [
	{ name: "tokens", shape: [VOCABULARY, WIDTH], deviation: 0.1 },
	{ name: "positions", shape: [CONTEXT, WIDTH], deviation: 0.1 },
	{ name: "attention/norm/scale", shape: [WIDTH], start: 1 },
	{ name: "attention/norm/shift", shape: [WIDTH] },
	{ name: "attention/query-key-value", shape: [3 * WIDTH, WIDTH], deviation: 0.25 },
	{ name: "attention/query-key-value/bias", shape: [3 * WIDTH] },
	{ name: "attention/out", shape: [WIDTH, WIDTH], deviation: 0.25 },
	{ name: "dense/norm/scale", shape: [WIDTH], start: 1 },
	{ name: "dense/norm/shift", shape: [WIDTH] },
	{ name: "dense/in", shape: [HIDDEN, WIDTH], deviation: 0.25 },
	{ name: "dense/in/bias", shape: [HIDDEN] },
	{ name: "dense/out", shape: [WIDTH, HIDDEN], deviation: 0.125 },
	{ name: "dense/out/bias", shape: [WIDTH] },
	{ name: "head/norm/scale", shape: [WIDTH], start: 1 },
	{ name: "head/norm/shift", shape: [WIDTH] },
	{ name: "head", shape: [VOCABULARY, WIDTH], deviation: 0.125 },
];

/** out[to + o] += Σ_i rows[at + o · stride + i] · x[from + i] over 16 inputs: they stay in registers. */
function addProduct(rows, at, stride, outs, x, from, out, to) {
	const [a, b, c, d] = [x[from], x[from + 1], x[from + 2], x[from + 3]];
	const [e, f, g, h] = [x[from + 4], x[from + 5], x[from + 6], x[from + 7]];
	const [i, j, k, l] = [x[from + 8], x[from + 9], x[from + 10], x[from + 11]];
	const [m, n, o, p] = [x[from + 12], x[from + 13], x[from + 14], x[from + 15]];
	for (let row = 0, w = at; row < outs; row++, w += stride) {
		const first = a * rows[w] + b * rows[w + 1] + c * rows[w + 2] + d * rows[w + 3];
		const second = e * rows[w + 4] + f * rows[w + 5] + g * rows[w + 6] + h * rows[w + 7];
		const third = i * rows[w + 8] + j * rows[w + 9] + k * rows[w + 10] + l * rows[w + 11];
		const fourth = m * rows[w + 12] + n * rows[w + 13] + o * rows[w + 14] + p * rows[w + 15];
		out[to + row] += first + second + (third + fourth);
	}
}

/** out = (x − mean) / deviation · scale + shift, over 16 values. */
function normalize(w, scale, shift, x, from, out) {
	let mean = 0;
	for (let i = 0; i < WIDTH; i++) mean += x[from + i];
	mean /= WIDTH;
	let variance = 0;
	for (let i = 0; i < WIDTH; i++) variance += (x[from + i] - mean) ** 2;
	const factor = 1 / Math.sqrt(variance / WIDTH + VARIANCE_FLOOR);
	for (let i = 0; i < WIDTH; i++) out[i] = (x[from + i] - mean) * factor * w[scale + i] + w[shift + i];
}

/** Adds to `x[at…]` the values of the positions up to `position`, each by how well its key fits the query. */
function attend(queries, position, chances, values) {
	const query = 3 * WIDTH * position;
	let largest = Number.NEGATIVE_INFINITY;
	for (let p = 0; p <= position; p++) {
		let fit = 0;
		for (let i = 0, key = 3 * WIDTH * p + WIDTH; i < WIDTH; i++) fit += queries[query + i] * queries[key + i];
		chances[p] = fit / Math.sqrt(WIDTH);
		largest = Math.max(largest, chances[p]);
	}
	let sum = 0;
	for (let p = 0; p <= position; p++) {
		chances[p] = Math.exp(chances[p] - largest);
		sum += chances[p];
	}
	values.fill(0);
	for (let p = 0; p <= position; p++) {
		const chance = chances[p] / sum;
		for (let i = 0, value = 3 * WIDTH * p + 2 * WIDTH; i < WIDTH; i++) values[i] += chance * queries[value + i];
	}
}

/** One layer, width 16, context 16, 16 characters: 4,064 parameters. */
export function transformer() {
	const layout = layoutOf(TENSORS.map(({ name, shape }) => ({ name, shape })));
	const at = Object.fromEntries(layout.tensors.map(({ name, from }) => [name, from]));
	const [tokens, positions, head] = [at.tokens, at.positions, at.head];
	const [attentionScale, attentionShift, attentionOut] = [at["attention/norm/scale"], at["attention/norm/shift"], at["attention/out"]];
	const [queryKeyValue, queryKeyValueBias] = [at["attention/query-key-value"], at["attention/query-key-value/bias"]];
	const [denseScale, denseShift, denseIn, denseInBias] = [
		at["dense/norm/scale"],
		at["dense/norm/shift"],
		at["dense/in"],
		at["dense/in/bias"],
	];
	const [denseOut, denseOutBias, headScale, headShift] = [
		at["dense/out"],
		at["dense/out/bias"],
		at["head/norm/scale"],
		at["head/norm/shift"],
	];
	const w = new Float64Array(layout.length);
	const x = new Float64Array(CONTEXT * WIDTH);
	const queries = new Float64Array(CONTEXT * 3 * WIDTH);
	const [normal, values] = [new Float64Array(WIDTH), new Float64Array(WIDTH)];
	const [hidden, logits, chances] = [new Float64Array(HIDDEN), new Float64Array(VOCABULARY), new Float64Array(CONTEXT)];

	/** Loss of the characters 1 to 16 of the text that starts at `text`. */
	function lossOf(inputs, text) {
		for (let t = 0; t < CONTEXT; t++) {
			const token = tokens + WIDTH * inputs[text + t];
			for (let i = 0; i < WIDTH; i++) x[WIDTH * t + i] = w[token + i] + w[positions + WIDTH * t + i];
			normalize(w, attentionScale, attentionShift, x, WIDTH * t, normal);
			for (let i = 0; i < 3 * WIDTH; i++) queries[3 * WIDTH * t + i] = w[queryKeyValueBias + i];
			addProduct(w, queryKeyValue, WIDTH, 3 * WIDTH, normal, 0, queries, 3 * WIDTH * t);
		}
		let total = 0;
		for (let t = 0; t < CONTEXT; t++) {
			attend(queries, t, chances, values);
			addProduct(w, attentionOut, WIDTH, WIDTH, values, 0, x, WIDTH * t);
			normalize(w, denseScale, denseShift, x, WIDTH * t, normal);
			for (let i = 0; i < HIDDEN; i++) hidden[i] = w[denseInBias + i];
			addProduct(w, denseIn, WIDTH, HIDDEN, normal, 0, hidden, 0);
			for (let i = 0; i < HIDDEN; i++) if (hidden[i] < 0) hidden[i] = 0;
			for (let i = 0; i < WIDTH; i++) x[WIDTH * t + i] += w[denseOutBias + i];
			for (let i = 0; i < HIDDEN; i += WIDTH) addProduct(w, denseOut + i, HIDDEN, WIDTH, hidden, i, x, WIDTH * t);
			normalize(w, headScale, headShift, x, WIDTH * t, normal);
			logits.fill(0);
			addProduct(w, head, WIDTH, VOCABULARY, normal, 0, logits, 0);
			total += crossEntropy(logits, inputs[text + t + 1]);
		}
		return total / CONTEXT;
	}

	function measure(weights, { size, inputs }) {
		w.set(weights);
		let total = 0;
		for (let example = 0; example < size; example++) total += lossOf(inputs, (CONTEXT + 1) * example);
		return { loss: total / size };
	}

	return {
		layout,
		initial(random) {
			const weights = new Float32Array(layout.length);
			for (const [i, { start = 0, deviation = 0 }] of TENSORS.entries()) {
				const { name, from, to } = layout.tensors[i];
				const words = random.at(name).words(0, new Uint32Array(to - from));
				// Uniform in ±√3 deviations.
				const middle = 2 ** 31 - 0.5;
				for (let j = 0; j < words.length; j++) weights[from + j] = start + ((words[j] - middle) / 2 ** 31) * Math.sqrt(3) * deviation;
			}
			return weights;
		},
		trainer: { loss: (weights, batch) => Promise.resolve(measure(weights, batch).loss) },
		measure,
	};
}

function crossEntropy(logits, label) {
	let largest = Number.NEGATIVE_INFINITY;
	for (let c = 0; c < logits.length; c++) largest = Math.max(largest, logits[c]);
	let sum = 0;
	for (let c = 0; c < logits.length; c++) sum += Math.exp(logits[c] - largest);
	return Math.log(sum) + largest - logits[label];
}
