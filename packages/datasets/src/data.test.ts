import type { Batch, Data } from "@rondo/algorithms";
import { randomFromSeed } from "@rondo/kernels";
import { expect, test } from "vitest";
import { inMemoryData } from "./data.js";

const order = randomFromSeed("order");
const examples = { inputs: Float32Array.from({ length: 14 }, (_, i) => i), labels: Int32Array.from({ length: 7 }, (_, i) => i) };

function take(data: Data, size: number, count: number): Batch[] {
	const batches: Batch[] = [];
	for (const batch of data.batches(size, order) as Iterable<Batch>) {
		batches.push(batch);
		if (batches.length === count) break;
	}
	return batches;
}

test("every epoch has every example once, in an order of its own, the last batch smaller", () => {
	const batches = take(inMemoryData(examples), 3, 9);
	expect(batches.map(({ size }) => size)).toEqual([3, 3, 1, 3, 3, 1, 3, 3, 1]);
	const epochs = [0, 1, 2].map((epoch) => batches.slice(3 * epoch, 3 * epoch + 3).flatMap(({ labels }) => [...labels]));
	for (const epoch of epochs) expect(epoch.toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6]);
	expect(new Set(epochs.map(String)).size).toBe(3);
	for (const { inputs, labels, size } of batches) {
		expect([inputs.length, labels.length]).toEqual([2 * size, size]);
		for (const [i, label] of labels.entries()) expect([...inputs.subarray(2 * i, 2 * i + 2)]).toEqual([2 * label, 2 * label + 1]);
	}
});

test("is a pure function of the order, and batches are copies", () => {
	const data = inMemoryData(examples);
	const [first] = take(data, 4, 1);
	const again = take(data, 4, 1)[0]!;
	expect(again).toEqual(first);
	again.inputs.fill(-1);
	expect(take(data, 4, 1)[0]).toEqual(first);
	expect(take(data, 100, 1)[0]!.size).toBe(7);
});

test("serves bytes as value / 255", () => {
	const [batch] = take(inMemoryData({ inputs: Uint8Array.of(0, 51, 255), labels: Int32Array.of(1) }), 1, 1);
	expect([...batch!.inputs]).toEqual([0, Math.fround(0.2), 1]);
});

test("serves token ids with a label per position, and targets", () => {
	const tokens = Int32Array.from({ length: 6 }, (_, i) => 2 ** 24 + i);
	const labels = Int32Array.of(1, 2, 3, 4, -100, 6);
	const [batch] = take(inMemoryData({ inputs: tokens, labels, count: 2, rows: Uint32Array.of(1) }), 4, 1);
	expect(batch).toEqual({ size: 1, inputs: tokens.slice(3), labels: labels.slice(3) });
	const targets = Float32Array.of(0.25, -1.5);
	expect(take(inMemoryData({ inputs: Float32Array.of(1, 2, 3, 4), labels: targets, rows: Uint32Array.of(1) }), 4, 1)).toEqual([
		{ size: 1, inputs: Float32Array.of(3, 4), labels: targets.slice(1) },
	]);
});

test("rows choose the client's part of shared examples", () => {
	const data = inMemoryData({ ...examples, rows: Uint32Array.of(6, 2) });
	expect(data.numExamples).toBe(2);
	expect([...take(data, 5, 1)[0]!.labels].toSorted()).toEqual([2, 6]);
});

test("empty data yields nothing", () => {
	expect(take(inMemoryData({ inputs: new Float32Array(0), labels: new Int32Array(0) }), 5, 1)).toEqual([]);
	expect(take(inMemoryData({ ...examples, rows: new Uint32Array(0) }), 5, 1)).toEqual([]);
});

test("refuses what does not fit", () => {
	expect(() => inMemoryData({ inputs: new Float32Array(15), labels: new Int32Array(7) })).toThrow("inputs has 15 elements");
	expect(() => inMemoryData({ inputs: new Float32Array(2), labels: new Int32Array(0) })).toThrow("inputs has 2 elements");
	expect(() => inMemoryData({ inputs: new Float32Array(0), labels: new Int32Array(2) })).toThrow("inputs has 0 elements");
	expect(() => inMemoryData({ ...examples, count: 2 })).toThrow("labels has 7 elements, which is not a row for each of the 2 examples");
	expect(() => inMemoryData({ ...examples, count: 0 })).toThrow("inputs has 14 elements");
	for (const count of [-1, 3.5])
		expect(() => inMemoryData({ ...examples, count })).toThrow(`count must be a non-negative integer, got ${count}`);
	expect(() => inMemoryData({ ...examples, rows: Uint32Array.of(1, 7) })).toThrow("rows[1] is 7, there are 7 examples");
	for (const size of [0, -1, 1.5, Number.NaN]) expect(() => inMemoryData(examples).batches(size, order)).toThrow(`got ${size}`);
});
