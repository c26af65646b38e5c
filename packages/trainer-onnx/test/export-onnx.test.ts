import { randomFromSeed } from "@rondo/kernels";
import * as ort from "onnxruntime-node";
import { expect, test } from "vitest";
import { importOnnx } from "../src/import/import-model.js";
import { resnet8 } from "../src/models/classifiers.js";
import { exportOnnx } from "../src/models/export-onnx.js";
import { gpt2 } from "../src/models/gpt2.js";
import { llama } from "../src/models/llama.js";
import type { ModelBlueprint } from "../src/models/model-writer.js";
import { createOnnxTrainer } from "../src/session/trainer.js";

const TOKENS = Int32Array.of(3, 1, 4, 1, 5, 9);

test.each([
	["gpt2", gpt2({ vocabulary: 11, contextLength: 8, width: 12, layers: 2, heads: 3 })],
	["llama", llama({ vocabulary: 11, width: 16, hidden: 20, layers: 2, heads: 4, keyValueHeads: 2 })],
] as [string, ModelBlueprint][])("%s comes back from its file with layout, weights and answers", async (_name, model) => {
	const weights = model.initialWeights(randomFromSeed("export"));
	const bytes = exportOnnx(model.manifest, model.layout, weights);
	const imported = await importOnnx(ort, bytes, { loss: "causal-lm" });
	expect(imported.layout).toEqual(model.layout);
	expect(imported.weights).toEqual(weights);
	expect(imported.manifest.trainer).toBe("gradient");
	const answers: Float32Array[] = [];
	for (const { manifest } of [model, imported]) {
		const trainer = await createOnnxTrainer({ manifest, layout: model.layout, device: "cpu", threads: 1 });
		answers.push((await trainer.predict(weights, { size: 1, inputs: TOKENS })).data);
		await trainer.dispose();
	}
	expect(answers[1]).toEqual(answers[0]);
	// Anybody's runtime reads the file.
	const session = await ort.InferenceSession.create(bytes);
	const { logits } = await session.run({ input_ids: new ort.Tensor("int32", TOKENS, [1, 6]) });
	expect(logits!.data).toHaveLength(6 * 11);
	await session.release();
});

test("refuses weights that do not go with the layout", () => {
	const { manifest, layout } = resnet8();
	expect(() => exportOnnx(manifest, layout, new Float32Array(7))).toThrow("weights has 7 elements, the layout 78042");
});
