import { webgpuDevice } from "@rondo/testkit/webgpu-device";
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { encodeGraph } from "../src/graph/encode.js";
import { type Attributes, type Graph, int64s, type Tensor } from "../src/graph/ir.js";
import { type Device, openSession } from "../src/session/device.js";
import { rewriteForGpu } from "../src/session/rewrite-for-gpu.js";
import { specialize } from "../src/specialize.js";
import { outputGraph } from "../src/training-graph.js";
import { relativeError } from "./compare.js";
import { fed, rewrittenErrors, sideBySide } from "./merged-cases.js";
import { opCases } from "./op-cases.js";
import { openWebgpu } from "./open-webgpu.js";

// Graphs as they are rewritten for GPUs mean what they meant. Checked on the CPU, where every operator is known, so that a machine
// without a device checks the rewriting too; on a device where there is one.

const device = await webgpuDevice(openWebgpu);

test.each([...sideBySide(opCases)])("rewritten cases of %s", async (_name, cases) => {
	const errors = await rewrittenErrors(cases, { device: "cpu" });
	expect(cases.filter((_, i) => !(errors[i]! < 1e-4)).map(({ name }) => name)).toEqual([]);
});

const floats = (dims: readonly number[], ...data: readonly number[]): Tensor => ({ type: "float32", dims, data: Float32Array.from(data) });
const whole = (dims: readonly number[], ...data: readonly number[]): Tensor => ({ ...int64s(...data), dims });
const truths = (dims: readonly number[], ...data: readonly number[]): Tensor => ({ type: "bool", dims, data: Uint8Array.from(data) });
/** Numbers without a pattern. */
const waves = (...dims: readonly number[]): Tensor =>
	floats(dims, ...Array.from({ length: dims.reduce((size, dim) => size * dim, 1) }, (_, i) => Math.sin(1.7 * (i + 1) ** 2)));

interface Case {
	readonly op: string;
	readonly inputs: readonly Tensor[];
	/** Inputs after these are constants of the graph. */
	readonly fed?: number;
	readonly attributes?: Attributes;
	readonly outputs?: number;
	readonly opset?: number;
}

const HALVES = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, -0.49999997, 0.49999997, 8388609, -3.7];
const INT = (int: number) => ({ int });

const CASES: readonly (readonly [name: string, c: Case])[] = [
	["Sign of whole numbers", { op: "Sign", inputs: [whole([4], -3, 0, 5, 7)] }],
	["Neg of whole numbers", { op: "Neg", inputs: [whole([4], -3, 0, 5, 7)] }],
	["Abs of whole numbers", { op: "Abs", inputs: [whole([4], -3, 0, 5, 7)] }],
	["Round of halves", { op: "Round", inputs: [floats([10], ...HALVES)] }],
	["Mod", { op: "Mod", inputs: [whole([6], 7, -7, 7, -7, 6, 0), whole([6], 3, 3, -3, -3, 3, 5)], fed: 1 }],
	["Mod as in C", { op: "Mod", inputs: [whole([4], 7, -7, 7, -7), whole([4], 3, 3, -3, -3)], fed: 1, attributes: { fmod: INT(1) } }],
	["Or", { op: "Or", inputs: [truths([4], 0, 0, 1, 1), truths([4], 0, 1, 0, 1)] }],
	["Xor", { op: "Xor", inputs: [truths([4], 0, 0, 1, 1), truths([4], 0, 1, 0, 1)] }],
	["Equal of truth values", { op: "Equal", inputs: [truths([4], 0, 0, 1, 1), truths([4], 0, 1, 0, 1)] }],
	["IsInf", { op: "IsInf", inputs: [floats([4], 1, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 3e38)] }],
	[
		"IsInf above",
		{ op: "IsInf", inputs: [floats([3], 1, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY)], attributes: { detect_negative: INT(0) } },
	],
	["Celu", { op: "Celu", inputs: [waves(3, 4)], attributes: { alpha: { float: 0.7 } } }],
	["Sin far out", { op: "Sin", inputs: [floats([6], 1e-3, 3, -31.4, 100.5, 1000.25, -2000.125)] }],
	["Cos far out", { op: "Cos", inputs: [floats([6], 1e-3, 3, -31.4, 100.5, 1000.25, -2000.125)] }],
	[
		"OneHot",
		{ op: "OneHot", inputs: [whole([2, 2], 0, 2, -1, 1), whole([], 3), floats([2], -0.5, 2)], fed: 1, attributes: { axis: INT(1) } },
	],
	["ArgMax", { op: "ArgMax", inputs: [floats([2, 4], 1, 3, 3, 0, -1, -5, -1, -2)], attributes: { axis: INT(1), keepdims: INT(0) } }],
	[
		"ArgMin, last of equals",
		{ op: "ArgMin", inputs: [floats([2, 4], 1, 3, 1, 4, -1, -5, 0, -5)], attributes: { axis: INT(-1), select_last_index: INT(1) } },
	],
	["LogSoftmax of large numbers", { op: "LogSoftmax", inputs: [floats([2, 3], 1000, 999, 0, -1000, -1001, -1003)] }],
	[
		"ReduceLogSumExp of large numbers",
		{ op: "ReduceLogSumExp", inputs: [floats([2, 3], 100, 99, 0, -100, -101, -103), whole([1], 1)], fed: 1 },
	],
	[
		"Slice of whole numbers",
		{
			op: "Slice",
			inputs: [whole([3, 4], ...Array(12).keys()), whole([2], 2, 1), whole([2], -9, 9), whole([2], 0, 1), whole([2], -2, 2)],
			fed: 1,
		},
	],
	[
		"Slice backwards from beyond the end",
		{ op: "Slice", inputs: [waves(5, 3), whole([1], 9), whole([1], 0), whole([1], 0), whole([1], -2)], fed: 1 },
	],
	["Transpose of truth values", { op: "Transpose", inputs: [truths([2, 3], 1, 0, 0, 1, 1, 0)], attributes: { perm: { ints: [1, 0] } } }],
	["Concat of truth values", { op: "Concat", inputs: [truths([1, 3], 1, 0, 0), truths([1, 3], 1, 1, 0)], attributes: { axis: INT(0) } }],
	[
		"Split into ten",
		{ op: "Split", inputs: [waves(2, 11), whole([10], 1, 1, 1, 1, 2, 1, 1, 1, 1, 1)], fed: 1, outputs: 10, attributes: { axis: INT(1) } },
	],
	[
		"Split into nine of whole numbers",
		{ op: "Split", inputs: [whole([18], ...Array(18).keys())], outputs: 9, attributes: { num_outputs: INT(9) }, opset: 18 },
	],
	[
		"GatherElements of whole numbers",
		{ op: "GatherElements", inputs: [whole([2, 2], 5, 6, 7, 8), whole([2, 1], 1, 0)], attributes: { axis: INT(1) } },
	],
	["ScatterND of whole numbers", { op: "ScatterND", inputs: [whole([4], 1, 2, 3, 4), whole([2, 1], 3, 0), whole([2], 9, 8)] }],
	[
		"Gemm with a scalar and a transposed operand",
		{ op: "Gemm", inputs: [waves(3, 2), waves(3, 4), floats([], 0.5)], attributes: { transA: INT(1) } },
	],
	[
		"Conv in three dimensions, groups",
		{
			op: "Conv",
			inputs: [waves(1, 4, 3, 4, 3), waves(4, 2, 2, 2, 2), waves(4)],
			attributes: { group: INT(2), strides: { ints: [1, 2, 1] }, pads: { ints: [0, 1, 0, 1, 0, 0] } },
		},
	],
	[
		"ConvTranspose in three dimensions, groups",
		{
			op: "ConvTranspose",
			inputs: [waves(1, 4, 2, 3, 2), waves(4, 3, 2, 2, 3), waves(6)],
			attributes: {
				group: INT(2),
				strides: { ints: [2, 1, 2] },
				dilations: { ints: [1, 2, 1] },
				pads: { ints: [1, 0, 0, 0, 1, 2] },
				output_padding: { ints: [1, 0, 0] },
			},
		},
	],
	[
		"Cast of float64",
		{ op: "Cast", inputs: [{ type: "float64", dims: [3], data: Float64Array.of(1.5, -2.7, 3) }], attributes: { to: INT(7) } },
	],
];

