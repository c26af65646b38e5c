import { RondoError } from "@rondo/errors";
import { fromBfloat16, fromFloat16 } from "@rondo/kernels";
import { type Layout, layoutOf, MAX_ELEMENTS } from "./layout.js";
import { bad, type HeaderEntry, METADATA_KEY, parseHeader } from "./safetensors-header.js";

/** The format's own limit of a header, bytes. */
export const MAX_HEADER_BYTES = 100_000_000;

/** A model read from a file. */
export interface Model {
	/** Tensors in the order of their data. */
	readonly layout: Layout;
	/** The flat vector, converted to float32 where the file has another type. */
	readonly weights: Float32Array;
	/** The texts under `__metadata__`; empty when the file has none. */
	readonly metadata: Record<string, string>;
}

const BYTES = { F16: 2, BF16: 2, F32: 4, F64: 8 } as const;
type FileType = keyof typeof BYTES;
const isFileType = (dtype: string): dtype is FileType => Object.hasOwn(BYTES, dtype);

/**
 * Reads a safetensors file (https://github.com/huggingface/safetensors, "Format"). F16, BF16 and F64 become float32; tensors
 * stand in the layout in the order of their data, whatever the order of the header. Numbers are taken as they are, NaN too.
 * @throws BAD_SAFETENSORS that names tensor and value for anything that is not a well-formed file of such tensors
 */
export function readSafetensors(bytes: Uint8Array): Model {
	if (bytes.length < 8) bad(`the file has ${bytes.length} bytes, fewer than the 8 of the header length`);
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const headerBytes = view.getBigUint64(0, true);
	if (headerBytes > MAX_HEADER_BYTES) bad(`the header length is ${headerBytes}, more than ${MAX_HEADER_BYTES}`);
	const dataFrom = 8 + Number(headerBytes);
	if (dataFrom > bytes.length) bad(`the header length is ${headerBytes}, but only ${bytes.length - 8} bytes follow`);
	if (bytes[8] !== 0x7b) bad(`the header must start with {, got byte ${bytes[8] ?? "none"}`);
	const { entries, metadata } = parseHeader(textOf(bytes.subarray(8, dataFrom)));

	const inOrder = entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end);
	const layout = checked(inOrder, bytes.length - dataFrom);
	const weights = new Float32Array(layout.length);
	for (const [i, entry] of inOrder.entries()) {
		const { from, to } = layout.tensors[i]!;
		convert(
			entry,
			new DataView(view.buffer, view.byteOffset + dataFrom + entry.begin, entry.end - entry.begin),
			weights.subarray(from, to),
		);
	}
	return { layout, weights, metadata };
}

function textOf(bytes: Uint8Array): string {
	try {
		return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
	} catch (cause) {
		return bad("the header is not UTF-8", cause);
	}
}

/** The layout of entries in data order, once their data is known to fill `dataBytes` without holes or overlaps. */
function checked(entries: readonly HeaderEntry[], dataBytes: number): Layout {
	let next = 0;
	for (const { name, dtype, shape, begin, end } of entries) {
		const tensor = `tensor ${JSON.stringify(name.slice(0, 80))}`;
		if (!isFileType(dtype)) bad(`${tensor}: dtype ${JSON.stringify(dtype.slice(0, 80))} is not one of ${Object.keys(BYTES).join(", ")}`);
		const elements = shape.reduce((product, size) => product * size, 1);
		if (!(elements <= MAX_ELEMENTS)) bad(`${tensor}: shape [${shape}] has more than 2^31 elements`);
		if (begin !== next) bad(`${tensor}: data_offsets [${begin},${end}] leave a hole or overlap: its data must begin at ${next}`);
		if (end - begin !== elements * BYTES[dtype as FileType])
			bad(`${tensor}: data_offsets [${begin},${end}] do not match ${dtype} of shape [${shape}]`);
		next = end;
	}
	if (next !== dataBytes) bad(`the tensors need ${next} bytes of data, the file has ${dataBytes}`);
	try {
		return layoutOf(entries);
	} catch (cause) {
		return bad(cause instanceof RondoError ? cause.message : "the tensors form no layout", cause);
	}
}

function convert({ name, dtype }: HeaderEntry, from: DataView, to: Float32Array): void {
	switch (dtype as FileType) {
		case "F32":
			// Byte for byte, so that files round-trip even in the bits of a NaN. Node runs on little-endian machines, as the format is.
			new Uint8Array(to.buffer, to.byteOffset, to.byteLength).set(new Uint8Array(from.buffer, from.byteOffset, from.byteLength));
			return;
		case "F64":
			for (let i = 0; i < to.length; i++) {
				const value = from.getFloat64(8 * i, true);
				to[i] = value;
				if (Number.isFinite(value) && !Number.isFinite(to[i]))
					bad(`tensor ${JSON.stringify(name)}: element ${i} is ${value}, too large for float32`);
			}
			return;
		case "BF16":
		case "F16": {
			const bits = new Uint16Array(to.length);
			for (let i = 0; i < bits.length; i++) bits[i] = from.getUint16(2 * i, true);
			to.set(dtype === "F16" ? fromFloat16(bits) : fromBfloat16(bits));
		}
	}
}

/**
 * The head of a safetensors file of float32 tensors: header length and header, padded with spaces to a multiple of 8
 * bytes. The file is this and then the flat vector's bytes, so a large one can be streamed.
 * @throws INVALID_ARGUMENT for a tensor named __metadata__ or metadata that is not well-formed text, TOO_LARGE beyond 100 MB
 */
export function safetensorsHeader(layout: Layout, metadata: Readonly<Record<string, string>> = {}): Uint8Array {
	const fields: string[] = [];
	const texts = Object.entries(metadata);
	for (const [key, value] of texts) {
		if (typeof value !== "string" || /\p{Surrogate}/u.test(key + value)) {
			throw new RondoError("INVALID_ARGUMENT", `metadata ${JSON.stringify(key)} must be well-formed text, got ${JSON.stringify(value)}`);
		}
	}
	if (texts.length > 0)
		fields.push(`"${METADATA_KEY}":{${texts.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`);
	for (const { name, shape, from, to } of layout.tensors) {
		if (name === METADATA_KEY) throw new RondoError("INVALID_ARGUMENT", `a tensor cannot be named ${METADATA_KEY} in a safetensors file`);
		fields.push(`${JSON.stringify(name)}:{"dtype":"F32","shape":[${shape}],"data_offsets":[${4 * from},${4 * to}]}`);
	}
	const text = new TextEncoder().encode(`{${fields.join(",")}}`);
	const padded = Math.ceil(text.length / 8) * 8;
	if (padded > MAX_HEADER_BYTES) throw new RondoError("TOO_LARGE", `the header has ${padded} bytes, more than ${MAX_HEADER_BYTES}`);
	const bytes = new Uint8Array(8 + padded).fill(0x20);
	new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
	bytes.set(text, 8);
	return bytes;
}

/**
 * A whole safetensors file: the header and the flat vector, little-endian float32.
 * @throws SHAPE_MISMATCH when `weights` has not the layout's length, and what `safetensorsHeader` throws
 */
export function writeSafetensors(layout: Layout, weights: Float32Array, metadata: Readonly<Record<string, string>> = {}): Uint8Array {
	if (weights.length !== layout.length)
		throw new RondoError("SHAPE_MISMATCH", `weights has ${weights.length} elements, its layout ${layout.length}`);
	const head = safetensorsHeader(layout, metadata);
	const bytes = new Uint8Array(head.length + weights.byteLength);
	bytes.set(head);
	bytes.set(new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength), head.length);
	return bytes;
}
