import { type DType, isVec } from "@rondo/algorithms";

/** Elements of an array that are shown. */
const SHOWN_ELEMENTS = 32;

const DTYPE_NAMES: Readonly<Record<string, DType>> = {
	Float32Array: "f32",
	Float64Array: "f64",
	Int32Array: "i32",
	Uint32Array: "u32",
	Uint16Array: "u16",
	Uint8Array: "u8",
};

/**
 * A value as JSON for reading: typed arrays as {dtype, length, head} with their first 32 elements, Vecs as they are,
 * bigints as numbers where those are exact and else as text. Not a codec: the exact form is the canonical CBOR.
 */
export function toJson(value: unknown): unknown {
	if (value === undefined) return null;
	if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
	if (typeof value !== "object" || value === null) return value;
	if (ArrayBuffer.isView(value)) {
		const array = value as Float32Array;
		return { dtype: DTYPE_NAMES[value.constructor.name] ?? "u8", length: array.length, head: [...array.subarray(0, SHOWN_ELEMENTS)] };
	}
	if (Array.isArray(value)) return value.map(toJson);
	return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toJson(item)]));
}

/** As `toJson`, but of a Vec only type and length: who knows a digest may read the content. */
export function toJsonWithoutDigests(value: unknown): unknown {
	if (isVec(value)) return { dtype: value.dtype, length: value.length };
	if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return toJson(value);
	if (Array.isArray(value)) return value.map(toJsonWithoutDigests);
	return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toJsonWithoutDigests(item)]));
}
