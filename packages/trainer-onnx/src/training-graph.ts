import { foldNormalization } from "./fold-normalization.js";
import { differentiate } from "./gradients/differentiate.js";
import { RESERVED_PREFIX as PREFIX, prune } from "./graph/check-graph.js";
import { GraphBuilder, type Ref } from "./graph/graph-builder.js";
import { type Graph, type Node, sizeOf, type Tensor, type Value } from "./graph/ir.js";
import { buildLoss, isLossName, type LabelSpec, type Loss, labelsFor } from "./losses.js";
import type { OnnxModel } from "./model.js";
import { clipGradients, type OptimizerPlan } from "./optimizer.js";
import type { SpecializedModel } from "./specialize.js";

/** Inputs and outputs of the graphs made here. */
export const LABELS = `${PREFIX}labels`;
export const LOSS = `${PREFIX}loss`;
export const LOSS_SUM = `${PREFIX}loss-sum`;
export const COUNT = `${PREFIX}count`;
export const HITS = `${PREFIX}hits`;
export const gradientOf = (parameter: string): string => `${PREFIX}gradient/${parameter}`;

/** A graph that is ready to be run, and how its labels are fed: absent where the model takes them itself. */
export interface ReadyGraph {
	readonly graph: Graph;
	readonly labels: LabelSpec | undefined;
	/** Type and dimensions of every value. */
	readonly refs: ReadonlyMap<string, Ref>;
}

/** The model under its loss, before anything is derived. */
export class LossGraph {
	readonly g = new GraphBuilder(PREFIX);
	readonly loss: Loss;
	readonly labels: LabelSpec | undefined;
	readonly #model: OnnxModel;
	readonly #fixed: SpecializedModel;

	constructor(model: OnnxModel, fixed: SpecializedModel) {
		this.#model = model;
		this.#fixed = foldNormalization(fixed);
		const output = fixed.refs.get(model.output)!;
		if (isLossName(model.loss)) {
			const logits = logitsOf(model.loss, fixed, output);
			this.labels = labelsFor(model.loss, logits);
			this.loss = buildLoss(this.g, model.loss, logits, { name: LABELS, ...this.labels });
			this.seeds = new Map([[logits.name, this.loss.seed]]);
		} else {
			this.labels = undefined;
			this.loss = ownLoss(this.g, output);
			this.seeds = new Map([[output.name, this.loss.seed]]);
		}
	}

	/** Derivatives of the loss by values of the model. */
	readonly seeds: ReadonlyMap<string, Ref>;

