import { RondoError } from "@rondo/errors";
import { packBits, packGaps, unpackBits, unpackGaps } from "@rondo/kernels";

const INT32_MAX = 2 ** 31 - 1;
const INT32_MIN = -(2 ** 31);
/** Number of changes and width of a change, before the changes themselves. */
const HEAD_BYTES = 5;

/** Whether a number is a power of two from 2^-60 to 1, as a unit must be for quotients by it to be exact. */
export function isPowerOfTwo(value: number): boolean {
	for (let power = 1; power >= 2 ** -60; power /= 2) if (power === value) return true;
	return false;
}

/** A ledger after an addition. */
export interface AddedLedger {
	readonly ledger: Int32Array;
	/** Entries that are not what they were. */
	readonly changed: number;
	/** Largest magnitude, as a share of what int32 holds. */
	readonly peak: number;
}

/**
 * ledger[k] + values[k] / unit, rounded once.
 * @param unit a power of two, so that the quotient is exact
 * @throws LEDGER_OVERFLOW beyond int32, with the entry
 */
export function addToLedger(ledger: Int32Array, values: Float64Array, unit: number): AddedLedger {
	const next = ledger.slice();
	let changed = 0;
	let peak = 0;
	for (let k = 0; k < next.length; k++) {
		const value = next[k]! + Math.round(values[k]! / unit);
		if (!(value >= INT32_MIN && value <= INT32_MAX)) throw overflow(k, value, unit);
		if (value !== next[k]) changed++;
		peak = Math.max(peak, Math.abs(value));
		next[k] = value;
	}
	return { ledger: next, changed, peak: peak / INT32_MAX };
}

/**
 * What leads from one ledger to another of the same length, as bytes: the number of changed entries (uint32, little-endian),
 * the bits w of the largest change (one byte), the positions (`packGaps`), and the differences modulo 2^32, zigzag, w bits each
 * (`packBits`). Some four bytes for each change.
 */
export function packChanges(before: Int32Array, after: Int32Array): Uint8Array {
	const positions = Uint32Array.from(after.keys()).filter((k) => after[k] !== before[k]);
	let largest = 0;
	const changes = positions.map((k) => {
		const change = (after[k]! - before[k]!) | 0;
		const zigzag = ((change << 1) ^ (change >> 31)) >>> 0;
		largest = Math.max(largest, zigzag);
		return zigzag;
	});
	const width = Math.max(1, 32 - Math.clz32(largest));
	const gaps = packGaps(positions, after.length);
	const values = packBits(changes, width);
	const bytes = new Uint8Array(HEAD_BYTES + gaps.length + values.length);
	new DataView(bytes.buffer).setUint32(0, positions.length, true);
	bytes[4] = width;
	bytes.set(gaps, HEAD_BYTES);
	bytes.set(values, HEAD_BYTES + gaps.length);
	return bytes;
}

/**
 * The ledger that changes lead to; `ledger` stays as it is.
 * @throws BAD_ENCODING for bytes that `packChanges` makes of no ledger of this length
 */
export function applyChanges(ledger: Int32Array, bytes: Uint8Array): Int32Array {
	if (bytes.length < HEAD_BYTES)
		throw new RondoError("BAD_ENCODING", `changes of a ledger take ${HEAD_BYTES} bytes or more, got ${bytes.length}`);
	const count = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
	const width = bytes[4]!;
	const split = bytes.length - Math.ceil((count * width) / 8);
	if (count > ledger.length || width < 1 || width > 32 || split < HEAD_BYTES)
		throw new RondoError("BAD_ENCODING", `${bytes.length} bytes are not ${count} changes of ${width} bits in a ledger of ${ledger.length}`);
	const positions = unpackGaps(bytes.subarray(HEAD_BYTES, split), count, ledger.length);
	const changes = unpackBits(bytes.subarray(split), width, count);
	const next = ledger.slice();
	for (let i = 0; i < count; i++) next[positions[i]!]! += (changes[i]! >>> 1) ^ -(changes[i]! & 1);
	return next;
}

const overflow = (k: number, value: number, unit: number): RondoError =>
	new RondoError("LEDGER_OVERFLOW", `candidate ${k} would be ${value} units of ${unit}, beyond int32: choose a larger unit`, {
		details: { candidate: k, value, unit },
	});
