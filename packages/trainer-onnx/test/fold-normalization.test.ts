import * as ort from "onnxruntime-node";
import { expect, test } from "vitest";
import { foldNormalization } from "../src/fold-normalization.js";
import type { Graph, Node } from "../src/graph/ir.js";
import { type SpecializedModel, specialize } from "../src/specialize.js";
import { relativeError } from "./compare.js";
import { run } from "./run-case.js";

const DIMS = { x: [2, 3, 5, 5], weight: [4, 3, 3, 3], bias: [4], scale: [4], shift: [4], mean: [4], variance: [4], y: [2, 4, 3, 3] };

const data = (length: number, from: number): Float32Array => Float32Array.from({ length }, (_, i) => from + Math.sin(i * i + from));
const feeds = Object.fromEntries(
	Object.entries(DIMS)
		.filter(([name]) => name !== "y")
		.map(([name, dims]) => [
			name,
			new ort.Tensor(
				"float32",
				data(
					dims.reduce((a, b) => a * b, 1),
					name === "variance" ? 2 : 0.5,
				),
				dims,
			),
		]),
);

const node = (op: string, inputs: readonly string[], output: string, attributes: Node["attributes"] = {}): Node => ({
	op,
	domain: "",
	name: output,
	inputs,
	outputs: [output],
	attributes,
});

/** Convolution and normalisation, and more nodes that read what is between. */
async function model(conv: readonly string[], more: readonly Node[] = []): Promise<SpecializedModel> {
	const nodes = [
		node("Conv", conv, "between"),
		node("BatchNormalization", ["between", "scale", "shift", "mean", "variance"], "normalized", { epsilon: { float: 1e-3 } }),
		...more,
	];
	const last = nodes.at(-1)!.outputs[0]!;
	const used = new Set(nodes.flatMap(({ inputs }) => inputs));
	const graph: Graph = {
		opset: 18,
		domains: {},
		inputs: Object.entries(DIMS).flatMap(([name, dims]) => (used.has(name) ? [{ name, type: "float32" as const, dims }] : [])),
		outputs: [{ name: last, type: "float32", dims: DIMS.y }],
		initializers: new Map(),
		nodes,
	};
	return specialize(ort, graph, { inputs: new Map(Object.entries(DIMS)) });
}

const result = async ({ constants, ...rest }: SpecializedModel): Promise<Float32Array> => {
	const used = Object.fromEntries(rest.inputs.map(({ name }) => [name, feeds[name]!]));
	const results = await run({ ...rest, initializers: constants }, used);
	return Object.values(results)[0] as Float32Array;
};

test.each([["with bias", ["x", "weight", "bias"]] as const, ["without bias", ["x", "weight"]] as const])(
	"a convolution %s takes over its normalisation",
	async (_title, conv) => {
		const before = await model(conv);
		const after = foldNormalization(before);
		expect(after.nodes.map(({ op }) => op)).not.toContain("BatchNormalization");
		expect(after.nodes.filter(({ op }) => op === "Conv")).toHaveLength(1);
		expect(after.nodes.every(({ outputs }) => outputs.every((name) => after.refs.has(name)))).toBe(true);
		expect(relativeError(await result(after), await result(before))).toBeLessThan(1e-6);
	},
);

test("a convolution that something else reads stays", async () => {
	const before = await model(["x", "weight"], [node("Add", ["normalized", "between"], "sum")]);
	expect(foldNormalization(before)).toBe(before);
});

test("normalisation with the statistics of the batch stays", async () => {
	const before = await model(["x", "weight"]);
	const training: SpecializedModel = {
		...before,
		nodes: before.nodes.map((n) =>
			n.op === "BatchNormalization" ? { ...n, attributes: { ...n.attributes, training_mode: { int: 1 } } } : n,
		),
	};
	expect(foldNormalization(training)).toBe(training);
});
