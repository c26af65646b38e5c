import { RondoError } from "@rondo/errors";
import type { InMemoryExamples } from "./data.js";

/**
 * Natural split of a play: one text per speaker. Speeches are divided by empty lines; the first line of each, ended by a colon,
 * names the speaker (the form of tinyshakespeare, github.com/karpathy/char-rnn). A speech whose first line names nobody goes on
 * with the last speaker's; before the first name it is left out.
 * @returns speaker to speeches, joined by an empty line; speakers in the order of their first speech, those who say nothing left out
 */
export function splitBySpeaker(text: string): Map<string, string> {
	const speeches = new Map<string, string[]>();
	let speaker: string | undefined;
	for (const block of text.split(/(?:\r?\n){2,}/)) {
		const named = /^([^\n]*[^\s:])[ \t]*:[ \t]*(?:\r?\n|$)/.exec(block);
		speaker = named?.[1] ?? speaker;
		const speech = block.slice(named?.[0].length ?? 0).trim();
		if (speaker === undefined || speech === "") continue;
		const known = speeches.get(speaker);
		if (known === undefined) speeches.set(speaker, [speech]);
		else known.push(speech);
	}
	return new Map([...speeches].map(([name, parts]) => [name, parts.join("\n\n")]));
}

/** Label of a position that counts nowhere, as in PyTorch. */
const IGNORED = -100;

/**
 * Cuts a text into examples for a causal language model: `length` tokens each, the label of a position being the token that
 * follows it. Each token but the first is a label once. All examples are of one length, so that a trainer compiles one graph:
 * the last one is filled up with token 0 under labels of −100, which losses ignore.
 * @param tokens token ids; none or one gives no examples
 * @param length positions of one example, at least 1
 * @returns `inputs` and `labels`, [count · length] each: what `inMemoryData` takes
 * @example tokenWindows([7, 8, 9, 5], 2) // inputs 7 8 | 9 0, labels 8 9 | 5 -100, count 2
 * @throws INVALID_ARGUMENT that names the argument and its value
 */
export function tokenWindows(tokens: ArrayLike<number>, length: number): InMemoryExamples & { readonly count: number } {
	if (!Number.isSafeInteger(length) || length < 1)
		throw new RondoError("INVALID_ARGUMENT", `length must be a positive integer, got ${length}`, { details: { field: "length" } });
	const predicted = Math.max(0, tokens.length - 1);
	const count = Math.ceil(predicted / length);
	const inputs = new Int32Array(count * length);
	const labels = new Int32Array(count * length).fill(IGNORED);
	for (let i = 0; i < tokens.length; i++) {
		const token = tokens[i]!;
		if (!(Number.isInteger(token) && token >= 0 && token < 2 ** 31))
			throw new RondoError("INVALID_ARGUMENT", `tokens[${i}] must be a token id, got ${token}`, { details: { field: "tokens" } });
		if (i < predicted) inputs[i] = token;
		if (i > 0) labels[i - 1] = token;
	}
	return { inputs, labels, count };
}
