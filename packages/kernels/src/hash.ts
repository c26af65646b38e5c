import { sha256 as sha256Noble } from "@noble/hashes/sha2.js";
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js";
import { RondoError } from "@rondo/errors";

/** SHA-256 (FIPS 180-4) of the concatenation of `parts`; 32 bytes. */
export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
	const hash = sha256Noble.create();
	for (const part of parts) hash.update(part);
	return hash.digest();
}

/** Lower-case hexadecimal digits of `bytes`. */
export const toHex = (bytes: Uint8Array): string => bytesToHex(bytes);

/**
 * Bytes of a string of hexadecimal digits of either case.
 * @throws INVALID_ARGUMENT for an odd number of digits or another character
 */
export function fromHex(hex: string): Uint8Array {
	if (typeof hex !== "string" || hex.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(hex)) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`hex must be an even number of hexadecimal digits, got ${JSON.stringify(String(hex).slice(0, 80))}`,
		);
	}
	return hexToBytes(hex);
}
