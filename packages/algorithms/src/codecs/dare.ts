import { RondoError } from "@rondo/errors";
import type { Codec, Lane } from "../contract.js";
import { eachAlone, packSample, SEED_BYTES, seedIn, seedOf, streamOf, unpackSample } from "../encoding/codec-sampling.js";
import { bytesOfValue, sparseArguments } from "../encoding/codec-values.js";

const WORD = 2 ** 32;
/** Standard deviations above the mean that a report has room for, and elements beyond them for short lanes. */
const ROOM_DEVIATIONS = 8;
const ROOM_ELEMENTS = 16;

/** What drops an element, and what the others are multiplied by: the inverse of the very chance to stay. */
function chancesOf(share: number): { readonly threshold: number; readonly factor: number } {
	const threshold = Math.min(WORD - 1, Math.round((1 - share) * WORD));
	return { threshold, factor: WORD / (WORD - threshold) };
}

/** What dare multiplies values by that stay with chance `share`: a lane's absMax must have room for it. */
export const dareFactor = (share: number): number => chancesOf(share).factor;

/** Elements that a report has room for: more are kept with a chance below 10^-14, and then the next seed is taken. */
function mostKept(share: number, { length }: Lane): number {
	const { factor } = chancesOf(share);
	const mean = length / factor;
	return Math.min(length, Math.ceil(mean + ROOM_DEVIATIONS * Math.sqrt(mean * (1 - 1 / factor))) + ROOM_ELEMENTS);
}

/**
 * DARE: Yu, Yu, Yu, Huang, Li, "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free
 * Lunch", ICML 2024, arXiv:2311.03099. Each element is dropped with chance p = 1 − share and the others are divided by
 * 1 − p, so that the expectation is the vector. Arguments: the share, and "f32" (default) or "f16" for the values. The mask
 * is drawn from a seed of 8 bytes, which travels in front of the values: indices need not. With share 1 it is f32.
 */
export const dare: Codec = {
	name: "dare",
	lossless: false,
	maxBytes(lane) {
		const { share, values } = sparseArguments(lane.codec);
		return SEED_BYTES + bytesOfValue(values) * mostKept(share, lane);
	},
	encode(given, lane, random) {
		const { share, values } = sparseArguments(lane.codec);
		const { threshold, factor } = chancesOf(share);
		for (let attempt = 0; ; attempt++) {
			const seed = seedOf(random, attempt);
			const indices = eachAlone(streamOf("dare", seed), lane.length, threshold, mostKept(share, lane));
			if (indices !== undefined) return packSample(seed, indices, given, factor, values, lane);
		}
	},
	decode(bytes, lane) {
		const { share, values } = sparseArguments(lane.codec);
		const seed = seedIn(bytes, dare.maxBytes(lane), lane);
		const kept = (bytes.length - SEED_BYTES) / bytesOfValue(values);
		const indices = eachAlone(streamOf("dare", seed), lane.length, chancesOf(share).threshold, Math.floor(kept));
		if (indices === undefined) throw new RondoError("BAD_ENCODING", `the seed keeps more than the ${kept} elements that there are`);
		return unpackSample(bytes, indices, values, lane);
	},
};
