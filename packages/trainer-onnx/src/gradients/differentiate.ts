import { RondoError } from "@rondo/errors";
import { equalDims, type GraphBuilder, type Ref } from "../graph/graph-builder.js";
import { isFloat, type Node, nodeTitle, type Tensor } from "../graph/ir.js";
import { CONSTANT_OPERATORS, gradientRules } from "./registry.js";
import type { Backward } from "./rule.js";

/** A graph for fixed sizes: what `specialize` makes. */
export interface StaticGraph {
	/** In an order in which they can be run. */
	readonly nodes: readonly Node[];
	/** Type and dimensions of every value. */
	readonly refs: ReadonlyMap<string, Ref>;
	/** Values that depend neither on data nor on parameters. */
	readonly constants: ReadonlyMap<string, Tensor>;
}

/** Results of `differentiate`. */
export interface Derivatives {
	/** The nodes of the graph, some with further results that the gradient reads. */
	readonly nodes: readonly Node[];
	/** Derivatives by the wanted values, of their dimensions; undefined: the loss does not depend on it. */
	readonly gradients: ReadonlyMap<string, Ref | undefined>;
}

/**
 * Reverse-mode differentiation: appends to `g` nodes that compute the derivatives of a scalar by `wanted`, and nothing
 * else. (A. Griewank, A. Walther, "Evaluating Derivatives", 2nd ed., 2008, chapter 3.)
 * @param seeds derivatives of the scalar by values of the graph, where they are known
 * @throws NOT_DIFFERENTIABLE that names each operator on the way which has no gradient, and its node
 */
export function differentiate(graph: StaticGraph, seeds: ReadonlyMap<string, Ref>, wanted: Iterable<string>, g: GraphBuilder): Derivatives {
	const targets = [...wanted];
	const varying = dependents(graph, targets);
	const nodes = [...graph.nodes];
	const contributions = new Map<string, Ref[]>([...seeds].map(([name, seed]) => [name, [seed]]));
	const sums = new Map<string, Ref>();
	/** The derivative by a value, once all that reads it has been visited. */
	const derivative = (name: string): Ref | undefined => {
		const known = sums.get(name);
		if (known !== undefined) return known;
		const parts = contributions.get(name);
		if (parts === undefined) return undefined;
		const sum = parts.reduce((a, b) => g.add(a, b));
		sums.set(name, sum);
		return sum;
	};
	requireRules(graph, seeds, varying);

	for (let at = nodes.length - 1; at >= 0; at--) {
		const node = nodes[at]!;
		if (!node.outputs.some((output) => varying.has(output) && contributions.has(output))) continue;
		const rule = ruleOf(node);
		if (rule === undefined) continue;
		const extended = new ExtendedNode(node, graph.refs, g);
		const backward: Backward = {
			node,
			g,
			input: (i) => graph.refs.get(node.inputs[i] ?? "") ?? missing(node, i),
			optional: (i) => ((node.inputs[i] ?? "") === "" ? undefined : graph.refs.get(node.inputs[i]!)),
			constant: (i) => graph.constants.get(node.inputs[i] ?? ""),
			output: (i, dims) => extended.output(i, dims),
			dy: (i = 0) => ((node.outputs[i] ?? "") === "" ? undefined : derivative(node.outputs[i]!)),
			needs: (i) => varying.has(node.inputs[i] ?? ""),
		};
		// Some operators have a derivative by their first result only.
		const parts = rule(backward);
		nodes[at] = extended.node;
		for (const [i, part] of parts.entries()) {
			const input = node.inputs[i] ?? "";
			if (part === undefined || !varying.has(input)) continue;
			const { dims } = graph.refs.get(input)!;
			if (!equalDims(part.dims, dims))
				throw new RondoError("INTERNAL", `${nodeTitle(node)}: the derivative by input ${i} has dimensions [${part.dims}], not [${dims}]`);
			contributions.set(input, [...(contributions.get(input) ?? []), part]);
		}
	}
	return { nodes, gradients: new Map(targets.map((name) => [name, derivative(name)])) };
}

/** The float values that depend on the targets, and the targets. */
function dependents({ nodes, refs }: StaticGraph, targets: readonly string[]): ReadonlySet<string> {
	const found = new Set(targets);
	for (const { op, inputs, outputs } of nodes) {
		if (CONSTANT_OPERATORS.has(op) || !inputs.some((input) => found.has(input))) continue;
		for (const output of outputs) {
			const ref = refs.get(output);
			if (ref !== undefined && isFloat(ref.type)) found.add(output);
		}
	}
	return found;
}

const ruleOf = ({ domain, op }: Node) => (domain === "" ? gradientRules.get(op) : undefined);

/** All that is missing in one message, before anything is built. */
function requireRules({ nodes }: StaticGraph, seeds: ReadonlyMap<string, Ref>, varying: ReadonlySet<string>): void {
	const reached = new Set(seeds.keys());
	const lacking: Node[] = [];
	for (const node of nodes.toReversed()) {
		if (!node.outputs.some((output) => varying.has(output) && reached.has(output))) continue;
		const inputs = node.inputs.filter((input) => varying.has(input));
		for (const input of inputs) reached.add(input);
		if (inputs.length > 0 && ruleOf(node) === undefined) lacking.push(node);
	}
	if (lacking.length === 0) return;
	const named = lacking.reverse().slice(0, 8);
	const ops = [...new Set(lacking.map(({ op, domain }) => (domain === "" ? op : `${domain}.${op}`)))];
	throw new RondoError(
		"NOT_DIFFERENTIABLE",
		`the model cannot be trained by gradients: no gradient is known for ${named.map(nodeTitle).join(", ")}${lacking.length > named.length ? ` and ${lacking.length - named.length} more nodes` : ""}; strategies that only compute losses (trainer "loss", like fedkseed) still work with it`,
		{ details: { ops, nodes: lacking.map(({ name }) => name) } },
	);
}

function missing(node: Node, i: number): never {
	throw new RondoError("INTERNAL", `${nodeTitle(node)} has no input ${i}`);
}

/** A node whose gradient may ask for results that the model did not use. */
class ExtendedNode {
	node: Node;
	readonly #refs: ReadonlyMap<string, Ref>;
	readonly #g: GraphBuilder;

	constructor(node: Node, refs: ReadonlyMap<string, Ref>, g: GraphBuilder) {
		this.node = node;
		this.#refs = refs;
		this.#g = g;
	}

	output(i: number, dims?: readonly number[]): Ref {
		const name = this.node.outputs[i] ?? "";
		const known = this.#refs.get(name);
		if (known !== undefined) return known;
		if (dims === undefined) throw new RondoError("INTERNAL", `${nodeTitle(this.node)} has no result ${i}`);
		const made = `${this.node.outputs.find((output) => output !== "")}/result${i}`;
		const outputs = Array.from({ length: Math.max(i + 1, this.node.outputs.length) }, (_, j) =>
			j === i ? made : (this.node.outputs[j] ?? ""),
		);
		this.node = { ...this.node, outputs };
		const ref: Ref = { name: made, type: this.#refs.get(this.node.inputs[0]!)!.type, dims };
		this.#g.refs.set(made, ref);
		return ref;
	}
}
