import { RondoError } from "@rondo/errors";
import type { Graph, Node, Tensor } from "../graph/ir.js";

export interface Selection {
	/** Only initializers whose names match one of these patterns are trained; default: all that look like parameters. */
	readonly train?: readonly string[];
	/** Initializers whose names match one of these patterns are not trained. */
	readonly freeze?: readonly string[];
}

/**
 * Inputs of operators that are statistics, bounds, sizes or slopes of the operator rather than parameters; initializers that
 * are read only there are not trained unless `train` names them.
 */
const SETTINGS: { readonly [op: string]: readonly number[] } = {
	BatchNormalization: [3, 4],
	Clip: [1, 2],
	Pad: [2],
	Pow: [1],
	Resize: [1, 2],
	Dropout: [1, 2],
	OneHot: [2],
	NegativeLogLikelihoodLoss: [2],
	SoftmaxCrossEntropyLoss: [2],
	Range: [0, 1, 2],
};

/** Buffers that PyTorch modules register and exporters write as initializers: they are read like parameters, but are none. */
const BUFFER =
	/(^|[._/])(running_mean|running_var|num_batches_tracked|inv_freq|original_inv_freq|(cos|sin)(_cached)?|rotary_emb\.[a-z_]+|position_ids|token_type_ids|causal_mask|attn_mask|masked_bias|pe)$/;

/**
 * Names of the trained initializers, in the order in which the graph first reads them: the layout of the flat vector.
 * Without patterns these are the float initializers with at least one dimension that reach an output through the graph,
 * except buffers, settings of operators and what the file has as Constant nodes.
 * @param isWeight whether a name is one of the file's initializers
 * @throws INVALID_ARGUMENT for a pattern that matches nothing, for `train` that names what is no float initializer, and when nothing is left
 */
export function selectParameters(
	graph: Graph,
	{ train = [], freeze = [] }: Selection,
	isWeight: (name: string) => boolean,
): readonly string[] {
	const floats = [...graph.initializers].filter(([, { type }]) => type === "float32").map(([name]) => name);
	const wanted = patternsOf("train", train, floats);
	const unwanted = patternsOf("freeze", freeze, floats);
	const isTrained = (name: string): boolean =>
		(wanted.length === 0 || wanted.some((pattern) => pattern.test(name))) && !unwanted.some((pattern) => pattern.test(name));
	const seen = new Set<string>();
	const ordered: string[] = [];
	for (const node of graph.nodes) {
		for (const [i, input] of node.inputs.entries()) {
			// How much is dropped has no gradient, whatever a pattern says.
			if (node.op === "Dropout" && i > 0) continue;
			const tensor = graph.initializers.get(input);
			if (tensor?.type !== "float32" || seen.has(input)) continue;
			if (wanted.length === 0 && !(isWeight(input) && looksTrainable(node, i, input, tensor))) continue;
			seen.add(input);
			if (isTrained(input)) ordered.push(input);
		}
	}
	if (ordered.length === 0)
		throw new RondoError(
			"INVALID_ARGUMENT",
			floats.length === 0
				? "the model has no weights of its own; export it with them (export_params in torch.onnx)"
				: `the model has no weights to train: of ${floats.slice(0, 12).join(", ")} none is left; name some with --train`,
			{ details: { field: "train" } },
		);
	return ordered;
}

/** What holds −∞ is a mask. */
const looksTrainable = ({ op }: Node, i: number, name: string, { dims, data }: Tensor): boolean =>
	dims.length > 0 &&
	!BUFFER.test(name) &&
	!(SETTINGS[op]?.includes(i) ?? false) &&
	!(data as Float32Array).includes(Number.NEGATIVE_INFINITY);

/**
 * Patterns of names, each of which matches at least one.
 * @param what the names are of
 * @throws INVALID_ARGUMENT
 */
export function patternsOf(field: string, texts: readonly string[], names: readonly string[], what = "weight"): readonly RegExp[] {
	return texts.map((text) => {
		const pattern = globToRegExp(text);
		if (!names.some((name) => pattern.test(name)))
			throw new RondoError(
				"INVALID_ARGUMENT",
				`--${field} ${JSON.stringify(text)} matches no ${what}; the model has ${names.slice(0, 12).join(", ")}${names.length > 12 ? ` and ${names.length - 12} more` : ""}`,
				{ details: { field, value: text } },
			);
		return pattern;
	});
}

/** `*` any characters, `?` one; everything else as it is. */
function globToRegExp(glob: string): RegExp {
	const source = glob
		.replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
		.replaceAll("*", ".*")
		.replaceAll("?", ".");
	return new RegExp(`^${source}$`);
}
