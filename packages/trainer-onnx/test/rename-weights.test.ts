import { fileURLToPath } from "node:url";
import * as ort from "onnxruntime-node";
import { expect, test } from "vitest";
import { encodeGraph } from "../src/graph/encode.js";
import type { Node, Tensor } from "../src/graph/ir.js";
import { importOnnx, importOnnxFile } from "../src/import/import-model.js";

const namesOf = async (file: string, loss: string): Promise<readonly string[]> => {
	const path = fileURLToPath(new URL(`../fixtures/models/${file}`, import.meta.url));
	return (await importOnnxFile(ort, path, { loss })).layout.tensors.map(({ name }) => name).sort();
};

/** Names of PyTorch's own parameters. */
const LLAMA = [
	...[0, 1].flatMap((layer) =>
		[
			"input_layernorm",
			"mlp.down_proj",
			"mlp.gate_proj",
			"mlp.up_proj",
			"post_attention_layernorm",
			"self_attn.k_proj",
			"self_attn.o_proj",
			"self_attn.q_proj",
			"self_attn.v_proj",
		].map((module) => `model.layers.${layer}.${module}.weight`),
	),
	"model.embed_tokens.weight",
	"lm_head.weight",
	"model.norm.weight",
].sort();

test.each(["dynamo-op18", "dynamo-op21", "torchscript-op14", "torchscript-op17"])("llama, %s: PyTorch's names", async (file) => {
	const names = await namesOf(`llama/${file}.onnx`, "causal-lm");
	expect(names).toEqual(LLAMA);
});

test("modules in containers that are called, and weights that the exporter put together", async () => {
	expect(await namesOf("resnet-folded/torchscript-op17.onnx", "softmax-cross-entropy")).toEqual([
		"conv.bias",
		"conv.weight",
		"fc.bias",
		"fc.weight",
		"layers.0.conv1.bias",
		"layers.0.conv1.weight",
		"layers.0.conv2.bias",
		"layers.0.conv2.weight",
		"layers.1.conv1.bias",
		"layers.1.conv1.weight",
		"layers.1.conv2.bias",
		"layers.1.conv2.weight",
		"layers.1.shortcut.0.bias",
		"layers.1.shortcut.0.weight",
	]);
	const lstm = ["fc.bias", "fc.weight", "lstm.B", "lstm.B_2", "lstm.R", "lstm.R_2", "lstm.W", "lstm.W_2"];
	expect(await namesOf("lstm/torchscript-op17.onnx", "softmax-cross-entropy")).toEqual(lstm);
	expect(await namesOf("lstm/dynamo-op18.onnx", "softmax-cross-entropy")).toEqual(lstm);
});

test("a name that is taken gets a number, and where no module is known the name stays", async () => {
	const weight = (name: string, seed: number): [string, Tensor] => [
		name,
		{ type: "float32", dims: [2, 2], data: Float32Array.from([1, 2, 3, 4], (x) => Math.sin(x * seed)) },
	];
	const product = (name: string, input: string, w: string, output: string): Node => ({
		op: "MatMul",
		domain: "",
		name,
		inputs: [input, w],
		outputs: [output],
		attributes: {},
	});
	const bytes = encodeGraph({
		opset: 17,
		domains: {},
		inputs: [{ name: "x", type: "float32", dims: ["batch", 2] }],
		outputs: [{ name: "y", type: "float32", dims: ["batch", 2] }],
		initializers: new Map([
			weight("onnx::MatMul_1", 1),
			weight("onnx::MatMul_2", 2),
			weight("onnx::MatMul_3", 3),
			weight("own", 4),
			weight("a.weight", 5),
		]),
		nodes: [
			product("/a/MatMul", "x", "onnx::MatMul_1", "p"),
			product("/a/MatMul_1", "p", "a.weight", "q"),
			product("MatMul_7", "q", "onnx::MatMul_2", "r"),
			product("/MatMul", "r", "onnx::MatMul_3", "s"),
			product("/b/MatMul", "s", "own", "y"),
		],
	});
	const { layout, renamings } = await importOnnx(ort, bytes, { loss: "mse" });
	expect(layout.tensors.map(({ name }) => name)).toEqual(["a.weight_2", "a.weight", "onnx::MatMul_2", "onnx::MatMul_3", "own"]);
	expect(renamings).toEqual([{ from: "onnx::MatMul_1", name: "a.weight_2", transposed: true }]);
});
