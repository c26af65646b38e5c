import * as ort from "onnxruntime-node";
import { expect, test } from "vitest";
import { differentiate } from "../src/gradients/differentiate.js";
import { GraphBuilder, type Ref } from "../src/graph/graph-builder.js";
import { type Graph, sizeOf } from "../src/graph/ir.js";
import { specialize } from "../src/specialize.js";
import { relativeError } from "./compare.js";
import { run } from "./run-case.js";

// Gradients of convolutions, whose form depends on the sizes, against sums over all windows. All sizes are per axis.

interface Case {
	readonly x: readonly number[];
	/** [M, C/group, …] */
	readonly weight: readonly number[];
	readonly strides?: readonly number[];
	readonly dilations?: readonly number[];
	/** In front of all axes, then behind them. */
	readonly pads?: readonly number[];
	readonly group?: number;
}

const CASES: { readonly [name: string]: Case } = {
	"rows, same size": { x: [4, 6, 7, 5], weight: [8, 6, 3, 3], pads: [1, 1, 1, 1] },
	"rows, flipped weight": { x: [2, 16, 6, 5], weight: [3, 16, 3, 3], pads: [1, 1, 1, 1] },
	"rows, flipped even kernel": { x: [2, 17, 6, 5], weight: [3, 17, 2, 4], pads: [1, 2, 0, 1] },
	"rows, flipped without padding": { x: [2, 16, 6, 7], weight: [3, 16, 3, 2] },
	"rows, odd number of examples": { x: [3, 5, 6, 6], weight: [4, 5, 2, 3] },
	"rows, one example": { x: [1, 5, 6, 6], weight: [4, 5, 3, 3] },
	"rows, one channel": { x: [4, 1, 8, 7], weight: [3, 1, 5, 3], pads: [2, 1, 2, 1] },
	"rows, windows stop short": { x: [2, 6, 8, 9], weight: [3, 6, 3, 2], strides: [2, 3] },
	"rows, strides and uneven padding": { x: [2, 6, 8, 9], weight: [3, 6, 3, 3], strides: [2, 1], pads: [0, 1, 1, 2] },
	"rows, one axis": { x: [2, 6, 11], weight: [3, 6, 4], strides: [2], pads: [1, 2] },
	"windows of three channels": { x: [3, 3, 7, 8], weight: [5, 3, 3, 2], strides: [2, 1], pads: [1, 0, 1, 1] },
	"windows, apart inside": { x: [2, 2, 9, 8], weight: [5, 2, 3, 2], dilations: [2, 3], pads: [1, 0, 2, 1] },
	"windows stop short": { x: [2, 4, 8, 9], weight: [3, 4, 3, 2], strides: [2, 3] },
	points: { x: [3, 6, 5, 4], weight: [7, 6, 1, 1] },
	"points, strides": { x: [3, 6, 5, 4], weight: [7, 6, 1, 1], strides: [2, 3] },
	"points, padded": { x: [2, 6, 5, 4], weight: [7, 6, 1, 1], pads: [1, 0, 0, 1] },
	"exchange, apart inside": { x: [2, 5, 9, 8], weight: [3, 5, 3, 2], dilations: [2, 3], pads: [1, 2, 2, 1] },
	"exchange, flipped and apart inside": { x: [2, 16, 9, 8], weight: [3, 16, 3, 2], dilations: [2, 3], pads: [1, 2, 2, 1] },
	"exchange, groups": { x: [2, 6, 6, 7], weight: [4, 3, 3, 3], group: 2, strides: [2, 1], pads: [1, 1, 1, 1] },
	"exchange, channel by channel": { x: [2, 6, 6, 7], weight: [6, 1, 3, 3], group: 6, pads: [1, 1, 1, 1] },
	"exchange, two maps per channel": { x: [2, 3, 6, 7], weight: [6, 1, 3, 2], group: 3 },
	"exchange, three axes": { x: [2, 5, 4, 5, 4], weight: [3, 5, 2, 3, 2] },
};

