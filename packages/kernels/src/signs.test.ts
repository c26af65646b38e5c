import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Random, randomFromSeed } from "./random.js";
import { addLedger, addSigns, applySum, perturb, rebuild } from "./signs.js";

const root = randomFromSeed("signs");
const candidate = (k: number): Random => root.at("z", k);

/** The definition, one parameter at a time. */
function sign(z: Random, j: number): number {
	const [word] = z.words(Math.floor(j / 32), new Uint32Array(1));
	return (word! >>> (j % 32)) & 1 ? 1 : -1;
}

const lengths = fc.oneof(fc.nat(200), fc.constantFrom(32_767, 32_768, 32_801));
const froms = fc.oneof(fc.nat(100), fc.constantFrom(32_768, 2 ** 32 - 3, 2 ** 37 + 5, 2 ** 45));
const ledgers = fc
	.array(fc.oneof(fc.constant(0), fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })), { maxLength: 9 })
	.map((entries) => Int32Array.from(entries));

/** Equal bytes; much faster than a structural comparison of long arrays. */
const sameBytes = (a: Float32Array | Float64Array, b: Float32Array | Float64Array): boolean =>
	Buffer.compare(new Uint8Array(a.buffer, a.byteOffset, a.byteLength), new Uint8Array(b.buffer, b.byteOffset, b.byteLength)) === 0;

function weightsOf(length: number): Float32Array {
	const words = root.at("w").words(0, new Uint32Array(length));
	return Float32Array.from(words, (word) => word / 2 ** 31 - 1);
}

describe("addSigns", () => {
	it("adds ±coefficient by the definition, at any offset and length", () => {
		fc.assert(
			fc.property(
				fc.nat(150),
				froms,
				fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 }),
				(length, from, coefficient) => {
					const sum = Float64Array.from({ length }, (_, j) => j);
					addSigns(sum, coefficient, root, from);
					expect(sum).toEqual(Float64Array.from({ length }, (_, j) => j + coefficient * sign(root, from + j)));
				},
			),
		);
	});

	it("is the same in shards", () => {
		fc.assert(
			fc.property(lengths, froms, fc.nat(300), (length, from, cut) => {
				const whole = new Float64Array(length);
				addSigns(whole, 3, root, from);
				const shards = new Float64Array(length);
				const at = Math.min(cut, length);
				addSigns(shards.subarray(0, at), 3, root, from);
				addSigns(shards.subarray(at), 3, root, from + at);
				expect(sameBytes(shards, whole)).toBe(true);
			}),
		);
	});

	it("has the moments of independent signs", () => {
		const n = 1_000_000;
		const z = [0, 1].map((k) => {
			const sum = new Float64Array(n);
			addSigns(sum, 1, candidate(k));
			return sum;
		});
		const mean = (term: (j: number) => number): number => {
			let total = 0;
			for (let j = 0; j < n; j++) total += term(j);
			return total / n;
		};
		const fourSigma = 4 / Math.sqrt(n);
		expect(z.every((signs) => signs.every((value) => value === 1 || value === -1))).toBe(true);
		for (const signs of z) {
			expect(Math.abs(mean((j) => signs[j]!))).toBeLessThan(fourSigma);
			for (const lag of [1, 2, 31, 32, 33, 64, 128, 1000])
				expect(Math.abs(mean((j) => signs[j]! * (signs[j + lag] ?? 0)))).toBeLessThan(fourSigma);
		}
		expect(Math.abs(mean((j) => z[0]![j]! * z[1]![j]!))).toBeLessThan(fourSigma);
		for (let bit = 0; bit < 32; bit++) {
			let total = 0;
			for (let j = bit; j < n; j += 32) total += z[0]![j]!;
			expect(Math.abs(total / (n / 32))).toBeLessThan(4.5 / Math.sqrt(n / 32));
		}
	});

	it("refuses a coefficient that is not finite and offsets that are none", () => {
		expect(() => addSigns(new Float64Array(1), Number.NaN, root)).toThrow("coefficient must be finite, got NaN");
		for (const from of [-1, 0.5, 2 ** 53]) expect(() => addSigns(new Float64Array(1), 1, root, from)).toThrow(`got ${from}`);
	});
});

