import { causalAttention, sequenceParts, toHeads, toLogits } from "./decoder.js";
import { filledWith, type ModelBlueprint, ModelWriter, normal } from "./model-writer.js";
import { checkDivides, checkSize } from "./options.js";

/** The sizes of a GPT-2-style model. */
export interface Gpt2Config {
	/** Number of tokens. */
	readonly vocabulary: number;
	/** Longest sequence. */
	readonly contextLength: number;
	/** Elements of one token's hidden state. */
	readonly width: number;
	readonly layers: number;
	/** They divide `width`. */
	readonly heads: number;
	/** Elements inside the feed-forward part. Default: 4 · width. */
	readonly hidden?: number;
}

const INITIAL_DEVIATION = 0.02;

/**
 * A causal language model in the style of GPT-2: layer norm in front of each part, learned positions, GELU in its tanh form, the
 * embedding as output layer (A. Radford et al., "Language Models are Unsupervised Multitask Learners", 2019). Input "input_ids"
 * [batch, sequence], output "logits" [batch, sequence, vocabulary], loss causal-lm, any length up to the context. Weights are
 * named and shaped, [in, out], as in the checkpoints of Hugging Face.
 *
 * Fresh weights are Gaussian with deviation 0.02, those of layers that add to the hidden state divided by sqrt(2 · layers)
 * (section 2.3); biases start at 0.
 * @example gpt2({ vocabulary: 96, contextLength: 128, width: 128, layers: 4, heads: 4 }).layout.length // 822016
 * @throws INVALID_ARGUMENT that names the option and its value
 */
export function gpt2(config: Gpt2Config): ModelBlueprint {
	const { vocabulary, contextLength, width, layers, heads, hidden = 4 * width } = config;
	for (const [field, value] of Object.entries({ vocabulary, contextLength, width, layers, heads, hidden })) checkSize(field, value);
	checkDivides("width", width, "heads", heads);
	const headWidth = width / heads;
	const weight = normal(INITIAL_DEVIATION);
	const closing = normal(INITIAL_DEVIATION / Math.sqrt(2 * layers));

	const w = new ModelWriter();
	const parts = sequenceParts(w, w.input("input_ids", "int32", ["batch", "sequence"]));
	const norm = (x: string, name: string): string => {
		const scale = w.parameter(`${name}.weight`, [width], filledWith(1));
		const shift = w.parameter(`${name}.bias`, [width], filledWith(0));
		return w.node("LayerNormalization", [x, scale, shift], { axis: { int: -1 }, epsilon: { float: 1e-5 } });
	};
	const dense = (x: string, name: string, from: number, out: number, initial = weight): string =>
		w.dense(x, w.parameter(`${name}.weight`, [from, out], initial), w.parameter(`${name}.bias`, [out], filledWith(0)));

	const embedding = w.parameter("transformer.wte.weight", [vocabulary, width], weight);
	const places = w.parameter("transformer.wpe.weight", [contextLength, width], weight);
	const tokens = toHeads(w, parts, w.node("Gather", [embedding, parts.ids]), 1, width);
	const length = w.node("Unsqueeze", [parts.length, w.int64s(0)]);
	const used = w.node("Unsqueeze", [w.node("Slice", [places, w.int64s(0), length, w.int64s(0)]), w.int64s(1)]);
	let x = w.reshape(w.node("Add", [tokens, used]), -1, width);
	for (let layer = 0; layer < layers; layer++) {
		const at = `transformer.h.${layer}`;
		const joined = dense(norm(x, `${at}.ln_1`), `${at}.attn.c_attn`, width, 3 * width);
		const [query, key, value] = w.split(joined, 3, 1).map((rows) => toHeads(w, parts, rows, heads, headWidth));
		const mixed = causalAttention(w, parts, { heads, keyValueHeads: heads, headWidth }, query!, key!, value!);
		x = w.node("Add", [x, dense(mixed, `${at}.attn.c_proj`, width, width, closing)]);

		const inner = dense(norm(x, `${at}.ln_2`), `${at}.mlp.c_fc`, width, hidden);
		const active = w.node("Gelu", [inner], { approximate: { string: "tanh" } });
		x = w.node("Add", [x, dense(active, `${at}.mlp.c_proj`, hidden, width, closing)]);
	}
	const logits = w.linear(norm(x, "transformer.ln_f"), embedding);
	return w.finish(toLogits(w, parts, logits, vocabulary), ["batch", "sequence", vocabulary], "causal-lm");
}
