// What an agent brings: the speeches of its president, and the ONNX trainer for whatever model the run has.
import { inMemoryData, tokenWindows } from "@rondo/datasets";
import { createOnnxTrainer } from "@rondo/trainer-onnx";
import { textOf } from "./corpus.mjs";
import { loadTokenizer } from "./tokenizer.mjs";

/** Positions of one example: the context of the model. */
export const LENGTH = 128;
/** Examples at the end of a president's speeches, which are not trained on. */
const HELD_OUT = 48;

/** The speeches of a president as examples. @param {string} president as in corpus.mjs @param {number} examples to train on */
export function examplesOf(president, examples) {
	const { inputs, labels, count } = tokenWindows(loadTokenizer().encode(textOf(president)).ids, LENGTH);
	const rows = Uint32Array.from({ length: count }, (_, row) => row);
	const part = (chosen) => inMemoryData({ inputs, labels, count, rows: chosen });
	return { training: part(rows.subarray(0, Math.min(examples, count - HELD_OUT))), heldOut: part(rows.subarray(count - HELD_OUT)) };
}

/** @param {unknown} _model @param {{ president: string, examples: number }} options */
export const createData = (_model, { president, examples }) => examplesOf(president, examples).training;

/** @param {import("@rondo/client").WorkloadModel} model */
export const createTrainer = ({ manifest, layout, asset }) =>
	createOnnxTrainer({ manifest, layout, frozen: asset, device: "cpu", threads: 1 });
