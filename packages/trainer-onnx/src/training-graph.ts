import { differentiate } from "./gradients/differentiate.js";
import { prune } from "./graph/check-graph.js";
import { GraphBuilder, type Ref } from "./graph/graph-builder.js";
import { type Graph, type Node, sizeOf, type Tensor, type Value } from "./graph/ir.js";
import { buildLoss, isLossName, type LabelSpec, type Loss, labelsFor } from "./losses.js";
import type { OnnxModel } from "./model.js";
import type { SpecializedModel } from "./specialize.js";

/** Starts the names of all that is added to a model. */
const PREFIX = "rondo/";
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
		this.#fixed = fixed;
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
		const named = outputs.map(([name, ref]) => {
			this.g.nodes.push({ op: "Identity", domain: "", name, inputs: [ref.name], outputs: [name], attributes: {} });
			return { name, type: ref.type, dims: ref.dims };
		});
		const labels = this.labels === undefined ? [] : [{ name: LABELS, type: this.labels.type, dims: this.labels.dims }];
		const graph: Graph = {
			opset,
			domains,
			inputs: [...this.#fixed.inputs, ...labels, ...inputs],
			outputs: named,
			initializers: new Map<string, Tensor>([...constants, ...this.g.initializers]),
			nodes: [...nodes, ...this.g.nodes],
		};
		return { graph: prune(graph), labels: this.labels };
	}
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

/** Sums over a batch for metrics. */
export function evaluationGraph(model: OnnxModel, fixed: SpecializedModel): ReadyGraph {
	const built = new LossGraph(model, fixed);
	const { sum, count, hits } = built.loss;
	return built.finish([[LOSS_SUM, sum], [COUNT, count], ...(hits === undefined ? [] : [[HITS, hits()] as const])]);
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
