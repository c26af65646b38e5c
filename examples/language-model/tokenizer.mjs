import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";
import { SEPARATOR } from "./corpus.mjs";

const FILE = new URL("./model/tokenizer.json", import.meta.url);

/** One token per character: the separator and printable ASCII. No merges. */
export function characterTokenizer() {
	const characters = [SEPARATOR, ...Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i))];
	return {
		version: "1.0",
		added_tokens: [],
		normalizer: null,
		pre_tokenizer: null,
		post_processor: null,
		decoder: { type: "Fuse" },
		model: { type: "BPE", vocab: Object.fromEntries(characters.map((character, id) => [character, id])), merges: [] },
	};
}

/** The tokenizer of the committed model. */
export const loadTokenizer = () => new Tokenizer(JSON.parse(readFileSync(FILE, "utf8")), { clean_up_tokenization_spaces: false });
