import { RondoError } from "@rondo/errors";
import { type Random, randomFromSeed } from "@rondo/kernels";
import { floatOf, intOf, intsOf } from "../gradients/rule.js";
import { freeNames, type Graph, type Node, scalar, type Tensor } from "../graph/ir.js";
import { patternsOf, selectParameters } from "../import/parameters.js";

/** Which weights get adapters, and what kind. */
export interface LoraOptions {
	/** Patterns of names: `*` any characters, `?` one. Weights of other kinds that they match get none. */
	readonly targets: readonly string[];
	/** Columns of A and rows of B; default 8. */
	readonly rank?: number;
	/** The product of A and B counts alpha / rank times; default 16. */
	readonly alpha?: number;
	/** What A is drawn from; default "0". */
	readonly seed?: string;
	/** Train B alone (FFA-LoRA: Sun et al., ICLR 2024, arXiv:2403.12313), so that averages of clients' adapters are exact. */
	readonly freezeA?: boolean;
}

/** One weight with an adapter. */
export interface LoraTarget {
	/** The frozen weight. */
	readonly weight: string;
	/** Of dimensions [in, rank]. */
	readonly a: string;
	/** Of dimensions [rank, out]. */
	readonly b: string;
	/** Dimensions of the weight in the graph: [in, out], or [out, in] as PyTorch's linear layers have it. */
	readonly order: "in-out" | "out-in";
}

/** The adapters of a model, as its manifest has them. */
export interface Lora {
	readonly rank: number;
	readonly alpha: number;
	readonly targets: readonly LoraTarget[];
	/** All weights that the model has without its adapters. */
	readonly base: readonly string[];
}

const DEFAULT_RANK = 8;
const DEFAULT_ALPHA = 16;

/**
 * Puts low-rank adapters beside products with chosen weights: y = x·W + (alpha / rank)·(x·A)·B, where A is drawn at random and
 * B is 0, so that at first the model is what it was. (E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR
 * 2022; A as PyTorch's linear layers and the PEFT library draw it: uniform up to ±1/√in.)
 * @param isWeight whether a name is one of the file's initializers
 * @returns the graph with A and B as further initializers
 * @throws INVALID_ARGUMENT for rank or alpha out of range, and a pattern that matches no weight of a MatMul or Gemm
 */
export function applyLora(
	graph: Graph,
	options: LoraOptions,
	isWeight: (name: string) => boolean,
): { readonly graph: Graph; readonly lora: Lora } {
	const { targets: patterns, rank = DEFAULT_RANK, alpha = DEFAULT_ALPHA, seed = "0" } = options;
	if (!Number.isSafeInteger(rank) || rank < 1)
		throw new RondoError("INVALID_ARGUMENT", `--lora-rank must be a positive integer, got ${rank}`, {
			details: { field: "loraRank", value: rank },
		});
	if (!(alpha > 0 && Number.isFinite(alpha)))
		throw new RondoError("INVALID_ARGUMENT", `--lora-alpha must be positive, got ${alpha}`, {
			details: { field: "loraAlpha", value: alpha },
		});
	const uses = productsOf(graph, isWeight);
	const wanted = patternsOf("lora", patterns, [...uses.keys()], "weight of a matrix product");
	const free = freeNames(graph);
	const random = randomFromSeed(seed);
	const initializers = new Map(graph.initializers);
	const targets = new Map<string, LoraTarget>();
	for (const [weight, { order }] of uses) {
		if (!wanted.some((pattern) => pattern.test(weight))) continue;
		const { dims } = graph.initializers.get(weight)!;
		const [rowsIn, columnsOut] = (order === "in-out" ? dims : dims.toReversed()) as [number, number];
		const module = moduleOf(weight);
		const target: LoraTarget = { weight, a: free(`${module}.lora_A.weight`), b: free(`${module}.lora_B.weight`), order };
		targets.set(weight, target);
		initializers.set(target.a, drawn(random.at("lora", weight), rowsIn, rank));
		initializers.set(target.b, { type: "float32", dims: [rank, columnsOut], data: new Float32Array(rank * columnsOut) });
	}
	const nodes = graph.nodes.flatMap((node) => {
		const found = [...targets.values()].find(({ weight }) => uses.get(weight)!.nodes.has(node));
		return found === undefined ? [node] : adapted(node, found, (alpha / rank) * floatOf(node, "alpha", 1), free, initializers);
	});
	return {
		graph: { ...graph, initializers, nodes },
		lora: { rank, alpha, targets: [...targets.values()], base: selectParameters(graph, {}, isWeight) },
	};
}

