import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js";
import { RondoError } from "@rondo/errors";
import { decode, encode, Token, Type } from "cborg";

/** Element type of an inline array or of a `Vec`; all are stored little-endian. */
export type DType = "f32" | "f64" | "i32" | "u32" | "u16" | "u8";

/** The typed array that holds elements of dtype `D`. */
export type ArrayOf<D extends DType> = {
	f32: Float32Array;
	f64: Float64Array;
	i32: Int32Array;
	u32: Uint32Array;
	u16: Uint16Array;
	u8: Uint8Array;
}[D];

declare const brand: unique symbol;

/**
 * Reference to an immutable large array in the content-addressed store. Equal content is one blob, so broadcasts,
 * private models and one-off assets need no other concept.
 */
export interface Vec<D extends DType = DType> {
	readonly [brand]?: D;
	/** Content digest (`contentDigest`) of the little-endian bytes, 64 hexadecimal digits. */
	readonly sha256: string;
	readonly dtype: D;
	/** Number of elements. */
	readonly length: number;
}

/**
 * What states, tasks, headers and log entries are made of. One canonical encoding (deterministic CBOR): equal values
 * have equal bytes and one digest, which covers the Vecs inside because they are digests. A bigint has at most 64 bits and
 * a sign; one that a number holds exactly reads back as a number.
 */
export type Plain = null | boolean | number | bigint | string | ArrayOf<DType> | Vec | readonly Plain[] | { readonly [key: string]: Plain };

/** Largest encoded size of an inline value (task, header, log payload), bytes. Anything larger must be a `Vec`. */
export const MAX_INLINE_BYTES = 65_536;

/** Size of the pieces in which blobs travel and are hashed, bytes. A protocol constant. */
export const CHUNK_BYTES = 1_048_576;

export const DTYPES: readonly DType[] = ["f32", "f64", "i32", "u32", "u16", "u8"];
const BYTES: Record<DType, number> = { f32: 4, f64: 8, i32: 4, u32: 4, u16: 2, u8: 1 };

/** Size of one element of `dtype`, bytes. */
export const bytesPerElement = (dtype: DType): number => BYTES[dtype];

// RFC 8746 tags for little-endian typed arrays, and one private tag for a Vec.
const ARRAY_TAGS: Record<DType, number> = { f32: 85, f64: 86, i32: 78, u32: 70, u16: 69, u8: 64 };
const VEC_TAG = 48_879;
const MAX_DEPTH = 32;
const MAX_BIGINT = 2n ** 64n;

const dtypeOf = (value: unknown): DType | undefined => {
	if (value instanceof Float32Array) return "f32";
	if (value instanceof Float64Array) return "f64";
	if (value instanceof Int32Array) return "i32";
	if (value instanceof Uint32Array) return "u32";
	if (value instanceof Uint16Array) return "u16";
	if (value instanceof Uint8Array) return "u8";
	return undefined;
};

const HEX_DIGEST = /^[0-9a-f]{64}$/;

/** Whether `value` is a reference to a large array. */
export function isVec(value: unknown): value is Vec {
	if (typeof value !== "object" || value === null) return false;
	const v = value as Partial<Vec>;
	return (
		Object.keys(v).length === 3 &&
		typeof v.sha256 === "string" &&
		HEX_DIGEST.test(v.sha256) &&
		DTYPES.includes(v.dtype as DType) &&
		Number.isSafeInteger(v.length) &&
		v.length! >= 0
	);
}

/** Makes a reference from its parts. */
export const vecOf = <D extends DType>(dtype: D, length: number, digest: string): Vec<D> => ({ sha256: digest, dtype, length });

/** The bytes of a typed array as they are stored and hashed (little-endian; a view, not a copy). */
export const bytesOf = (array: ArrayOf<DType>): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/**
 * A typed array over `bytes`; copies only when the bytes are not aligned.
 * @throws BAD_ENCODING when the number of bytes is not a multiple of the element size.
 */
