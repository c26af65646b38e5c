// What the clients of the byte table train: a dense classifier on their share of the 8 × 8 digits.
import { inMemoryData, loadDigits } from "@rondo/datasets";
import { createOnnxTrainer } from "@rondo/trainer-onnx";

export async function createData(_model, { index, clients }) {
	const digits = await loadDigits("train");
	const rows = Uint32Array.from(digits.labels.keys()).filter((row) => row % clients === index);
	return inMemoryData({ ...digits, rows });
}

export const createTrainer = ({ manifest, layout }) => createOnnxTrainer({ manifest, layout, device: "cpu", threads: 1 });
