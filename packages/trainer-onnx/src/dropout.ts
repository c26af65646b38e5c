import { RondoError } from "@rondo/errors";
import { prune } from "./graph/check-graph.js";
import { GraphBuilder, type Ref } from "./graph/graph-builder.js";
import { freeNames, type Graph, type Node, nodeTitle, numbersOf, scalar, type Tensor } from "./graph/ir.js";
import type { SpecializedModel } from "./specialize.js";

const PREFIX = "rondo/dropout/";
const MASK_PREFIX = "rondo/mask/";
/** Of a Dropout node that gives none (ONNX, operator Dropout, opset 13). */
const DEFAULT_RATIO = 0.5;

/** An input of a training graph: which elements of a value stay. */
export interface Mask extends Ref {
	/** Share of the elements that are dropped, above 0 and below 1. */
	readonly ratio: number;
}

/** Nodes that hand on their first input are left out: whoever reads them reads that. */
export function bypass(graph: Graph, passes: (node: Node) => boolean): Graph {
	const outputs = new Set(graph.outputs.map(({ name }) => name));
	const source = new Map<string, string>();
	const resolved = (name: string): string => source.get(name) ?? name;
	const nodes: Node[] = [];
	for (const node of graph.nodes) {
		const inputs = node.inputs.map(resolved);
		const output = node.outputs[0]!;
		if (!passes(node)) nodes.push({ ...node, inputs });
		else if (outputs.has(output))
			nodes.push({ op: "Identity", domain: "", name: node.name, inputs: [inputs[0]!], outputs: [output], attributes: {} });
		else source.set(output, inputs[0]!);
	}
	return { ...graph, nodes };
}

/**
 * Dropout nodes in one form: a value, a constant ratio above 0, no mask, and no training mode, so that they pass everything
 * on when the graph is run as it is. Those that never drop become Identity: of ratio 0, of a ratio that is computed, or with a
 * training mode that is the constant false. Where no mode is given they do drop in training: PyTorch's exporters write the
 * dropout of attention like that. One whose mask is read by another node stays as it is.
 * @throws BAD_MODEL for a ratio that is not from 0 up to, but not including, 1
 */
export function normalizeDropout(graph: Graph): Graph {
	const read = new Set([...graph.outputs.map(({ name }) => name), ...graph.nodes.flatMap(({ inputs }) => inputs)]);
	const initializers = new Map(graph.initializers);
	const free = freeNames(graph);
	const nodes = graph.nodes.map((node): Node => {
		const [output, mask = ""] = node.outputs;
		if (node.op !== "Dropout" || node.domain !== "" || (mask !== "" && read.has(mask))) return node;
		const plain = { ...node, inputs: [node.inputs[0]!], outputs: [output!], attributes: {} };
		const ratio = ratioOf(node, graph.initializers);
		const mode = graph.initializers.get(node.inputs[2] ?? "");
		if (ratio === undefined || ratio === 0 || (mode !== undefined && mode.data[0] === 0)) return { ...plain, op: "Identity" };
		// A constant of its own: one that others read too might be trained.
		const name = free(`${output}/ratio`);
		initializers.set(name, scalar("float32", ratio));
		return { ...plain, inputs: [node.inputs[0]!, name] };
	});
	return { ...graph, initializers, nodes };
}

/** What a Dropout node drops; undefined where that is no constant. @throws BAD_MODEL */
function ratioOf(node: Node, constants: ReadonlyMap<string, Tensor>): number | undefined {
	const name = node.inputs[1] ?? "";
	const tensor = constants.get(name);
	const ratio = name === "" ? DEFAULT_RATIO : tensor && numbersOf(tensor)[0];
	if (ratio !== undefined && !(ratio >= 0 && ratio < 1))
		throw new RondoError("BAD_MODEL", `${nodeTitle(node)} has ratio ${ratio}; it must be at least 0 and below 1`, {
			details: { op: node.op, value: ratio },
		});
	return ratio;
}

/** A node that drops in training, as `normalizeDropout` writes them. */
const drops = ({ op, domain, outputs }: Node): boolean => op === "Dropout" && domain === "" && (outputs[1] ?? "") === "";

export const hasDropout = ({ nodes }: Graph): boolean => nodes.some(drops);

export const noDropout = (): RondoError =>
	new RondoError("INVALID_ARGUMENT", "dropout: the model has no Dropout that drops anything; export it from PyTorch in training mode", {
		details: { field: "dropout" },
	});

/** The model outside of training. */
export const withoutDropout = (graph: Graph): Graph => (hasDropout(graph) ? prune(bypass(graph, drops)) : graph);

/**
 * The model in training: y = x · mask / (1 − ratio), whose expectation is x ("inverted dropout"; N. Srivastava et al., "Dropout: A
 * Simple Way to Prevent Neural Networks from Overfitting", JMLR 15, 2014, section 10). The masks are inputs, so that graphs stay
 * functions of what they are given, and the gradient is that of a product.
 * @throws BAD_MODEL for a ratio that is not from 0 up to, but not including, 1
 */
export function withMasks(fixed: SpecializedModel): { readonly fixed: SpecializedModel; readonly masks: readonly Mask[] } {
	const g = new GraphBuilder(PREFIX);
	const masks: Mask[] = [];
	const nodes = fixed.nodes.flatMap((node): readonly Node[] => {
		const ratio = drops(node) ? ratioOf(node, fixed.constants) : undefined;
		if (ratio === undefined || ratio === 0) return [node];
		const x = fixed.refs.get(node.inputs[0]!)!;
		const mask: Mask = { name: `${MASK_PREFIX}${masks.length}`, type: "bool", dims: x.dims, ratio };
		masks.push(mask);
		const made = g.nodes.length;
		const factor = g.mul(g.cast(mask, x.type), 1 / (1 - ratio));
		return [...g.nodes.slice(made), { ...node, op: "Mul", inputs: [x.name, factor.name], attributes: {} }];
	});
	return {
		masks,
		fixed: {
			...fixed,
			nodes,
			inputs: [...fixed.inputs, ...masks],
			refs: new Map([...fixed.refs, ...g.refs, ...masks.map((mask) => [mask.name, mask] as const)]),
			constants: new Map([...fixed.constants, ...g.initializers]),
		},
	};
}
