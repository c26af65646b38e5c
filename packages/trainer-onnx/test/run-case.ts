import * as ort from "onnxruntime-node";
import { differentiate } from "../src/gradients/differentiate.js";
import { encodeGraph } from "../src/graph/encode.js";
import { GraphBuilder, type Ref } from "../src/graph/graph-builder.js";
import { type Graph, sizeOf, type Tensor } from "../src/graph/ir.js";
import { specialize } from "../src/specialize.js";
import type { ReadyGraph } from "../src/training-graph.js";
import { graphOf, type OpCase, tensorOf } from "./op-cases.js";

export type Precision = "float32" | "float64";

/** A case as one graph: its results, and the derivatives of Σ upstream · result by every input that has one in the fixture. */
export async function gradientCase(c: OpCase, precision: Precision): Promise<ReadyGraph & { readonly feeds: Record<string, ort.Tensor> }> {
	const model = graphOf(c, precision);
	const given = new Map(c.inputs.map((input) => [input.name, tensorOf(input, precision)]));
	const fixed = await specialize(ort, model, { inputs: new Map(model.inputs.map(({ name }) => [name, given.get(name)!.dims])) });
	const g = new GraphBuilder("rondo/");
	const seeds = new Map<string, Ref>();
	for (const { name, dims, upstream } of c.outputs)
		if (upstream !== undefined) seeds.set(name, g.constant(tensorOf({ dims, data: upstream }, precision)));
	const wanted = c.inputs.filter(({ gradient }) => gradient !== undefined).map(({ name }) => name);
	const { nodes, gradients } = differentiate(fixed, seeds, wanted, g);
	const outputs = wanted.map((name) => gradients.get(name) ?? fail(`${c.name}: no gradient by ${name}`));
	const graph: Graph = {
		opset: fixed.opset,
		domains: {},
		inputs: fixed.inputs,
		outputs: [
			...c.outputs.map(({ name }) => fixed.refs.get(name)!).map(({ name, type, dims }) => ({ name, type, dims })),
			...outputs.map(({ type, dims }, i) => ({ name: `gradient/${wanted[i]}`, type, dims })),
		],
		initializers: new Map([...fixed.constants, ...g.initializers]),
		nodes: [
			...nodes,
			...g.nodes,
			...outputs.map(({ name }, i) => ({
				op: "Identity",
				domain: "",
				name: "",
				inputs: [name],
				outputs: [`gradient/${wanted[i]}`],
				attributes: {},
			})),
		],
	};
	const feeds = Object.fromEntries(
		fixed.inputs.map(({ name, type, dims }) => [name, new ort.Tensor(type as "float32", given.get(name)!.data as Float32Array, dims)]),
	);
	const refs = new Map([...fixed.refs, ...g.refs]);
	for (const output of graph.outputs) refs.set(output.name, output as Ref);
	return { graph, labels: undefined, refs, feeds };
}

/** ONNX Runtime fuses some nodes into one that it has no float64 kernel for (Mish into QuickGelu): not at this level. */
export const sessionOptions = (precision: Precision): ort.InferenceSession.SessionOptions => ({
	executionProviders: ["cpu"],
	graphOptimizationLevel: precision === "float64" ? "basic" : "all",
});

/** Runs a graph once. */
export async function run(
	graph: Graph,
	feeds: Record<string, ort.Tensor>,
	options: ort.InferenceSession.SessionOptions = { executionProviders: ["cpu"] },
): Promise<{ readonly [name: string]: Float32Array | Float64Array }> {
	const session = await ort.InferenceSession.create(encodeGraph(graph), { logSeverityLevel: 3, ...options });
	try {
		const results = await session.run(feeds);
		return Object.fromEntries(
			Object.entries(results).map(([name, { data, dims }]) => {
				if (data.length !== sizeOf(dims)) fail(`${name} has ${data.length} elements`);
				return [name, data as Float32Array];
			}),
		);
	} finally {
		await session.release();
	}
}

/** The operator alone, to be run again and again. */
export interface Forward extends AsyncDisposable {
	/** Σ upstream · result with input `name` moved by `step` times `along`. */
	loss(name: string, along: readonly number[], step: number): Promise<number>;
}

export async function openForward(c: OpCase, precision: Precision): Promise<Forward> {
	const graph = graphOf(c, precision);
	const session = await ort.InferenceSession.create(encodeGraph(graph), { logSeverityLevel: 3, ...sessionOptions(precision) });
	const given = new Map(c.inputs.map((input) => [input.name, tensorOf(input, precision)]));
	const tensor = ({ type, dims, data }: Tensor): ort.Tensor => new ort.Tensor(type as "float32", data as Float32Array, dims);
	const feeds = Object.fromEntries(graph.inputs.map(({ name }) => [name, tensor(given.get(name)!)]));
	return {
		loss: async (name, along, step) => {
			const at = given.get(name)!;
			const data = (at.data as Float32Array).map((value, i) => value + step * along[i]!);
			const results = await session.run({ ...feeds, [name]: tensor({ ...at, data }) });
			return c.outputs.reduce((sum, { name: output, upstream = [] }) => {
				const values = results[output]!.data as Float32Array;
				return upstream.reduce((partial, u, i) => partial + u * values[i]!, sum);
			}, 0);
		},
		[Symbol.asyncDispose]: () => session.release(),
	};
}

function fail(message: string): never {
	throw new Error(message);
}
