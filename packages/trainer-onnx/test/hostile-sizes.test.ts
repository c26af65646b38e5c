import { deflateRawSync } from "node:zlib";
import { RondoError } from "@rondo/errors";
import { layoutOf } from "@rondo/tensors";
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { encodeGraph } from "../src/graph/encode.js";
import { type Attributes, type Graph, int64s, type Node, scalar, type Tensor } from "../src/graph/ir.js";
import { packGraph, readManifest } from "../src/model.js";
import { specialize } from "../src/specialize.js";

// Models whose values would take more memory than there is, and manifests of runs that are not as they should be.

/** A graph that ends in `y`. */
function graphOf(nodes: readonly Partial<Node>[], constants: Record<string, Tensor> = {}, inputs: Graph["inputs"] = [X]): Graph {
	return {
		opset: 18,
		domains: {},
		inputs,
		outputs: [{ name: "y", type: "float32", dims: undefined }],
		initializers: new Map(Object.entries(constants)),
		nodes: nodes.map((node): Node => ({ op: "Exp", domain: "", name: "", inputs: ["x"], outputs: ["y"], attributes: {}, ...node })),
	};
}
const X = { name: "x", type: "float32", dims: [2, 4] } as const;
const node = (op: string, inputs: readonly string[], output: string, attributes: Attributes = {}): Partial<Node> => ({
	op,
	inputs,
	outputs: [output],
	attributes,
});
const sized = (graph: Graph, dims: readonly number[] = [2, 4], maxBytes = 1e9) =>
	specialize(ort, graph, { inputs: new Map([["x", dims]]), maxBytes });
const ones = (...dims: number[]): Tensor => ({
	type: "float32",
	dims,
	data: new Float32Array(dims.reduce((product, size) => product * size, 1)).fill(1),
});

