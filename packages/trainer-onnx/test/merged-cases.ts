import * as ort from "onnxruntime-node";
import { encodeGraph } from "../src/graph/encode.js";
import type { Ref } from "../src/graph/graph-builder.js";
import type { Graph } from "../src/graph/ir.js";
import { type Device, openSession } from "../src/session/device.js";
import { rewriteForGpu } from "../src/session/rewrite-for-gpu.js";
import type { ReadyGraph } from "../src/training-graph.js";
import { relativeError } from "./compare.js";
import type { OpCase } from "./op-cases.js";
import { gradientCase } from "./run-case.js";

/** Cases side by side in one graph, the names of the i-th behind `i:`: one session for all of them. They must be of one opset. */
export async function mergedCases(cases: readonly OpCase[]): Promise<ReadyGraph & { readonly feeds: Record<string, ort.Tensor> }> {
	const parts = await Promise.all(cases.map((c) => gradientCase(c, "float32")));
	const named = (i: number, name: string): string => (name === "" ? "" : `${i}:${name}`);
	const renamed = <T extends { readonly name: string }>(i: number, value: T): T => ({ ...value, name: named(i, value.name) });
	const graph: Graph = {
		...parts[0]!.graph,
		inputs: parts.flatMap((part, i) => part.graph.inputs.map((value) => renamed(i, value))),
		outputs: parts.flatMap((part, i) => part.graph.outputs.map((value) => renamed(i, value))),
		initializers: new Map(parts.flatMap((part, i) => [...part.graph.initializers].map(([name, tensor]) => [named(i, name), tensor]))),
		nodes: parts.flatMap((part, i) =>
			part.graph.nodes.map((node) => ({
				...node,
				name: named(i, node.name),
				inputs: node.inputs.map((name) => named(i, name)),
				outputs: node.outputs.map((name) => named(i, name)),
			})),
		),
	};
	return {
		graph,
		labels: undefined,
		refs: new Map(parts.flatMap((part, i) => [...part.refs].map(([name, ref]): [string, Ref] => [named(i, name), renamed(i, ref)]))),
		feeds: Object.fromEntries(parts.flatMap((part, i) => Object.entries(part.feeds).map(([name, tensor]) => [named(i, name), tensor]))),
	};
}

/** Groups of cases that fit in one graph: of one operator and one opset. */
export function sideBySide(cases: readonly OpCase[]): ReadonlyMap<string, readonly OpCase[]> {
	const groups = new Map<string, OpCase[]>();
	for (const c of cases) {
		const key = `${c.op}, opset ${Math.max(18, c.opset)}`;
		groups.set(key, [...(groups.get(key) ?? []), c]);
	}
	return groups;
}

/** The largest relative error of the values and gradients of each case, as rewritten for GPUs, run on a device. */
export async function rewrittenErrors(
	cases: readonly OpCase[],
	{ device, strict }: { readonly device: Device; readonly strict?: boolean },
): Promise<readonly number[]> {
	const merged = await mergedCases(cases);
	const graph = rewriteForGpu(merged);
	const feeds = Object.fromEntries(graph.inputs.map(({ name, type }) => [name, fed(merged.feeds[name]!, type)]));
	const session = await openSession(ort, encodeGraph(graph), device, strict === undefined ? {} : { strict });
	try {
		const results = await session.run(feeds);
		const error = (name: string, wanted: readonly number[]): number => relativeError(results[name]!.data as Float32Array, wanted);
		return cases.map((c, i) =>
			Math.max(
				...c.outputs.flatMap(({ name, data, upstream }) => (upstream === undefined ? [] : [error(`${i}:${name}`, data)])),
				...c.inputs.flatMap(({ name, gradient }) => (gradient === undefined ? [] : [error(`${i}:gradient/${name}`, gradient)])),
			),
		);
	} finally {
		await session.release();
	}
}

/** An input in the type that the rewritten graph wants. */
export function fed(tensor: ort.Tensor, type: string): ort.Tensor {
	if (tensor.type === type) return tensor;
	return type === "int32"
		? new ort.Tensor("int32", Int32Array.from(tensor.data as BigInt64Array, Number), tensor.dims)
		: new ort.Tensor("float32", Float32Array.from(tensor.data as Float64Array), tensor.dims);
}
