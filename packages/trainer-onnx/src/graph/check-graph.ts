import { RondoError } from "@rondo/errors";
import { type Graph, type Node, nodeTitle, sizeOf } from "./ir.js";

/** Oldest and newest opset of ONNX that models may be in. */
export const MIN_OPSET = 13;
export const MAX_OPSET = 21;
/** Starts the names of what is added to models. */
export const RESERVED_PREFIX = "rondo/";

/**
 * The same graph with its nodes in an order in which they can be run: the given order, where that is one already.
 * @throws BAD_MODEL for a value that two places make, one that none makes, a cycle, an opset outside 13 to 21, a name that
 * starts with "rondo/", or declared dimensions beyond 2^31 elements; the message names node and value
 */
export function checkGraph(graph: Graph): Graph {
	const { opset, inputs, outputs, initializers, nodes } = graph;
	if (!(opset >= MIN_OPSET && opset <= MAX_OPSET))
		throw refuse(`the model is of opset ${opset}; opsets ${MIN_OPSET} to ${MAX_OPSET} are supported: export or convert it to one of them`);
	const made = new Map<string, string>();
	const make = (name: string, by: string): void => {
		if (name.startsWith(RESERVED_PREFIX) || name === "__proto__")
			throw refuse(`value ${JSON.stringify(name)} (${by}) has a name that is taken here; rename it in the model`, { value: name });
		const other = made.get(name);
		if (other !== undefined) throw refuse(`value ${JSON.stringify(name)} is made twice: by ${other} and by ${by}`, { value: name });
		made.set(name, by);
	};
	for (const { name, dims } of inputs) {
		make(name, "an input");
		const fixed = (dims ?? []).filter((size) => typeof size === "number");
		if (sizeOf(fixed) > 2 ** 31)
			throw refuse(`input ${JSON.stringify(name)} has dimensions [${dims?.join(", ")}], more than 2^31 elements`, { value: name });
	}
	for (const name of initializers.keys()) make(name, "an initializer");
	for (const node of nodes) {
		if (node.op === "") throw refuse(`node ${JSON.stringify(node.name)} names no operator`);
		for (const output of node.outputs) if (output !== "") make(output, nodeTitle(node));
	}
	for (const node of nodes) {
		for (const input of node.inputs) {
			if (input !== "" && !made.has(input))
				throw refuse(`${nodeTitle(node)} reads ${JSON.stringify(input)}, which is neither an input, an initializer, nor made by a node`, {
					value: input,
				});
		}
	}
	if (outputs.length === 0) throw refuse("the model has no outputs");
	for (const { name } of outputs) if (!made.has(name)) throw refuse(`output ${JSON.stringify(name)} is made by no node`, { value: name });
	return { ...graph, nodes: inOrder(graph) };
}

const refuse = (message: string, details: Readonly<Record<string, unknown>> = {}): RondoError =>
	new RondoError("BAD_MODEL", message, { details });

/** Kahn's algorithm; among nodes that can be run the first of the file comes first. */
function inOrder({ inputs, initializers, nodes }: Graph): readonly Node[] {
	const known = new Set([...inputs.map(({ name }) => name), ...initializers.keys()]);
	if (isOrdered(nodes, new Set(known))) return nodes;
	const waiting = new Map<string, Node[]>();
	const missing = new Map<Node, number>();
	const ordered: Node[] = [];
	for (const node of nodes) {
		const open = new Set(node.inputs.filter((input) => input !== "" && !known.has(input)));
		if (open.size === 0) ordered.push(node);
		else missing.set(node, open.size);
		for (const input of open) {
			const readers = waiting.get(input);
			if (readers === undefined) waiting.set(input, [node]);
			else readers.push(node);
		}
	}
	// Grows while it is walked through.
	for (const { outputs } of ordered) {
		for (const output of outputs) {
			for (const node of waiting.get(output) ?? []) {
				const left = missing.get(node)! - 1;
				if (left > 0) missing.set(node, left);
				else {
					missing.delete(node);
					ordered.push(node);
				}
			}
		}
	}
	if (missing.size > 0) {
		const stuck = [...missing.keys()].slice(0, 5).map(nodeTitle).join(", ");
		throw refuse(`the graph has a cycle through ${stuck}${missing.size > 5 ? ` and ${missing.size - 5} more` : ""}`);
	}
	return ordered;
}

function isOrdered(nodes: readonly Node[], known: Set<string>): boolean {
	for (const { inputs, outputs } of nodes) {
		if (inputs.some((input) => input !== "" && !known.has(input))) return false;
		for (const output of outputs) known.add(output);
	}
	return true;
}

/** The graph without nodes and initializers that none of the outputs depends on. Inputs stay. */
export function prune(graph: Graph): Graph {
	const wanted = new Set(graph.outputs.map(({ name }) => name));
	const nodes: Node[] = [];
	for (const node of graph.nodes.toReversed()) {
		if (!node.outputs.some((output) => wanted.has(output))) continue;
		nodes.push(node);
		for (const input of node.inputs) wanted.add(input);
	}
	return {
		...graph,
		nodes: nodes.reverse(),
		initializers: new Map([...graph.initializers].filter(([name]) => wanted.has(name))),
	};
}
