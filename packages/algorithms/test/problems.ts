import { type Device, deviceOf, memoryData, softmax, trainerOf } from "./fixture.js";

/** Three classes on three features; three devices of 4, 2 and 6 examples, none of them balanced. */
export const FEATURES = 3;
export const CLASSES = 3;
export const WEIGHTS = [0.25, -0.5, 0.125, 0.75, 0.0625, -0.25, 0.5, 0.375, -0.125, 0.25, -0.0625, 0.5];

export const EXAMPLES: Readonly<Record<string, { readonly rows: readonly (readonly number[])[]; readonly labels: readonly number[] }>> = {
	ann: {
		rows: [
			[1, 0.5, -0.25],
			[0.5, -1, 0.75],
			[-0.5, 0.25, 1],
			[1.5, 0.25, 0],
		],
		labels: [0, 0, 1, 0],
	},
	bob: {
		rows: [
			[-1, 0.5, 0.5],
			[0.25, 1.25, -1],
		],
		labels: [1, 2],
	},
	cid: {
		rows: [
			[0.75, 0.75, 0.5],
			[-0.25, -1.5, 0.25],
			[1, -0.5, -0.5],
			[-1.25, 0, 0.75],
			[0.5, 0.5, 1.5],
			[0, 1, -0.75],
		],
		labels: [2, 2, 2, 1, 2, 2],
	},
};

export const lossAndGradient = softmax(FEATURES, CLASSES);

/** Fresh devices, in id order. */
export const devicesOf = (): readonly Device[] =>
	Object.entries(EXAMPLES).map(([id, { rows, labels }]) => deviceOf(id, memoryData(rows, labels), trainerOf(lossAndGradient)));

/** All examples of a device as one batch. */
export const batchOf = (id: string) => {
	const { rows, labels } = EXAMPLES[id]!;
	return { size: rows.length, inputs: Float32Array.from(rows.flat()), labels: Int32Array.from(labels) };
};

/** Largest |a − b| over the elements. */
export const gap = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
	Array.from({ length: Math.max(a.length, b.length) }, (_, j) => Math.abs(a[j]! - b[j]!)).reduce((x, y) => Math.max(x, y), 0);
