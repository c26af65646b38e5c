import { Tokenizer } from "@huggingface/tokenizers";
import { randomFromSeed } from "@rondo/kernels";
import { tensorOf } from "@rondo/tensors";
import { describe, expect, it } from "vitest";
import { generate, greedy, sampling } from "../src/models/generate.js";
import { llama } from "../src/models/llama.js";
import { readLlama2c, readLlama2cTokenizer } from "../src/models/llama2c.js";
import { normal } from "../src/models/model-writer.js";
import { createOnnxTrainer } from "../src/session/trainer.js";
import { relativeError } from "./compare.js";
import { llamaReference } from "./reference-decoders.js";

const CONFIG = { vocabulary: 11, width: 8, hidden: 12, layers: 2, heads: 4, keyValueHeads: 2, tiedHead: true };
const CONTEXT = 7;

/** A checkpoint as llama2.c's export writes it, and its weights in the layout of `llama`. */
function checkpoint(tiedHead: boolean) {
	const { vocabulary, width, hidden, layers, heads, keyValueHeads } = CONFIG;
	const config = { ...CONFIG, tiedHead };
	const { layout } = llama(config);
	const weights = new Float32Array(layout.length);
	normal(0.4)(weights, randomFromSeed("checkpoint"));
	const kinds = [
		...["input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"],
		...["post_attention_layernorm", "mlp.gate_proj", "mlp.down_proj", "mlp.up_proj"],
	];
	const order = [
		"model.embed_tokens.weight",
		...kinds.flatMap((kind) => Array.from({ length: layers }, (_, layer) => `model.layers.${layer}.${kind}.weight`)),
		"model.norm.weight",
	];
	const tables = new Float32Array(CONTEXT * (width / heads)).fill(0.5);
	const head = tiedHead ? [] : [tensorOf(layout, "lm_head.weight", weights)];
	const parts = [...order.map((name) => tensorOf(layout, name, weights)), tables, ...head];
	const header = Int32Array.of(width, hidden, layers, heads, keyValueHeads, tiedHead ? vocabulary : -vocabulary, CONTEXT);
	const bytes = Buffer.concat([header, ...parts].map((part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength)));
	return { config, layout, weights, bytes };
}

describe("checkpoints of llama2.c", () => {
	it.each([true, false])("are read into the layout of llama, tied head %s", async (tiedHead) => {
		const { config, layout, weights, bytes } = checkpoint(tiedHead);
		// Within a larger buffer, at an odd byte: how files that are read into Node's pool lie.
		const file = Buffer.concat([Buffer.alloc(13), bytes, Buffer.alloc(5)]).subarray(13, 13 + bytes.length);
		const model = readLlama2c(file);
		expect(model.config).toEqual(config);
		expect(model.contextLength).toBe(CONTEXT);
		expect(model.layout).toEqual(layout);
		expect(model.weights).toEqual(weights);
		const trainer = await createOnnxTrainer({ ...model, device: "cpu", threads: 1 });
		const tokens = [1, 5, 9, 2, 10];
		const { data } = await trainer.predict(model.weights, { size: 1, inputs: Int32Array.from(tokens) });
		expect(relativeError(data, llamaReference(config, layout, weights, tokens).flat())).toBeLessThan(1e-5);
		await trainer.dispose();
	});

	it("are refused when they are damaged", () => {
		const { bytes } = checkpoint(true);
		expect(() => readLlama2c(bytes.subarray(0, 20))).toThrow("has 20 bytes, fewer than its header of 28");
		expect(() => readLlama2c(bytes.subarray(0, bytes.length - 4))).toThrow(/do not go with its header: dim 8, hidden_dim 12, n_layers 2/);
		const huge = Buffer.from(bytes);
		huge.writeInt32LE(2 ** 30, 8);
		expect(() => readLlama2c(huge)).toThrow(/n_layers 1073741824/);
		const negative = Buffer.from(bytes);
		negative.writeInt32LE(-5, 12);
		expect(() => readLlama2c(negative)).toThrow(/n_heads -5/);
	});
});

/** A vocabulary file with scores that count down from the fourth token on, as llama2.c's `tokenizer.py` writes them. */
function vocabularyFile(tokens: readonly string[], scoreOf = (id: number): number => (id < 259 ? 0 : 259 - id)): Buffer {
	const parts = tokens.map((token, id) => {
		const text = Buffer.from(token);
		const head = Buffer.alloc(8);
		head.writeFloatLE(scoreOf(id), 0);
		head.writeInt32LE(text.length, 4);
		return Buffer.concat([head, text]);
	});
	const longest = Buffer.alloc(4);
	longest.writeInt32LE(Math.max(...tokens.map((token) => Buffer.byteLength(token))));
	return Buffer.concat([longest, ...parts]);
}

const BYTES = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
const JOINED = ["he", "ab", " t", " the", "bc", "abc", "the", "ll", "hell", "aba", "ello", "cd", "ello h", "é!", "abcd"];
const VOCABULARY = ["<unk>", "\n<s>\n", "\n</s>\n", ...BYTES, ...JOINED, ..." theablocd!é<s>0x4"];

