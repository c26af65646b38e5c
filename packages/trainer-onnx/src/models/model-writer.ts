import { fillGaussian4, type Random } from "@rondo/kernels";
import { type Layout, layoutOf } from "@rondo/tensors";
import {
	type Attributes,
	type Dim,
	type ElementType,
	type Graph,
	int64s,
	type Node,
	scalar,
	type Tensor,
	type Value,
} from "../graph/ir.js";
import type { LossName } from "../losses.js";
import { type OnnxManifest, packGraph } from "../model.js";

/** A model without weights: what it computes, how its weights lie, and what they start from. */
export interface ModelBlueprint {
	readonly manifest: OnnxManifest;
	readonly layout: Layout;
	/** Fresh weights, `layout.length` elements. Equal randomness gives equal bytes on every machine. */
	initialWeights(random: Random): Float32Array;
}

/** Fills one tensor of fresh weights. */
export type Initializer = (out: Float32Array, random: Random) => void;

/** Gaussian with mean 0. */
export const normal =
	(standardDeviation: number): Initializer =>
	(out, random) => {
		const draws = fillGaussian4(random, 0, new Float64Array(out.length));
		for (let i = 0; i < out.length; i++) out[i] = draws[i]! * standardDeviation;
	};

/**
 * Uniform in ±sqrt(6 / (in + out)) (X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
 * networks", AISTATS 2010, eq. 16), the same numbers as those of `denseClassifier` of @rondo/trainer-tfjs.
 */
export const glorotUniform =
	(fanIn: number, fanOut: number): Initializer =>
	(out, random) => {
		const limit = Math.sqrt(6 / (fanIn + fanOut));
		const words = random.words(0, new Uint32Array(out.length));
		// The middles of 2^32 equal cells of [-1, 1].
		for (let i = 0; i < out.length; i++) out[i] = ((words[i]! - 2 ** 31 + 0.5) / 2 ** 31) * limit;
	};

export const filledWith =
	(value: number): Initializer =>
	(out) => {
		out.fill(value);
	};

/** Version of the ONNX operators that the models here are written in: the first with Gelu. */
const OPSET = 20;

interface Parameter {
	readonly name: string;
	readonly shape: readonly number[];
	readonly initial: Initializer;
}

/**
 * Collects the nodes of a forward model whose sizes are open, unlike those that `GraphBuilder` makes. Values are names. Weights
 * lie in the order in which they are declared.
 */
export class ModelWriter {
	readonly #inputs: Value[] = [];
	readonly #parameters: Parameter[] = [];
	readonly #constants = new Map<string, Tensor>();
	readonly #nodes: Node[] = [];

	input(name: string, type: ElementType, dims: readonly Dim[]): string {
		this.#inputs.push({ name, type, dims });
		return name;
	}

	/** A trained weight. */
	parameter(name: string, shape: readonly number[], initial: Initializer): string {
		this.#parameters.push({ name, shape, initial });
		return name;
	}

	/** @param name as PyTorch names buffers, where an import would take the constant for a weight */
	constant(tensor: Tensor, name = `c${this.#constants.size}`): string {
		this.#constants.set(name, tensor);
		return name;
	}

	int64s(...values: readonly number[]): string {
		return this.constant(int64s(...values));
	}

	float(value: number): string {
		return this.constant(scalar("float32", value));
	}

	/** A node with one result. */
	node(op: string, inputs: readonly string[], attributes: Attributes = {}): string {
		const name = `v${this.#nodes.length}`;
		this.#nodes.push({ op, domain: "", name: `${op}_${this.#nodes.length}`, inputs, outputs: [name], attributes });
		return name;
	}

	/** Equal parts along an axis. */
	split(value: string, count: number, axis: number): readonly string[] {
		const name = `v${this.#nodes.length}`;
		const outputs = Array.from({ length: count }, (_, i) => `${name}.${i}`);
		const attributes = { axis: { int: axis }, num_outputs: { int: count } };
		this.#nodes.push({ op: "Split", domain: "", name: `Split_${this.#nodes.length}`, inputs: [value], outputs, attributes });
		return outputs;
	}

	/** `value` in dimensions of which at most one is −1: what remains. 0 keeps the size at its place. */
	reshape(value: string, ...dims: readonly number[]): string {
		return this.node("Reshape", [value, this.int64s(...dims)]);
	}

	transpose(value: string, ...perm: readonly number[]): string {
		return this.node("Transpose", [value], { perm: { ints: perm } });
	}

	/** x·Wᵀ + b for rows x and a weight [out, in], as PyTorch keeps it. */
	linear(x: string, weight: string, bias?: string): string {
		return this.node("Gemm", bias === undefined ? [x, weight] : [x, weight, bias], { transB: { int: 1 } });
	}

	/** x·W + b for rows x and a weight [in, out], as Keras and GPT-2 keep it. */
	dense(x: string, weight: string, bias?: string): string {
		return this.node("Gemm", bias === undefined ? [x, weight] : [x, weight, bias]);
	}

	/** @param output becomes the model's only output, under the name "logits" */
	finish(output: string, dims: readonly Dim[], loss: LossName): ModelBlueprint {
		const nodes = this.#nodes.map((node) => (node.outputs[0] === output ? { ...node, outputs: ["logits"] } : node));
		const parameters = this.#parameters;
		const layout = layoutOf(parameters);
		const graph: Graph = {
			opset: OPSET,
			domains: {},
			inputs: [...this.#inputs, ...parameters.map(({ name, shape }): Value => ({ name, type: "float32", dims: shape }))],
			outputs: [{ name: "logits", type: "float32", dims }],
			initializers: this.#constants,
			nodes,
		};
		return {
			manifest: { format: "onnx", loss, output: "logits", input: this.#inputs[0]!.name, trainer: "gradient", graph: packGraph(graph) },
			layout,
			initialWeights(random) {
				const weights = new Float32Array(layout.length);
				for (const [i, { name, from, to }] of layout.tensors.entries())
					parameters[i]!.initial(weights.subarray(from, to), random.at("initial", name));
				return weights;
			},
		};
	}
}
