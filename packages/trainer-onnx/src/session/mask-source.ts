import type { Random } from "@rondo/kernels";
import type { Mask } from "../dropout.js";
import { sizeOf } from "../graph/ir.js";
import type { Ort, OrtTensor } from "./runtime.js";

/** Words drawn at once, which keeps them in the processor's cache. */
const WORDS = 4096;

/** Masks for runs that follow each other: mask k of run n is made of the stream (n, k), equal on every machine. */
export class MaskSource {
	readonly #ort: Ort;
	readonly #random: Random;
	#runs = 0;

	constructor(ort: Ort, random: Random) {
		this.#ort = ort;
		this.#random = random;
	}

	/** Inputs for one more run. An element stays if its word, as a fraction of 2^32, is not below the ratio. */
	next(masks: readonly Mask[]): Record<string, OrtTensor> {
		const run = this.#random.at(this.#runs++);
		const words = new Uint32Array(WORDS);
		return Object.fromEntries(
			masks.map(({ name, dims, ratio }, k) => {
				const stream = run.at(k);
				const kept = new Uint8Array(sizeOf(dims));
				for (let from = 0; from < kept.length; from += WORDS) {
					const drawn = stream.words(from, words.subarray(0, kept.length - from));
					for (let i = 0; i < drawn.length; i++) kept[from + i] = drawn[i]! >= ratio * 2 ** 32 ? 1 : 0;
				}
				return [name, new this.#ort.Tensor("bool", kept, dims)];
			}),
		);
	}
}
