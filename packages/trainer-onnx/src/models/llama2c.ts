import { RondoError } from "@rondo/errors";
import { tensorOf } from "@rondo/tensors";
import { type LlamaConfig, llama } from "./llama.js";
import type { ModelBlueprint } from "./model-writer.js";

/** A checkpoint of llama2.c as a model that can be trained. */
export interface Llama2cModel extends Pick<ModelBlueprint, "manifest" | "layout"> {
	/** `layout.length` elements. */
	readonly weights: Float32Array;
	readonly config: LlamaConfig;
	/** Longest sequence that the model was trained on. */
	readonly contextLength: number;
}

const HEADER_INTS = 7;
const HEADER_FIELDS = ["dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len"] as const;

/**
 * Reads a checkpoint in the first format of llama2.c (A. Karpathy, github.com/karpathy/llama2.c, `export.py`, version 0): seven
 * int32 (a negative vocabulary size: the head is a matrix of its own), then float32: the embedding, each kind of weight for all
 * layers in turn, the last norm, two tables of rotary angles that nobody needs, and perhaps the head.
 * @throws BAD_MODEL for a header or a length that is not one of such a file
 */
export function readLlama2c(bytes: Uint8Array): Llama2cModel {
	if (bytes.length < 4 * HEADER_INTS) throw refuse(`has ${bytes.length} bytes, fewer than its header of ${4 * HEADER_INTS}`);
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const header = HEADER_FIELDS.map((_, i) => view.getInt32(4 * i, true));
	const [width, hidden, layers, heads, keyValueHeads, signedVocabulary, contextLength] = header as [
		number,
		number,
		number,
		number,
		number,
		number,
		number,
	];
	const vocabulary = Math.abs(signedVocabulary);
	const shown = HEADER_FIELDS.map((field, i) => `${field} ${header[i]}`).join(", ");
	const config: LlamaConfig = { vocabulary, width, hidden, layers, heads, keyValueHeads, tiedHead: signedVocabulary > 0 };
	const sizes = [width, hidden, layers, heads, keyValueHeads, vocabulary, contextLength];
	const numbers = sizes.some((size) => size < 1) ? Number.NaN : elementsOf(config, contextLength);
	if (bytes.length !== 4 * (HEADER_INTS + numbers)) throw refuse(`has ${bytes.length} bytes, which do not go with its header: ${shown}`);
	const model = llama(config);

	// A copy, because the file's bytes are not aligned; `slice` of a Buffer makes none.
	const data = new Float32Array(Uint8Array.from(bytes.subarray(4 * HEADER_INTS)).buffer);
	const weights = new Float32Array(model.layout.length);
	let from = 0;
	const take = (name: string): void => {
		const out = tensorOf(model.layout, name, weights);
		out.set(data.subarray(from, from + out.length));
		from += out.length;
	};
	const takeAll = (name: string): void => {
		for (let layer = 0; layer < layers; layer++) take(`model.layers.${layer}.${name}.weight`);
	};
	take("model.embed_tokens.weight");
	takeAll("input_layernorm");
	for (const name of ["q_proj", "k_proj", "v_proj", "o_proj"]) takeAll(`self_attn.${name}`);
	takeAll("post_attention_layernorm");
	for (const name of ["gate_proj", "down_proj", "up_proj"]) takeAll(`mlp.${name}`);
	take("model.norm.weight");
	from += contextLength * (width / heads);
	if (!config.tiedHead) take("lm_head.weight");
	return { manifest: model.manifest, layout: model.layout, weights, config, contextLength };
}

/** Numbers of a checkpoint. */
function elementsOf({ vocabulary, width, hidden, layers, heads, keyValueHeads = heads, tiedHead }: LlamaConfig, context: number): number {
	const headWidth = width / heads;
	const attention = 2 * width * width + 2 * width * keyValueHeads * headWidth;
	const perLayer = 2 * width + attention + 3 * width * hidden;
	return vocabulary * width * (tiedHead ? 1 : 2) + layers * perLayer + width + context * headWidth;
}

const refuse = (problem: string): RondoError => new RondoError("BAD_MODEL", `the llama2.c checkpoint ${problem}`);

