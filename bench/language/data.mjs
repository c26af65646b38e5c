import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { inMemoryData, splitBySpeaker, tokenWindows } from "@rondo/datasets";
import { readLlama2c, readLlama2cTokenizer } from "@rondo/trainer-onnx";

/** Speakers with fewer characters are no clients. */
const LEAST_CHARACTERS = 2_000;
/** The last part of each client's text is for evaluation alone. */
const HELD_OUT = 0.1;

/** The files that these benchmarks read, and where they are from. */
const SOURCES = {
	"stories260K/stories260K.bin": "https://huggingface.co/karpathy/tinyllamas (stories260K, MIT)",
	"stories260K/tok512.bin": "https://huggingface.co/karpathy/tinyllamas (stories260K, MIT)",
	"shakespeare/input.txt": "https://github.com/karpathy/char-rnn (data/tinyshakespeare)",
};

/** The files that are not in a folder, each with its source. @param {string} folder */
export const missingFiles = (folder) =>
	Object.entries(SOURCES)
		.filter(([file]) => !existsSync(join(folder, file)))
		.map(([file, source]) => `  ${join(folder, file)}  from ${source}`);

/** The pretrained model with its tokenizer. @param {string} folder */
export function loadStories(folder) {
	const model = readLlama2c(readFileSync(join(folder, "stories260K/stories260K.bin")));
	const files = readLlama2cTokenizer(readFileSync(join(folder, "stories260K/tok512.bin")));
	return { ...model, tokenizer: new Tokenizer(files.tokenizer, files.config) };
}

/**
 * The speakers with the most text as clients, and what was held out of all their texts.
 * @param {string} folder
 * @param {Tokenizer} tokenizer
 * @param {{ clients: number, length: number }} options length: positions of one example
 */
export function loadSpeakers(folder, tokenizer, { clients, length }) {
	const texts = [...splitBySpeaker(readFileSync(join(folder, "shakespeare/input.txt"), "utf8"))]
		.filter(([, text]) => text.length >= LEAST_CHARACTERS)
		.sort(([, a], [, b]) => b.length - a.length)
		.slice(0, clients);
	const speakers = texts.map(([name, text]) => {
		const tokens = tokenizer.encode(text).ids;
		const kept = tokens.length - Math.round(HELD_OUT * tokens.length);
		const training = tokenWindows(tokens.slice(0, kept), length);
		return { name, tokens: kept, data: inMemoryData(training), heldOut: tokenWindows(tokens.slice(kept), length) };
	});
	const all = speakers.map(({ heldOut }) => heldOut);
	const joined = (field) => Int32Array.from(all.flatMap((part) => [...part[field]]));
	const count = all.reduce((sum, part) => sum + part.count, 0);
	return { speakers, heldOut: inMemoryData({ inputs: joined("inputs"), labels: joined("labels"), count }) };
}
