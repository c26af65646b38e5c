import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ErrorCode, isRondoError, RondoError } from "@rondo/errors";
import fc from "fast-check";
import * as ort from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Attribute, Model, type Node, Tensor } from "../src/generated/onnx.js";
import { checkGraph } from "../src/graph/check-graph.js";
import { decodeGraph } from "../src/graph/decode.js";
import { importOnnx, importOnnxFile } from "../src/import/import-model.js";

// Files that are damaged or made to do harm: each is refused with a message that names what is wrong, and nothing else happens.

const fixture = (name: string): Uint8Array => readFileSync(fileURLToPath(new URL(`../fixtures/models/${name}`, import.meta.url)));
const SMALL = fixture("binary/torchscript-op17.onnx");
const COMPUTED_SHAPES = fixture("lstm/torchscript-op17.onnx");

const read = (bytes: Uint8Array): unknown => checkGraph(decodeGraph(bytes));
/** What a file that is no valid model may be refused with. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set(["BAD_MODEL", "TOO_LARGE", "INVALID_ARGUMENT", "SHAPE_MISMATCH", "NOT_FINITE"]);

/** Passes what is refused properly; anything else that is thrown fails the test. */
function orRefusal(error: unknown): void {
	if (!isRondoError(error) || !REFUSALS.has(error.code)) throw error;
}

function refusal(work: () => unknown): RondoError {
	try {
		work();
	} catch (error) {
		if (error instanceof RondoError) return error;
		throw error;
	}
	throw new Error("nothing was thrown");
}

describe("bytes", () => {
	test("an empty file holds no graph", () => {
		expect(refusal(() => read(new Uint8Array()))).toMatchObject({ code: "BAD_MODEL", message: expect.stringContaining("no graph") });
	});

	test("random bytes are refused", () => {
		fc.assert(
			fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
				expect(refusal(() => read(bytes)).code).toBe("BAD_MODEL");
			}),
			{ numRuns: 1000, seed: 1 },
		);
	});

	test("a model cut off anywhere is refused", () => {
		for (let length = 0; length < SMALL.length; length++) {
			// The opset comes last in the file: without it nothing can be said of the operators.
			expect(refusal(() => read(SMALL.subarray(0, length))).code, `${length} bytes`).toBe("BAD_MODEL");
		}
	});

	test("each byte of a model changed in turn: read, or refused", () => {
		for (let at = 0; at < SMALL.length; at++) {
			for (const value of [0, 1, 0x7f, 0x80, 0xff, SMALL[at]! ^ 1, SMALL[at]! ^ 8]) {
				try {
					read(SMALL.with(at, value));
				} catch (error) {
					orRefusal(error);
				}
			}
		}
	});

	test.each([
		["fixed sizes", SMALL, "binary-cross-entropy"],
		["computed sizes", COMPUTED_SHAPES, "softmax-cross-entropy"],
	])("single bytes changed, %s: imported, or refused", async (_name, model, loss) => {
		await fc.assert(
			fc.asyncProperty(fc.nat(model.length - 1), fc.nat(255), async (at, value) => {
				await importOnnx(ort, model.with(at, value), { loss }).catch(orRefusal);
			}),
			{ numRuns: 400, seed: 2 },
		);
	});

	test("a small file that would become very many objects is refused before it does", () => {
		const nodes = new Uint8Array(10_000_000);
		for (let i = 0; i < nodes.length; i += 2) nodes[i] = 0x0a;
		const length = [nodes.length & 0x7f, nodes.length >> 7, nodes.length >> 14, nodes.length >> 21].map((part, i) =>
			i < 3 ? (part & 0x7f) | 0x80 : part,
		);
		const bytes = Uint8Array.from([0x3a, ...length]);
		const file = new Uint8Array(bytes.length + nodes.length);
		file.set(bytes);
		file.set(nodes, bytes.length);
		expect(refusal(() => read(file))).toMatchObject({ code: "TOO_LARGE", message: expect.stringContaining("fields") });
	});

	test("graphs in graphs in graphs are refused at some depth", () => {
		let graph: Uint8Array = Uint8Array.of();
		const part = (tag: number, bytes: Uint8Array): Uint8Array =>
			Uint8Array.from([tag, (bytes.length & 0x7f) | 0x80, bytes.length >> 7, ...bytes]);
		for (let depth = 0; depth < 100; depth++) graph = part(0x0a, part(0x2a, part(0x32, graph)));
		expect(refusal(() => read(part(0x3a, graph)))).toMatchObject({ code: "BAD_MODEL", message: expect.stringContaining("nested deeper") });
	});
});

