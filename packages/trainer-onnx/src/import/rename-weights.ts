import { freeNames, type Graph, type Node } from "../graph/ir.js";

/** A weight that has another name than in the file. */
export interface Renaming {
	/** In the file. */
	readonly from: string;
	readonly name: string;
	/** PyTorch has it the other way round: the exporter transposed it, and thereby lost its name. */
	readonly transposed: boolean;
}

/** Names that exporters make up for weights that they changed on the way, like `onnx::MatMul_123` or `val_93`. */
const MADE_UP = /^(onnx::\w+|_?onnx__\w+|val_[0-9]+|[0-9]+)$/;

/** What operators call their weights: PyTorch's name where the weight is that of its module, ONNX's where it is put together from several. */
const ROLES: { readonly [op: string]: { readonly [input: number]: string } } = {
	MatMul: { 0: "weight", 1: "weight" },
	Gemm: { 1: "weight", 2: "bias" },
	Conv: { 1: "weight", 2: "bias" },
	ConvTranspose: { 1: "weight", 2: "bias" },
	LSTM: { 1: "W", 2: "R", 3: "B" },
	GRU: { 1: "W", 2: "R", 3: "B" },
	RNN: { 1: "W", 2: "R", 3: "B" },
};

/**
 * Gives weights whose names the exporter made up the name of the module that reads them, as in
 * `model.layers.0.self_attn.q_proj.weight`; those of no known module keep theirs.
 * @param isWeight whether a name is one of the file's initializers
 */
export function renameWeights(
	graph: Graph,
	isWeight: (name: string) => boolean,
): { readonly graph: Graph; readonly renamings: readonly Renaming[] } {
	const free = freeNames(graph);
	const renamings: Renaming[] = [];
	const names = new Map<string, string>();
	for (const node of graph.nodes) {
		const module = moduleOf(node);
		if (module === undefined || node.domain !== "") continue;
		for (const [i, from] of node.inputs.entries()) {
			const tensor = graph.initializers.get(from);
			const role = ROLES[node.op]?.[i];
			if (tensor?.type !== "float32" || tensor.dims.length === 0 || role === undefined || !MADE_UP.test(from) || names.has(from)) continue;
			if (!isWeight(from)) continue;
			const name = free(`${module}.${role}`);
			names.set(from, name);
			renamings.push({ from, name, transposed: node.op === "MatMul" });
		}
	}
	if (names.size === 0) return { graph, renamings };
	const renamed = (name: string): string => names.get(name) ?? name;
	return {
		graph: {
			...graph,
			initializers: new Map([...graph.initializers].map(([name, tensor]) => [renamed(name), tensor])),
			nodes: graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map(renamed) })),
		},
		renamings,
	};
}

/** The path of the module that a node comes from: as the exporter says, or as its TorchScript name `/model/layers.0/q_proj/MatMul` does. */
function moduleOf({ module, name }: Node): string | undefined {
	if (module !== undefined) return module;
	if (!name.startsWith("/")) return undefined;
	const path: string[] = [];
	for (const segment of name.slice(1).split("/").slice(0, -1)) {
		// Containers that are called themselves stand twice: /layers/layers.0.
		if (path.length > 0 && segment.startsWith(`${path.at(-1)}.`)) path.pop();
		path.push(segment);
	}
	return path.length === 0 ? undefined : path.join(".");
}
