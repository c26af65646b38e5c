import { inMemoryData, loadDigits, partitionDirichlet } from "@rondo/datasets";
import { randomFromSeed } from "@rondo/kernels";
import { simulate } from "@rondo/simulation";
import { layoutOf } from "@rondo/tensors";
import { softmaxTrainer } from "../../packages/testkit/dist/fixtures.js";

const PIXELS = 64;
const CLASSES = 10;
export const PARAMETERS = (PIXELS + 1) * CLASSES;
const CLIENTS = 10;

const train = await loadDigits("train");
const test = await loadDigits("test");
const testInputs = Float32Array.from(test.inputs, (value) => value / 255);

/** Share of the test images whose digit has the largest score. */
function accuracy(weights) {
	let right = 0;
	for (let row = 0; row < test.labels.length; row++) {
		let best = 0;
		let top = Number.NEGATIVE_INFINITY;
		for (let c = 0; c < CLASSES; c++) {
			let score = weights[PIXELS * CLASSES + c];
			for (let i = 0; i < PIXELS; i++) score += testInputs[row * PIXELS + i] * weights[i * CLASSES + c];
			if (score > top) [top, best] = [score, c];
		}
		if (best === test.labels[row]) right++;
	}
	return right / test.labels.length;
}

/** Mean cross-entropy alone: what zeroth-order steps ask for hundreds of times. */
async function loss(weights, { size, inputs, labels }) {
	const scores = new Float64Array(CLASSES);
	let total = 0;
	for (let row = 0; row < size; row++) {
		for (let c = 0; c < CLASSES; c++) scores[c] = weights[PIXELS * CLASSES + c];
		for (let i = 0; i < PIXELS; i++) {
			const x = inputs[row * PIXELS + i];
			if (x === 0) continue;
			for (let c = 0; c < CLASSES; c++) scores[c] += x * weights[i * CLASSES + c];
		}
		const top = Math.max(...scores);
		total += Math.log(scores.reduce((sum, score) => sum + Math.exp(score - top), 0)) + top - scores[labels[row]];
	}
	return total / size;
}

const trainer = { ...softmaxTrainer(PIXELS, CLASSES), loss };

/** Softmax regression on the digits over ten clients by Dirichlet(0.5); accuracy on the test images, and bytes. */
export async function digits(strategy, { seed, rounds, options }) {
	const parts = partitionDirichlet(train.labels, CLIENTS, 0.5, randomFromSeed(`digits ${seed}`));
	const hex = (byte) => byte.toString(16).padStart(2, "0").repeat(32);
	const {
		phase,
		reason,
		weights,
		rounds: log,
	} = await simulate({
		strategy,
		options,
		rounds,
		layout: layoutOf([
			{ name: "kernel", shape: [PIXELS, CLASSES] },
			{ name: "bias", shape: [CLASSES] },
		]),
		initial: new Float32Array(PARAMETERS),
		publicSeed: hex(seed),
		secretSeed: hex(seed + 100),
		clients: parts.map((rows, i) => ({ id: `c${i}`, data: inMemoryData({ ...train, rows }), trainer })),
		keepReports: false,
	});
	if (phase !== "completed") throw new Error(`the run ${phase}: ${reason}`);
	const sum = (field) => log.reduce((total, round) => total + round[field], 0);
	return { accuracy: accuracy(weights), bytesUp: sum("bytesUp"), bytesDown: sum("bytesDown") };
}
