import { causalAttention, type SequenceParts, sequenceParts, toHeads, toLogits } from "./decoder.js";
import { filledWith, type ModelBlueprint, ModelWriter, normal } from "./model-writer.js";
import { checkDivides, checkSize } from "./options.js";

/** The sizes of a Llama-style model. */
export interface LlamaConfig {
	/** Number of tokens. */
	readonly vocabulary: number;
	/** Elements of one token's hidden state. */
	readonly width: number;
	/** Elements inside the feed-forward part. */
	readonly hidden: number;
	readonly layers: number;
	/** Query heads; they divide `width`. */
	readonly heads: number;
	/** Key and value heads; they divide `heads`. Default: as many. */
	readonly keyValueHeads?: number;
	/** Default 1e-5. */
	readonly normEpsilon?: number;
	/** Base of the rotary frequencies. Default 10,000. */
	readonly ropeBase?: number;
	/**
	 * Which elements of a head are rotated together: neighbours, as in the paper and llama2.c (default), or those half a head
	 * apart, as in the checkpoints of Hugging Face.
	 */
	readonly ropePairs?: "adjacent" | "halves";
	/** Whether the output layer is the embedding. Default true. */
	readonly tiedHead?: boolean;
}

const INITIAL_DEVIATION = 0.02;

/**
 * A causal language model in the style of Llama: RMS norm in front of each part, rotary positions, grouped-query attention,
 * SwiGLU (H. Touvron et al., "LLaMA", arXiv:2302.13971, and "Llama 2", arXiv:2307.09288; J. Su et al., "RoFormer",
 * arXiv:2104.09864). Input "input_ids" [batch, sequence], output "logits" [batch, sequence, vocabulary], loss causal-lm, any
 * length. Weights are named and shaped, [out, in], as in the checkpoints of Hugging Face.
 *
 * Fresh weights are Gaussian with deviation 0.02, those of layers that add to the hidden state divided by sqrt(2 · layers)
 * (A. Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3).
 * @example llama({ vocabulary: 512, width: 64, hidden: 172, layers: 5, heads: 8, keyValueHeads: 4 }).layout.length // 260032
 * @throws INVALID_ARGUMENT that names the option and its value
 */
export function llama(config: LlamaConfig): ModelBlueprint {
	const { vocabulary, width, hidden, layers, heads, keyValueHeads = heads, normEpsilon = 1e-5, tiedHead = true } = config;
	for (const [field, value] of Object.entries({ vocabulary, width, hidden, layers, heads, keyValueHeads })) checkSize(field, value);
	checkDivides("width", width, "2 · heads", 2 * heads);
	checkDivides("heads", heads, "keyValueHeads", keyValueHeads);
	const headWidth = width / heads;
	const weight = normal(INITIAL_DEVIATION);
	const closing = normal(INITIAL_DEVIATION / Math.sqrt(2 * layers));

	const w = new ModelWriter();
	const parts = sequenceParts(w, w.input("input_ids", "int32", ["batch", "sequence"]));
	const rotate = rotary(w, parts, config, headWidth);
	const norm = (x: string, name: string): string => rmsNorm(w, x, w.parameter(name, [width], filledWith(1)), normEpsilon);
	const embedding = w.parameter("model.embed_tokens.weight", [vocabulary, width], weight);
	let x = w.node("Gather", [embedding, parts.ids]);
	for (let layer = 0; layer < layers; layer++) {
		const at = `model.layers.${layer}`;
		const projection = (name: string, out: number, from: number, initial = weight): string =>
			w.parameter(`${at}.${name}.weight`, [out, from], initial);
		const attended = norm(x, `${at}.input_layernorm.weight`);
		const project = (name: string, count: number): string =>
			toHeads(w, parts, w.linear(attended, projection(`self_attn.${name}`, count * headWidth, width)), count, headWidth);
		const query = rotate(project("q_proj", heads));
		const key = rotate(project("k_proj", keyValueHeads));
		const value = project("v_proj", keyValueHeads);
		const mixed = causalAttention(w, parts, { heads, keyValueHeads, headWidth }, query, key, value);
		x = w.node("Add", [x, w.linear(mixed, projection("self_attn.o_proj", width, width, closing))]);

		const normed = norm(x, `${at}.post_attention_layernorm.weight`);
		const gate = w.linear(normed, projection("mlp.gate_proj", hidden, width));
		const up = w.linear(normed, projection("mlp.up_proj", hidden, width));
		const gated = w.node("Mul", [w.node("Mul", [gate, w.node("Sigmoid", [gate])]), up]);
		x = w.node("Add", [x, w.linear(gated, projection("mlp.down_proj", width, hidden, closing))]);
	}
	const last = norm(x, "model.norm.weight");
	const head = tiedHead ? embedding : w.parameter("lm_head.weight", [vocabulary, width], weight);
	return w.finish(toLogits(w, parts, w.linear(last, head), vocabulary), ["batch", "sequence", vocabulary], "causal-lm");
}

/** x / sqrt(mean(x²) + ε) · scale (B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019, arXiv:1910.07467). */
function rmsNorm(w: ModelWriter, x: string, scale: string, epsilon: number): string {
	const meanSquare = w.node("ReduceMean", [w.node("Pow", [x, w.float(2)]), w.int64s(-1)], { keepdims: { int: 1 } });
	const root = w.node("Sqrt", [w.node("Add", [meanSquare, w.float(epsilon)])]);
	return w.node("Mul", [w.node("Div", [x, root]), scale]);
}

/**
 * Rotates pairs of elements by position · base^(−2i / headWidth): x·cos + x·R·sin, where the constant matrix R takes each pair
 * (a, b) to (−b, a). A product is cheaper than taking pairs apart and putting them together again.
 * @returns a function of [batch, sequence, heads, headWidth]
 */
function rotary(
	w: ModelWriter,
	{ positions }: SequenceParts,
	{ ropeBase = 10_000, ropePairs = "adjacent" }: LlamaConfig,
	headWidth: number,
): (x: string) => string {
	const half = headWidth / 2;
	const frequencies = new Float32Array(headWidth);
	const turn = new Float32Array(headWidth * headWidth);
	for (let i = 0; i < half; i++) {
		const [a, b] = ropePairs === "adjacent" ? [2 * i, 2 * i + 1] : [i, i + half];
		frequencies[a] = frequencies[b] = ropeBase ** ((-2 * i) / headWidth);
		turn[b * headWidth + a] = -1;
		turn[a * headWidth + b] = 1;
	}
	const perPosition = w.node("Unsqueeze", [w.node("Cast", [positions], { to: { int: 1 } }), w.int64s(1, 2)]);
	const angles = w.node("Mul", [perPosition, w.constant({ type: "float32", dims: [headWidth], data: frequencies }, "rotary_emb.inv_freq")]);
	const [cos, sin] = [w.node("Cos", [angles]), w.node("Sin", [angles])];
	const matrix = w.constant({ type: "float32", dims: [headWidth, headWidth], data: turn }, "rotary_emb.turn");
	return (x) => w.node("Add", [w.node("Mul", [x, cos]), w.node("Mul", [w.node("MatMul", [x, matrix]), sin])]);
}
