import { RondoError } from "@rondo/errors";
import { ceilLog2, checkRange, fromFloat16, powerOfTwo, toFloat16 } from "@rondo/kernels";
import type { Lane } from "../contract.js";
import { arrayFrom, bytesOf, type Plain } from "../plain.js";

/** How the values of a sparse lane travel. */
export type ValueType = "f32" | "f16";

const LARGEST_FLOAT16_EXPONENT = 15;

/** @throws INVALID_ARGUMENT that names the codec's first argument beyond those it takes */
export function checkArguments([name, ...args]: Lane["codec"], most: number): readonly Plain[] {
	if (args.length > most)
		throw new RondoError("INVALID_ARGUMENT", `codec ${name} takes at most ${most} arguments, got also ${JSON.stringify(args[most])}`);
	return args;
}

/** The arguments [share, values] of a sparse codec; values default to float32. @throws INVALID_ARGUMENT that names one */
export function sparseArguments(codec: Lane["codec"]): { readonly share: number; readonly values: ValueType } {
	const [share, values = "f32"] = checkArguments(codec, 2);
	if (!(typeof share === "number" && share > 0 && share <= 1))
		throw new RondoError("INVALID_ARGUMENT", `codec ${codec[0]}: share must be above 0 and at most 1, got ${JSON.stringify(share)}`);
	if (values !== "f32" && values !== "f16")
		throw new RondoError("INVALID_ARGUMENT", `codec ${codec[0]}: values must be "f32" or "f16", got ${JSON.stringify(values)}`);
	return { share, values };
}

/** The number of elements of a lane that a share of them is: ⌈share · length⌉. */
export const countOf = (share: number, { length }: Lane): number => Math.ceil(share * length);

/** The largest float32 of at most `limit`, which is positive. */
export function float32AtMost(limit: number): number {
	const nearest = Float32Array.of(limit);
	// Magnitudes are ordered as their bits are; an infinity steps down to the largest number.
	if (nearest[0]! > limit) new Int32Array(nearest.buffer)[0]! -= 1;
	return nearest[0]!;
}

/**
 * A lane's values as float32: rounded to nearest, but never beyond ±absMax.
 * @returns `values` itself where it is a Float32Array
 * @throws SHAPE_MISMATCH for another length than the lane's; NOT_FINITE, LANE_OUT_OF_BOUND that name the element
 */
export function float32Values(values: Float64Array | Float32Array, { length, absMax }: Lane): Float32Array {
	if (values.length !== length) throw new RondoError("SHAPE_MISMATCH", `the lane has ${length} elements, the values ${values.length}`);
	const index = checkRange(values, absMax);
	if (index >= 0) {
		const value = values[index]!;
		if (!Number.isFinite(value)) throw new RondoError("NOT_FINITE", `values[${index}] must be finite, got ${value}`);
		throw new RondoError("LANE_OUT_OF_BOUND", `values[${index}] is ${value}, beyond the lane's bound of ±${absMax}`);
	}
	return values instanceof Float32Array ? values : clamped(Float32Array.from(values), float32AtMost(absMax));
}

/** Writes values beyond ±`most` as ±`most`, in place. */
export function clamped(values: Float32Array, most: number): Float32Array {
	for (let i = 0; i < values.length; i++) {
		if (values[i]! > most) values[i] = most;
		else if (values[i]! < -most) values[i] = -most;
	}
	return values;
}

/**
 * Two-byte numbers of at most `most` in magnitude, in place: the bits of a binary16 or bfloat16 without their sign are
 * ordered as the magnitudes are.
 */
export function clampedBits(bits: Uint16Array, most: number): Uint16Array {
	for (let i = 0; i < bits.length; i++) if ((bits[i]! & 0x7fff) > most) bits[i] = (bits[i]! & 0x8000) | most;
	return bits;
}

/** The factor that a lane's values have as float16: the largest power of two that keeps ±absMax within ±2^15. */
const float16Scale = ({ absMax }: Lane): number => powerOfTwo(LARGEST_FLOAT16_EXPONENT - ceilLog2(absMax));

/** Values within ±absMax as float16 of value · 2^e, decoded within ±absMax too: little-endian, two bytes each. */
export function packFloat16(values: Float32Array, lane: Lane): Uint8Array {
	const scale = float16Scale(lane);
	const [nearest] = toFloat16(Float32Array.of(float32AtMost(lane.absMax) * scale)) as Iterable<number>;
	const most = fromFloat16(Uint16Array.of(nearest!))[0]! / scale > lane.absMax ? nearest! - 1 : nearest!;
	const scaled = new Float32Array(values.length);
	for (let i = 0; i < scaled.length; i++) scaled[i] = values[i]! * scale;
	return bytesOf(clampedBits(toFloat16(scaled), most));
}

/** The values of `packFloat16`. Infinities and NaN come out as such. */
export function unpackFloat16(bytes: Uint8Array, lane: Lane): Float32Array {
	const inverse = 1 / float16Scale(lane);
	const values = fromFloat16(arrayFrom("u16", bytes));
	for (let i = 0; i < values.length; i++) values[i]! *= inverse;
	return values;
}

/** Bytes of one value. */
export const bytesOfValue = (type: ValueType): number => (type === "f32" ? 4 : 2);

/** Values within ±absMax as bytes, `bytesOfValue` each. */
export const packValues = (values: Float32Array, type: ValueType, lane: Lane): Uint8Array =>
	type === "f32" ? bytesOf(values) : packFloat16(values, lane);

/** The values of `packValues`; the number of bytes must be a multiple of `bytesOfValue`. */
export const unpackValues = (bytes: Uint8Array, type: ValueType, lane: Lane): Float32Array =>
	type === "f32" ? arrayFrom("f32", bytes) : unpackFloat16(bytes, lane);

/** @throws BAD_ENCODING unless there are so many bytes */
export function checkBytes(bytes: Uint8Array, wanted: number, { length, codec: [name] }: Lane): void {
	if (bytes.length !== wanted)
		throw new RondoError("BAD_ENCODING", `a lane of ${length} elements as ${name} takes ${wanted} bytes, got ${bytes.length}`);
}
