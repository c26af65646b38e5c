import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sha256, toHex } from "./hash.js";
import { portableExp, portableLog, portableTanh } from "./portable-math.js";
import { randomFromSeed } from "./random.js";

// The references: fixed-point numbers of 320 fractional bits. A value is v · 2^(k − 320).
const BITS = 320;
const ONE = 1n << BigInt(BITS);
interface Exact {
	readonly v: bigint;
	readonly k: number;
}

const view = new DataView(new ArrayBuffer(8));

/** value = sign · m · 2^e; 2^e is the unit in the last place. */
function partsOf(value: number): { sign: bigint; m: bigint; e: number } {
	view.setFloat64(0, value);
	const bits = view.getBigUint64(0);
	const exponent = Number((bits >> 52n) & 2047n);
	const fraction = bits & ((1n << 52n) - 1n);
	return { sign: bits >> 63n ? -1n : 1n, m: exponent === 0 ? fraction : fraction | (1n << 52n), e: Math.max(exponent, 1) - 1075 };
}

const shifted = (v: bigint, by: number): bigint => (by >= 0 ? v << BigInt(by) : v >> BigInt(-by));

/** Exact for values of at least 2^-268, as every test here uses (or the value is irrelevant beside what it is added to). */
function fixed(value: number): bigint {
	const { sign, m, e } = partsOf(value);
	return sign * shifted(m, e + BITS);
}

/** How far `value` is from the exact one, in units in the last place of `value`. */
function error(value: number, exact: Exact): number {
	const { sign, m, e } = partsOf(value);
	const difference = ((sign * m) << 64n) - shifted(exact.v, exact.k - BITS - e + 64);
	return Number(difference < 0n ? -difference : difference) / 2 ** 64;
}

/** ln 2 = Σ 1 / (k · 2^k) */
const LN2 = (() => {
	let sum = 0n;
	for (let k = 1n, power = ONE >> 1n; power > 0n; k++, power >>= 1n) sum += power / k;
	return sum;
})();

function expExact(x: bigint): Exact {
	const doubled = 2n * x + LN2;
	const k = doubled / (2n * LN2) - (doubled < 0n ? 1n : 0n);
	const r = x - k * LN2;
	let sum = ONE;
	for (let term = ONE, n = 1n; term > 1n || term < -1n; n++) {
		term = ((term * r) >> BigInt(BITS)) / n;
		sum += term;
	}
	return { v: sum, k: Number(k) };
}

function logExact(x: number): Exact {
	const { m, e } = partsOf(x);
	const length = m.toString(2).length;
	const mantissa = m << BigInt(BITS - length + 1);
	const s = ((mantissa - ONE) << BigInt(BITS)) / (mantissa + ONE);
	const z = (s * s) >> BigInt(BITS);
	let sum = 0n;
	for (let term = s, n = 1n; term > 0n; n += 2n) {
		sum += term / n;
		term = (term * z) >> BigInt(BITS);
	}
	return { v: 2n * sum + BigInt(e + length - 1) * LN2, k: 0 };
}

function tanhExact(x: number): Exact {
	const { v, k } = expExact(2n * fixed(x));
	const e2x = shifted(v, k);
	return { v: ((e2x - ONE) << BigInt(BITS)) / (e2x + ONE), k: 0 };
}

const count = 4000;
/** Float64 values from 0 to 1, drawn from a node of their own, through `map`. */
function drawn(name: string, map: (u: number, v: number) => number): number[] {
	const words = randomFromSeed("portable-math")
		.at(name)
		.words(0, new Uint32Array(4 * count));
	const unit = (i: number): number => words[i]! / 2 ** 32 + words[i + 1]! / 2 ** 64;
	return Array.from({ length: count }, (_, i) => map(unit(4 * i), unit(4 * i + 2)));
}

function worstOf(values: readonly number[], f: (x: number) => number, exact: (x: number) => Exact): number {
	let worst = 0;
	for (const x of values) worst = Math.max(worst, error(f(x), exact(x)));
	return worst;
}

