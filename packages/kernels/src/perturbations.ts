import { RondoError } from "@rondo/errors";
import { type Random, streamKeyOf } from "./random.js";

/** Parameters in a block of `noise/2`, and members in a group. */
export const BLOCK = 4096;

/** How the members of a family are made: `noise/1` independent, `noise/2` structured (docs/shared-randomness.md, section 4). */
export const NOISE_KINDS = ["noise/1", "noise/2"] as const;
/** One of `NOISE_KINDS`. */
export type NoiseKind = (typeof NOISE_KINDS)[number];

/**
 * A family of vectors of ±1 without end: member z_k, 0 ≤ k < 2^32, at parameter j, 0 ≤ j < 2^53. Members are random but public:
 * whoever has the node has them all. With `noise/1` all values are independent. With `noise/2` those of one member, and
 * those of members of different groups, are pairwise independent, and members of one group of 4,096 are exactly orthogonal
 * in each whole block of 4,096 parameters, which makes sums over whole groups hundreds of times cheaper.
 */
export interface Perturbations {
	readonly kind: NoiseKind;
	/** The node that makes them. */
	readonly random: Random;
}

/** Keys that a family keeps; beyond, it starts over. */
const MAX_KEYS = 2 ** 17;

/** A family as the kernels see it. */
export class Family implements Perturbations {
	readonly kind: NoiseKind;
	readonly random: Random;
	readonly #base: Random;
	/** Deriving one takes a hash of about a microsecond; a ledger has thousands, in every tile. */
	readonly #keys = new Map<number, Uint32Array>();

	constructor(random: Random, kind: NoiseKind) {
		this.kind = kind;
		this.random = random;
		this.#base = kind === "noise/1" ? random : random.at("noise/2");
		streamKeyOf(random);
	}

	/** The four words of the stream behind member `index` (`noise/1`) or group `index` (`noise/2`). */
	key(index: number): Uint32Array {
		let key = this.#keys.get(index);
		if (key === undefined) {
			if (this.#keys.size >= MAX_KEYS) this.#keys.clear();
			key = streamKeyOf(this.#base.at(index));
			this.#keys.set(index, key);
		}
		return key;
	}

	/** `key` of many, one after the other. */
	keyTable(indices: readonly number[] | Uint32Array): Uint32Array {
		const table = new Uint32Array(4 * indices.length);
		indices.forEach((index, i) => {
			table.set(this.key(index), 4 * i);
		});
		return table;
	}

	/** The stream's index behind member `k`, and `k`'s row in its group. */
	locate(k: number): { readonly stream: number; readonly row: number } {
		return this.kind === "noise/1" ? { stream: k, row: 0 } : { stream: Math.floor(k / BLOCK), row: k % BLOCK };
	}
}

/**
 * The family of a node.
 * @throws INVALID_ARGUMENT for another kind, or a node that is not of this package
 */
export function perturbations(random: Random, kind: NoiseKind): Perturbations {
	if (!NOISE_KINDS.includes(kind))
		throw new RondoError("INVALID_ARGUMENT", `kind must be one of ${NOISE_KINDS.join(", ")}, got ${String(kind)}`);
	return new Family(random, kind);
}

/** @throws INVALID_ARGUMENT for an object that `perturbations` has not made */
export function familyOf(z: Perturbations): Family {
	if (!(z instanceof Family)) throw new RondoError("INVALID_ARGUMENT", "z must be a family made by perturbations");
	return z;
}

/** @throws INVALID_ARGUMENT unless `k` is an integer from 0 to 2^32 − 1 */
export function checkMember(k: number): void {
	if (!(Number.isInteger(k) && k >= 0 && k < 2 ** 32))
		throw new RondoError("INVALID_ARGUMENT", `k must be an integer from 0 to 2^32 - 1, got ${k}`);
}