export function arrayFrom<D extends DType>(dtype: D, bytes: Uint8Array): ArrayOf<D> {
	const size = BYTES[dtype];
	if (bytes.byteLength % size !== 0) {
		throw new RondoError("BAD_ENCODING", `${bytes.byteLength} bytes are not a whole number of ${dtype} elements of ${size} bytes`);
	}
	const aligned = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
	const { buffer, byteOffset, byteLength } = aligned;
	const length = byteLength / size;
	const make: { readonly [K in DType]: () => ArrayOf<K> } = {
		f32: () => new Float32Array(buffer, byteOffset, length),
		f64: () => new Float64Array(buffer, byteOffset, length),
		i32: () => new Int32Array(buffer, byteOffset, length),
		u32: () => new Uint32Array(buffer, byteOffset, length),
		u16: () => new Uint16Array(buffer, byteOffset, length),
		u8: () => new Uint8Array(buffer, byteOffset, length),
	};
	return make[dtype]() as ArrayOf<D>;
}

/**
 * Canonical bytes of a value: CBOR with sorted keys, shortest heads, typed arrays tagged after RFC 8746, floats as
 * float64, -0 as 0.
 * @throws NOT_FINITE for NaN or an infinity anywhere, typed arrays included; BAD_ENCODING for anything that is not
 * Plain, also text that is ill-formed or starts with a byte order mark. Both name the path.
 */
export function encodePlain(value: Plain): Uint8Array {
	check(value, "$", 0);
	return encode(value, {
		float64: true,
		typeEncoders: {
			Object: (object: unknown) => {
				if (isVec(object)) {
					return [
						new Token(Type.tag, VEC_TAG),
						new Token(Type.array, 3),
						new Token(Type.bytes, hexToBytes(object.sha256)),
						new Token(Type.uint, DTYPES.indexOf(object.dtype)),
						new Token(Type.uint, object.length),
					];
				}
				return null;
			},
			...Object.fromEntries(
				(
					[
						["Float32Array", "f32"],
						["Float64Array", "f64"],
						["Int32Array", "i32"],
						["Uint32Array", "u32"],
						["Uint16Array", "u16"],
						["Uint8Array", "u8"],
					] as const
				).map(([name, dtype]) => [
					name,
					(array: ArrayOf<DType>) => [new Token(Type.tag, ARRAY_TAGS[dtype]), new Token(Type.bytes, bytesOf(array))],
				]),
			),
		},
	});
}

/**
 * Reads canonical bytes back. Total: any input gives a value or a BAD_ENCODING / NOT_FINITE error, and only the
 * canonical bytes of a value are accepted, so that a digest has one pre-image.
 */