describe("the references", () => {
	it("are those of known digits", () => {
		// e and ln 10 to 50 decimals, DLMF 4.2.11 and OEIS A002392.
		const decimals = (value: Exact): string => String((shifted(value.v, value.k) * 10n ** 50n) >> BigInt(BITS));
		expect(decimals(expExact(ONE))).toBe("271828182845904523536028747135266249775724709369995");
		expect(decimals(logExact(10))).toBe("230258509299404568401799145468436420760110148862877");
		// tanh(1) = (e² − 1) / (e² + 1), OEIS A073744.
		expect(decimals(tanhExact(1)).slice(0, 30)).toBe("761594155955764888119458282604");
	});

	it("measure an error of an ulp as one", () => {
		const next = 1 + Number.EPSILON;
		expect(error(next, { v: ONE, k: 0 })).toBe(1);
		expect(error(next, { v: fixed(next), k: 0 })).toBe(0);
		expect(error(3 * Number.MIN_VALUE, { v: ONE, k: -1074 })).toBe(2);
	});
});

describe("portableExp", () => {
	it.each([
		["everywhere", (u: number) => 1417 * u - 708],
		["near zero", (u: number) => 4 * u - 2],
		["very near zero", (u: number, v: number) => (2 * u - 1) * 2 ** -Math.floor(60 * v)],
		["in the subnormals", (u: number) => -708.4 - 36.7 * u],
	])("is within 1 ulp %s", (where, map) => {
		expect(worstOf(drawn(where, map), portableExp, (x) => expExact(fixed(x)))).toBeLessThan(1);
	});

	it("is exact where e^x is, and at the ends", () => {
		expect(portableExp(0)).toBe(1);
		expect(portableExp(-0)).toBe(1);
		expect(portableExp(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY);
		expect(portableExp(Number.NEGATIVE_INFINITY)).toBe(0);
		expect(portableExp(Number.NaN)).toBeNaN();
		expect(portableExp(709.782712893384)).toBeLessThan(Number.POSITIVE_INFINITY);
		expect(portableExp(709.7827128933841)).toBe(Number.POSITIVE_INFINITY);
		expect(portableExp(-745.1332191019411)).toBe(Number.MIN_VALUE);
		expect(portableExp(-745.1332191019412)).toBe(0);
		expect(portableExp(1e300)).toBe(Number.POSITIVE_INFINITY);
		expect(portableExp(-1e300)).toBe(0);
	});
});

describe("portableLog", () => {
	it.each([
		["everywhere", (u: number, v: number) => (1 + u) * 2 ** (Math.floor(2045 * v) - 1022)],
		["near 1", (u: number, v: number) => 1 + (2 * u - 1) * 2 ** -(1 + Math.floor(51 * v))],
		["around 1", (u: number) => 0.5 + 1.5 * u],
		["in the subnormals", (u: number, v: number) => Math.ceil((1 + u) * 2 ** (51 * v)) * Number.MIN_VALUE],
	])("is within 1 ulp %s", (where, map) => {
		const values = drawn(where, map).filter((x) => x !== 1);
		expect(values.length).toBeGreaterThan(count * 0.9);
		expect(worstOf(values, portableLog, logExact)).toBeLessThan(1);
	});

	it("is exact at the powers of two as far as k · ln 2 is", () => {
		for (let k = -1074; k <= 1023; k++) {
			const power = 2 ** k;
			if (k !== 0) expect(error(portableLog(power), { v: BigInt(k) * LN2, k: 0 })).toBeLessThan(0.51);
		}
	});

	it("has its special values", () => {
		expect(portableLog(1)).toBe(0);
		expect(portableLog(0)).toBe(Number.NEGATIVE_INFINITY);
		expect(portableLog(-0)).toBe(Number.NEGATIVE_INFINITY);
		expect(portableLog(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY);
		for (const x of [Number.NaN, -Number.MIN_VALUE, -1, Number.NEGATIVE_INFINITY]) expect(portableLog(x)).toBeNaN();
	});

	it("undoes the exponential", () => {
		fc.assert(
			fc.property(fc.double({ min: -700, max: 700, noNaN: true }), (x) => {
				// e^x is off by an ulp or less, which is 2^-52 in its logarithm.
				expect(Math.abs(portableLog(portableExp(x)) - x)).toBeLessThanOrEqual(2 ** -52 * (1 + Math.abs(x)));
			}),
		);
	});
});

describe("portableTanh", () => {
	it.each([
		["everywhere", (u: number) => 44 * u - 22],
		["in its bend", (u: number) => 4 * u - 2],
		["on both sides of where the method changes", (u: number) => 0.8 + 0.15 * u],
		["near zero", (u: number, v: number) => (2 * u - 1) * 2 ** -Math.floor(100 * v)],
	])("is within 1.1 ulp %s", (where, map) => {
		expect(worstOf(drawn(where, map), portableTanh, tanhExact)).toBeLessThan(1.1);
	});

	it("is odd to the bit, between -1 and 1, and never above x", () => {
		fc.assert(
			fc.property(fc.oneof(fc.double({ noNaN: true }), fc.double({ min: -25, max: 25, noNaN: true })), (x) => {
				const y = portableTanh(x);
				expect(portableTanh(-x)).toBe(-y);
				expect(Math.abs(y)).toBeLessThanOrEqual(Math.min(1, Math.abs(x)));
			}),
		);
	});

	it("has its special values", () => {
		expect(portableTanh(0)).toBe(0);
		expect(portableTanh(-0)).toBe(-0);
		expect(portableTanh(Number.MIN_VALUE)).toBe(Number.MIN_VALUE);
		expect(portableTanh(-1e-300)).toBe(-1e-300);
		expect(portableTanh(2 ** -28)).toBe(2 ** -28);
		expect(portableTanh(19)).toBeLessThan(1);
		for (const x of [20, 20.000000000000004, 710, 1e300, Number.POSITIVE_INFINITY]) {
			expect(portableTanh(x)).toBe(1);
			expect(portableTanh(-x)).toBe(-1);
		}
		expect(portableTanh(Number.NaN)).toBeNaN();
	});
});

describe("the bits", () => {
	const bytesOf = (count: number, f: (i: number) => number): Uint8Array => {
		const bytes = new DataView(new ArrayBuffer(8 * count));
		for (let i = 0; i < count; i++) bytes.setFloat64(8 * i, f(i));
		return new Uint8Array(bytes.buffer);
	};

	// This and the next computed in Python (float arithmetic, frexp, ldexp) from the same formulas: what every implementation must give.
	it.each([
		["portableExp", (i: number) => portableExp((i - 16_384) / 23.1), "24dec4282e04771558f569dc7afda8a0c13fb2aa4661656691870698037c8e1d"],
		[
			"portableLog",
			(i: number) => portableLog(0.5 + (i * 1.5) / 32_768),
			"52cca12e485eea843108ab387702427e68668caadfb08f5d35047ffe12d5d84d",
		],
		["portableTanh", (i: number) => portableTanh((i - 16_384) / 1000), "5a7c2fd5e9492d94a6be75932a03c1ae7e26699bf49b8f362a718768c8a671d5"],
	])("of %s at 32,768 points are those of another language", (_name, f, digest) => {
		expect(toHex(sha256(bytesOf(32_768, f)))).toBe(digest);
	});

	it("are these at a few points", () => {
		const bits = (value: number): string => toHex(bytesOf(1, () => value));
		const at = [-3.7, -0.3, 1e-5, 0.3, 0.8125, 1, 2.5, 17];
		expect(at.map((x) => bits(portableExp(x)))).toEqual([
			"3f99511fc6871044",
			"3fe7b4c869c37c05",
			"3ff0000a7c5e340e",
			"3ff599058c8c1a96",
			"4002073d3f1bd518",
			"4005bf0a8b14576a",
			"40285d6fd931e0bb",
			"417709348c0ea4f8",
		]);
		expect(at.map((x) => bits(portableLog(Math.abs(x))))).toEqual([
			"3ff4eeee650ae550",
			"bff34378fcbda721",
			"c027069e2aa2aa5b",
			"bff34378fcbda721",
			"bfca93ed3c8ad9e4",
			"0000000000000000",
			"3fed5240f0e0e078",
			"4006aa6bc1fa7f7a",
		]);
		expect(at.map((x) => bits(portableTanh(x)))).toEqual([
			"bfeff5fdc948488c",
			"bfd2a4dda7d914fa",
			"3ee4f8b588e06854",
			"3fd2a4dda7d914fa",
			"3fe5788ff10d2998",
			"3fe85efab514f394",
			"3fef9258260a71c2",
			"3fefffffffffffe1",
		]);
	});
});
