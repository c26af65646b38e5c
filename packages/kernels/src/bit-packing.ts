import { RondoError } from "@rondo/errors";

/**
 * The bits of `bytes` as words: bit b of the bytes (bit b mod 8 of byte ⌊b / 8⌋) is bit b mod 32 of word ⌊b / 32⌋, and the
 * bits beyond the last byte are zero. A copy, because bytes off the wire need not be aligned. Node runs on little-endian machines.
 */
export function wordsOf(bytes: Uint8Array): Int32Array {
	const words = new Int32Array(Math.ceil(bytes.length / 4));
	new Uint8Array(words.buffer).set(bytes);
	return words;
}

/**
 * Integers of `width` bits each, one after the other: bit b of values[i] is bit i · width + b of the result, where bit 0 of a
 * byte is its least significant. The bits beyond the last value are zero.
 * @param width bits of a value, 1 to 32
 * @returns ⌈values.length · width / 8⌉ bytes
 * @throws INVALID_ARGUMENT for `width`, or a value of 2^width and more
 */
export function packBits(values: Uint32Array, width: number): Uint8Array {
	checkWidth(width);
	const length = Math.ceil((values.length * width) / 8);
	const words = new Int32Array(Math.ceil(length / 4));
	// Zero for 32 bits, as shifts count modulo 32.
	const beyond = width === 32 ? 0 : -1 << width;
	let overflow = 0;
	let word = 0;
	let filled = 0;
	let at = 0;
	for (let i = 0; i < values.length; i++) {
		const value = values[i]! | 0;
		overflow |= value & beyond;
		word |= value << filled;
		filled += width;
		if (filled >= 32) {
			words[at++] = word;
			filled -= 32;
			word = filled === 0 ? 0 : value >>> (width - filled);
		}
	}
	if (filled > 0) words[at] = word;
	if (overflow !== 0) {
		const index = values.findIndex((value) => (value & beyond) !== 0);
		throw new RondoError("INVALID_ARGUMENT", `values[${index}] must be below 2^${width}, got ${values[index]}`);
	}
	return new Uint8Array(words.buffer, 0, length);
}

/**
 * The values that `packBits` packed. No two byte strings give the same values.
 * @param bytes need not be aligned
 * @param width bits of a value, 1 to 32
 * @param count number of values
 * @throws BAD_ENCODING for another number of bytes than ⌈count · width / 8⌉, or a one among the bits beyond the last value;
 * INVALID_ARGUMENT for `width` or `count`
 */
export function unpackBits(bytes: Uint8Array, width: number, count: number): Uint32Array {
	checkWidth(width);
	if (!(Number.isSafeInteger(count) && count >= 0 && count < 2 ** 32))
		throw new RondoError("INVALID_ARGUMENT", `count must be an integer from 0 to 2^32 - 1, got ${count}`);
	checkPadding(bytes, count * width, `${count} values of ${width} bits`);
	const words = wordsOf(bytes);
	const values = new Uint32Array(count);
	const mask = width === 32 ? -1 : (1 << width) - 1;
	let used = 0;
	let at = 0;
	for (let i = 0; i < count; i++) {
		let value = words[at]! >>> used;
		used += width;
		if (used >= 32) {
			used -= 32;
			at++;
			// What the value has in the next word starts behind what it has in this one.
			if (used > 0) value |= words[at]! << (width - used);
		}
		values[i] = value & mask;
	}
	return values;
}

/**
 * That `bytes` is as long as `bits` bits take, and the bits beyond them are zero.
 * @throws BAD_ENCODING that names `what` takes the bits
 */
export function checkPadding(bytes: Uint8Array, bits: number, what: string): void {
	const length = Math.ceil(bits / 8);
	if (bytes.length !== length) throw new RondoError("BAD_ENCODING", `${what} take ${length} bytes, got ${bytes.length}`);
	const used = bits % 8;
	if (used !== 0 && bytes[length - 1]! >>> used !== 0)
		throw new RondoError("BAD_ENCODING", `${what} leave the upper ${8 - used} bits of byte ${length - 1} zero, got ${bytes[length - 1]}`);
}

function checkWidth(width: number): void {
	if (!(Number.isInteger(width) && width >= 1 && width <= 32))
		throw new RondoError("INVALID_ARGUMENT", `width must be an integer from 1 to 32, got ${width}`);
}