describe("perturb", () => {
	it("adds in float64 and rounds once, also in place", () => {
		fc.assert(
			fc.property(lengths, froms, fc.double({ noNaN: true, noDefaultInfinity: true, min: -10, max: 10 }), (length, from, scale) => {
				const weights = weightsOf(length);
				const expected = new Float64Array(length);
				addSigns(expected, scale, root, from);
				for (let j = 0; j < length; j++) expected[j]! += weights[j]!;
				const out = new Float32Array(length);
				perturb(weights, scale, root, out, from);
				expect(sameBytes(out, Float32Array.from(expected))).toBe(true);
				expect(sameBytes(weights, weightsOf(length))).toBe(true);
				perturb(weights, scale, root, weights, from);
				expect(sameBytes(weights, out)).toBe(true);
			}),
		);
	});

	it("refuses lengths that differ and scales that are not finite", () => {
		expect(() => perturb(new Float32Array(3), 1, root, new Float32Array(2))).toThrow("out has 2 elements, expected 3");
		expect(() => perturb(new Float32Array(3), Number.POSITIVE_INFINITY, root, new Float32Array(3))).toThrow(
			"scale must be finite, got Infinity",
		);
	});
});

describe("rebuild", () => {
	it("equals the definition in big integers", () => {
		fc.assert(
			fc.property(fc.nat(70), froms, ledgers, (length, from, ledger) => {
				const initial = weightsOf(length);
				const out = new Float32Array(length);
				rebuild(initial, ledger, 2 ** -33, candidate, out, from);
				for (let j = 0; j < length; j++) {
					const sum = ledger.reduce((total, entry, k) => total + BigInt(entry) * BigInt(sign(candidate(k), from + j)), 0n);
					expect(out[j]).toBe(Math.fround(initial[j]! - 2 ** -33 * Number(sum)));
				}
			}),
			{ numRuns: 50 },
		);
	});

	it("has the same bytes as sums that are kept and updated, in any order, and as shards", () => {
		fc.assert(
			fc.property(lengths, froms, fc.array(ledgers, { minLength: 1, maxLength: 4 }), fc.nat(300), (length, from, history, cut) => {
				const initial = weightsOf(length);
				const sum = new Float64Array(length);
				let had = new Int32Array(9);
				for (const entries of history) {
					const ledger = new Int32Array(9);
					ledger.set(entries);
					addLedger(sum, ledger, candidate, from, had);
					had = ledger;
				}
				const kept = new Float32Array(length);
				applySum(initial, sum, 1e-12, kept);
				const whole = new Float32Array(length);
				rebuild(initial, had, 1e-12, candidate, whole, from);
				expect(sameBytes(kept, whole)).toBe(true);
				const at = Math.min(cut, length);
				rebuild(initial.subarray(0, at), had, 1e-12, candidate, kept.subarray(0, at).fill(0), from);
				rebuild(initial.subarray(at), had, 1e-12, candidate, kept.subarray(at).fill(0), from + at);
				expect(sameBytes(kept, whole)).toBe(true);
			}),
			{ numRuns: 60 },
		);
	});

	it("asks only for the candidates that changed", () => {
		const asked: number[] = [];
		const asking = (k: number): Random => {
			asked.push(k);
			return candidate(k);
		};
		const out = new Float32Array(70_000);
		rebuild(new Float32Array(70_000), Int32Array.of(0, 5, 0, -1), 1, asking, out);
		expect(asked).toEqual([1, 3]);
		addLedger(new Float64Array(70_000), Int32Array.of(0, 5, 2, -1), asking, 0, Int32Array.of(0, 5, 0, -1));
		expect(asked).toEqual([1, 3, 2]);
	});

	it("refuses lengths, units and offsets that cannot be", () => {
		const three = new Float32Array(3);
		const ledger = Int32Array.of(1);
		expect(() => rebuild(three, ledger, 1, candidate, new Float32Array(2))).toThrow("out has 2 elements, expected 3");
		for (const unit of [0, -1, Number.NaN, Number.POSITIVE_INFINITY])
			expect(() => rebuild(three, ledger, unit, candidate, three)).toThrow(`unit must be a positive finite number, got ${unit}`);
		expect(() => rebuild(three, ledger, 1, candidate, three, -1)).toThrow("got -1");
		expect(() => applySum(three, new Float64Array(2), 1, three)).toThrow("sum has 2 elements, expected 3");
		expect(() => addLedger(new Float64Array(3), ledger, candidate, 0, new Int32Array(2))).toThrow("had has 2 elements, expected 1");
		expect(() => addLedger(new Float64Array(3), new Int32Array(2 ** 22 + 1), candidate)).toThrow("ledger has 4194305 entries");
	});
});