/** What the constructor of `Tokenizer` of the npm package @huggingface/tokenizers takes: the JSON of tokenizer.json and tokenizer_config.json. */
export interface TokenizerFiles {
	readonly tokenizer: {
		readonly model: {
			readonly type: "BPE";
			readonly vocab: { readonly [token: string]: number };
			/** Best first. */
			readonly merges: readonly (readonly [left: string, right: string])[];
			readonly [field: string]: unknown;
		};
		readonly [field: string]: unknown;
	};
	readonly config: { readonly [field: string]: unknown };
}

/** Ids of the tokens that begin and end a text in vocabularies of llama2.c. */
export const LLAMA2C_BEGIN = 1;
export const LLAMA2C_END = 2;

const SPECIAL = ["<unk>", "<s>", "</s>"] as const;

/**
 * Reads a vocabulary of llama2.c (`tokenizer.py`: int32 longest length, then for each token float32 score, int32 length, bytes)
 * as files for the library. llama2.c joins the neighbours whose joined token has the best score, whatever they are; merges name
 * both halves. So each token becomes one merge per way to cut it in two tokens, in the order of the scores. That gives the same
 * tokens as long as scores differ, as they do where they count merges. Special tokens in a text stay text, as in llama2.c.
 * @throws BAD_MODEL for bytes that are no such file, or scores of joined tokens that are equal
 */
export function readLlama2cTokenizer(bytes: Uint8Array): TokenizerFiles {
	const tokens = readTokens(bytes);
	const vocab = Object.fromEntries(tokens.map(({ text }, id) => [text, id]));
	const merges: (readonly [string, string])[] = [];
	const scores = new Set<number>();
	for (const { text, score } of tokens.slice(SPECIAL.length).toSorted((a, b) => b.score - a.score)) {
		const characters = [...text];
		const cuts = characters
			.slice(1)
			.map((_, i) => [characters.slice(0, i + 1).join(""), characters.slice(i + 1).join("")] as const)
			.filter((halves) => halves.every((half) => Object.hasOwn(vocab, half)));
		if (cuts.length === 0) continue;
		if (scores.has(score))
			throw new RondoError(
				"BAD_MODEL",
				`the llama2.c vocabulary has more than one joined token of score ${score}, which merges cannot say`,
			);
		scores.add(score);
		merges.push(...cuts);
	}
	const [, begin, end] = SPECIAL;
	return {
		tokenizer: {
			version: "1.0",
			// None: they would be looked for in texts.
			added_tokens: [],
			normalizer: { type: "Prepend", prepend: " " },
			pre_tokenizer: null,
			post_processor: {
				type: "TemplateProcessing",
				single: [{ SpecialToken: { id: begin, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
				pair: [],
				special_tokens: { [begin]: { id: begin, ids: [LLAMA2C_BEGIN], tokens: [begin] } },
			},
			decoder: {
				type: "Sequence",
				decoders: [{ type: "ByteFallback" }, { type: "Fuse" }, { type: "Strip", content: " ", start: 1, stop: 0 }],
			},
			model: { type: "BPE", unk_token: SPECIAL[0], byte_fallback: true, vocab, merges },
		},
		config: {
			bos_token: begin,
			eos_token: end,
			unk_token: SPECIAL[0],
			additional_special_tokens: [begin, end],
			clean_up_tokenization_spaces: false,
		},
	};
}

function readTokens(bytes: Uint8Array): { readonly text: string; readonly score: number }[] {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
	const tokens: { readonly text: string; readonly score: number }[] = [];
	const broken = (at: number): RondoError =>
		new RondoError("BAD_MODEL", `the llama2.c vocabulary is damaged: token ${tokens.length} at byte ${at} of ${bytes.length}`);
	let at = 4;
	while (at < bytes.length) {
		if (at + 8 > bytes.length) throw broken(at);
		const score = view.getFloat32(at, true);
		const length = view.getInt32(at + 4, true);
		if (length < 1 || at + 8 + length > bytes.length) throw broken(at);
		try {
			const text = utf8.decode(bytes.subarray(at + 8, at + 8 + length));
			tokens.push({ text: SPECIAL[tokens.length] ?? text, score });
		} catch (cause) {
			throw new RondoError("BAD_MODEL", broken(at).message, { cause });
		}
		at += 8 + length;
	}
	if (tokens.length < SPECIAL.length) throw broken(at);
	return tokens;
}
