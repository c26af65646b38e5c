import { RondoError } from "@rondo/errors";
import { sha256 } from "./hash.js";
import { philoxBlocks } from "./philox.js";

/**
 * Counter-based randomness: every word is a pure function of (key, path, index), the same in every language
 * (docs/shared-randomness.md). A node of the path tree is a stream of 2^53 words and the parent of further nodes.
 * The streams are statistically sound but not cryptographic: masks need a cipher.
 */
export interface Random {
	/**
	 * The node below this one along `path`: strings (well-formed Unicode) and non-negative safe integers.
	 * @throws INVALID_ARGUMENT for another element
	 */
	at(...path: readonly (string | number)[]): Random;
	/**
	 * Fills `out` with the words `from`, `from + 1`, … of this node's stream and returns it.
	 * @throws INVALID_ARGUMENT unless 0 <= from and from + out.length <= 2^53
	 */
	words(from: number, out: Uint32Array): Uint32Array;
}

const utf8 = new TextEncoder();
const PATH_DOMAIN = utf8.encode("rondo-path/1\0");
const SEED_DOMAIN = utf8.encode("rondo-seed/1\0");
const STREAM_WORDS = 2 ** 53;
const scratch = new Uint32Array(4);

class Node implements Random {
	readonly #key: Uint8Array;
	/** Words 0 and 1: the Philox key; 2 and 3: the upper half of its counter. */
	readonly #words: Uint32Array;

	constructor(key: Uint8Array) {
		this.#key = key;
		const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
		this.#words = Uint32Array.from({ length: 4 }, (_, i) => view.getUint32(4 * i, true));
	}

	/** The four words that generate the stream (docs/shared-randomness.md, section 3). */
	get streamKey(): Uint32Array {
		return this.#words;
	}

	at(...path: readonly (string | number)[]): Random {
		let key = this.#key;
		for (const element of path) key = sha256(PATH_DOMAIN, key, encodeElement(element));
		return path.length === 0 ? this : new Node(key);
	}

	words(from: number, out: Uint32Array): Uint32Array {
		if (!Number.isSafeInteger(from) || from < 0 || from > STREAM_WORDS - out.length) {
			throw new RondoError("INVALID_ARGUMENT", `from must be an integer of which ${out.length} words remain below 2^53, got ${from}`);
		}
		const skip = from % 4;
		const first = (from - skip) / 4;
		const head = skip === 0 ? 0 : Math.min(4 - skip, out.length);
		if (head > 0) this.#part(first, skip, head, out, 0);
		const whole = Math.floor((out.length - head) / 4);
		const next = head > 0 ? first + 1 : first;
		philoxBlocks(this.#words, next, whole, out, head);
		const done = head + 4 * whole;
		if (done < out.length) this.#part(next + whole, 0, out.length - done, out, done);
		return out;
	}

	/** `count` of the four words of one block. */
	#part(block: number, skip: number, count: number, out: Uint32Array, at: number): void {
		philoxBlocks(this.#words, block, 1, scratch, 0);
		for (let i = 0; i < count; i++) out[at + i] = scratch[skip + i]!;
	}
}

function encodeElement(element: string | number): Uint8Array {
	if (typeof element === "string") {
		// A lone surrogate has no UTF-8: the encoder would replace it, and two paths would share a key.
		if (/\p{Surrogate}/u.test(element))
			throw new RondoError("INVALID_ARGUMENT", `path element is not well-formed Unicode: ${JSON.stringify(element)}`);
		const text = utf8.encode(element);
		const bytes = new Uint8Array(5 + text.length);
		bytes[0] = 1;
		new DataView(bytes.buffer).setUint32(1, text.length, true);
		bytes.set(text, 5);
		return bytes;
	}
	if (typeof element === "number" && Number.isSafeInteger(element) && element >= 0) {
		const bytes = new Uint8Array(9);
		bytes[0] = 2;
		const view = new DataView(bytes.buffer);
		view.setUint32(1, element % 2 ** 32, true);
		view.setUint32(5, Math.floor(element / 2 ** 32), true);
		return bytes;
	}
	throw new RondoError("INVALID_ARGUMENT", `path element must be a string or a non-negative safe integer, got ${String(element)}`);
}

/**
 * The root node of a key.
 * @param key 32 bytes; copied
 * @throws INVALID_ARGUMENT for another length
 */
export function randomFrom(key: Uint8Array): Random {
	if (!(key instanceof Uint8Array) || key.length !== 32)
		throw new RondoError("INVALID_ARGUMENT", `key must be 32 bytes, got ${key?.length ?? key}`);
	return new Node(key.slice());
}

/**
 * The root node of a public seed: any well-formed Unicode text.
 * @throws INVALID_ARGUMENT for a lone surrogate
 */
export function randomFromSeed(seed: string): Random {
	if (typeof seed !== "string" || /\p{Surrogate}/u.test(seed))
		throw new RondoError("INVALID_ARGUMENT", `seed must be well-formed Unicode text, got ${JSON.stringify(seed)}`);
	return new Node(sha256(SEED_DOMAIN, utf8.encode(seed)));
}

/**
 * n0 … n3 of a node's stream; not to be written to.
 * @throws INVALID_ARGUMENT for a `Random` that is not one of this module's
 */
export function streamKeyOf(random: Random): Uint32Array {
	if (!(random instanceof Node)) throw new RondoError("INVALID_ARGUMENT", "random must be a node made by randomFrom or randomFromSeed");
	return random.streamKey;
}
