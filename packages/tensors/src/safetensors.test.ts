import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { layoutOf } from "./layout.js";
import { readSafetensors, safetensorsHeader, writeSafetensors } from "./safetensors.js";

const fileOf = (header: string, data: readonly number[] | Uint8Array = []): Uint8Array => {
	const text = Buffer.from(header);
	const length = Buffer.alloc(8);
	length.writeBigUInt64LE(BigInt(text.length));
	return Buffer.concat([length, text, Uint8Array.from(data)]);
};
const zeros = (count: number): Uint8Array => new Uint8Array(count);

const models = fc
	.uniqueArray(
		fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 12 }).filter((name) => name !== "__metadata__"),
		{ maxLength: 6 },
	)
	.chain((names) => fc.tuple(...names.map((name) => fc.array(fc.nat(4), { maxLength: 3 }).map((shape) => ({ name, shape })))))
	.chain((tensors) => {
		const layout = layoutOf(tensors);
		const weights = fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), { minLength: layout.length, maxLength: layout.length });
		return fc.record({
			layout: fc.constant(layout),
			// Any bits, NaNs included.
			weights: weights.map((bits) => new Float32Array(Int32Array.from(bits).buffer)),
			metadata: fc.dictionary(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), { noNullPrototype: true }),
		});
	});

