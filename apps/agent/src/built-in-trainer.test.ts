import { fileURLToPath } from "node:url";
import type { WorkloadModel } from "@rondo/client";
import { importOnnxFile, loadOrt } from "@rondo/trainer-onnx";
import { expect, test } from "vitest";
import { createBuiltInTrainer } from "./built-in-trainer.js";

const FILE = fileURLToPath(new URL("../../../packages/trainer-onnx/fixtures/models/dropout/torchscript-op17.onnx", import.meta.url));
const CALLS = 8;

test("dropout is on if the manifest says so, with masks by seed and index", async () => {
	const ort = await loadOrt();
	const read = (dropout: boolean) => importOnnxFile(ort, FILE, { loss: "softmax-cross-entropy", dropout });
	const losses = async ({ manifest, layout, weights }: Awaited<ReturnType<typeof read>>, seed: string, index: number) => {
		const choice = { trainer: "onnx", device: "cpu", backend: "auto", threads: 1, seed, index } as const;
		const trainer = await createBuiltInTrainer({ manifest, layout } as WorkloadModel, choice);
		const batch = { size: 3, inputs: Float32Array.from({ length: 18 }, (_, i) => Math.sin(i)), labels: Int32Array.of(0, 1, 2) };
		const found: number[] = [];
		for (let i = 0; i < CALLS; i++) found.push(await trainer.gradient(weights, batch, new Float32Array(layout.length)));
		await trainer.dispose?.();
		return found;
	};
	const dropping = await read(true);
	const first = await losses(dropping, "1", 0);
	expect(new Set(first).size).toBeGreaterThan(1);
	expect(await losses(dropping, "1", 0)).toEqual(first);
	expect(await losses(dropping, "1", 1)).not.toEqual(first);
	expect(await losses(dropping, "2", 0)).not.toEqual(first);
	expect(new Set(await losses(await read(false), "1", 0)).size).toBe(1);
});
