// What is learnt: data, clients, model and options, the same for both kinds of perturbations.
import { builtInStrategies } from "@rondo/algorithms";
import { inMemoryData, loadMnist, partitionDirichlet } from "@rondo/datasets";
import { randomFromSeed, sha256, toHex } from "@rondo/kernels";
import { simulate } from "@rondo/simulation";
import { classifier, coarseImages } from "./classifier.mjs";
import { MarkovChain } from "./markov.mjs";
import { CONTEXT, transformer, VOCABULARY } from "./transformer.mjs";

const CLASSES = 10;
const DIGIT_CLIENTS = 10;
const ALPHA = 0.5;
const LEAST_EXAMPLES = 32;
const TEXT_CLIENTS = 5;
const TEXTS_PER_CLIENT = 400;
const TEST_TEXTS = 400;
const TEST_BATCH = 500;
/** Evaluations of a run, evenly spaced; the last is of the final weights. */
const EVALUATIONS = 4;

const fedkseed = builtInStrategies.find(({ name }) => name === "fedkseed");

const splits = new Map();

/** A split of MNIST, read once. */
async function mnist(split) {
	if (!splits.has(split)) splits.set(split, await loadMnist(split));
	return splits.get(split);
}

function digits(widths, prepare = (images) => images) {
	let prepared;
	const load = async (split) => {
		const { inputs, labels } = await mnist(split);
		return { inputs: prepare(inputs), labels };
	};
	return async (random) => {
		prepared ??= { train: await load("train"), test: await load("test") };
		const { train, test } = prepared;
		const parts = partitionDirichlet(train.labels, DIGIT_CLIENTS, ALPHA, random.at("partition"), { minPerClient: LEAST_EXAMPLES });
		return { model: classifier(widths), shards: parts.map((rows) => inMemoryData({ ...train, rows })), test: inMemoryData(test) };
	};
}

const CHAIN = new MarkovChain(randomFromSeed("rondo-bench-noise/1/chain"), VOCABULARY);

function texts(random) {
	const data = (name, count) => inMemoryData({ inputs: CHAIN.texts(random.at(name), count, CONTEXT + 1), labels: new Int32Array(count) });
	const shards = Array.from({ length: TEXT_CLIENTS }, (_, client) => data(`client-${client}`, TEXTS_PER_CLIENT));
	return { model: transformer(), shards, test: data("test", TEST_TEXTS) };
}

/**
 * The tasks, those with the longest runs first. A mean difference within the margin of a metric is never held against a kind.
 * @type {{ [name: string]: { text: string, mnist: boolean, margins: { accuracy?: number, loss: number }, candidates: number[],
 * seeds: number, rounds: number, options: object, prepare: Function } }}
 */
export const TASKS = {
	mlp: {
		text: "perceptron 784-64-10 on MNIST, 10 clients (Dirichlet 0.5), 5 a round",
		mnist: true,
		margins: { accuracy: 0.01, loss: 0.05 },
		candidates: [4096],
		seeds: 3,
		rounds: 40,
		options: { localSteps: 200, batchSize: 32, epsilon: 1e-3, learningRate: 1e-3, cohortSize: 5 },
		prepare: digits([784, 64, CLASSES]),
	},
	transformer: {
		text: `transformer of one layer on Markov text (least loss ${CHAIN.entropy.toFixed(3)}), 5 clients, all in each round`,
		mnist: false,
		margins: { loss: 0.05 },
		candidates: [256, 1024, 4096],
		seeds: 3,
		rounds: 40,
		options: { localSteps: 20, batchSize: 32, epsilon: 1e-3, learningRate: 8e-3, cohortSize: 5 },
		prepare: texts,
	},
	softmax: {
		text: "softmax regression on MNIST, 10 clients (Dirichlet 0.5), 5 a round",
		mnist: true,
		margins: { accuracy: 0.01, loss: 0.05 },
		candidates: [256, 1024, 4096],
		seeds: 5,
		rounds: 40,
		options: { localSteps: 50, batchSize: 32, epsilon: 5e-4, learningRate: 2e-3, cohortSize: 5 },
		prepare: digits([784, CLASSES]),
	},
	digits: {
		text: "softmax regression on MNIST shrunk to 8 x 8, 10 clients (Dirichlet 0.5), 5 a round",
		mnist: true,
		margins: { accuracy: 0.01, loss: 0.05 },
		candidates: [256, 1024, 4096, 16_384],
		seeds: 5,
		rounds: 40,
		options: { localSteps: 50, batchSize: 32, epsilon: 5e-4, learningRate: 2e-2, cohortSize: 5 },
		prepare: digits([64, CLASSES], coarseImages),
	},
};

const seedOf = (...names) => toHex(sha256(new TextEncoder().encode(`rondo-bench-noise/1/${names.join("/")}`)));

function testBatches(data) {
	const batches = [];
	let left = data.numExamples;
	for (const batch of data.batches(TEST_BATCH, randomFromSeed("any order"))) {
		batches.push(batch);
		left -= batch.size;
		if (left === 0) return batches;
	}
	return batches;
}

/** Means over all test examples. */
function evaluatorOf(model, batches) {
	const total = batches.reduce((sum, { size }) => sum + size, 0);
	return (weights) => {
		const means = {};
		for (const batch of batches) {
			for (const [name, value] of Object.entries(model.measure(weights, batch)))
				means[name] = (means[name] ?? 0) + (value * batch.size) / total;
		}
		return means;
	};
}

/**
 * One simulated run. Data, initial weights, cohorts, batches and the numbers of the drawn candidates depend on the task and the
 * seed alone; only what the candidates are differs between the kinds.
 * @returns final metrics, their course, and the mean number of steps that a client left out in a round, added up over the rounds
 */
export async function learn({ task, K, kind, seed, rounds }) {
	const { prepare, options } = TASKS[task];
	const random = randomFromSeed(`rondo-bench-noise/1/${task}/${seed}`);
	const { model, shards, test } = await prepare(random.at("data"));
	const course = [];
	const result = await simulate({
		strategy: fedkseed,
		options: { ...options, candidates: K, noise: kind },
		layout: model.layout,
		initial: model.initial(random.at("initial")),
		publicSeed: seedOf(task, seed, "public"),
		secretSeed: seedOf(task, seed, "secret"),
		clients: shards.map((data, i) => ({ id: `client-${i}`, data, trainer: model.trainer })),
		rounds,
		evaluate: evaluatorOf(model, testBatches(test)),
		settings: { evaluateEvery: Math.ceil(rounds / EVALUATIONS) },
		onCommit: ({ round, evaluation }) => void (evaluation !== undefined && course.push({ round, ...evaluation })),
		keepReports: false,
	});
	if (result.phase !== "completed") throw new Error(`${task} with K = ${K}, ${kind}, seed ${seed} ${result.phase}: ${result.reason}`);
	const skippedSteps = result.rounds.reduce((sum, { metrics }) => sum + (metrics["client.skippedSteps"] ?? 0), 0);
	const { round: _round, ...final } = course.at(-1);
	return { parameters: model.layout.length, final, course, skippedSteps };
}