describe("safetensors", () => {
	it("round-trips layouts, bits and metadata, at any alignment", () => {
		fc.assert(
			fc.property(models, fc.nat(7), ({ layout, weights, metadata }, shift) => {
				const file = writeSafetensors(layout, weights, metadata);
				const moved = new Uint8Array(file.length + shift).subarray(shift);
				moved.set(file);
				const read = readSafetensors(moved);
				expect(read.layout).toEqual(layout);
				expect(read.metadata).toEqual(metadata);
				expect(new Uint8Array(read.weights.buffer)).toEqual(new Uint8Array(weights.buffer));
				const head = safetensorsHeader(layout, metadata);
				expect(head.length % 8).toBe(0);
				expect(file.subarray(0, head.length)).toEqual(head);
			}),
		);
	});

	it("are written as these bytes", () => {
		const layout = layoutOf([
			{ name: "w", shape: [2, 1] },
			{ name: "b", shape: [] },
		]);
		const header =
			'{"__metadata__":{"k":"v"},"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[],"data_offsets":[8,12]}}';
		const padded = header.padEnd(Math.ceil(header.length / 8) * 8);
		expect(padded.length).toBe(136);
		const reference = Buffer.concat([
			Buffer.from("8800000000000000", "hex"),
			Buffer.from(padded),
			Buffer.from("0000803f000020c00000003e", "hex"),
		]);
		expect(Buffer.from(writeSafetensors(layout, Float32Array.of(1, -2.5, 0.125), { k: "v" }))).toEqual(reference);
		expect(readSafetensors(reference)).toEqual({ layout, weights: Float32Array.of(1, -2.5, 0.125), metadata: { k: "v" } });
	});

	it("reads a file of the Python package", () => {
		// safetensors 0.8.0, numpy: safetensors.numpy.save({"b.weight": np.array([[1, -2.5], [3e-3, 4e30]], "f4"),
		// "a.bias": np.array([0.5, -65504, 6e-8], "f2"), "scalar": np.array(-1e-3, "f8"), "none": np.zeros((0, 3), "f4")},
		// {"format": "np", "é": "ü"}), as base64
		const file = Buffer.from(
			"IAEAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyLDqSI6IsO8IiwiZm9ybWF0IjoibnAifSwic2NhbGFyIjp7ImR0eXBlIjoiRjY0Iiwic2hhcGUiOltdLCJkYXRhX29mZnNldHMiOlswLDhdfSwiYi53ZWlnaHQiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6WzIsMl0sImRhdGFfb2Zmc2V0cyI6WzgsMjRdfSwibm9uZSI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMCwzXSwiZGF0YV9vZmZzZXRzIjpbMjQsMjRdfSwiYS5iaWFzIjp7ImR0eXBlIjoiRjE2Iiwic2hhcGUiOlszXSwiZGF0YV9vZmZzZXRzIjpbMjQsMzBdfX0gICAgICD8qfHSTWJQvwAAgD8AACDApptEO8rySXIAOP/7AQA=",
			"base64",
		);
		const { layout, weights, metadata } = readSafetensors(file);
		expect(layout).toEqual(
			layoutOf([
				{ name: "scalar", shape: [] },
				{ name: "b.weight", shape: [2, 2] },
				{ name: "none", shape: [0, 3] },
				{ name: "a.bias", shape: [3] },
			]),
		);
		expect(weights).toEqual(Float32Array.of(-1e-3, 1, -2.5, 3e-3, 4e30, 0.5, -65504, 2 ** -24));
		expect(metadata).toEqual({ format: "np", é: "ü" });
	});

	it("orders tensors by their data, not by the header", () => {
		const { layout, weights } = readSafetensors(
			fileOf(
				'{"b":{"shape":[1],"dtype":"F32","data_offsets":[4,8]}, "a":{"data_offsets":[0,4],"dtype":"F32","shape":[1]}}  \n',
				[0, 0, 128, 63, 0, 0, 0, 64],
			),
		);
		expect(layout.tensors.map(({ name }) => name)).toEqual(["a", "b"]);
		expect([...weights]).toEqual([1, 2]);
	});

	it("converts every F16 and BF16 by the definition of IEEE 754 and of bfloat16", () => {
		const all = new Uint8Array(Uint16Array.from({ length: 65_536 }, (_, i) => i).buffer);
		const half = readSafetensors(fileOf('{"h":{"dtype":"F16","shape":[65536],"data_offsets":[0,131072]}}', all)).weights;
		const brain = readSafetensors(fileOf('{"h":{"dtype":"BF16","shape":[65536],"data_offsets":[0,131072]}}', all)).weights;
		const wrong: number[] = [];
		for (let bits = 0; bits < 65_536; bits++) {
			const sign = bits >> 15 ? -1 : 1;
			const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
			const value =
				exponent === 31
					? fraction
						? Number.NaN
						: sign * Number.POSITIVE_INFINITY
					: sign * (exponent ? 1 + fraction / 1024 : fraction / 1024) * 2 ** (Math.max(exponent, 1) - 15);
			if (!Object.is(half[bits], value)) wrong.push(bits);
		}
		expect(wrong).toEqual([]);
		expect(new Uint32Array(brain.buffer)).toEqual(Uint32Array.from({ length: 65_536 }, (_, i) => i * 65_536));
	});

	it.each([
		["an empty file", zeros(0), "the file has 0 bytes"],
		["a short file", zeros(7), "the file has 7 bytes"],
		[
			"a huge header length",
			Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255, 123),
			"the header length is 18446744073709551615, more than 100000000",
		],
		["a header beyond the file", Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0, 123, 125), "the header length is 3, but only 2 bytes follow"],
		["an empty header", zeros(8), "the header must start with {, got byte none"],
		["a header that starts with a space", fileOf(" {}"), "the header must start with {, got byte 32"],
		["a header that is not UTF-8", Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0, 123, 255, 125), "the header is not UTF-8"],
		["an unfinished header", fileOf("{"), 'header: expected " at character 1, found "the end"'],
		["a nested bomb", fileOf(`{"a":${"[".repeat(1_000_000)}`), 'tensor "a": expected { at character 5, found "["'],
		["a nested bomb in a shape", fileOf(`{"a":{"shape":${"[".repeat(1_000_000)}`), 'tensor "a": shape must hold non-negative integers'],
		["text after the header", fileOf("{} x"), 'header: unexpected "x" at character 3, after its end'],
		["a trailing comma", fileOf("{},"), 'header: unexpected ","'],
		["an unknown field", fileOf('{"a":{"type":"F32"}}'), 'tensor "a": field "type" is unknown or occurs twice'],
		["a field twice", fileOf('{"a":{"dtype":"F32","dtype":"F32"}}'), 'tensor "a": field "dtype" is unknown or occurs twice'],
		["a missing field", fileOf('{"a":{"dtype":"F32","shape":[]}}'), 'tensor "a": dtype, shape and two data_offsets are required'],
		[
			"one offset",
			fileOf('{"a":{"dtype":"F32","shape":[],"data_offsets":[0]}}'),
			'tensor "a": dtype, shape and two data_offsets are required',
		],
		[
			"three offsets",
			fileOf('{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4,4]}}', zeros(4)),
			'tensor "a": data_offsets has more than 2 numbers',
		],
		[
			"a negative size",
			fileOf('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', zeros(4)),
			'tensor "a": shape must hold non-negative integers below 2^53, got "-1"',
		],
		["a fractional size", fileOf('{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}', zeros(4)), 'got "1.5"'],
		["a size in scientific notation", fileOf('{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}', zeros(4)), 'got "1e0"'],
		[
			"a size beyond 2^53",
			fileOf('{"a":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,4]}}', zeros(4)),
			'got "9007199254740993"',
		],
		[
			"a shape that overflows",
			fileOf('{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,0]}}'),
			'tensor "a": shape [4294967296,4294967296,4294967296] has more than 2^31 elements',
		],
		[
			"a rank beyond 32",
			fileOf(`{"a":{"dtype":"F32","shape":[${new Array(33).fill(1)}],"data_offsets":[0,4]}}`, zeros(4)),
			"shape has more than 32 numbers",
		],
		[
			"another type",
			fileOf('{"a":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}', zeros(8)),
			'tensor "a": dtype "I64" is not one of F16, BF16, F32, F64',
		],
		["the type toString", fileOf('{"a":{"dtype":"toString","shape":[],"data_offsets":[0,8]}}', zeros(8)), 'dtype "toString" is not one of'],
		[
			"a hole",
			fileOf('{"a":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}', zeros(8)),
			'tensor "a": data_offsets [4,8] leave a hole or overlap: its data must begin at 0',
		],
		[
			"an overlap",
			fileOf('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}', zeros(8)),
			'tensor "b": data_offsets [4,8] leave a hole or overlap: its data must begin at 8',
		],
		[
			"reversed offsets",
			fileOf('{"a":{"dtype":"F32","shape":[],"data_offsets":[0,0]},"b":{"dtype":"F32","shape":[],"data_offsets":[4,0]}}', zeros(4)),
			'tensor "a": data_offsets [0,0] do not match F32 of shape []',
		],
		[
			"offsets that do not match the shape",
			fileOf('{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}', zeros(8)),
			'tensor "a": data_offsets [0,8] do not match F32 of shape [3]',
		],
		[
			"offsets that do not match the type",
			fileOf('{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,4]}}', zeros(4)),
			'tensor "a": data_offsets [0,4] do not match F64 of shape [1]',
		],
		[
			"data missing",
			fileOf('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', zeros(7)),
			"the tensors need 8 bytes of data, the file has 7",
		],
		[
			"data left over",
			fileOf('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', zeros(9)),
			"the tensors need 8 bytes of data, the file has 9",
		],
		[
			"a tensor twice",
			fileOf('{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}', zeros(8)),
			'tensor "a" occurs twice',
		],
		[
			"a tensor twice, once escaped",
			fileOf('{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"\\u0061":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}', zeros(8)),
			'tensor "a" occurs twice',
		],
		["metadata twice", fileOf('{"__metadata__":{},"__metadata__":{}}'), "__metadata__ occurs twice"],
		["a metadata key twice", fileOf('{"__metadata__":{"k":"1","k":"2"}}'), '__metadata__: "k" occurs twice'],
		["metadata that is no text", fileOf('{"__metadata__":{"k":1}}'), '__metadata__: expected " at character 21, found "1"'],
		["a bad escape", fileOf('{"\\x":{}}'), "header: malformed text at character 1"],
		["an unfinished text", fileOf('{"a\\"'), 'header: expected "'],
		["a name that layouts cannot have", fileOf('{"ü":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}', zeros(4)), "printable ASCII"],
		[
			"a double too large for float32",
			fileOf('{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}', new Uint8Array(Float64Array.of(-1e300).buffer)),
			'tensor "a": element 0 is -1e+300, too large for float32',
		],
	])("refuses %s", (_what, file, message) => {
		expect(() => readSafetensors(file)).toThrow(
			expect.objectContaining({ code: "BAD_SAFETENSORS", message: expect.stringContaining(message) as string }),
		);
	});

	it("survives any damage to a file", () => {
		const layout = layoutOf([
			{ name: "w", shape: [2, 2] },
			{ name: "__proto__", shape: [1] },
		]);
		const file = writeSafetensors(layout, new Float32Array(5), { format: "pt", __proto__: "x" });
		fc.assert(
			fc.property(
				fc.array(
					fc.tuple(
						fc.nat(file.length - 1),
						fc.oneof(fc.nat(255), fc.constantFrom(...'{}[]",:0-e\\ '.split("").map((c) => c.charCodeAt(0)))),
					),
					{ minLength: 1, maxLength: 4 },
				),
				fc.nat(file.length),
				(edits, cut) => {
					const damaged = file.slice(0, cut < 20 ? cut : file.length);
					for (const [at, byte] of edits) if (at < damaged.length) damaged[at] = byte;
					try {
						expect(readSafetensors(damaged).weights.length).toBeLessThanOrEqual(damaged.length);
					} catch (error) {
						expect(error).toMatchObject({ code: "BAD_SAFETENSORS" });
					}
				},
			),
			{ numRuns: 3000 },
		);
	});

	it("refuses to write what cannot be read again", () => {
		const layout = layoutOf([{ name: "__metadata__", shape: [] }]);
		expect(() => safetensorsHeader(layout)).toThrow("a tensor cannot be named __metadata__");
		expect(() => writeSafetensors(layoutOf([{ name: "a", shape: [2] }]), new Float32Array(3))).toThrow(
			"weights has 3 elements, its layout 2",
		);
		expect(() => safetensorsHeader(layoutOf([]), { k: "\ud800" })).toThrow('metadata "k" must be well-formed text');
	});
});
