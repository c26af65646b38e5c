import { RondoError } from "@rondo/errors";

/** One tensor as a safetensors header declares it. Offsets are bytes from the start of the data. */
export interface HeaderEntry {
	readonly name: string;
	readonly dtype: string;
	readonly shape: readonly number[];
	readonly begin: number;
	readonly end: number;
}

/** What a safetensors header says, before the tensors are compared with each other and with the data. */
export interface Header {
	readonly entries: readonly HeaderEntry[];
	readonly metadata: Record<string, string>;
}

export const METADATA_KEY = "__metadata__";
const MAX_STRING_CHARACTERS = 1 << 20;
const MAX_RANK = 32;

/** @throws BAD_SAFETENSORS that says what is wrong and, where it is known, in which tensor */
export function bad(message: string, cause?: unknown): never {
	throw new RondoError("BAD_SAFETENSORS", message, cause === undefined ? {} : { cause });
}

/**
 * Reads the JSON text of a safetensors header. A parser of exactly this grammar, because `JSON.parse` keeps the last of
 * duplicate keys and builds whatever nesting it is sent; this one never goes deeper than the format does.
 * @throws BAD_SAFETENSORS for anything else than a header
 */
export function parseHeader(text: string): Header {
	let at = 0;
	let place = "header";
	const entries = new Map<string, HeaderEntry>();
	const metadata = new Map<string, string>();
	let hasMetadata = false;

	const space = (): void => {
		while (at < text.length && " \t\n\r".includes(text[at]!)) at++;
	};
	const peek = (): string => {
		space();
		return text[at] ?? "the end";
	};
	const take = (character: string): void => {
		const found = peek();
		if (found !== character) bad(`${place}: expected ${character} at character ${at}, found ${JSON.stringify(found)}`);
		at++;
	};
	const string = (): string => {
		take('"');
		const start = at - 1;
		while (at < text.length && text[at] !== '"') {
			at += text[at] === "\\" ? 2 : 1;
			if (at - start > MAX_STRING_CHARACTERS)
				bad(`${place}: the text at character ${start} is longer than ${MAX_STRING_CHARACTERS} characters`);
		}
		take('"');
		try {
			return JSON.parse(text.slice(start, at)) as string;
		} catch (cause) {
			return bad(`${place}: malformed text at character ${start}`, cause);
		}
	};
	const integer = (field: string): number => {
		peek();
		const digits = /[^,\]}\s]{0,40}/y;
		digits.lastIndex = at;
		const found = digits.exec(text)?.[0] ?? "";
		const value = Number(found);
		if (!/^(0|[1-9][0-9]*)$/.test(found) || !Number.isSafeInteger(value))
			bad(`${place}: ${field} must hold non-negative integers below 2^53, got ${JSON.stringify(found)}`);
		at += found.length;
		return value;
	};
	/** Calls `member` between commas until `close`; the opening bracket has been taken. */
	const list = (close: string, member: () => void): void => {
		if (peek() === close) {
			at++;
			return;
		}
		for (;;) {
			member();
			if (peek() === close) {
				at++;
				return;
			}
			take(",");
		}
	};
	const integers = (field: string, most: number): number[] => {
		const values: number[] = [];
		take("[");
		list("]", () => {
			if (values.length === most) bad(`${place}: ${field} has more than ${most} numbers`);
			values.push(integer(field));
		});
		return values;
	};
	const key = (): string => {
		const name = string();
		take(":");
		return name;
	};
	const tensor = (name: string): HeaderEntry => {
		place = `tensor ${JSON.stringify(name.slice(0, 80))}`;
		let dtype: string | undefined;
		let shape: number[] | undefined;
		let offsets: number[] | undefined;
		take("{");
		list("}", () => {
			const field = key();
			if (field === "dtype" && dtype === undefined) dtype = string();
			else if (field === "shape" && shape === undefined) shape = integers(field, MAX_RANK);
			else if (field === "data_offsets" && offsets === undefined) offsets = integers(field, 2);
			else bad(`${place}: field ${JSON.stringify(field.slice(0, 80))} is unknown or occurs twice`);
		});
		const [begin, end] = offsets ?? [];
		if (dtype === undefined || shape === undefined || begin === undefined || end === undefined)
			return bad(`${place}: dtype, shape and two data_offsets are required`);
		return { name, dtype, shape, begin, end };
	};

	take("{");
	list("}", () => {
		place = "header";
		const name = key();
		if (name !== METADATA_KEY) {
			if (entries.has(name)) bad(`tensor ${JSON.stringify(name.slice(0, 80))} occurs twice`);
			entries.set(name, tensor(name));
			return;
		}
		if (hasMetadata) bad(`${METADATA_KEY} occurs twice`);
		hasMetadata = true;
		place = METADATA_KEY;
		take("{");
		list("}", () => {
			const field = key();
			if (metadata.has(field)) bad(`${METADATA_KEY}: ${JSON.stringify(field.slice(0, 80))} occurs twice`);
			metadata.set(field, string());
		});
	});
	place = "header";
	space();
	if (at < text.length) bad(`header: unexpected ${JSON.stringify(text[at])} at character ${at}, after its end`);
	return { entries: [...entries.values()], metadata: Object.fromEntries(metadata) };
}
