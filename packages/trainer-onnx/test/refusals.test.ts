import { expect, test } from "vitest";
import type { Attribute } from "../src/graph/ir.js";
import { type OpCase, opCases } from "./op-cases.js";
import { gradientCase } from "./run-case.js";

// Forms of known operators that have no gradient: each refusal names node and reason.

const caseOf = (name: string): OpCase => opCases.find((c) => c.name === name) ?? expect.fail(`no case ${name}`);

/** A case whose only node has further attributes, or other inputs. */
const changed = (name: string, attributes: { readonly [name: string]: Attribute }, inputs?: readonly string[]): OpCase => {
	const c = caseOf(name);
	const [node] = c.nodes;
	return { ...c, nodes: [{ ...node!, attributes: { ...node!.attributes, ...attributes }, inputs: inputs ?? node!.inputs }] };
};

const withInput = (c: OpCase, input: OpCase["inputs"][number]): OpCase => ({ ...c, inputs: [...c.inputs, input] });

const lengths = { name: "lengths", type: "int32", dims: [2], data: [3, 2], constant: true } as const;
const weight = { name: "weight", type: "float32", dims: [5], data: [1, 2, 1, 2, 1], gradient: [1, 1, 1, 1, 1] } as const;
const on = { name: "on", type: "bool", dims: [], data: [1], constant: true } as const;

test.each<[string, OpCase, RegExp]>([
	[
		"other activations",
		changed("LSTM: forward", { activations: { strings: ["Sigmoid", "Relu", "Tanh"] } }),
		/activations Sigmoid, Relu, Tanh/,
	],
	["clipped gates", changed("GRU: forward", { clip: { float: 3 } }), /clips/],
	["coupled gates", changed("LSTM: forward", { input_forget: { int: 1 } }), /input_forget/],
	[
		"sequences that end early",
		withInput(changed("LSTM: forward", {}, ["x", "w", "r", "b", "lengths"]), lengths),
		/before the last of 3 steps; .*mask the loss/,
	],
	["antialias", changed("Resize: linear, smaller", { antialias: { int: 1 } }), /antialias/],
	[
		"a policy for the aspect ratio",
		changed("Resize: nearest by sizes", { keep_aspect_ratio_policy: { string: "not_larger" } }),
		/not_larger/,
	],
	[
		"trained class weights",
		withInput(changed("SoftmaxCrossEntropyLoss: sum", {}, ["x", "target", "weight"]), weight),
		/class weights must not depend/,
	],
	[
		"elements dropped at random",
		withInput(
			{
				...changed("Dropout: inference, with a mask", {}, ["x", "ratio", "on"]),
				// A mask that nobody reads would make it one of those that training can turn on.
				outputs: [...caseOf("Dropout: inference, with a mask").outputs, { name: "mask", dims: [3, 4], data: [] }],
			},
			on,
		),
		/at random/,
	],
	["a diagonal", changed("Einsum: ij->ji", { equation: { string: "ii->i" } }), /diagonal/],
])("%s", async (_name, c, message) => {
	const square = c.op === "Einsum" ? { ...c, inputs: c.inputs.map((input) => ({ ...input, dims: [2, 2], data: [1, 2, 3, 4] })) } : c;
	const refusal = gradientCase({ ...square, opset: Math.max(18, c.opset) }, "float32");
	await expect(refusal).rejects.toMatchObject({ code: "NOT_DIFFERENTIABLE" });
	await expect(refusal).rejects.toThrow(message);
});