export function decodePlain(bytes: Uint8Array): Plain {
	let value: Plain;
	try {
		value = decode(bytes, {
			strict: true,
			allowIndefinite: false,
			allowUndefined: false,
			allowNaN: false,
			allowInfinity: false,
			rejectDuplicateMapKeys: true,
			tags: decoders,
		}) as Plain;
	} catch (cause) {
		throw new RondoError("BAD_ENCODING", `not canonical CBOR: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
	}
	const again = encodePlain(value);
	if (again.length !== bytes.length || !again.every((byte, i) => byte === bytes[i])) {
		throw new RondoError("BAD_ENCODING", "CBOR that is not in canonical form");
	}
	return value;
}

type TagDecoder = (inner: () => unknown) => unknown;
const decoders: Record<number, TagDecoder> = {
	[VEC_TAG]: (inner) => {
		const parts = inner();
		const [digest, dtype, length] = Array.isArray(parts) ? parts : [];
		const vec = { sha256: digest instanceof Uint8Array ? bytesToHex(digest) : "", dtype: DTYPES[dtype as number], length };
		if (!Array.isArray(parts) || parts.length !== 3 || !isVec(vec)) throw new Error("malformed Vec");
		return vec;
	},
	...Object.fromEntries(
		DTYPES.map((dtype): [number, TagDecoder] => [
			ARRAY_TAGS[dtype],
			(inner) => {
				const bytes = inner();
				if (!(bytes instanceof Uint8Array)) throw new Error(`tag of a ${dtype} array on something that is not bytes`);
				// A copy: the array must not keep the whole message alive, nor alias it.
				return arrayFrom(dtype, new Uint8Array(bytes));
			},
		]),
	),
};

function check(value: unknown, path: string, depth: number): void {
	if (depth > MAX_DEPTH) throw new RondoError("BAD_ENCODING", `${path}: nested deeper than ${MAX_DEPTH}`);
	if (value === null || typeof value === "boolean") return;
	if (typeof value === "string") {
		checkText(value, path);
		return;
	}
	if (typeof value === "bigint") {
		if (value < -MAX_BIGINT || value >= MAX_BIGINT) {
			throw new RondoError("BAD_ENCODING", `${path} is ${value}, which is outside -2^64 to 2^64 - 1`, { details: { path } });
		}
		return;
	}
	if (typeof value === "number") {
		if (!Number.isFinite(value)) throw new RondoError("NOT_FINITE", `${path} is ${value}`, { details: { path } });
		return;
	}
	const dtype = dtypeOf(value);
	if (dtype !== undefined) {
		if (dtype === "f32" || dtype === "f64") {
			const array = value as Float32Array | Float64Array;
			for (let i = 0; i < array.length; i++) {
				if (!Number.isFinite(array[i]!)) throw new RondoError("NOT_FINITE", `${path}[${i}] is ${array[i]}`, { details: { path } });
			}
		}
		return;
	}
	if (Array.isArray(value)) {
		// By index: forEach would pass over the holes of a sparse array.
		for (let i = 0; i < value.length; i++) check(value[i], `${path}[${i}]`, depth + 1);
		return;
	}
	if (typeof value === "object" && (Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null)) {
		for (const [key, item] of Object.entries(value)) {
			checkText(key, `a key of ${path}`);
			check(item, `${path}.${key}`, depth + 1);
		}
		return;
	}
	throw new RondoError("BAD_ENCODING", `${path} is a ${typeof value}, which is not a plain value`, { details: { path } });
}

/**
 * UTF-8 has no lone surrogates: they would all become one replacement character, and unequal values one digest. A leading
 * byte order mark is dropped by UTF-8 decoders, and so would not come back.
 */
function checkText(text: string, path: string): void {
	if (/\p{Surrogate}/u.test(text)) throw new RondoError("BAD_ENCODING", `${path} is not well-formed Unicode`, { details: { path } });
	if (text.startsWith("\ufeff")) throw new RondoError("BAD_ENCODING", `${path} starts with a byte order mark`, { details: { path } });
}

/** SHA-256 of the canonical bytes, 64 hexadecimal digits. */
export const digestOf = (value: Plain): string => bytesToHex(sha256(encodePlain(value)));

/**
 * Digest of a blob: SHA-256 over ("rondo-blob/1" NUL, length as uint64 little-endian, SHA-256 of each 1 MiB chunk). A chunk
 * can therefore be checked when it arrives, and the list of chunk hashes against the name of the blob.
 */
export function contentDigestOf(byteLength: number, chunkHashes: readonly Uint8Array[]): string {
	const head = new Uint8Array(13 + 8);
	head.set(new TextEncoder().encode("rondo-blob/1\0"));
	new DataView(head.buffer).setBigUint64(13, BigInt(byteLength), true);
	const hash = sha256.create().update(head);
	for (const chunk of chunkHashes) hash.update(chunk);
	return bytesToHex(hash.digest());
}

/** `contentDigestOf` of bytes in memory. For large blobs use a native SHA-256 per chunk and `contentDigestOf`. */
export function contentDigest(bytes: Uint8Array): string {
	const hashes: Uint8Array[] = [];
	for (let from = 0; from < bytes.length; from += CHUNK_BYTES) hashes.push(sha256(bytes.subarray(from, from + CHUNK_BYTES)));
	return contentDigestOf(bytes.length, hashes);
}

/** Every Vec inside a value, in encoding order, with repetitions. */
export function vecsIn(value: Plain): Vec[] {
	if (isVec(value)) return [value];
	if (typeof value !== "object" || value === null || dtypeOf(value) !== undefined) return [];
	return (Array.isArray(value) ? value : Object.values(value)).flatMap((item: Plain) => vecsIn(item));
}