/** The encoder of llama2.c's `run.c`. */
function llama2cEncode(text: string, scoreOf: (id: number) => number): number[] {
	const idOf = (token: string): number | undefined => {
		const id = VOCABULARY.indexOf(token);
		return id < 0 ? undefined : id;
	};
	const ids = text === "" ? [] : [idOf(" ")!];
	for (const character of text) {
		const id = idOf(character);
		if (id === undefined) for (const byte of Buffer.from(character)) ids.push(byte + 3);
		else ids.push(id);
	}
	for (;;) {
		let best: { score: number; at: number; id: number } | undefined;
		for (let at = 0; at + 1 < ids.length; at++) {
			const id = idOf(VOCABULARY[ids[at]!]! + VOCABULARY[ids[at + 1]!]!);
			if (id !== undefined && (best === undefined || scoreOf(id) > best.score)) best = { score: scoreOf(id), at, id };
		}
		if (best === undefined) return [1, ...ids];
		ids.splice(best.at, 2, best.id);
	}
}

describe("vocabularies of llama2.c", () => {
	const scoreOf = (id: number): number => (id < 259 ? 0 : 259 - id);
	const { tokenizer: files, config } = readLlama2cTokenizer(vocabularyFile(VOCABULARY, scoreOf));
	const tokenizer = new Tokenizer(files, config);

	it.each([
		"the hello he the",
		"abcd abc ababc abcabcd aba",
		"hell hello hello hello",
		"é! 日本 🙂\n\nz",
		"<s> <0x41> \n<s>\n</s>",
		"  the  ",
		"",
	])("give the tokens of llama2.c for %j", (text) => {
		expect(tokenizer.encode(text).ids).toEqual(llama2cEncode(text, scoreOf));
	});

	it("give the tokens of llama2.c for texts of random pieces, and the text back", () => {
		const random = randomFromSeed("pieces");
		const pieces = [...JOINED, ..." theablocdé", "日", "\n", "🙂"];
		const joined = new Set<number>();
		for (let i = 0; i < 500; i++) {
			const words = random.words(16 * i, new Uint32Array(16));
			const text = Array.from(words.subarray(0, 1 + (words[15]! % 15)), (word) => pieces[word % pieces.length]!).join("");
			const { ids } = tokenizer.encode(text);
			expect(ids, text).toEqual(llama2cEncode(text, scoreOf));
			expect(tokenizer.decode(ids, { skip_special_tokens: true })).toBe(text);
			for (const id of ids) if (id >= 259 && id < 259 + JOINED.length) joined.add(id);
		}
		// "ello" and "ello h" have no halves among the tokens.
		expect(joined.size).toBe(JOINED.length - 2);
	});

	it("are refused when they are damaged or their scores say no order", () => {
		const file = vocabularyFile(VOCABULARY, scoreOf);
		expect(() => readLlama2cTokenizer(file.subarray(0, file.length - 1))).toThrow(/damaged: token 29\d at byte \d+/);
		expect(() => readLlama2cTokenizer(file.subarray(0, 28))).toThrow(/damaged: token 1 at byte 17 of 28/);
		expect(() => readLlama2cTokenizer(vocabularyFile(VOCABULARY, () => 0))).toThrow("more than one joined token of score 0");
	});
});

describe("generate", () => {
	const model = llama(CONFIG);
	const weights = new Float32Array(model.layout.length);
	normal(0.7)(weights, randomFromSeed("generate"));

	/** Greedy continuation by the float64 reference, without padding. */
	function referenceText(prompt: readonly number[], count: number): number[] {
		const tokens = [...prompt];
		for (let i = 0; i < count; i++) {
			const last = llamaReference(CONFIG, model.layout, weights, tokens).at(-1)!;
			tokens.push(last.indexOf(Math.max(...last)));
		}
		return tokens.slice(prompt.length);
	}

	it("continues as the model does without padding, to the end of the context, and stops at the end token", async () => {
		const trainer = await createOnnxTrainer({ ...model, device: "cpu", threads: 1 });
		const wanted = referenceText([1, 4], 6);
		expect(new Set(wanted).size).toBeGreaterThan(2);
		const options = { prompt: [1, 4], maxTokens: 6, contextLength: 64 };
		expect(await generate(trainer, weights, options)).toEqual(wanted);
		expect(await generate(trainer, weights, { ...options, contextLength: 4 })).toEqual(wanted.slice(0, 3));
		const end = wanted[3]!;
		expect(await generate(trainer, weights, { ...options, end })).toEqual(wanted.slice(0, wanted.indexOf(end)));
		await expect(generate(trainer, weights, { ...options, prompt: [] })).rejects.toThrow("prompt must have 1 to 64 tokens");
		await trainer.dispose();
	});

	it("draws by temperature: cold is greedy, hot is anything", () => {
		const logits = Float32Array.of(1, 3, 2, -40);
		const draws = (temperature: number): number[] => {
			const choose = sampling(randomFromSeed("draws"), temperature);
			return Array.from({ length: 2000 }, (_, step) => choose(logits, step));
		};
		expect(new Set(draws(0.01))).toEqual(new Set([greedy(logits, 0)]));
		const warm = draws(1);
		const total = Math.exp(1) + Math.exp(3) + Math.exp(2);
		for (const [token, logit] of [1, 3, 2].entries()) {
			const share = warm.filter((drawn) => drawn === token).length / warm.length;
			expect(Math.abs(share - Math.exp(logit) / total)).toBeLessThan(0.04);
		}
		expect(warm).not.toContain(3);
		expect(() => sampling(randomFromSeed("draws"), 0)).toThrow("temperature must be positive, got 0");
	});
});
