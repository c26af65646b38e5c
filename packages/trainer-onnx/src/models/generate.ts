import { RondoError } from "@rondo/errors";
import { type Random, uniform01 } from "@rondo/kernels";
import type { OnnxTrainer } from "../session/trainer.js";

/** Which token follows, given one number per token, and how many were chosen before it. */
export type ChooseToken = (logits: Float32Array, step: number) => number;

/** The most likely token; of equals the first. */
export const greedy: ChooseToken = (logits) => {
	let best = 0;
	for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
	return best;
};

/** Draws from softmax(logits / temperature). @throws INVALID_ARGUMENT unless the temperature is positive */
export function sampling(random: Random, temperature: number): ChooseToken {
	if (!(temperature > 0)) throw new RondoError("INVALID_ARGUMENT", `temperature must be positive, got ${temperature}`);
	return (logits, step) => {
		const top = logits.reduce((a, b) => Math.max(a, b));
		const chances = Float64Array.from(logits, (logit) => Math.exp((logit - top) / temperature));
		let left = uniform01(random, step) * chances.reduce((a, b) => a + b);
		for (let i = 0; i < chances.length; i++) {
			left -= chances[i]!;
			if (left < 0) return i;
		}
		return greedy(logits, step);
	};
}

export interface GenerateOptions {
	/** The beginning, at least one token. */
	readonly prompt: readonly number[];
	/** Tokens to add. */
	readonly maxTokens: number;
	/** Longest sequence that the model takes; the text ends there. */
	readonly contextLength: number;
	/** Default: `greedy`. */
	readonly choose?: ChooseToken;
	/** A token that ends the text; it is not part of the result. */
	readonly end?: number;
}

/**
 * Continues a text with a causal language model. Every pass is over one length, padded: a causal model's answer does not depend
 * on what comes later, and one length means one compiled graph. There is no cache of keys and values, so a token costs a
 * whole pass: this is for looking at what a model learned, not for serving it.
 * @returns the tokens that were added
 * @throws INVALID_ARGUMENT without a prompt, or one longer than the context
 */
export async function generate(
	trainer: Pick<OnnxTrainer, "predict">,
	weights: Float32Array,
	{ prompt, maxTokens, contextLength, choose = greedy, end }: GenerateOptions,
): Promise<number[]> {
	if (prompt.length < 1 || prompt.length > contextLength)
		throw new RondoError("INVALID_ARGUMENT", `prompt must have 1 to ${contextLength} tokens (contextLength), got ${prompt.length}`);
	const length = Math.min(contextLength, prompt.length + maxTokens);
	const inputs = new Int32Array(length);
	inputs.set(prompt);
	const added: number[] = [];
	for (let at = prompt.length; at < prompt.length + maxTokens && at <= length; at++) {
		const { dims, data } = await trainer.predict(weights, { size: 1, inputs: inputs.slice() });
		const vocabulary = dims.at(-1)!;
		const token = choose(data.subarray((at - 1) * vocabulary, at * vocabulary), added.length);
		if (token === end) break;
		added.push(token);
		if (at < length) inputs[at] = token;
	}
	return added;
}
