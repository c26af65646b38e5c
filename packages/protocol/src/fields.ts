import { type ErrorCode, RondoError } from "@rondo/errors";
import { LIMITS } from "./limits.js";

// Messages arrive decoded, so types hold; what is left to check are ranges. Every failure names field and value.

const NAME = /^[A-Za-z0-9._-]+$/;
const PRINTABLE = /^[\x20-\x7e]*$/;

/** @throws always, with the field and the value in the message and in the details */
export function refuse(field: string, rule: string, got: string | number | bigint, code: ErrorCode = "INVALID_ARGUMENT"): never {
	const shown = typeof got === "string" ? JSON.stringify(got.slice(0, 80)) : String(got);
	throw new RondoError(code, `${field} must be ${rule}, got ${shown}`, { details: { field, value: shown } });
}

/** @throws INVALID_ARGUMENT unless `value` has exactly `length` bytes */
export function exactBytes(field: string, value: Uint8Array, length: number): void {
	if (value.length !== length) refuse(field, `exactly ${length} bytes`, value.length);
}

/** @throws TOO_LARGE above `max` bytes */
export function maxBytes(field: string, value: Uint8Array, max: number): void {
	if (value.length > max) refuse(field, `at most ${max} bytes`, value.length, "TOO_LARGE");
}

/** @throws TOO_LARGE above `max` bytes of UTF-8 */
export function maxUtf8(field: string, value: string, max: number): void {
	// No string has fewer bytes than characters: the long ones need no encoding to be refused.
	const bytes = value.length > max ? value.length : Buffer.byteLength(value);
	if (bytes > max) refuse(field, `at most ${max} bytes`, bytes, "TOO_LARGE");
}

/** @throws TOO_LARGE above `max` items */
export function maxItems(field: string, value: readonly unknown[], max: number): void {
	if (value.length > max) refuse(field, `at most ${max} items`, value.length, "TOO_LARGE");
}

/** @throws INVALID_ARGUMENT unless 1 to `max` characters of [A-Za-z0-9._-] */
export function name(field: string, value: string, max: number = LIMITS.nameChars): void {
	if (value.length > max || !NAME.test(value)) refuse(field, `1 to ${max} characters of [A-Za-z0-9._-]`, value);
}

/** @throws INVALID_ARGUMENT unless 1 to `max` printable ASCII characters */
export function printable(field: string, value: string, max: number): void {
	if (value.length === 0 || value.length > max || !PRINTABLE.test(value)) refuse(field, `1 to ${max} printable ASCII characters`, value);
}

/** @throws INVALID_ARGUMENT unless `value` is a digest or task id of 32 bytes */
export const digest = (field: string, value: Uint8Array): void => exactBytes(field, value, LIMITS.digestBytes);

/** @throws INVALID_ARGUMENT for a uint64 above 2^53 - 1, which JavaScript numbers cannot hold */
export function safe(field: string, value: bigint): number {
	if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) refuse(field, "at most 2^53 - 1", value);
	return Number(value);
}

/** @throws INVALID_ARGUMENT unless the enum value is one of `allowed` */
export function oneOf<T extends number | string>(field: string, value: T, allowed: readonly T[]): void {
	if (!allowed.includes(value)) refuse(field, `one of ${allowed.join(", ")}`, value);
}
