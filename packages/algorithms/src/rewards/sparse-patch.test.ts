import fc from "fast-check";
import { expect, it } from "vitest";
import { memoryStore } from "../../test/fixture.js";
import { patched, writePatch } from "./sparse-patch.js";

const ascending = (length: number) => fc.uniqueArray(fc.integer({ min: 0, max: length - 1 })).map((list) => Uint32Array.from(list).sort());

it("adds at the positions and nowhere else, whatever their number", () => {
	fc.assert(
		fc.property(
			fc.integer({ min: 1, max: 200 }).chain((length) => fc.tuple(fc.constant(length), ascending(length))),
			([length, index]) => {
				const { io } = memoryStore();
				const base = Float32Array.from({ length }, (_, j) => j / 3 - 7);
				const values = Float32Array.from(index, (j) => 1 / (j + 1));
				const patch = writePatch(io, index, values, length);
				if (patch === null) {
					expect(index.length).toBeGreaterThan(0.9 * length - 2);
					return;
				}
				expect(patch.positions.length + 4 * patch.values.length).toBeLessThan(4 * length);
				const wanted = base.slice();
				index.forEach((j, i) => {
					wanted[j]! += values[i]!;
				});
				const out = patched(base, io.read(patch.positions), io.read(patch.values));
				expect(out).toEqual(wanted);
				expect(base[0]).toBe(Math.fround(-7));
			},
		),
	);
});

it.each<[string, Uint8Array, Float32Array]>([
	["more values than elements", new Uint8Array(1), new Float32Array(9)],
	["a bitmap of another number of values", Uint8Array.of(0b0111), new Float32Array(4)],
	["a bitmap of another length", new Uint8Array(2), new Float32Array(4)],
	["gaps that end early", new Uint8Array(0), new Float32Array(1)],
	["gaps beyond the vector", Uint8Array.of(0xff, 0xff), new Float32Array(2)],
])("refuses %s", (_what, positions, values) => {
	expect(() => patched(new Float32Array(8), positions, values)).toThrow(expect.objectContaining({ code: "BAD_ENCODING" }));
});