	/** Derivatives by the parameters; zeros where the loss does not depend on one. */
	gradients(): { readonly nodes: readonly Node[]; readonly gradients: readonly Ref[] } {
		const { parameters } = this.#model;
		const { nodes, gradients } = differentiate(this.#fixed, this.seeds, parameters, this.g);
		return {
			nodes,
			gradients: parameters.map((name) => {
				const ref = this.#fixed.refs.get(name)!;
				return gradients.get(name) ?? this.g.filled(ref.type, ref.dims, 0);
			}),
		};
	}

	/** The whole graph with the given results. @param nodes the model's, where the gradient changed them */
	finish(outputs: readonly (readonly [name: string, ref: Ref])[], inputs: readonly Value[] = [], nodes = this.#fixed.nodes): ReadyGraph {
		const { opset, domains, constants } = this.#fixed;
		const results = named(this.g, outputs);
		const labels = this.labels === undefined ? [] : [{ name: LABELS, type: this.labels.type, dims: this.labels.dims }];
		const graph: Graph = {
			opset,
			domains,
			inputs: [...this.#fixed.inputs, ...labels, ...inputs],
			outputs: results.outputs,
			initializers: new Map<string, Tensor>([...constants, ...this.g.initializers]),
			nodes: [...nodes, ...results.nodes],
		};
		return { graph: withUsedInputs(prune(graph)), labels: this.labels, refs: allRefs(graph, this.#fixed.refs, this.g.refs) };
	}
}

/** Values of parts of a graph, and its inputs and outputs. */
function allRefs({ inputs, outputs }: Graph, ...parts: readonly ReadonlyMap<string, Ref>[]): ReadonlyMap<string, Ref> {
	const refs = new Map(parts.flatMap((part) => [...part]));
	for (const value of [...inputs, ...outputs]) refs.set(value.name, value as Ref);
	return refs;
}

/** A graph of fixed sizes all of whose values are inputs or outputs. */
export const readyGraph = (graph: Graph): ReadyGraph => ({ graph, labels: undefined, refs: allRefs(graph) });

/** Inputs that nothing reads are left out: a session would ask for them. */
function withUsedInputs(graph: Graph): Graph {
	const read = new Set(graph.nodes.flatMap(({ inputs }) => inputs));
	return { ...graph, inputs: graph.inputs.filter(({ name }) => read.has(name)) };
}

/** Loss alone. */
export function lossGraph(model: OnnxModel, fixed: SpecializedModel): ReadyGraph {
	const built = new LossGraph(model, fixed);
	return built.finish([[LOSS, built.loss.mean]]);
}

/** Loss, and its derivatives by all parameters. @throws NOT_DIFFERENTIABLE */
export function gradientGraph(model: OnnxModel, fixed: SpecializedModel): ReadyGraph {
	const built = new LossGraph(model, fixed);
	const { nodes, gradients } = built.gradients();
	const named = model.parameters.map((name, i) => [gradientOf(name), gradients[i]!] as const);
	return built.finish([[LOSS, built.loss.mean], ...named], [], nodes);
}

/** The model alone. */
export function outputGraph({ inputs, outputs, opset, domains, nodes, constants, refs }: SpecializedModel): ReadyGraph {
	return { graph: prune({ opset, domains, inputs, outputs, nodes, initializers: constants }), labels: undefined, refs };
}

/** Sums over a batch for metrics. */
export function evaluationGraph(model: OnnxModel, fixed: SpecializedModel): ReadyGraph {
	const built = new LossGraph(model, fixed);
	const { sum, count, hits } = built.loss;
	return built.finish([[LOSS_SUM, sum], [COUNT, count], ...(hits === undefined ? [] : [[HITS, hits()] as const])]);
}

/** Names of what a step reads and makes, beyond loss and weights. */
export const scalarInput = (name: string): string => `${PREFIX}${name}`;
export const stateInput = (i: number, parameter: string): string => `${PREFIX}state${i}/${parameter}`;
export const nextWeight = (parameter: string): string => `${PREFIX}next/${parameter}`;
export const nextState = (i: number, parameter: string): string => `${PREFIX}next-state${i}/${parameter}`;

/** One whole step: loss, and the next weights and states. An infinite `clipNorm` clips nothing. @throws NOT_DIFFERENTIABLE */
export function stepGraph(model: OnnxModel, fixed: SpecializedModel, plan: OptimizerPlan, clipNorm: number): ReadyGraph {
	const built = new LossGraph(model, fixed);
	const { nodes, gradients } = built.gradients();
	const { inputs, outputs } = updates(built.g, model, (name) => fixed.refs.get(name)!, gradients, plan, clipNorm);
	return built.finish([[LOSS, built.loss.mean], ...outputs], inputs, nodes);
}

/** A step whose gradient comes from outside: what is left to do after micro-batches. Its inputs are weights, gradients, states and scalars. */
export function updateGraph(model: OnnxModel, opset: number, plan: OptimizerPlan, clipNorm: number): ReadyGraph {
	const g = new GraphBuilder(PREFIX);
	const weights = new Map(
		model.graph.inputs
			.filter(({ name }) => model.parameters.includes(name))
			.map(({ name, type, dims }): [string, Ref] => [name, { name, type, dims: dims as readonly number[] }]),
	);
	const refs = model.parameters.map((name) => weights.get(name)!);
	const gradients = refs.map((ref): Ref => ({ ...ref, name: gradientOf(ref.name) }));
	const { inputs, outputs } = updates(g, model, (name) => weights.get(name)!, gradients, plan, clipNorm);
	const graph: Graph = {
		opset,
		domains: {},
		...named(g, outputs),
		inputs: [...refs, ...gradients, ...inputs],
		initializers: g.initializers,
	};
	return { graph, labels: undefined, refs: allRefs(graph, g.refs) };
}

function updates(
	g: GraphBuilder,
	{ parameters }: OnnxModel,
	weightOf: (name: string) => Ref,
	gradients: readonly Ref[],
	plan: OptimizerPlan,
	clipNorm: number,
): { readonly inputs: readonly Value[]; readonly outputs: readonly (readonly [string, Ref])[] } {
	const scalars = plan.names.map((name): Ref => ({ name: scalarInput(name), type: "float32", dims: [] }));
	const clipped = clipNorm === Number.POSITIVE_INFINITY ? gradients : clipGradients(g, gradients, clipNorm);
	const inputs: Value[] = [...scalars];
	const outputs: (readonly [string, Ref])[] = [];
	for (const [j, name] of parameters.entries()) {
		const weight = weightOf(name);
		const states = Array.from({ length: plan.states }, (_, i): Ref => ({ ...weight, name: stateInput(i, name) }));
		inputs.push(...states);
		const next = plan.update(g, weight, clipped[j]!, states, scalars);
		outputs.push([nextWeight(name), next.weight], ...next.states.map((state, i) => [nextState(i, name), state] as const));
	}
	return { inputs, outputs };
}

/**
 * Results under names of their own: whatever makes a value makes it under the new name. Only a value that is none of the
 * builder's, or a result already, is copied.
 */
function named(
	g: GraphBuilder,
	results: readonly (readonly [name: string, ref: Ref])[],
): { readonly nodes: readonly Node[]; readonly outputs: readonly Value[] } {
	const made = new Set(g.nodes.flatMap(({ outputs }) => outputs));
	const renamed = new Map<string, string>();
	const copies: Node[] = [];
	for (const [name, ref] of results) {
		if (made.has(ref.name) && !renamed.has(ref.name)) renamed.set(ref.name, name);
		else copies.push({ op: "Identity", domain: "", name, inputs: [renamed.get(ref.name) ?? ref.name], outputs: [name], attributes: {} });
	}
	const rename = (value: string): string => renamed.get(value) ?? value;
	const nodes = g.nodes.map((node) => ({ ...node, inputs: node.inputs.map(rename), outputs: node.outputs.map(rename) }));
	return { nodes: [...nodes, ...copies], outputs: results.map(([name, { type, dims }]) => ({ name, type, dims })) };
}

/** A model may end in the probabilities; the loss wants what they are made of, because logarithms of 0 are not to be had. */
function logitsOf(loss: string, { nodes, refs }: SpecializedModel, output: Ref): Ref {
	const squash = loss === "binary-cross-entropy" ? "Sigmoid" : loss === "mse" ? undefined : "Softmax";
	const last = nodes.find(({ outputs }) => outputs.includes(output.name));
	if (last === undefined || last.op !== squash) return output;
	const axis = last.attributes.axis;
	const rank = output.dims.length;
	if (squash === "Softmax" && axis !== undefined && "int" in axis && axis.int !== -1 && axis.int !== rank - 1) return output;
	return refs.get(last.inputs[0]!)!;
}

function ownLoss(g: GraphBuilder, output: Ref): Loss {
	const elements = sizeOf(output.dims);
	const sum = g.total(output);
	return {
		sum,
		count: g.values(output.type, [], [elements]),
		mean: g.mul(sum, 1 / elements),
		seed: g.filled(output.type, output.dims, 1 / elements),
	};
}