/** The operator, its results cast to float32. */
function graphOf({ op, inputs, attributes = {}, outputs = 1, opset = 18, fed: count = inputs.length }: Case): Graph {
	const results = Array.from({ length: outputs }, (_, i) => `y${i}`);
	return {
		opset,
		domains: {},
		inputs: inputs.slice(0, count).map(({ type, dims }, i) => ({ name: `x${i}`, type, dims })),
		outputs: results.map((name) => ({ name: `${name}/float`, type: "float32", dims: undefined })),
		initializers: new Map(inputs.slice(count).map((tensor, i) => [`x${count + i}`, tensor])),
		nodes: [
			{ op, domain: "", name: "", inputs: inputs.map((_, i) => `x${i}`), outputs: results, attributes },
			...results.map((name) => ({
				op: "Cast",
				domain: "",
				name: "",
				inputs: [name],
				outputs: [`${name}/float`],
				attributes: { to: INT(1) },
			})),
		],
	};
}

async function valuesOf(graph: Graph, { inputs }: Case, where: Device): Promise<readonly Float32Array[]> {
	const session = await openSession(ort, encodeGraph(graph), where, { strict: true });
	try {
		const feeds = Object.fromEntries(
			graph.inputs.map(({ name, type }) => {
				const { type: given, dims, data } = inputs[Number(name.slice(1))]!;
				return [name, fed(new ort.Tensor(given as "float32", data as Float32Array, dims), type)];
			}),
		);
		const results = await session.run(feeds);
		return graph.outputs.map(({ name }) => results[name]!.data as Float32Array);
	} finally {
		await session.release();
	}
}

describe("rewritten operators", () => {
	test.each(CASES)("%s", async (_name, c) => {
		const graph = graphOf(c);
		const wanted = await valuesOf(graph, c, "cpu");
		const sizes = new Map(graph.inputs.map(({ name }, i) => [name, c.inputs[i]!.dims]));
		const rewritten = rewriteForGpu(outputGraph(await specialize(ort, graph, { inputs: sizes })));
		for (const where of device === undefined ? (["cpu"] as const) : (["cpu", "webgpu"] as const)) {
			const found = await valuesOf(rewritten, c, where);
			for (const [i, values] of wanted.entries()) expect(relativeError(found[i]!, values), `result ${i} on ${where}`).toBeLessThan(1e-6);
		}
	});
});
