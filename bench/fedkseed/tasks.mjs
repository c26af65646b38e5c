// What FedKSeed is tried on: digits by softmax regression, and Markov text by a transformer of one layer.
import { inMemoryData, loadDigits, partitionDirichlet } from "@rondo/datasets";
import { randomFromSeed } from "@rondo/kernels";
import { createOnnxTrainer, gpt2 } from "@rondo/trainer-onnx";
import { classifier } from "../noise/classifier.mjs";
import { MarkovChain } from "../noise/markov.mjs";

const PIXELS = 64;
const CLASSES = 10;
const DIGIT_CLIENTS = 10;
const ALPHA = 0.5;
const LEAST_EXAMPLES = 8;
const CONTEXT = 16;
const VOCABULARY = 16;
const WIDTH = 16;
/** Width that the deviation of GPT-2's fresh weights was chosen for: smaller models take larger weights. */
const GPT2_WIDTH = 768;
const TEXT_CLIENTS = 5;
const TEXTS = 400;

const nodeOf = (...names) => randomFromSeed(`rondo-bench-fedkseed/1/${names.join("/")}`);

/** Pixels with mean 0 and deviation 1 over the training split; pixels that are always the same stay 0. */
function standardized(train, test) {
	const rows = train.labels.length;
	const [means, deviations] = [new Float64Array(PIXELS), new Float64Array(PIXELS)];
	for (let j = 0; j < PIXELS; j++) {
		const column = Float64Array.from({ length: rows }, (_, i) => train.inputs[i * PIXELS + j]);
		means[j] = column.reduce((sum, value) => sum + value, 0) / rows;
		deviations[j] = Math.sqrt(column.reduce((sum, value) => sum + (value - means[j]) ** 2, 0) / rows);
	}
	return [train, test].map(({ inputs, labels }) => ({
		inputs: Float32Array.from(inputs, (value, i) => (value - means[i % PIXELS]) / (deviations[i % PIXELS] || 1)),
		labels,
	}));
}

let digits;

/** Softmax regression on 8 × 8 digits, 650 parameters from 0, ten clients by Dirichlet(0.5). */
async function digitsTask(seed) {
	digits ??= standardized(await loadDigits("train"), await loadDigits("test"));
	const [train, test] = digits;
	const model = classifier([PIXELS, CLASSES]);
	const parts = partitionDirichlet(train.labels, DIGIT_CLIENTS, ALPHA, nodeOf("digits", seed, "partition"), {
		minPerClient: LEAST_EXAMPLES,
	});
	const [all] = inMemoryData(test).batches(test.labels.length, randomFromSeed("any order"));
	return {
		layout: model.layout,
		initial: new Float32Array(model.layout.length),
		trainer: model.trainer,
		shards: parts.map((rows) => inMemoryData({ ...train, rows })),
		evaluate: (weights) => model.measure(weights, all),
	};
}

/** Texts as examples of a causal language model: each position predicts the next character. */
function textData(chain, random, count) {
	const texts = chain.texts(random, count, CONTEXT + 1);
	const part = (from) =>
		Int32Array.from({ length: count * CONTEXT }, (_, i) => texts[Math.floor(i / CONTEXT) * (CONTEXT + 1) + (i % CONTEXT) + from]);
	return inMemoryData({ inputs: part(0), labels: part(1), count });
}

/** GPT-2 of one layer and width 16 on text of a Markov chain over 16 characters, five clients. */
async function textTask(seed) {
	const chain = new MarkovChain(nodeOf("text", "chain"), VOCABULARY);
	const { manifest, layout, initialWeights } = gpt2({ vocabulary: VOCABULARY, contextLength: CONTEXT, width: WIDTH, layers: 1, heads: 1 });
	const trainer = await createOnnxTrainer({ manifest, layout, device: "cpu", threads: 1 });
	const initial = initialWeights(nodeOf("text", seed, "initial"));
	for (const { shape, from, to } of layout.tensors)
		if (shape.length === 2) for (let j = from; j < to; j++) initial[j] *= Math.sqrt(GPT2_WIDTH / WIDTH);
	const test = textData(chain, nodeOf("text", seed, "test"), TEXTS);
	return {
		layout,
		initial,
		trainer,
		shards: Array.from({ length: TEXT_CLIENTS }, (_, i) => textData(chain, nodeOf("text", seed, "client", i), TEXTS)),
		evaluate: (weights) => trainer.evaluate(weights, test),
	};
}

/** The tasks with the options all their runs share. */
export const TASKS = {
	digits: { prepare: digitsTask, options: { localSteps: 50, batchSize: 32, epsilon: 5e-4, learningRate: 2e-3, cohortSize: 5 } },
	text: { prepare: textTask, options: { localSteps: 20, batchSize: 32, epsilon: 1e-3, learningRate: 4e-3, cohortSize: 5 } },
};