describe("sizes", () => {
	/** 2¹⁷ · 2¹⁷ float32 are 64 GiB. */
	const huge = int64s(2 ** 17, 2 ** 17);
	const petabytes = int64s(2 ** 25, 2 ** 25);

	test.each<[string, Graph]>([
		[
			"ConstantOfShape",
			graphOf([node("ConstantOfShape", ["s"], "c"), node("ReduceSum", ["c"], "t"), node("Add", ["x", "t"], "y")], { s: huge }),
		],
		[
			"Expand",
			graphOf([node("Expand", ["one", "s"], "c"), node("ReduceMax", ["c"], "t"), node("Add", ["x", "t"], "y")], {
				s: petabytes,
				one: ones(1),
			}),
		],
		["Tile", graphOf([node("Tile", ["x", "s"], "y")], { s: petabytes })],
		[
			"Range",
			graphOf([node("Range", ["from", "to", "step"], "c"), node("ReduceSum", ["c"], "t"), node("Add", ["x", "t"], "y")], {
				from: scalar("float32", 0),
				to: scalar("float32", 1e15),
				step: scalar("float32", 1),
			}),
		],
		[
			"Resize",
			graphOf([node("Resize", ["x", "", "scales"], "y")], { scales: { type: "float32", dims: [2], data: Float32Array.of(1e6, 1e6) } }),
		],
		["Pad", graphOf([node("Pad", ["x", "pads"], "y")], { pads: int64s(0, 0, 2 ** 26, 2 ** 26) })],
		[
			"OneHot",
			graphOf([node("Cast", ["x"], "i", { to: { int: 7 } }), node("OneHot", ["i", "depth", "values"], "y")], {
				depth: scalar("int64", 2 ** 40),
				values: { type: "float32", dims: [2], data: Float32Array.of(0, 1) },
			}),
		],
		[
			"MatMul",
			graphOf([node("MatMul", ["column", "row"], "c"), node("ReduceSum", ["c"], "t"), node("Add", ["x", "t"], "y")], {
				column: ones(2 ** 17, 1),
				row: ones(1, 2 ** 17),
			}),
		],
		// Sizes that are computed, so that nothing can be inferred from the file alone.
		[
			"ConstantOfShape of a product",
			graphOf(
				[node("Mul", ["s", "s"], "p"), node("ConstantOfShape", ["p"], "c"), node("ReduceSum", ["c"], "t"), node("Add", ["x", "t"], "y")],
				{
					s: int64s(2 ** 10, 2 ** 10),
				},
			),
		],
		[
			"ConstantOfShape of powers of the batch",
			graphOf(
				[
					node("Shape", ["x"], "s"),
					node("Mul", ["s", "k"], "p"),
					node("Mul", ["p", "p"], "q"),
					node("ConstantOfShape", ["q"], "c"),
					node("ReduceSum", ["c"], "t"),
					node("Add", ["x", "t"], "y"),
				],
				{ k: int64s(2 ** 10, 2 ** 10) },
			),
		],
		[
			"Reshape to what was read off, then an outer product",
			graphOf(
				[
					node("Shape", ["w"], "n"),
					node("Concat", ["n", "one"], "rows", { axis: { int: 0 } }),
					node("Concat", ["one", "n"], "columns", { axis: { int: 0 } }),
					node("Reshape", ["w", "rows"], "a"),
					node("Reshape", ["w", "columns"], "b"),
					node("MatMul", ["a", "b"], "c"),
					node("ReduceSum", ["c"], "t"),
					node("Add", ["x", "t"], "y"),
				],
				{ w: ones(2 ** 18), one: int64s(1) },
			),
		],
		[
			"as many indices as elements, then an outer product of them",
			graphOf(
				[
					node("NonZero", ["w"], "i"),
					node("Cast", ["i"], "f", { to: { int: 1 } }),
					node("Transpose", ["f"], "g", { perm: { ints: [1, 0] } }),
					node("MatMul", ["g", "f"], "c"),
					node("ReduceSum", ["c"], "t"),
					node("Add", ["x", "t"], "y"),
				],
				{ w: ones(2 ** 18) },
			),
		],
		[
			"many values",
			graphOf(
				Array.from({ length: 400 }, (_, i) => node("Exp", [i === 0 ? "e" : `v${i}`], i === 399 ? "y" : `v${i + 1}`))
					.concat([node("Expand", ["x", "s"], "e")])
					.toSorted((a) => (a.op === "Expand" ? -1 : 0)),
				{ s: int64s(2 ** 18, 2, 4) },
			),
		],
	])("%s is refused while it does not exist", async (_name, graph) => {
		const before = process.memoryUsage().rss;
		const error = (await sized(graph).catch((reason: unknown) => reason)) as RondoError;
		expect(error).toBeInstanceOf(RondoError);
		expect(error).toMatchObject({ code: "TOO_LARGE", details: { limit: 1e9 } });
		expect(process.memoryUsage().rss - before).toBeLessThan(300e6);
	});

	test("the message says which node makes it, and how large", async () => {
		await expect(sized(graphOf([{ ...node("Tile", ["x", "s"], "y"), name: "blow" }], { s: petabytes }))).rejects.toThrow(
			`the result "y" of Tile node "blow" of dimensions [${2 ** 26}, ${2 ** 27}]`,
		);
	});

	test("sizes that follow from data are refused", async () => {
		const cast = node("Cast", ["x"], "i", { to: { int: 7 } });
		await expect(
			sized(
				graphOf([cast, node("ReduceMax", ["i"], "m"), node("Reshape", ["m", "one"], "s"), node("Slice", ["x", "zero", "s"], "y")], {
					one: int64s(1),
					zero: int64s(0),
				}),
			),
		).rejects.toMatchObject({
			code: "BAD_MODEL",
			message: expect.stringMatching(/^Slice node "y": the size of its result depends on data/),
		});
		await expect(sized(graphOf([node("NonZero", ["x"], "n"), node("Cast", ["n"], "y", { to: { int: 1 } })]))).rejects.toMatchObject({
			code: "BAD_MODEL",
		});
	});

	test("what is computed from sizes is a constant afterwards", async () => {
		const graph = graphOf(
			[
				node("Shape", ["x"], "s"),
				node("Mul", ["s", "k"], "p"),
				node("ConstantOfShape", ["p"], "c", { value: { tensor: { type: "float32", dims: [1], data: Float32Array.of(3) } } }),
				node("ReduceSum", ["c"], "t", { keepdims: { int: 0 } }),
				node("Add", ["x", "t"], "y"),
			],
			{ k: int64s(3, 1) },
		);
		const { nodes, constants, refs } = await sized(graph);
		expect(nodes.map(({ op }) => op)).toEqual(["Add"]);
		expect(constants.get("t")).toEqual({ type: "float32", dims: [], data: Float32Array.of(3 * 6 * 4) });
		expect(refs.get("c")).toMatchObject({ dims: [6, 4] });
	});

	test.each([
		[{}, [2, 3, 5]],
		[{ start: { int: 1 } }, [3, 5]],
		[{ start: { int: -2 }, end: { int: -1 } }, [3]],
		[{ start: { int: -9 }, end: { int: 9 } }, [2, 3, 5]],
		[{ start: { int: 2 }, end: { int: 1 } }, []],
	])("Shape with %j", async (attributes, wanted) => {
		// The size of `s` reaches ConstantOfShape, so it has to be known before anything is run.
		const graph = graphOf(
			[
				node("Shape", ["x"], "s", attributes),
				node("ConstantOfShape", ["s"], "c"),
				node("ReduceSum", ["c"], "t", { keepdims: { int: 0 } }),
				node("Add", ["x", "t"], "y"),
			],
			{},
			[{ ...X, dims: [2, 3, 5] }],
		);
		expect((await sized(graph, [2, 3, 5])).refs.get("c")!.dims).toEqual(wanted);
	});
});