/** A file of the given parts. */
function file(parts: {
	readonly nodes?: readonly Partial<Node>[];
	readonly initializers?: readonly Partial<Tensor>[];
	readonly opset?: number;
	readonly inputs?: Record<string, readonly (number | string | null)[] | undefined>;
	readonly outputs?: readonly string[];
	readonly model?: Partial<Model>;
}): Uint8Array {
	const { nodes = [], initializers = [], opset = 18, inputs = { x: ["batch", 4] }, outputs = ["y"], model = {} } = parts;
	const dimension = (size: number | string | null) =>
		size === null ? {} : typeof size === "number" ? { dimValue: BigInt(size) } : { dimParam: size };
	return Model.encode(
		Model.fromPartial({
			opsetImport: [{ domain: "", version: BigInt(opset) }],
			graph: {
				node: nodes.map((node) => ({ name: "n", ...node })),
				initializer: [...initializers],
				input: Object.entries(inputs).map(([name, dims]) => ({
					name,
					type: { tensorType: { elemType: 1, ...(dims === undefined ? {} : { shape: { dim: dims.map(dimension) } }) } },
				})),
				output: outputs.map((name) => ({ name, type: { tensorType: { elemType: 1 } } })),
			},
			...model,
		}),
	).finish();
}

const floats = (name: string, ...dims: number[]): Partial<Tensor> => ({
	name,
	dims: dims.map(BigInt),
	dataType: 1,
	floatData: Array.from({ length: dims.reduce((product, size) => product * size, 1) }, (_, i) => Math.sin(i + 1)),
});
const product: Partial<Node> = { opType: "MatMul", input: ["x", "w"], output: ["y"] };
const attribute = (value: Partial<Attribute>): Partial<Node> => ({ ...product, attribute: [value as Attribute] });

describe("structure", () => {
	test.each<[string, Parameters<typeof file>[0], ErrorCode, string]>([
		[
			"a cycle",
			{
				nodes: [
					{ name: "a", opType: "Add", input: ["x", "q"], output: ["p"] },
					{ name: "b", opType: "Exp", input: ["p"], output: ["q"] },
					{ opType: "Exp", input: ["q"], output: ["y"] },
				],
			},
			"BAD_MODEL",
			'a cycle through Add node "a", Exp node "b"',
		],
		["a missing initializer", { nodes: [product] }, "BAD_MODEL", 'MatMul node "n" reads "w"'],
		["an output that nothing makes", { nodes: [] }, "BAD_MODEL", 'output "y" is made by no node'],
		["no outputs", { nodes: [product], initializers: [floats("w", 4, 2)], outputs: [] }, "BAD_MODEL", "no outputs"],
		["a value made twice", { nodes: [product, product], initializers: [floats("w", 4, 2)] }, "BAD_MODEL", 'value "y" is made twice'],
		["an initializer twice", { initializers: [floats("w", 4, 2), floats("w", 4, 2)] }, "BAD_MODEL", '"w" occurs twice'],
		["a name of ours", { nodes: [product], initializers: [floats("w", 4, 2), floats("rondo/c0", 1)] }, "BAD_MODEL", '"rondo/c0"'],
		["a name without end", { nodes: [{ ...product, name: "n".repeat(1e6) }] }, "BAD_MODEL", "has 1000000 characters"],
		["an initializer without a name", { initializers: [floats("", 2)] }, "BAD_MODEL", "has no name"],
		["too little data", { initializers: [{ ...floats("w", 4, 2), dims: [4n, 3n] }] }, "BAD_MODEL", "dimensions [4, 3] need 12"],
		[
			"too little raw data",
			{ initializers: [{ name: "w", dataType: 1, dims: [4n, 3n], rawData: new Uint8Array(47) }] },
			"BAD_MODEL",
			"47 bytes of data; float32 of dimensions [4, 3] needs 48",
		],
		["giant dimensions", { initializers: [{ ...floats("w", 1), dims: [2n ** 31n, 2n ** 31n] }] }, "BAD_MODEL", "at most 2^31 elements"],
		["negative dimensions", { initializers: [{ ...floats("w", 1), dims: [-1n, -1n] }] }, "BAD_MODEL", "non-negative"],
		["a thousand dimensions", { initializers: [{ ...floats("w", 1), dims: Array(1000).fill(1n) }] }, "BAD_MODEL", "1000 dimensions"],
		["an input of giant size", { nodes: [product], inputs: { x: [2 ** 40, 4] }, initializers: [floats("w", 4, 2)] }, "BAD_MODEL", "2^31"],
		["texts", { initializers: [{ name: "w", dataType: 8, dims: [1n], stringData: [Uint8Array.of(65)] }] }, "BAD_MODEL", "element type 8"],
		["a graph inside", { nodes: [attribute({ name: "body", type: 5 })] }, "BAD_MODEL", "control flow"],
		["an attribute of unknown kind", { nodes: [attribute({ name: "a", type: 77 })] }, "BAD_MODEL", "of kind 77"],
		["an attribute without its tensor", { nodes: [attribute({ name: "a", type: 4 })] }, "BAD_MODEL", "holds no tensor"],
		["opset 12", { opset: 12 }, "BAD_MODEL", "opsets 13 to 21 are supported"],
		["opset 22", { opset: 22 }, "BAD_MODEL", "is of opset 22"],
		["no opset", { model: { opsetImport: [] } }, "BAD_MODEL", "which opset"],
		["functions", { model: { functions: [{ name: "f", domain: "own" }] } }, "BAD_MODEL", "own::f"],
	])("%s", (_name, parts, code, message) => {
		const error = refusal(() => read(file(parts)));
		expect(error.message).toContain(message);
		expect(error.code).toBe(code);
		expect(error.message.length).toBeLessThan(500);
	});

	test("a sparse initializer", () => {
		const bytes = file({});
		const model = Model.decode(bytes);
		model.graph!.sparseInitializer.push({ values: Tensor.fromPartial({ name: "s" }) });
		expect(refusal(() => read(Model.encode(model).finish())).message).toContain('initializer "s" is sparse');
	});

	test("100,000 nodes in reverse order are sorted", () => {
		const length = 100_000;
		const nodes = Array.from(
			{ length },
			(_, i): Partial<Node> => ({ opType: "Add", input: [`v${length - 1 - i}`, "v0"], output: [`v${length - i}`] }),
		);
		const { nodes: sorted } = checkGraph(decodeGraph(file({ nodes, inputs: { v0: [1] }, outputs: [`v${length}`] })));
		expect(sorted[0]!.outputs).toEqual(["v1"]);
		expect(sorted.at(-1)!.outputs).toEqual([`v${length}`]);
	});
});

