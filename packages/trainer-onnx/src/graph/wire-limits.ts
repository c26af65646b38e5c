import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { RondoError } from "@rondo/errors";

/** Fields of one message: a message of its own, or numbers of variable length one after the other. */
interface Fields {
	readonly [field: number]: Fields | "varints";
}

/** Most fields of a file. Large transformers have some hundred thousand; each takes about 200 bytes once it is decoded. */
const MAX_FIELDS = 4_000_000;
const MAX_DEPTH = 64;

const LEAF: Fields = {};
const TENSOR: Fields = { 1: "varints", 5: "varints", 7: "varints", 11: "varints", 13: LEAF };
const VALUE: Fields = { 2: { 1: { 2: { 1: LEAF } } } };
const ATTRIBUTE: { [field: number]: Fields | "varints" } = { 5: TENSOR, 8: "varints" };
const GRAPH: Fields = { 1: { 5: ATTRIBUTE, 9: LEAF }, 5: TENSOR, 11: VALUE, 12: VALUE, 15: { 1: TENSOR } };
ATTRIBUTE[6] = GRAPH;
/** What of `proto/onnx.proto` is decoded to objects. */
const MODEL: Fields = { 7: GRAPH, 8: LEAF, 25: LEAF };

/**
 * Walks through the bytes of a model without making anything of them. Decoding two bytes may make an object of 200, so a
 * small file could take all memory; and what is malformed is found before anything is decoded.
 * @throws TOO_LARGE beyond 4,000,000 fields; BAD_MODEL for a field that ends beyond what it is part of, or is of no known form
 */
export function checkWire(bytes: Uint8Array): void {
	const reader = new BinaryReader(bytes);
	let fields = 0;
	const count = (more: number): void => {
		fields += more;
		if (fields > MAX_FIELDS)
			throw new RondoError("TOO_LARGE", `the model has more than ${MAX_FIELDS} fields; weights belong into raw_data or another file`, {
				details: { limit: MAX_FIELDS },
			});
	};
	const walk = (end: number, message: Fields, depth: number): void => {
		if (depth > MAX_DEPTH) throw broken(`is nested deeper than ${MAX_DEPTH} levels`);
		while (reader.pos < end) {
			count(1);
			const [field, type] = reader.tag();
			if (type === WireType.LengthDelimited) {
				const fieldEnd = reader.uint32() + reader.pos;
				if (fieldEnd > end) throw broken(`ends at byte ${end}, in the middle of a field`);
				const inner = message[field];
				if (inner === "varints") count(fieldEnd - reader.pos);
				else if (inner !== undefined) walk(fieldEnd, inner, depth + 1);
				reader.pos = fieldEnd;
			} else if (type === WireType.StartGroup || type === WireType.EndGroup) throw broken(`has a group at byte ${reader.pos}`);
			else reader.skip(type);
		}
		if (reader.pos > end) throw broken(`ends at byte ${end}, in the middle of a field`);
	};
	try {
		walk(bytes.length, MODEL, 0);
	} catch (cause) {
		throw cause instanceof RondoError ? cause : broken(cause instanceof Error ? cause.message : String(cause), cause);
	}
}

const broken = (what: string, cause?: unknown): RondoError =>
	new RondoError("BAD_MODEL", `the file is not an ONNX model, or is damaged: it ${what}`, cause === undefined ? {} : { cause });
