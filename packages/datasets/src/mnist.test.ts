import { expect, test } from "vitest";
import { inMemoryData } from "./data.js";
import { loadMnist, loadMnistLabels } from "./mnist.js";
import { summarize } from "./summary.js";

const histogram = (labels: Int32Array): readonly number[] => summarize([Uint32Array.from(labels.keys())], labels).clients[0]!.counts;

test("has the known counts", async () => {
	const train = await loadMnist("train");
	expect(train.shape).toEqual([60_000, 28, 28]);
	expect(train.inputs.length).toBe(60_000 * 784);
	expect(histogram(train.labels)).toEqual([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
	// Mean intensity of the training images, 0.1307 of 255: the constant that everybody normalises MNIST with.
	expect(train.inputs.reduce((sum, pixel) => sum + pixel, 0) / train.inputs.length / 255).toBeCloseTo(0.1307, 4);

	const held = await loadMnist("test");
	expect(held.shape).toEqual([10_000, 28, 28]);
	expect(histogram(held.labels)).toEqual([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
});

test("loads only the rows asked for, in their order", async () => {
	const all = await loadMnist("test");
	const rows = Uint32Array.of(9_999, 3, 4, 5, 0);
	const some = await loadMnist("test", { rows });
	expect(some.shape).toEqual([5, 28, 28]);
	for (const [i, row] of rows.entries()) {
		expect(some.inputs.subarray(i * 784, (i + 1) * 784)).toEqual(all.inputs.subarray(row * 784, (row + 1) * 784));
		expect(some.labels[i]).toBe(all.labels[row]);
	}
	expect(await loadMnistLabels("test", { rows })).toEqual(some.labels);
	expect(inMemoryData(some).numExamples).toBe(5);
});

test("refuses rows and splits that do not exist", async () => {
	await expect(loadMnist("test", { rows: Uint32Array.of(10_000) })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
	await expect(loadMnist("validation" as "test")).rejects.toThrow('split must be "train" or "test", got "validation"');
});
