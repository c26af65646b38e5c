import { RondoError } from "@rondo/errors";
import { type Random, randomFromSeed, toHex } from "@rondo/kernels";
import type { Lane } from "../contract.js";
import { bytesOf } from "../plain.js";
import {
	bytesOfValue,
	checkBytes,
	clamped,
	float32AtMost,
	float32Values,
	packValues,
	unpackValues,
	type ValueType,
} from "./codec-values.js";

/** Size of the seed in front of the values of a sampled lane, bytes. */
export const SEED_BYTES = 8;

const WORDS = 4096;
const WORD = 2 ** 32;

/** Seed number `index` of a task's secret. */
export const seedOf = (random: Random, index: number): Uint8Array => bytesOf(random.words(2 * index, new Uint32Array(2)));

/** The stream that encoder and decoder draw the same choice from. */
export const streamOf = (codec: string, seed: Uint8Array): Random => randomFromSeed(`rondo-codec/1 ${codec} ${toHex(seed)}`);

/**
 * The indices below `length` whose word of the stream is at least `threshold`, ascending; undefined when there are more
 * than `most`. Each is in with chance 1 − threshold / 2^32, independently.
 */
export function eachAlone(stream: Random, length: number, threshold: number, most: number): Uint32Array | undefined {
	const indices = new Uint32Array(most);
	const words = new Uint32Array(Math.min(WORDS, length));
	let count = 0;
	for (let from = 0; from < length; from += WORDS) {
		const part = stream.words(from, words.subarray(0, Math.min(WORDS, length - from)));
		for (let j = 0; j < part.length; j++) {
			if (part[j]! < threshold) continue;
			if (count === most) return undefined;
			indices[count++] = from + j;
		}
	}
	return indices.subarray(0, count);
}

/**
 * `count` of the indices below `length`, ascending, all subsets equally likely up to the 2^-32 of a word: selection
 * sampling, Algorithm S of Knuth, The Art of Computer Programming, volume 2, section 3.4.2.
 */
export function exactlySo(stream: Random, length: number, count: number): Uint32Array {
	const indices = new Uint32Array(count);
	const words = new Uint32Array(Math.min(WORDS, length));
	let found = 0;
	for (let from = 0; from < length && found < count; from += WORDS) {
		const part = stream.words(from, words.subarray(0, Math.min(WORDS, length - from)));
		for (let j = 0; j < part.length && found < count; j++) {
			if ((part[j]! / WORD) * (length - from - j) < count - found) indices[found++] = from + j;
		}
	}
	return indices;
}

/** Room for the rounding of a value times a factor. */
const ROUNDING_ROOM = 1 + 2 ** -22;

/**
 * A seed and the values at `indices`, times `factor`.
 * @throws SHAPE_MISMATCH; NOT_FINITE, LANE_OUT_OF_BOUND for any of `given`, chosen or not, that exceeds absMax / factor
 */
export function packSample(
	seed: Uint8Array,
	indices: Uint32Array,
	given: Float64Array | Float32Array,
	factor: number,
	type: ValueType,
	lane: Lane,
): Uint8Array {
	const values = float32Values(given, { ...lane, absMax: (lane.absMax / factor) * ROUNDING_ROOM });
	const kept = new Float32Array(indices.length);
	for (let i = 0; i < kept.length; i++) kept[i] = values[indices[i]!]! * factor;
	const packed = packValues(clamped(kept, float32AtMost(lane.absMax)), type, lane);
	const bytes = new Uint8Array(SEED_BYTES + packed.length);
	bytes.set(seed);
	bytes.set(packed, SEED_BYTES);
	return bytes;
}

/**
 * A lane of zeros but for the values behind the seed, at `indices`.
 * @throws BAD_ENCODING for another number of values
 */
export function unpackSample(bytes: Uint8Array, indices: Uint32Array, type: ValueType, lane: Lane): Float32Array {
	checkBytes(bytes, SEED_BYTES + bytesOfValue(type) * indices.length, lane);
	const kept = unpackValues(bytes.subarray(SEED_BYTES), type, lane);
	const values = new Float32Array(lane.length);
	for (let i = 0; i < kept.length; i++) values[indices[i]!] = kept[i]!;
	return values;
}

/** @throws BAD_ENCODING when there are fewer bytes than a seed has, or more than `most` */
export function seedIn(bytes: Uint8Array, most: number, { codec: [name], length }: Lane): Uint8Array {
	if (bytes.length < SEED_BYTES || bytes.length > most)
		throw new RondoError(
			"BAD_ENCODING",
			`a lane of ${length} elements as ${name} takes ${SEED_BYTES} to ${most} bytes, got ${bytes.length}`,
		);
	return bytes.subarray(0, SEED_BYTES);
}
