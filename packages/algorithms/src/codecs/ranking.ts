import { RondoError } from "@rondo/errors";
import { addSparseRanks, checkPermutation, packBits, unpackBits } from "@rondo/kernels";
import type { Codec, Lane } from "../contract.js";

/** One ranking within a lane: of `elements` elements the `sent` highest travel, in ascending order. */
export type RankedPart = readonly [elements: number, sent: number];

/** Bits of an element's id: ⌈log₂ elements⌉, but one for a single element. */
const idBits = (elements: number): number => Math.max(1, 32 - Math.clz32(elements - 1));
const bytesOfPart = ([elements, sent]: RankedPart): number => Math.ceil((sent * idBits(elements)) / 8);

/** Bytes of packed rankings: ⌈sent · ⌈log₂ elements⌉ / 8⌉ each. */
export const rankingBytes = (parts: readonly RankedPart[]): number => parts.reduce((sum, part) => sum + bytesOfPart(part), 0);

/**
 * Ids of ⌈log₂ elements⌉ bits each, lowest rank first; every part begins at a byte of its own.
 * @param order gives the `sent` highest elements of part i in ascending order
 */
export function packRankings(parts: readonly RankedPart[], order: (part: number) => Uint32Array): Uint8Array {
	const bytes = new Uint8Array(rankingBytes(parts));
	let at = 0;
	for (const [i, part] of parts.entries()) {
		bytes.set(packBits(order(i), idBits(part[0])), at);
		at += bytesOfPart(part);
	}
	return bytes;
}

/**
 * The rankings that were packed, one part after the other. Total: what it yields names distinct elements that exist.
 * @throws BAD_ENCODING for another number of bytes, set bits beyond the last id of a part, or an element that does not exist or
 * occurs twice; it names part, place and id
 */
export function* unpackRankings(bytes: Uint8Array, parts: readonly RankedPart[]): Generator<Uint32Array, void, undefined> {
	const size = rankingBytes(parts);
	if (bytes.length !== size) throw new RondoError("BAD_ENCODING", `the rankings take ${size} bytes, got ${bytes.length}`);
	let at = 0;
	for (const [i, part] of parts.entries()) {
		const [elements, sent] = part;
		const to = at + bytesOfPart(part);
		const order = unpackBits(bytes.subarray(at, to), idBits(elements), sent);
		const place = checkPermutation(order, elements);
		if (place >= 0) {
			const id = order[place]!;
			const why = id >= elements ? `of ${elements}` : "a second time";
			throw new RondoError("BAD_ENCODING", `ranking ${i + 1} of ${parts.length} has at place ${place} element ${id} ${why}`, {
				details: { ranking: i + 1, place, id },
			});
		}
		yield order;
		at = to;
	}
}

/** @throws INVALID_ARGUMENT unless the lane's codec is ["ranking", [elements, sent], …] with as many elements as the lane */
function partsOf({ codec: [, ...args], length }: Lane): readonly RankedPart[] {
	const isPart = (arg: unknown): arg is RankedPart =>
		Array.isArray(arg) && arg.length === 2 && arg.every((size) => Number.isSafeInteger(size) && size >= 1) && arg[1] <= arg[0];
	const parts = args.map((arg): RankedPart => {
		if (!isPart(arg)) throw new RondoError("INVALID_ARGUMENT", `an argument of codec ranking must be [elements, sent], got ${String(arg)}`);
		return arg;
	});
	const elements = parts.reduce((sum, part) => sum + part[0], 0);
	if (elements !== length)
		throw new RondoError("INVALID_ARGUMENT", `the rankings of codec ranking have ${elements} elements, their lane ${length}`);
	return parts;
}

/**
 * Rankings as packed permutations. The lane holds each element's rank, 0 the lowest; elements that do not travel have rank 0.
 * Arguments: [elements, sent] of each ranking in the lane. `encode` does not look for values that are no ranks: they leave
 * places empty, and `decode`, which trusts nobody, refuses the result.
 */
export const ranking: Codec = {
	name: "ranking",
	lossless: true,
	maxBytes: (lane) => rankingBytes(partsOf(lane)),
	encode(values, lane) {
		if (values.length !== lane.length)
			throw new RondoError("SHAPE_MISMATCH", `the lane has ${lane.length} elements, the values ${values.length}`);
		const parts = partsOf(lane);
		let from = 0;
		return packRankings(parts, (i) => {
			const [elements, sent] = parts[i]!;
			const order = new Uint32Array(sent);
			for (let e = 0; e < elements; e++) {
				const place = values[from + e]! - (elements - sent);
				if (place >= 0) order[place] = e;
			}
			from += elements;
			return order;
		});
	},
	decode(bytes, lane) {
		const parts = partsOf(lane);
		const ranks = new Float64Array(lane.length);
		let from = 0;
		let i = 0;
		for (const order of unpackRankings(bytes, parts)) {
			const to = from + parts[i++]![0];
			addSparseRanks(ranks.subarray(from, to), order);
			from = to;
		}
		return ranks;
	},
};
