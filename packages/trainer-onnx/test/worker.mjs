import { parentPort } from "node:worker_threads";
import { deflateRawSync } from "node:zlib";
import { layoutOf } from "@rondo/tensors";
import { createOnnxTrainer, encodeGraph } from "@rondo/trainer-onnx";

const layout = layoutOf([{ name: "w", shape: [784, 10] }]);
const value = (name, dims) => ({ name, type: "float32", dims });
const graph = encodeGraph({
	opset: 18,
	domains: {},
	inputs: [value("x", ["batch", 784]), value("w", [784, 10])],
	outputs: [value("logits", ["batch", 10])],
	initializers: new Map(),
	nodes: [{ op: "MatMul", domain: "", name: "", inputs: ["x", "w"], outputs: ["logits"], attributes: {} }],
});
const manifest = {
	format: "onnx",
	loss: "softmax-cross-entropy",
	graph: deflateRawSync(graph).toString("base64"),
	output: "logits",
	input: "x",
	trainer: "gradient",
};
const trainer = await createOnnxTrainer({ manifest, layout, device: "cpu" });
const weights = Float32Array.from({ length: layout.length }, (_, i) => Math.sin(i));
const inputs = Float32Array.from({ length: 4 * 784 }, (_, i) => Math.abs(Math.sin(i)));
const training = await trainer.begin(weights, { kind: "adam" });
const batch = { size: 4, inputs, labels: Int32Array.of(1, 2, 3, 4) };
const losses = [];
for (let step = 0; step < 20; step++) losses.push(await training.step(batch, 0.01));
await training.read(weights);
await training.dispose();
const result = { losses, weights, description: trainer.description };
await trainer.dispose();
if (parentPort === null) process.stdout.write(JSON.stringify({ ...result, weights: [...weights] }));
else parentPort.postMessage(result);