test.each(Object.entries(CASES))("%s", async (_name, { x, weight, strides, dilations, pads, group = 1 }) => {
	const axes = x.length - 2;
	const ones = new Array<number>(axes).fill(1);
	const step = strides ?? ones;
	const spread = dilations ?? ones;
	const padding = pads ?? new Array<number>(2 * axes).fill(0);
	const output = ones.map((_, i) => {
		const covered = (weight[i + 2]! - 1) * spread[i]! + 1;
		return Math.floor((x[i + 2]! + padding[i]! + padding[axes + i]! - covered) / step[i]!) + 1;
	});
	const y = [x[0]!, weight[0]!, ...output];
	const [xs, ws, dys] = [x, weight, y].map((dims, i) => wave(sizeOf(dims), i + 1)) as [Float32Array, Float32Array, Float32Array];

	const expected = { x: new Float64Array(xs.length), weight: new Float64Array(ws.length) };
	const perGroup = { in: weight[1]!, out: weight[0]! / group };
	for (const at of places(y)) {
		for (const offset of places(weight.slice(1))) {
			const spatial = output.map((_, i) => at[i + 2]! * step[i]! + offset[i + 1]! * spread[i]! - padding[i]!);
			if (spatial.some((place, i) => place < 0 || place >= x[i + 2]!)) continue;
			const channel = Math.floor(at[1]! / perGroup.out) * perGroup.in + offset[0]!;
			const from = indexOf(x, [at[0]!, channel, ...spatial]);
			const by = indexOf(weight, [at[1]!, ...offset]);
			const d = dys[indexOf(y, at)]!;
			expected.x[from]! += d * ws[by]!;
			expected.weight[by]! += d * xs[from]!;
		}
	}

	const inputs = [
		{ name: "x", type: "float32", dims: x },
		{ name: "weight", type: "float32", dims: weight },
	] as const satisfies Ref[];
	const attributes = { strides: { ints: step }, dilations: { ints: spread }, pads: { ints: padding }, group: { int: group } };
	const model: Graph = {
		opset: 18,
		domains: {},
		inputs,
		outputs: [{ name: "y", type: "float32", dims: y }],
		initializers: new Map(),
		nodes: [{ op: "Conv", domain: "", name: "", inputs: ["x", "weight"], outputs: ["y"], attributes }],
	};
	const fixed = await specialize(ort, model, { inputs: new Map(inputs.map(({ name, dims }) => [name, dims])) });
	const g = new GraphBuilder("rondo/");
	const seed: Ref = { name: "dy", type: "float32", dims: y };
	const { gradients } = differentiate(fixed, new Map([["y", seed]]), ["x", "weight"], g);
	const [dx, dw] = [gradients.get("x")!, gradients.get("weight")!];
	const graph: Graph = { ...model, inputs: [...inputs, seed], outputs: [dx, dw], initializers: g.initializers, nodes: g.nodes };
	const tensor = (data: Float32Array, dims: readonly number[]): ort.Tensor => new ort.Tensor("float32", data, dims);
	const results = await run(graph, { x: tensor(xs, x), weight: tensor(ws, weight), dy: tensor(dys, y) });
	expect(relativeError(results[dx.name]!, expected.x)).toBeLessThan(1e-6);
	expect(relativeError(results[dw.name]!, expected.weight)).toBeLessThan(1e-6);
});

/** Numbers that do not repeat. */
const wave = (length: number, seed: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(seed * 97 + i * i * 0.37));

/** All index tuples of dimensions, row-major. */
const places = (dims: readonly number[]): number[][] =>
	dims.reduce<number[][]>((tuples, size) => tuples.flatMap((tuple) => Array.from({ length: size }, (_, i) => [...tuple, i])), [[]]);

const indexOf = (dims: readonly number[], at: readonly number[]): number => at.reduce((index, i, axis) => index * dims[axis]! + i, 0);
