import * as ort from "onnxruntime-node";
import { encodeGraph } from "../src/graph/encode.js";
import type { Graph } from "../src/graph/ir.js";
import { openSession } from "../src/session/device.js";

const exponential: Graph = {
	opset: 18,
	domains: {},
	inputs: [{ name: "x", type: "float32", dims: [1] }],
	outputs: [{ name: "y", type: "float32", dims: [1] }],
	initializers: new Map(),
	nodes: [{ op: "Exp", domain: "", name: "", inputs: ["x"], outputs: ["y"], attributes: {} }],
};

/** A WebGPU device that computes. @throws where there is none */
export async function openWebgpu(): Promise<true> {
	const session = await openSession(ort, encodeGraph(exponential), "webgpu", { strict: true });
	try {
		const { y } = await session.run({ x: new ort.Tensor("float32", Float32Array.of(0), [1]) });
		if ((y!.data as Float32Array)[0] !== 1) throw new Error(`the WebGPU device says that e^0 is ${y!.data[0]}`);
		return true;
	} finally {
		await session.release();
	}
}
