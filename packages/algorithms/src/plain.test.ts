import { isRondoError } from "@rondo/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
	type ArrayOf,
	arrayFrom,
	bytesOf,
	bytesPerElement,
	CHUNK_BYTES,
	contentDigest,
	contentDigestOf,
	DTYPES,
	type DType,
	decodePlain,
	digestOf,
	encodePlain,
	isVec,
	type Plain,
	vecOf,
	vecsIn,
} from "./plain.js";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const unhex = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
const codeOf = (run: () => unknown): string => {
	try {
		run();
	} catch (error) {
		if (isRondoError(error)) return error.code;
		throw error;
	}
	return "none";
};

const DIGEST_A = "a1".repeat(32);
const finite = { noNaN: true, noDefaultInfinity: true } as const;
const text = fc.string({ unit: "binary" }).filter((s) => !s.startsWith("\ufeff"));
const anyArray: fc.Arbitrary<ArrayOf<DType>> = fc.oneof(
	fc.float32Array(finite),
	fc.float64Array(finite),
	fc.int32Array(),
	fc.uint32Array(),
	fc.uint16Array(),
	fc.uint8Array(),
);
const anyVec = fc
	.tuple(fc.constantFrom(...DTYPES), fc.nat(), fc.uint8Array({ minLength: 32, maxLength: 32 }))
	.map(([dtype, length, digest]) => vecOf(dtype, length, hex(digest)));
const { plain } = fc.letrec<{ plain: Plain }>((tie) => ({
	plain: fc.oneof(
		{ maxDepth: 4, depthSize: "small" },
		fc.constant(null),
		fc.boolean(),
		fc.double(finite).map((x) => x + 0),
		fc.integer().map((x) => x + 0),
		fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n - 1n }).filter((x) => x !== BigInt(Number(x)) || !Number.isSafeInteger(Number(x))),
		text,
		anyArray,
		anyVec,
		fc.array(tie("plain"), { maxLength: 5 }),
		fc.dictionary(text, tie("plain"), { maxKeys: 5 }),
	),
}));

describe("canonical encoding", () => {
	it("gives every value back", () => {
		fc.assert(
			fc.property(plain, (value) => {
				const bytes = encodePlain(value);
				const back = decodePlain(bytes);
				expect(hex(encodePlain(back))).toBe(hex(bytes));
				expect(back).toEqual(normal(value));
			}),
			{ numRuns: 500 },
		);
	});

	it("does not depend on the order of keys", () => {
		fc.assert(
			fc.property(fc.dictionary(text, plain, { maxKeys: 6 }), (object) => {
				const reversed = Object.fromEntries(Object.entries(object).reverse());
				expect(digestOf(reversed)).toBe(digestOf(object));
			}),
		);
	});

	it("has these bytes", () => {
		const cases: readonly (readonly [Plain, string])[] = [
			[null, "f6"],
			[true, "f5"],
			[-0, "00"],
			[23, "17"],
			[-500, "3901f3"],
			[1.5, "fb3ff8000000000000"],
			[2 ** 53, "fb4340000000000000"],
			[2n ** 53n, "1b0020000000000000"],
			["é", "62c3a9"],
			[new Uint8Array([1, 2]), "d840420102"],
			[Float32Array.of(1), "d855440000803f"],
			[Float64Array.of(1), "d85648000000000000f03f"],
			[Int32Array.of(-1), "d84e44ffffffff"],
			[Uint32Array.of(1), "d8464401000000"],
			[Uint16Array.of(1), "d845420100"],
			[{ b: 1, aa: 2, a: [] }, "a361618061620162616102"],
			[vecOf("u16", 300, DIGEST_A), `d9beef835820${DIGEST_A}0419012c`],
		];
		for (const [value, bytes] of cases) {
			expect(hex(encodePlain(value))).toBe(bytes);
			expect(hex(encodePlain(decodePlain(unhex(bytes))))).toBe(bytes);
		}
		expect(digestOf({ a: 1 })).toBe("eb989b4a620fd259ae02181bdab4fc3eb6dc6b45eb7322999bb1416bce318926");
	});

	it("treats a Buffer as bytes and a bigint that a number holds as that number", () => {
		expect(hex(encodePlain(Buffer.from([1, 2])))).toBe("d840420102");
		expect(decodePlain(encodePlain(7n))).toBe(7);
	});

	it("refuses numbers that are not finite, with their path", () => {
		expect(() => encodePlain({ a: [1, Number.NaN] })).toThrow("$.a[1] is NaN");
		expect(() => encodePlain({ a: Float32Array.of(0, Number.POSITIVE_INFINITY) })).toThrow("$.a[1] is Infinity");
		expect(codeOf(() => encodePlain(Float64Array.of(Number.NaN)))).toBe("NOT_FINITE");
		expect(codeOf(() => decodePlain(unhex("d85544 0000c07f")))).toBe("NOT_FINITE");
		expect(codeOf(() => decodePlain(unhex("fb7ff8000000000000")))).toBe("BAD_ENCODING");
	});

	it("refuses what is not plain", () => {
		const cyclic: Record<string, unknown> = {};
		cyclic.self = cyclic;
		const odd = [undefined, () => 1, Symbol("s"), new Date(0), new Map(), new Int8Array(1), new Array(2), [undefined], cyclic];
		for (const value of [...odd, 2n ** 64n, -(2n ** 64n) - 1n, "\ud800", { "\udfff": 1 }, "\ufeffa", { "\ufeff": 1 }]) {
			expect(codeOf(() => encodePlain(value as Plain))).toBe("BAD_ENCODING");
		}
	});
});

