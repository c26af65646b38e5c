import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isRondoError } from "@rondo/errors";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseIdx, readIdx } from "./idx.js";

/** An IDX file of unsigned bytes 0, 1, 2, … */
function idxFile(shape: readonly number[]): Uint8Array {
	const elements = shape.reduce((a, b) => a * b, 1);
	const bytes = new Uint8Array(4 + 4 * shape.length + elements);
	bytes.set([0, 0, 8, shape.length]);
	for (const [i, size] of shape.entries()) new DataView(bytes.buffer).setUint32(4 + 4 * i, size);
	for (let i = 0; i < elements; i++) bytes[4 + 4 * shape.length + i] = i;
	return bytes;
}

test("parses shape and values", () => {
	const { shape, values } = parseIdx(idxFile([3, 2, 2]), "f");
	expect(shape).toEqual([3, 2, 2]);
	expect([...values]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
	expect(parseIdx(idxFile([0]), "f")).toEqual({ shape: [0], values: new Uint8Array(0) });
});

describe("names file, field and value of what is wrong", () => {
	const good = idxFile([3, 2, 2]);
	const declared = good.slice();
	declared.fill(255, 4, 16);
	test.each([
		["no bytes", new Uint8Array(0), "size is 0 bytes"],
		["no header", good.subarray(0, 7), "size is 7 bytes, the header of rank 3 has 16"],
		["gzip", good.with(0, 0x1f).with(1, 0x8b), "magic is 0x1f8b, a gzip file"],
		["other magic", good.with(1, 7), "magic is bytes 0, 7"],
		["float type", good.with(2, 0x0d), "type is 0x0d, must be 0x08"],
		["rank 0", good.with(3, 0), "rank is 0"],
		["rank 255", good.with(3, 255), "rank is 255"],
		["cut short", good.subarray(0, good.length - 1), "shape is [3, 2, 2], which takes 28 bytes; the file has 27"],
		["huge sizes", declared, "shape is [4294967295, 4294967295, 4294967295]"],
	])("%s", (_, bytes, message) => {
		expect(() => parseIdx(bytes, "digits.idx")).toThrowError(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
		expect(() => parseIdx(bytes, "digits.idx")).toThrow(`IDX file digits.idx: ${message}`);
	});
});

test("any bytes give a value of the declared size or INVALID_ARGUMENT", () => {
	const mutated = fc.tuple(fc.nat(27), fc.nat(255)).map(([index, value]) => idxFile([3, 2, 2]).with(index, value));
	fc.assert(
		fc.property(fc.oneof(fc.uint8Array({ maxLength: 64 }), mutated), (bytes) => {
			try {
				const { shape, values } = parseIdx(bytes, "f");
				return values.length === shape.reduce((a, b) => a * b, 1);
			} catch (error) {
				return isRondoError(error) && error.code === "INVALID_ARGUMENT";
			}
		}),
		{ numRuns: 2000 },
	);
});

describe("files", () => {
	let folder = "";
	beforeAll(async () => {
		folder = await mkdtemp(join(tmpdir(), "rondo-idx-"));
		await writeFile(join(folder, "good"), idxFile([5, 2]));
		await writeFile(join(folder, "short"), idxFile([5, 2]).subarray(0, 14));
	});
	afterAll(() => rm(folder, { recursive: true }));

	test("whole and by rows", async () => {
		expect(await readIdx(join(folder, "good"))).toEqual(parseIdx(idxFile([5, 2]), "f"));
		const { shape, values } = await readIdx(join(folder, "good"), Uint32Array.of(4, 1, 2, 0, 0));
		expect(shape).toEqual([5, 2]);
		expect([...values]).toEqual([8, 9, 2, 3, 4, 5, 0, 1, 0, 1]);
		expect(await readIdx(join(folder, "good"), new Uint32Array(0))).toEqual({ shape: [0, 2], values: new Uint8Array(0) });
	});

	test("refuses a row that is not there, a short file and a missing one", async () => {
		await expect(readIdx(join(folder, "good"), Uint32Array.of(0, 4, 5))).rejects.toThrow("rows[1] is 4 to 5, the file has 5 rows");
		await expect(readIdx(join(folder, "short"))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
		await expect(readIdx(join(folder, "none"))).rejects.toMatchObject({ code: "NOT_FOUND" });
	});
});