/** The module of a weight, as PyTorch names both. */
export const moduleOf = (weight: string): string => weight.replace(/\.weight$/, "");

/** Products that read a weight as their right operand. */
interface Products {
	readonly nodes: Set<Node>;
	readonly order: LoraTarget["order"];
}

/**
 * Matrices that nothing but products reads, all the same way round, as they are or transposed: those that can have an adapter.
 * An embedding that is the head as well has none: merging would change both.
 */
function productsOf(graph: Graph, isWeight: (name: string) => boolean): ReadonlyMap<string, Products> {
	const readers = new Map<string, { readonly node: Node; readonly i: number }[]>();
	for (const node of graph.nodes) {
		for (const [i, input] of node.inputs.entries()) {
			const known = readers.get(input);
			if (known === undefined) readers.set(input, [{ node, i }]);
			else known.push({ node, i });
		}
	}
	const outputs = new Set(graph.outputs.map(({ name }) => name));
	/** How each product reads a value; undefined: something else reads it too. */
	const products = (value: string, transposed: boolean): (readonly [Node, boolean])[] | undefined => {
		if (outputs.has(value)) return undefined;
		const found: (readonly [Node, boolean])[] = [];
		for (const { node, i } of readers.get(value) ?? []) {
			if (node.domain !== "") return undefined;
			if (node.op === "Transpose" && !transposed && String(intsOf(node, "perm") ?? "1,0") === "1,0") {
				const behind = products(node.outputs[0]!, true);
				if (behind === undefined) return undefined;
				found.push(...behind);
			} else if (node.op === "MatMul" && i === 1) found.push([node, transposed]);
			else if (node.op === "Gemm" && i === 1 && intOf(node, "transA", 0) === 0)
				found.push([node, transposed !== (intOf(node, "transB", 0) !== 0)]);
			else return undefined;
		}
		return found;
	};
	const result = new Map<string, Products>();
	for (const [name, { type, dims }] of graph.initializers) {
		if (type !== "float32" || dims.length !== 2 || !isWeight(name)) continue;
		const found = products(name, false);
		if (found === undefined || found.length === 0 || new Set(found.map(([, outIn]) => outIn)).size > 1) continue;
		result.set(name, { nodes: new Set(found.map(([node]) => node)), order: found[0]![1] ? "out-in" : "in-out" });
	}
	return result;
}

/** Uniform numbers up to ±1/√rows: `kaiming_uniform_` of PyTorch with a = √5. */
function drawn(random: Random, rows: number, columns: number): Tensor {
	const bound = 1 / Math.sqrt(rows);
	const words = random.words(0, new Uint32Array(rows * columns));
	return { type: "float32", dims: [rows, columns], data: Float32Array.from(words, (word) => bound * ((2 * word + 1) / 2 ** 32 - 1)) };
}

/** The product under another name, and the adapter's part added to it. */
function adapted(
	node: Node,
	{ a, b }: LoraTarget,
	scale: number,
	free: (wanted: string) => string,
	initializers: Map<string, Tensor>,
): Node[] {
	const result = node.outputs[0]!;
	const made = (part: string): string => free(`${result}/lora/${part}`);
	const [base, down, scaled, up] = [made("base"), made("down"), made("scaled"), made("up")];
	const factor = made("scale");
	initializers.set(factor, scalar("float32", scale));
	const plain = (op: string, inputs: readonly string[], output: string): Node => ({
		op,
		domain: "",
		name: output,
		inputs,
		outputs: [output],
		attributes: {},
	});
	return [
		{ ...node, outputs: [base] },
		plain("MatMul", [node.inputs[0]!, a], down),
		// The smallest of the products takes the factor.
		plain("Mul", [down, factor], scaled),
		plain("MatMul", [scaled, b], up),
		plain("Add", [base, up], result),
	];
}