describe("decoding of hostile bytes", () => {
	it("is total", () => {
		fc.assert(
			fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
				const code = codeOf(() => expect(hex(encodePlain(decodePlain(bytes)))).toBe(hex(bytes)));
				expect(["none", "BAD_ENCODING", "NOT_FINITE"]).toContain(code);
			}),
			{ numRuns: 2000 },
		);
	});

	it("survives every changed bit of a real value", () => {
		const bytes = encodePlain({ ledger: vecOf("i32", 4096, DIGEST_A), g: Float32Array.of(1, 2), text: "é", n: [1.5, -7, 2n ** 60n] });
		for (let bit = 0; bit < 8 * bytes.length; bit++) {
			const changed = bytes.slice();
			changed[bit >> 3]! ^= 1 << (bit & 7);
			const code = codeOf(() => expect(hex(encodePlain(decodePlain(changed)))).toBe(hex(changed)));
			expect(["none", "BAD_ENCODING", "NOT_FINITE"]).toContain(code);
		}
	});

	it("accepts canonical bytes only", () => {
		const refused = {
			"a long head": "1817",
			"a number in a longer form": "1801",
			"a short float": "f93c00",
			"a float of an integer": "fb3ff0000000000000",
			"minus zero": "fb8000000000000000",
			"keys out of order": "a2616201616101",
			"a key twice": "a2616101616102",
			"an indefinite array": "9fff",
			undefined: "f7",
			"bare bytes": "4101",
			"a bignum": "c24101",
			"an unknown tag": "d8294101",
			"a typed array of half an element": "d85543000080",
			"a typed array of text": "d8406161",
			"trailing bytes": "0000",
			nothing: "",
			"bad UTF-8": "61ff",
			"a byte order mark": "64efbbbf61",
			"a Vec with a short digest": "d9beef83410000 00",
			"a Vec of an unknown dtype": `d9beef835820${DIGEST_A}0600`,
			"a Vec of negative length": `d9beef835820${DIGEST_A}0020`,
			"a Vec of four parts": `d9beef845820${DIGEST_A}000000`,
			"a map that looks like a Vec": `a365647479706563663332666c656e67746801667368613235367840${hex(new TextEncoder().encode(DIGEST_A))}`,
		};
		for (const [what, bytes] of Object.entries(refused))
			expect([what, codeOf(() => decodePlain(unhex(bytes)))]).toEqual([what, "BAD_ENCODING"]);
	});

	it("ends quickly on bombs", () => {
		for (const bytes of [
			new Uint8Array(500_000).fill(0x81),
			unhex("9affffffff"),
			unhex("5affffffff"),
			unhex("9bffffffffffffffff"),
			unhex("baffffffff"),
		]) {
			expect(codeOf(() => decodePlain(bytes))).toBe("BAD_ENCODING");
		}
	});
});