describe("manifests", () => {
	const layout = layoutOf([{ name: "w", shape: [4, 2] }]);
	const graph = graphOf([node("MatMul", ["x", "w"], "y")], {}, [
		{ ...X, dims: ["batch", 4] },
		{ name: "w", type: "float32", dims: [4, 2] },
	]);
	const manifest = { format: "onnx", loss: "mse", input: "x", output: "y", trainer: "gradient", graph: packGraph(graph) };
	const code = (change: unknown, wantedLayout = layout): unknown => {
		try {
			readManifest(change, wantedLayout);
			return "accepted";
		} catch (error) {
			if (!(error instanceof RondoError)) throw error;
			return [error.code, error.message];
		}
	};

	test("as it should be", () => expect(code(manifest)).toBe("accepted"));

	test.each<[string, unknown, string, string]>([
		["nothing", null, "INVALID_ARGUMENT", 'manifest.format must be "onnx", got undefined'],
		["a text", "onnx", "INVALID_ARGUMENT", "manifest.format"],
		["another format", { ...manifest, format: "tfjs" }, "INVALID_ARGUMENT", 'got "tfjs"'],
		["no graph", { ...manifest, graph: undefined }, "INVALID_ARGUMENT", "manifest.graph must be a string"],
		["a graph that is none", { ...manifest, graph: "AAAA" }, "INVALID_ARGUMENT", "manifest.graph is not deflated base64"],
		["no loss", { ...manifest, loss: 3 }, "INVALID_ARGUMENT", "manifest.loss must be a string, got 3"],
		["an unknown loss", { ...manifest, loss: "hinge" }, "INVALID_ARGUMENT", "manifest.loss must be one of"],
		["an output that is none", { ...manifest, output: "x" }, "INVALID_ARGUMENT", "manifest.output must be an output of the graph"],
		["an input that is none", { ...manifest, input: "y" }, "INVALID_ARGUMENT", "manifest.input must be an input of the graph"],
		[
			"a weight as input",
			{ ...manifest, input: "w" },
			"INVALID_ARGUMENT",
			"manifest.input must be an input of the graph that is no weight",
		],
		["a weight as labels", { ...manifest, labels: "w" }, "INVALID_ARGUMENT", "manifest.labels"],
		[
			"weights of integers",
			{ ...manifest, graph: packGraph({ ...graph, inputs: [graph.inputs[0]!, { name: "w", type: "int32", dims: [4, 2] }] }) },
			"SHAPE_MISMATCH",
			'weight "w" is of type int32',
		],
	])("%s", (_name, change, wantedCode, message) => {
		expect(code(change)).toEqual([wantedCode, expect.stringContaining(message)]);
	});

	test("another layout", () => {
		expect(code(manifest, layoutOf([{ name: "w", shape: [2, 4] }]))).toEqual(["SHAPE_MISMATCH", expect.stringContaining("[2,4]")]);
		expect(code(manifest, layoutOf([{ name: "v", shape: [4, 2] }]))).toEqual(["SHAPE_MISMATCH", expect.stringContaining("no such weight")]);
	});

	test("a graph that unpacks to a gigabyte", () => {
		const packed = deflateRawSync(new Uint8Array(2 ** 30)).toString("base64");
		expect(packed.length).toBeLessThan(2 ** 21);
		const before = process.memoryUsage().rss;
		expect(code({ ...manifest, graph: packed })).toEqual(["INVALID_ARGUMENT", expect.stringContaining("at most 67108864 bytes")]);
		expect(process.memoryUsage().rss - before).toBeLessThan(300e6);
	});
});

test("a graph whose constants no file can hold is not written", () => {
	const data = new Float32Array(2 ** 28);
	const initializers = new Map(["a", "b"].map((name): [string, Tensor] => [name, { type: "float32", dims: [2 ** 28], data }]));
	expect(() => encodeGraph({ ...graphOf([]), initializers })).toThrow(/^the graph's constants take 2147483648 bytes/);
});