describe("meaning", () => {
	const imported = (parts: Parameters<typeof file>[0]): Promise<unknown> => importOnnx(ort, file(parts), { loss: "mse" });
	const weight = floats("w", 4, 2);

	test.each<[string, Parameters<typeof file>[0], ErrorCode, string]>([
		["an operator that does not exist", { nodes: [{ ...product, opType: "Fold" }], initializers: [weight] }, "BAD_MODEL", "Fold"],
		["an unknown domain", { nodes: [{ ...product, domain: "own.ops" }], initializers: [weight] }, "BAD_MODEL", "own.ops"],
		[
			"matrices that do not go together",
			{ nodes: [product], initializers: [floats("w", 3, 2)] },
			"INVALID_ARGUMENT",
			"does not run on inputs x [2, 4], w [3, 2]",
		],
		["no weights", { nodes: [{ opType: "Exp", input: ["x"], output: ["y"] }] }, "INVALID_ARGUMENT", "export_params"],
		[
			"a name beyond ASCII",
			{ nodes: [{ ...product, input: ["x", "wäg"] }], initializers: [floats("wäg", 4, 2)] },
			"INVALID_ARGUMENT",
			"wäg",
		],
		[
			"NaN",
			{ nodes: [product], initializers: [{ ...weight, floatData: [...weight.floatData!.slice(1), Number.NaN] }] },
			"NOT_FINITE",
			'weight "w" holds NaN at element 7',
		],
		[
			"an input without a shape",
			{ nodes: [product], inputs: { x: undefined }, initializers: [weight] },
			"BAD_MODEL",
			'input "x" has no shape',
		],
		["a scalar input", { nodes: [{ ...product, opType: "Mul" }], inputs: { x: [] }, initializers: [weight] }, "BAD_MODEL", "no dimensions"],
		[
			"random numbers",
			{
				nodes: [
					{ ...product, output: ["p"] },
					{ opType: "RandomUniformLike", input: ["p"], output: ["r"] },
					{ opType: "Mul", input: ["p", "r"], output: ["y"] },
				],
				initializers: [weight],
			},
			"BAD_MODEL",
			"draws random numbers at every run; export the model in evaluation mode",
		],
		[
			"two open sizes",
			{ nodes: [product], inputs: { x: ["batch", "height", null, 4] }, initializers: [weight] },
			"BAD_MODEL",
			"[batch, height, ?, 4]: besides the batch at most one",
		],
	])("%s", async (_name, parts, code, message) => {
		const error = await imported(parts).catch((reason: unknown) => reason);
		expect(error).toBeInstanceOf(RondoError);
		expect((error as RondoError).message).toContain(message);
		expect((error as RondoError).code).toBe(code);
	});

	test("an open size that needs more than a few elements is found", async () => {
		const nodes: Partial<Node>[] = [
			{ opType: "Conv", input: ["x", "w"], output: ["y"], attribute: [{ name: "kernel_shape", type: 7, ints: [9n] } as Attribute] },
		];
		await expect(imported({ nodes, inputs: { x: ["batch", 1, "time"] }, initializers: [floats("w", 2, 1, 9)] })).resolves.toMatchObject({
			manifest: { trainer: "gradient" },
		});
	});
});

