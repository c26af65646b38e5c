import { parseEquation } from "../../gradients/equation.js";
import { intOf, stringOf } from "../../gradients/rule.js";
import { axisOf, type GraphBuilder, type Ref, range } from "../../graph/graph-builder.js";
import type { ElementType } from "../../graph/ir.js";
import { narrowType, numbersAt, type Rewrite, type Rewrites, type Rewriting } from "./rewriting.js";

/** Elements along an axis; Slice is there for float32 only. */
export function elements(g: GraphBuilder, x: Ref, axis: number, from: number, count: number, step = 1): Ref {
	if (x.type === "float32" && step > 0) return g.slice(x, axis, from, from + (count - 1) * step + 1, step);
	const places = g.int64s(...range(count).map((i) => from + i * step));
	return g.node("Gather", [x, places], x.type, x.dims.with(axis, count), { axis: { int: axis } });
}

/** A slice of whole numbers or truth values, or one that goes backwards: by −2 the webgpu provider takes wrong elements. */
const slice: Rewrite = (r) => {
	const x = r.input(0);
	const starts = numbersAt(r, 1);
	const axes = r.optional(3) === undefined ? starts?.map((_, i) => i) : numbersAt(r, 3);
	const steps = r.optional(4) === undefined ? starts?.map(() => 1) : numbersAt(r, 4);
	if (x.type === "float32" && steps?.every((step) => step > 0)) return undefined;
	const { dims } = r.output()!;
	if (starts === undefined || axes === undefined || steps === undefined || dims.includes(0)) return undefined;
	return [
		axes.reduce((cut, given, i) => {
			const axis = axisOf(given, x.dims.length);
			const [size, step] = [x.dims[axis]!, steps[i]!];
			const start = starts[i]! < 0 ? starts[i]! + size : starts[i]!;
			const first = Math.min(Math.max(start, 0), step > 0 ? size : size - 1);
			return dims[axis] === size && step === 1 ? cut : elements(r.g, cut, axis, first, dims[axis]!, step);
		}, x),
	];
};

/** WebGPU promises a shader eight buffers: one for the input, and a result in each of the others. */
const MAX_PIECES = 7;

const split: Rewrite = (r) => {
	const { node, g } = r;
	if (node.outputs.length <= MAX_PIECES && r.input(0).type !== "bool") return undefined;
	const x = r.input(0);
	const axis = axisOf(intOf(node, "axis", 0), x.dims.length);
	const sizes = numbersAt(r, 1);
	const whole = x.dims[axis]!;
	const even = Math.ceil(whole / node.outputs.length);
	let from = 0;
	return node.outputs.map((name, i) => {
		const start = from;
		const size = sizes?.[i] ?? Math.min(even, whole - start);
		from += size;
		return name === "" ? undefined : elements(g, x, axis, start, size);
	});
};

/** The same elements under other dimensions. */
const reshaped: Rewrite = ({ g, input, output }) => [g.reshape(input(0), output()!.dims)];

/** As float32, and back: every number that such a value may hold in practice is exact there. */
const throughFloat =
	(types: readonly ElementType[], data: (node: Rewriting["node"]) => readonly number[] = () => [0]): Rewrite =>
	(r) => {
		const { node, g } = r;
		const { type } = r.input(0);
		if (!types.includes(type)) return undefined;
		const wide = data(node);
		const inputs = node.inputs.map((name, i) => (name !== "" && wide.includes(i) ? g.cast(r.input(i), "float32") : r.operand(i)));
		const made = node.outputs.map((name, i) => (name === "" ? undefined : { type: "float32" as const, dims: r.output(i)!.dims }));
		const results = g.nodeOf(node.op, inputs, made, node.attributes);
		return results.map((result, i) => (made[i] === undefined ? undefined : g.cast(result, type)));
	};

const all = (node: Rewriting["node"]): readonly number[] => range(node.inputs.length);

/** A scalar C with a transposed operand ends the process in onnxruntime-node 1.30. */
const gemm: Rewrite = (r) => {
	const { node, g } = r;
	const c = r.optional(2);
	if (c === undefined || c.dims.length > 0) return undefined;
	return [g.node("Gemm", [r.input(0), r.input(1), g.reshape(c, [1])], c.type, r.output()!.dims, node.attributes)];
};

/** Without ellipses, which the webgpu provider puts in the wrong order. */
const einsum: Rewrite = ({ node, g, input, output }) => {
	const equation = stringOf(node, "equation", "");
	if (!equation.includes("...")) return undefined;
	const operands = node.inputs.map((_, i) => input(i));
	const { terms, result } = parseEquation(
		equation,
		operands.map(({ dims }) => dims.length),
	);
	const { type, dims } = output()!;
	return [g.node("Einsum", operands, narrowType(type), dims, { equation: { string: `${terms.join(",")}->${result}` } })];
};

const spaceToDepth: Rewrite = ({ node, g, input, output }) => {
	const [n, c, h, w] = input(0).dims as [number, number, number, number];
	const size = intOf(node, "blocksize", 1);
	const blocks = g.reshape(input(0), [n, c, h / size, size, w / size, size]);
	return [g.reshape(g.transpose(blocks, [0, 3, 5, 1, 2, 4]), output()!.dims)];
};

export const shapeRewrites: Rewrites = {
	Slice: slice,
	Split: split,
	Squeeze: reshaped,
	Unsqueeze: reshaped,
	Flatten: reshaped,
	Reshape: reshaped,
	Transpose: throughFloat(["bool", "uint8"]),
	Concat: throughFloat(["bool", "uint8"], all),
	Tile: throughFloat(["bool", "uint8"]),
	Trilu: throughFloat(["bool", "uint8"]),
	Pad: throughFloat(["bool", "uint8"], () => [0, 2]),
	GatherElements: throughFloat(["int32", "uint32", "bool", "uint8"]),
	GatherND: throughFloat(["bool", "uint8"]),
	ScatterND: throughFloat(["bool", "uint8"], () => [0, 2]),
	ScatterElements: throughFloat(["bool", "uint8"], () => [0, 2]),
	Einsum: einsum,
	Gemm: gemm,
	SpaceToDepth: spaceToDepth,
};
