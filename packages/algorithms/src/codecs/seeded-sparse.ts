import type { Codec } from "../contract.js";
import { exactlySo, packSample, SEED_BYTES, seedIn, seedOf, streamOf, unpackSample } from "../encoding/codec-sampling.js";
import { bytesOfValue, countOf, sparseArguments } from "../encoding/codec-values.js";

/** What seeded-sparse multiplies values by at most, whatever the lane's length: its absMax must have room for it. */
export const seededSparseFactor = (share: number): number => 1 / share;

/**
 * A random mask: Konečný, McMahan, Yu, Richtárik, Suresh, Bacon, "Federated Learning: Strategies for Improving
 * Communication Efficiency", 2016, arXiv:1610.05492, section 2. Exactly m = ⌈share · n⌉ elements, drawn anew for each report,
 * travel as x · n/m, so that the expectation is the vector. Arguments: the share, and "f32" (default) or "f16" for the
 * values. The subset is drawn from a seed of 8 bytes, which travels in front of the values: indices need not, and every
 * report has the same size. With share 1 it is f32.
 */
export const seededSparse: Codec = {
	name: "seeded-sparse",
	lossless: false,
	maxBytes(lane) {
		const { share, values } = sparseArguments(lane.codec);
		return SEED_BYTES + bytesOfValue(values) * countOf(share, lane);
	},
	encode(given, lane, random) {
		const { share, values } = sparseArguments(lane.codec);
		const count = countOf(share, lane);
		const seed = seedOf(random, 0);
		const indices = exactlySo(streamOf("seeded-sparse", seed), lane.length, count);
		return packSample(seed, indices, given, lane.length / count, values, lane);
	},
	decode(bytes, lane) {
		const { share, values } = sparseArguments(lane.codec);
		const seed = seedIn(bytes, seededSparse.maxBytes(lane), lane);
		const indices = exactlySo(streamOf("seeded-sparse", seed), lane.length, countOf(share, lane));
		return unpackSample(bytes, indices, values, lane);
	},
};