describe("external data", () => {
	let folder: string;
	beforeAll(() => {
		folder = mkdtempSync(join(tmpdir(), "rondo-model-"));
		mkdirSync(join(folder, "model/inner"), { recursive: true });
		writeFileSync(join(folder, "secret"), new Uint8Array(32));
		writeFileSync(join(folder, "model/data"), new Uint8Array(new Float32Array(9).fill(0.5).buffer));
		symlinkSync(join(folder, "secret"), join(folder, "model/link"));
		symlinkSync(folder, join(folder, "model/out"));
	});
	afterAll(() => rmSync(folder, { recursive: true }));

	const imported = (entries: Record<string, string>): Promise<unknown> => {
		const externalData = Object.entries(entries).map(([key, value]) => ({ key, value }));
		const model = join(folder, "model/m.onnx");
		writeFileSync(
			model,
			file({ nodes: [product], initializers: [{ name: "w", dims: [4n, 2n], dataType: 1, dataLocation: 1, externalData }] }),
		);
		return importOnnxFile(ort, model, { loss: "mse" });
	};

	test("beside the model is read", async () => {
		await expect(imported({ location: "data", offset: "4", length: "32" })).resolves.toMatchObject({
			weights: new Float32Array(8).fill(0.5),
		});
		await expect(imported({ location: "inner/../data", offset: "4" })).resolves.toBeDefined();
	});

	test.each<[Record<string, string>, ErrorCode, string]>([
		[{ location: "../secret" }, "BAD_MODEL", "must lie in the model's folder"],
		[{ location: "inner/../../secret" }, "BAD_MODEL", "must lie in the model's folder"],
		[{ location: "/etc/hostname" }, "BAD_MODEL", "must lie in the model's folder"],
		[{ location: "data\0" }, "BAD_MODEL", "must lie in the model's folder"],
		[{ location: "link" }, "BAD_MODEL", "is a link out of the model's folder"],
		[{ location: "out/secret" }, "BAD_MODEL", "is a link out of the model's folder"],
		[{ location: "inner" }, "BAD_MODEL", "is no file"],
		[{ location: "." }, "BAD_MODEL", "must lie in the model's folder"],
		[{ location: "absent" }, "NOT_FOUND", "absent"],
		[{ location: "data", offset: "-4", length: "32" }, "BAD_MODEL", 'offset of its external data must be a non-negative integer, got "-4"'],
		[{ location: "data", offset: "1e1", length: "32" }, "BAD_MODEL", "non-negative integer"],
		[{ location: "data", offset: "8", length: "32" }, "BAD_MODEL", "from byte 8 to 40, but has 36 bytes"],
		[{ location: "data", offset: "99999999999999" }, "BAD_MODEL", "but has 36 bytes"],
		[{ location: "data", length: "28" }, "BAD_MODEL", "gives 28 bytes from 0 on; the tensor needs 32"],
		[{ offset: "0" }, "BAD_MODEL", "does not say which"],
	])("%j", async (entries, code, message) => {
		const error = (await imported(entries).catch((reason: unknown) => reason)) as RondoError;
		expect(error).toBeInstanceOf(RondoError);
		expect(error.message).toContain(message);
		expect(error.message).toContain('initializer "w"');
		expect(error.code).toBe(code);
	});

	test("without a folder there are none", async () => {
		const bytes = fixture("mlp/external.onnx");
		await expect(importOnnx(ort, bytes, { loss: "mse" })).rejects.toMatchObject({
			code: "BAD_MODEL",
			message: expect.stringContaining("read the model from its folder"),
		});
	});
});
