import {
	type ConvolutionalSpec,
	type DenseSpec,
	layoutOfSpec,
	type ModelSpec,
	NORM_EPSILON,
	type TransformerSpec,
} from "../../testkit/src/model-spec.js";
import { type Attributes, type Graph, type Node, scalar, type Tensor } from "../src/graph/ir.js";
import { type OnnxManifest, packGraph } from "../src/model.js";

/** A model of the conformance suite as an ONNX graph with an open batch size; its weights are inputs. */
export function manifestOfSpec(spec: ModelSpec): OnnxManifest {
	const { nodes, constants, input } = bodyOf(spec);
	const graph: Graph = {
		opset: 18,
		domains: {},
		inputs: [input, ...layoutOfSpec(spec).tensors.map(({ name, shape }) => ({ name, type: "float32" as const, dims: shape }))],
		outputs: [{ name: "output", type: "float32", dims: undefined }],
		initializers: new Map(Object.entries(constants)),
		nodes,
	};
	return { format: "onnx", loss: spec.loss, graph: packGraph(graph), output: "output", input: "x", trainer: "gradient" };
}

interface Body {
	readonly nodes: readonly Node[];
	readonly constants: Record<string, Tensor>;
	readonly input: Graph["inputs"][number];
}

const node = (op: string, inputs: string, outputs: string, attributes: Attributes = {}): Node => ({
	op,
	domain: "",
	name: "",
	inputs: inputs.split(" "),
	outputs: outputs.split(" "),
	attributes,
});

const bodyOf = (spec: ModelSpec): Body => {
	switch (spec.kind) {
		case "dense":
			return dense(spec);
		case "convolutional":
			return convolutional(spec);
		case "transformer":
			return transformer(spec);
	}
};

function dense({ inputs, hidden, loss }: DenseSpec): Body {
	const nodes = [...hidden, 0].flatMap((_, i) => {
		const last = i === hidden.length;
		const gemm = node("Gemm", `${i === 0 ? "x" : `h${i - 1}`} dense_${i}/kernel dense_${i}/bias`, last ? "logits" : `z${i}`);
		return last ? [gemm] : [gemm, node("Relu", `z${i}`, `h${i}`)];
	});
	// The loss is to find the logits itself.
	const end = { mse: "Identity", "binary-cross-entropy": "Sigmoid", "softmax-cross-entropy": "Softmax" }[loss];
	return {
		nodes: [...nodes, node(end, "logits", "output")],
		constants: {},
		input: { name: "x", type: "float32", dims: ["batch", inputs] },
	};
}

function convolutional({ height, width, channels }: ConvolutionalSpec): Body {
	const kernel = (i: number): Node => node("Transpose", `conv_${i}/kernel`, `k${i}`, { perm: { ints: [3, 2, 0, 1] } });
	return {
		nodes: [
			node("Transpose", "x", "images", { perm: { ints: [0, 3, 1, 2] } }),
			kernel(0),
			node("Conv", "images k0 conv_0/bias", "c0", { pads: { ints: [1, 1, 1, 1] } }),
			node("Relu", "c0", "r0"),
			node("MaxPool", "r0", "p0", { kernel_shape: { ints: [2, 2] }, strides: { ints: [2, 2] } }),
			kernel(1),
			node("Conv", "p0 k1 conv_1/bias", "c1", { strides: { ints: [2, 2] } }),
			node("Transpose", "c1", "last", { perm: { ints: [0, 2, 3, 1] } }),
			node("Flatten", "last", "flat"),
			node("Gemm", "flat dense/kernel dense/bias", "output"),
		],
		constants: {},
		input: { name: "x", type: "float32", dims: ["batch", height, width, channels] },
	};
}

function transformer({ positions, width }: TransformerSpec): Body {
	return {
		nodes: [
			node("Gather", "embedding/embeddings x", "e"),
			...["query", "key", "value"].map((name) => node("MatMul", `e ${name}/kernel`, name)),
			node("Transpose", "key", "kt", { perm: { ints: [0, 2, 1] } }),
			node("MatMul", "query kt", "raw"),
			node("Mul", "raw scale", "scores"),
			node("Softmax", "scores", "attention"),
			node("MatMul", "attention value", "a"),
			node("Add", "e a", "sum"),
			node("LayerNormalization", "sum norm/gamma norm/beta", "n", { epsilon: { float: NORM_EPSILON } }),
			node("MatMul", "n feed_0/kernel", "f0"),
			node("Add", "f0 feed_0/bias", "f1"),
			node("Relu", "f1", "f2"),
			node("MatMul", "f2 feed_1/kernel", "f3"),
			node("Add", "f3 feed_1/bias", "f4"),
			node("Add", "n f4", "y"),
			node("MatMul", "y logits/kernel", "l0"),
			node("Add", "l0 logits/bias", "output"),
		],
		constants: { scale: scalar("float32", 1 / Math.sqrt(width)) },
		input: { name: "x", type: "int64", dims: ["batch", positions] },
	};
}
