import { freeNames, type Graph, int64s, type Node, type Tensor } from "./ir.js";

/** The opset that graphs have at least once they are read: reductions take their axes as an input from here on. */
export const LEAST_OPSET = 18;

const REDUCTIONS = new Set([
	"ReduceMean",
	"ReduceMax",
	"ReduceMin",
	"ReduceProd",
	"ReduceL1",
	"ReduceL2",
	"ReduceLogSum",
	"ReduceLogSumExp",
	"ReduceSumSquare",
]);

/**
 * The graph in opset 18 where it was older, so that nothing after this has to know two forms of an operator. Between 13 and
 * 18 the axes of reductions moved from an attribute to an input, and Split has to say into how many pieces it cuts; the
 * other operators kept their meaning.
 */
export function upgradeOpset(graph: Graph): Graph {
	if (graph.opset >= LEAST_OPSET) return graph;
	const initializers = new Map(graph.initializers);
	const free = freeNames(graph);
	const constant = (near: string, tensor: Tensor): string => {
		const name = free(`${near}/axes`);
		initializers.set(name, tensor);
		return name;
	};
	const nodes = graph.nodes.map((node): Node => {
		if (node.domain !== "") return node;
		if (REDUCTIONS.has(node.op) && node.attributes.axes !== undefined && "ints" in node.attributes.axes) {
			const { axes, ...attributes } = node.attributes;
			return { ...node, inputs: [node.inputs[0]!, constant(node.outputs[0]!, int64s(...axes.ints))], attributes };
		}
		if (node.op === "Split" && (node.inputs[1] ?? "") === "")
			return { ...node, inputs: [node.inputs[0]!], attributes: { ...node.attributes, num_outputs: { int: node.outputs.length } } };
		return node;
	});
	return { ...graph, opset: LEAST_OPSET, initializers, nodes };
}
