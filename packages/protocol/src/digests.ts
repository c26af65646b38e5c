import { RondoError } from "@rondo/errors";
import { LIMITS } from "./limits.js";

/**
 * The 32 bytes of a digest or task id that is written as 64 hexadecimal digits.
 * @throws INVALID_ARGUMENT for anything else
 */
export function digestBytes(hex: string): Uint8Array {
	if (!/^[0-9a-f]{64}$/.test(hex)) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`digest must be 64 lower-case hexadecimal digits, got ${JSON.stringify(String(hex).slice(0, 80))}`,
		);
	}
	return Uint8Array.from(Buffer.from(hex, "hex"));
}

/**
 * 64 hexadecimal digits of a digest or task id.
 * @throws INVALID_ARGUMENT unless it has 32 bytes
 */
export function digestHex(bytes: Uint8Array): string {
	if (bytes.length !== LIMITS.digestBytes)
		throw new RondoError("INVALID_ARGUMENT", `digest must be ${LIMITS.digestBytes} bytes, got ${bytes.length}`);
	return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}