describe("arrays and references", () => {
	it("reads arrays from aligned and unaligned bytes", () => {
		const bytes = new Uint8Array(9);
		bytes.set(bytesOf(Float64Array.of(2.5)), 1);
		expect(arrayFrom("f64", bytes.subarray(1))).toEqual(Float64Array.of(2.5));
		expect(codeOf(() => arrayFrom("f64", bytes))).toBe("BAD_ENCODING");
		for (const dtype of DTYPES) expect(arrayFrom(dtype, new Uint8Array(16)).length).toBe(16 / bytesPerElement(dtype));
	});

	it("knows a Vec when it sees one", () => {
		expect(isVec(vecOf("f32", 3, DIGEST_A))).toBe(true);
		for (const other of [
			null,
			"x",
			{},
			{ sha256: DIGEST_A, dtype: "f32" },
			{ sha256: DIGEST_A, dtype: "f16", length: 1 },
			{ sha256: DIGEST_A.toUpperCase(), dtype: "f32", length: 1 },
			{ sha256: DIGEST_A, dtype: "f32", length: -1 },
			{ sha256: DIGEST_A, dtype: "f32", length: 1, more: 1 },
		]) {
			expect(isVec(other)).toBe(false);
		}
	});

	it("finds every Vec in encoding order", () => {
		const [a, b] = [vecOf("f32", 1, DIGEST_A), vecOf("u8", 2, "b2".repeat(32))];
		expect(vecsIn({ x: [a, { y: b }], z: new Uint8Array(3), t: a })).toHaveLength(3);
		expect(vecsIn([b, 1, "s", null, [a]])).toEqual([b, a]);
	});
});

describe("content digests", () => {
	// Printed by: python3 -c 'import hashlib as h,struct as s; d=bytes(i*7%256 for i in range(N)); c=[h.sha256(d[i:i+2**20]).digest() for i in
	// range(0,N,2**20)]; print(h.sha256(b"rondo-blob/1\0"+s.pack("<Q",N)+b"".join(c)).hexdigest())'
	const golden: Readonly<Record<number, string>> = {
		0: "0a0d56f71c293689b430b79c9fb38c35a367f81739c0582695de064986bd1349",
		1: "f8b5a289a2ad5148dd092b0900e9a7c6fd945ae4bdc4765c974fe423dc0c54f8",
		1048576: "24618bd6333320b4e8341a26beecbe13dcbfad6818ee073e9bf4092321ae5ac7",
		1048577: "eb3b195423ddf2c166fea009cbd5685836dd8cb541b3d98980a2bd74895d0b42",
		3000000: "a9cc9d4a1df14488efe441229e93b50e321aca0b4e31eeb45c3a45f80b6c23aa",
	};

	it("are those of the specification, for any number of chunks", () => {
		for (const [length, digest] of Object.entries(golden)) {
			expect(contentDigest(Uint8Array.from({ length: Number(length) }, (_, i) => (i * 7) % 256))).toBe(digest);
		}
	});

	it("cover the length and every chunk", () => {
		const chunk = new Uint8Array(32);
		const digests = [contentDigestOf(1, []), contentDigestOf(2, []), contentDigestOf(1, [chunk]), contentDigestOf(1, [chunk, chunk])];
		expect(new Set(digests).size).toBe(4);
		expect(contentDigest(new Uint8Array(CHUNK_BYTES))).not.toBe(contentDigest(new Uint8Array(CHUNK_BYTES + 1)));
	});
});

/** What a value reads back as: plain objects, and -0 as 0. */
function normal(value: Plain): unknown {
	if (Object.is(value, -0)) return 0;
	if (Array.isArray(value)) return value.map(normal);
	if (typeof value !== "object" || value === null || ArrayBuffer.isView(value) || isVec(value)) return value;
	return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, normal(item)]));
}
