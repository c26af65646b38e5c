import { type Batch, builtInStrategies, type Trainer } from "@rondo/algorithms";
import { inMemoryData, loadDigits, partitionDirichlet } from "@rondo/datasets";
import { randomFromSeed } from "@rondo/kernels";
import { layoutOf } from "@rondo/tensors";
import { expect, test } from "vitest";
import { simulate } from "./simulate.js";

const PIXELS = 64;
const CLASSES = 10;
const fedkseed = builtInStrategies.find(({ name }) => name === "fedkseed")!;

/** Mean cross-entropy and share of right answers of a softmax regression: rows of ten weights per pixel, then ten biases. */
function measure(weights: Float32Array, { size, inputs, labels }: Batch): { loss: number; accuracy: number } {
	const scores = new Float64Array(CLASSES);
	let [loss, right] = [0, 0];
	for (let i = 0; i < size; i++) {
		for (let c = 0; c < CLASSES; c++) scores[c] = weights[PIXELS * CLASSES + c]!;
		for (let p = 0; p < PIXELS; p++) {
			const x = inputs[i * PIXELS + p]!;
			if (x === 0) continue;
			for (let c = 0; c < CLASSES; c++) scores[c]! += x * weights[p * CLASSES + c]!;
		}
		const peak = scores.reduce((a, b) => Math.max(a, b));
		loss += Math.log(scores.reduce((sum, score) => sum + Math.exp(score - peak), 0)) + peak - scores[labels[i]!]!;
		if (scores.indexOf(peak) === labels[i]) right++;
	}
	return { loss: loss / size, accuracy: right / size };
}

const trainer: Trainer = {
	loss: async (weights, batch) => measure(weights, batch).loss,
	gradient: () => Promise.reject(new Error("unused")),
	evaluate: () => Promise.reject(new Error("unused")),
};

/** Both splits with pixels of mean 0 and deviation 1, by the training split. */
async function digits() {
	const [train, held] = [await loadDigits("train"), await loadDigits("test")];
	const count = train.labels.length;
	const columns = Array.from({ length: PIXELS }, (_, j) => Float64Array.from({ length: count }, (_x, i) => train.inputs[i * PIXELS + j]!));
	const means = columns.map((column) => column.reduce((a, b) => a + b) / count);
	const deviations = columns.map((column, j) => Math.sqrt(column.reduce((sum, x) => sum + (x - means[j]!) ** 2, 0) / count) || 1);
	const prepared = ({ inputs, labels }: typeof train) => ({
		inputs: Float32Array.from(inputs, (x, i) => (x - means[i % PIXELS]!) / deviations[i % PIXELS]!),
		labels,
	});
	return { train: prepared(train), held: prepared(held) };
}

test("softmax regression on digits learns the better the more candidates there are, to 88 % at least with 4096", async () => {
	const { train, held } = await digits();
	const parts = partitionDirichlet(train.labels, 10, 0.5, randomFromSeed("digits"), { minPerClient: 8 });
	const all: Batch = { size: held.labels.length, inputs: held.inputs, labels: held.labels };
	const accuracies: number[] = [];
	for (const candidates of [16, 256, 4096]) {
		const { weights } = await simulate({
			strategy: fedkseed,
			options: { candidates, localSteps: 50, batchSize: 32, epsilon: 5e-4, learningRate: 2e-3, cohortSize: 5 },
			layout: layoutOf([
				{ name: "kernel", shape: [PIXELS, CLASSES] },
				{ name: "bias", shape: [CLASSES] },
			]),
			initial: new Float32Array((PIXELS + 1) * CLASSES),
			publicSeed: "3c".repeat(32),
			secretSeed: "4d".repeat(32),
			clients: parts.map((rows, i) => ({ id: `c${i}`, data: inMemoryData({ ...train, rows }), trainer })),
			rounds: 40,
			keepReports: false,
		});
		accuracies.push(measure(weights!, all).accuracy);
	}
	accuracies.slice(1).forEach((accuracy, i) => {
		expect(accuracy, accuracies.join(", ")).toBeGreaterThan(accuracies[i]! + 0.02);
	});
	expect(accuracies.at(-1)).toBeGreaterThanOrEqual(0.88);
}, 120_000);
