import { isRondoError } from "@rondo/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addToLedger, applyChanges, isPowerOfTwo, packChanges } from "./ledger.js";

const UNIT = 2 ** -30;

describe("a ledger never wraps", () => {
	const added = (ledger: number[], units: number[]) => {
		const before = Int32Array.from(ledger);
		try {
			return [
				...addToLedger(
					before,
					Float64Array.from(units, (u) => u * UNIT),
					UNIT,
				).ledger,
			];
		} finally {
			expect([...before]).toEqual(ledger);
		}
	};

	it("rounds to the nearest unit once", () => {
		expect(added([10, -10, 0], [1.5, -1.5, 0.49])).toEqual([12, -11, 0]);
		expect(addToLedger(Int32Array.of(0, 7, -(2 ** 30)), Float64Array.of(UNIT, 0, 0), UNIT)).toEqual({
			ledger: Int32Array.of(1, 7, -(2 ** 30)),
			changed: 1,
			peak: 2 ** 30 / (2 ** 31 - 1),
		});
	});

	it("reaches the ends of int32", () => {
		expect(added([2 ** 31 - 2, -(2 ** 31) + 1, 0], [1, -1, 0])).toEqual([2 ** 31 - 1, -(2 ** 31), 0]);
	});

	it("refuses to go beyond them and says where", () => {
		const message = "candidate 1 would be 2147483648 units of 9.313225746154785e-10, beyond int32: choose a larger unit";
		expect(() => added([0, 2 ** 31 - 1, 0], [5, 1, 0])).toThrow(expect.objectContaining({ code: "LEDGER_OVERFLOW", message }));
		expect(() => added([0, 0, -(2 ** 31)], [0, 0, -1])).toThrow(
			expect.objectContaining({ code: "LEDGER_OVERFLOW", details: { candidate: 2, value: -(2 ** 31) - 1, unit: UNIT } }),
		);
		expect(() => added([0, 0, 0], [2 ** 60, 0, 0])).toThrow(expect.objectContaining({ code: "LEDGER_OVERFLOW" }));
	});
});

it("knows a unit", () => {
	expect([1, 0.5, 2 ** -60, 2, 0.75, 2 ** -61, 0, Number.NaN].map(isPowerOfTwo)).toEqual([
		true,
		true,
		true,
		false,
		false,
		false,
		false,
		false,
	]);
});

describe("changes of a ledger", () => {
	const int32 = fc.oneof(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), fc.constantFrom(-(2 ** 31), 2 ** 31 - 1, 0));

	it("lead from any ledger to any other", () => {
		fc.assert(
			fc.property(fc.array(fc.tuple(int32, fc.oneof(fc.constant(undefined), int32)), { minLength: 1, maxLength: 80 }), (pairs) => {
				const before = Int32Array.from(pairs, ([value]) => value);
				const after = Int32Array.from(pairs, ([value, other]) => other ?? value);
				expect(applyChanges(before, packChanges(before, after))).toEqual(after);
				expect([...before]).toEqual(pairs.map(([value]) => value));
			}),
			{ numRuns: 500 },
		);
	});

	it("take some four bytes each", () => {
		const before = new Int32Array(4096);
		const after = before.map((_, k) => (k % 16 === 3 ? ((k * 7919) % 2 ** 21) - 2 ** 20 : 0));
		const bytes = packChanges(before, after);
		expect(bytes.length).toBeLessThan(256 * 3.7);
		expect(applyChanges(before, bytes)).toEqual(after);
		expect(packChanges(after, after)).toHaveLength(5);
	});

	it("are refused when they are not", () => {
		fc.assert(
			fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
				const before = Int32Array.from({ length: 20 }, (_, k) => 3 * k);
				try {
					expect(applyChanges(before, bytes)).toHaveLength(20);
				} catch (error) {
					if (!isRondoError(error)) throw error;
					expect(error.code).toBe("BAD_ENCODING");
				}
			}),
			{ numRuns: 2000 },
		);
		const good = packChanges(Int32Array.of(0, 0, 0), Int32Array.of(0, 5, 6));
		for (const bad of [good.subarray(0, 4), good.subarray(0, -1), good.with(0, 4), good.with(3, 1), good.with(4, 0), good.with(4, 33)])
			expect(() => applyChanges(new Int32Array(3), bad)).toThrow(expect.objectContaining({ code: "BAD_ENCODING" }));
	});
});
