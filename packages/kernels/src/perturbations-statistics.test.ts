import { describe, expect, it } from "vitest";
import {
	chiSquaredScore,
	dot,
	expectNormal,
	fitScore,
	LIMIT,
	LIMIT_OF_MANY,
	pairScores,
	squares,
	sumOf,
	worst,
} from "../test/statistics.js";
import { type NoiseKind, perturbations } from "./perturbations.js";
import { type Random, randomFromSeed } from "./random.js";
import { rowPermutation } from "./reference/structured.js";
import { addLedger, perturb, project } from "./signs.js";

// What docs/shared-randomness.md claims of its numbers. Seeds are fixed, so a test passes always or never. Statistics are
// given as z-scores (standard normal if the claim holds), and each is also run on numbers that break the claim.

const BLOCK = 4096;
const GROUP = 4096;

const root = randomFromSeed("statistics");
const kinds: NoiseKind[] = ["noise/1", "noise/2"];

/** z_k[from], z_k[from + 1], …: `count` of them. */
type Signs = (k: number, from: number, count: number) => Float32Array;

function signsOf(node: Random, kind: NoiseKind): Signs {
	const family = perturbations(node, kind);
	return (k, from, count) => {
		const out = new Float32Array(count);
		perturb(new Float32Array(count), 1, family, k, out, from);
		return out;
	};
}

describe.each(kinds)("the signs of %s", (kind) => {
	const signs = signsOf(root, kind);

	/** z-scores of the mean: over all, in each bit of a word, and (as one chi-squared score) at each position of a block. */
	function meanScores(of: Signs, k: number, from: number): number[] {
		const blocks = 64;
		const z = of(k, from, blocks * BLOCK);
		const columns = new Float64Array(BLOCK);
		for (let j = 0; j < z.length; j++) columns[j % BLOCK]! += z[j]!;
		const lanes = new Float64Array(32);
		for (let i = 0; i < BLOCK; i++) lanes[i % 32]! += columns[i]!;
		return [
			sumOf(z) / Math.sqrt(z.length),
			...lanes.map((lane) => lane / Math.sqrt(z.length / 32)),
			chiSquaredScore(squares(columns) / blocks, BLOCK),
			...columns.map((column) => column / Math.sqrt(blocks)),
		];
	}

	it("are ±1, with mean 0 everywhere", () => {
		for (const k of [0, 1, 4095, 4096, 70_000]) {
			for (const from of [0, 2 ** 40 + 5]) {
				expect(signs(k, from, 10_000).every((z) => z === 1 || z === -1)).toBe(true);
				expect(worst(meanScores(signs, k, from))).toBeLessThan(LIMIT_OF_MANY);
			}
		}
		const oneStuck: Signs = (k, from, count) => signs(k, from, count).map((z, j) => ((from + j) % BLOCK === 17 ? 1 : z));
		expect(worst(meanScores(oneStuck, 0, 0))).toBeGreaterThan(LIMIT_OF_MANY);
		const alternating: Signs = (_, from, count) =>
			Float32Array.from({ length: count }, (_, j) => ((from + j + ((from + j) >> 12)) % 2 ? 1 : -1));
		expect(worst(meanScores(alternating, 0, 0))).toBeGreaterThan(LIMIT_OF_MANY);
	});

	it("are not correlated with their neighbours", () => {
		const lags = [...Array.from({ length: 64 }, (_, i) => i + 1), 127, 128, 129, 2048, 4095, 4096, 4097, 8192];
		const lagScores = (z: Float32Array): number[] =>
			lags.map((lag) => dot(z.subarray(lag), z.subarray(0, z.length - lag)) / Math.sqrt(z.length - lag));
		for (const k of [0, 4097]) {
			expectNormal(lagScores(signs(k, 0, 2 ** 18)));
		}
		const z = signs(0, 0, 2 ** 18);
		expect(worst(lagScores(z.map((own, j) => (j % 997 < 32 ? (z[j - 32] ?? own) : own))))).toBeGreaterThan(LIMIT_OF_MANY);
	});

	it("are not correlated between candidates: in all pairs of 64, each of another group", () => {
		const rows = Array.from({ length: 64 }, (_, m) => signs(GROUP * m + ((m * 67) % GROUP), 0, 4 * BLOCK));
		expectNormal(pairScores(rows));
		rows[7] = rows[6]!.map((z, j) => (j % 16 === 0 ? z : rows[7]![j]!));
		expect(worst(pairScores(rows))).toBeGreaterThan(LIMIT_OF_MANY);
	});

	it("are not correlated between nodes", () => {
		const names = [
			...Array.from({ length: 16 }, (_, i) => randomFromSeed(`${i}`)),
			...Array.from({ length: 16 }, (_, i) => root.at(`${i}`)),
			...Array.from({ length: 16 }, (_, i) => root.at(i)),
			...Array.from({ length: 16 }, (_, i) => root.at(0, i)),
		];
		const firstBlocks = (nodes: readonly Random[]): Float32Array[] => nodes.map((node) => signsOf(node, kind)(0, 0, BLOCK));
		expectNormal(pairScores(firstBlocks(names)));
		expect(worst(pairScores(firstBlocks([...names, randomFromSeed("statistics").at("3")])))).toBeGreaterThan(LIMIT_OF_MANY);
	});

	it("are not correlated between blocks, of one candidate and of two", () => {
		const blocks = (of: Signs): Float32Array[] =>
			[0, 1].flatMap((k) => Array.from({ length: 32 }, (_, b) => of(k, BLOCK * (2 * b + k), BLOCK)));
		expectNormal(pairScores(blocks(signs)));
		expect(worst(pairScores(blocks((k, from, count) => signs(k, from % (8 * BLOCK), count))))).toBeGreaterThan(LIMIT_OF_MANY);
	});

	it("have E z zᵀ = I over nodes, and E z_k z_lᵀ = 0", () => {
		// Across a block border, two candidates: a row holds one position's sign in each node.
		const nodes = 2048;
		const rows = Array.from({ length: 96 }, () => new Float32Array(nodes));
		for (let m = 0; m < nodes; m++) {
			const family = signsOf(root.at("average", m), kind);
			for (const k of [0, 1]) for (const [j, z] of family(k, BLOCK - 24, 48).entries()) rows[48 * k + j]![m] = z;
		}
		expect(worst(rows.map((row) => sumOf(row) / Math.sqrt(nodes)))).toBeLessThan(LIMIT);
		expectNormal(pairScores(rows));
		rows[50] = rows[49]!.map((z, m) => (m % 8 < 2 ? z : rows[50]![m]!));
		expect(worst(pairScores(rows))).toBeGreaterThan(LIMIT_OF_MANY);
	});
});

/** In which blocks the product of four candidates has one sign all over. */
const aligned = (signs: Signs, members: readonly number[], blocks: number): boolean[] =>
	Array.from({ length: blocks }, (_, b) => {
		const [a, c, d, e] = members.map((k) => signs(k, b * BLOCK, BLOCK)) as [Float32Array, Float32Array, Float32Array, Float32Array];
		return Math.abs(sumOf(a.map((z, i) => z * c[i]! * d[i]! * e[i]!))) === BLOCK;
	});

/** `noise/2` by its definition, with another way to make the rows from q1 … q4. */
const structured =
	(node: Random, rowOf: (r: number, q: Uint32Array) => number): Signs =>
	(k, from, count) => {
		const stream = node.at("noise/2", Math.floor(k / GROUP));
		const r = k % GROUP;
		const bit = (words: Uint32Array, i: number): number => (words[i >> 5]! >>> (i & 31)) & 1;
		const parity = (x: number): number => x.toString(2).replaceAll("0", "").length % 2;
		const words = new Uint32Array(262);
		let block = -1;
		let row = 0;
		return Float32Array.from({ length: count }, (_, j) => {
			const i = (from + j) % BLOCK;
			const b = (from + j - i) / BLOCK;
			if (b !== block) {
				stream.words(512 * b, words);
				row = rowOf(r, words.subarray(256, 262));
				block = b;
			}
			return bit(words, i) ^ bit(words.subarray(128), r) ^ parity(row & i) ? 1 : -1;
		});
	};

/** π(r) with as many rounds as there are `q`. */
function rowOf(r: number, q: ArrayLike<number>): number {
	let x = r;
	for (let n = 0; n < q.length; n++) {
		x = (Math.imul(x, 2 * (q[n]! & 2047) + 1) + (q[n]! >>> 11)) & 4095;
		x ^= x >>> 6;
	}
	return x;
}

describe("the structure of noise/2", () => {
	const family = perturbations(root, "noise/2");
	const signs = signsOf(root, "noise/2");

	it("makes the members of a group orthogonal in every full block, exactly", () => {
		const members = Array.from({ length: 64 }, (_, m) => GROUP + ((m * 1093) % GROUP));
		const from = 5 * BLOCK;
		const rows = members.map((k) => signs(k, from, 3 * BLOCK));
		for (let block = 0; block < 3; block++) {
			const parts = rows.map((row) => row.subarray(block * BLOCK, (block + 1) * BLOCK));
			for (const [m, a] of parts.entries()) for (let n = 0; n <= m; n++) expect(dot(a, parts[n]!)).toBe(m === n ? BLOCK : 0);
		}
		// With all members of the group, which the projection multiplies at once; the other group's are not orthogonal.
		for (const [m, k] of members.slice(0, 8).entries()) {
			const products = new Float64Array(2 * GROUP);
			project(rows[m]!, 1, family, products, from);
			const own = products.subarray(GROUP);
			expect(own[k - GROUP]).toBe(3 * BLOCK);
			expect(own.every((product, r) => product === 0 || r === k - GROUP)).toBe(true);
			const scores = Array.from(products.subarray(0, GROUP), (product) => product / Math.sqrt(3 * BLOCK));
			expectNormal(scores);
		}
	});

	it("makes them coincide up to sign in a part of a block, 4096 / 2^⌈log₂ n⌉ at a time, and on average as good as independent", () => {
		const length = 1000;
		const from = 2 * BLOCK;
		for (const k of [0, 17, 4000]) {
			const products = new Float64Array(GROUP);
			project(signs(k, from, length), 1, family, products, from);
			// The front of a block has room for no more than `length` orthogonal directions. Independent signs have a mean square of
			// `length`: here the sum with the other members is short of that by the share of the vector itself.
			expect(squares(products)).toBe(GROUP * length);
			expect(products.filter((product) => Math.abs(product) === length)).toHaveLength(4);
			expect(products[k]).toBe(length);
		}
	});

	it("makes the parameters of a block orthogonal over a group, exactly: Σ_r z_r z_rᵀ = 4096·I", () => {
		for (const j of [0, 1, 2050, 4095]) {
			const ledger = Int32Array.from({ length: GROUP }, (_, r) => signs(r, BLOCK + j, 1)[0]!);
			const sum = new Float64Array(3 * BLOCK);
			addLedger(sum, ledger, family);
			const own = sum.subarray(BLOCK, 2 * BLOCK);
			expect(own[j]).toBe(GROUP);
			expect(own.every((value, i) => value === 0 || i === j)).toBe(true);
			// Other blocks have a transform of signs that have nothing to do with them.
			for (const other of [sum.subarray(0, BLOCK), sum.subarray(2 * BLOCK)])
				expectNormal(Array.from(other, (value) => value / Math.sqrt(GROUP)));
		}
	});

	it("is the definition's, so that the variants below differ from it in the permutation alone", () => {
		for (const k of [0, 3, 4095, 4096 + 77]) expect(structured(root, rowOf)(k, 4000, 5000)).toEqual(signs(k, 4000, 5000));
	});

	it("does not line up the products of four candidates in block after block, as it would without the permutation", () => {
		const members = [
			[0, 1, 2, 3],
			[5, 9, 1000, 5 ^ 9 ^ 1000],
			[0, 32, 2048, 2080],
		];
		const shares = (of: Signs): number[] => members.map((four) => aligned(of, four, 24).filter(Boolean).length / 24);
		expect(shares(structured(root, (r) => r))).toEqual([1, 1, 1]);
		// Any permutation of the group that is the same in each block only names other fours.
		expect(Math.max(...shares(signs))).toBeLessThan(0.1);
	});
});

describe("the permutation of noise/2", () => {
	const count = 16_384;
	const words = root.at("permutations").words(0, new Uint32Array(6 * count));
	const q = (n: number, rounds = 6): Uint32Array => words.subarray(6 * n, 6 * n + rounds);
	const rows = [0, 1, 2, 63, 64, 1000, 2048, 4095];
	/** Each member of these pairs is 2^v further than the other: classes of pairs (see the exact distribution below). */
	const pairs = Array.from({ length: 12 }, (_, v) => [331 * v, (331 * v + 2 ** v) % 4096] as const);
	/** k1 xor k2 xor k3 xor k4 = 0: the chance that their images have that as well is about 1/4096; the last ones are the worst. */
	const fours: [number[], number][] = [
		[[0, 1, 2, 3], 1.2],
		[[0, 64, 1, 65], 1.2],
		[[100, 1000, 2000, 100 ^ 1000 ^ 2000], 1.2],
		[[0, 1024, 32, 1056], 1.2],
		[[0, 2048, 1, 2049], 1.3],
		[[0, 2048, 1024, 3072], 1.3],
		[[0, 2048, 32, 2080], 1.3],
	];
	const positions = rows.map(() => new Uint32Array(4096));
	const differences = pairs.map(() => new Uint32Array(4096));
	const hits = fours.map(() => 0);
	let bijections = 0;
	const seen = new Int32Array(4096);
	for (let n = 0; n < count; n++) {
		const order = rowPermutation(q(n));
		if (n % 16 === 0) {
			for (const x of order) seen[x]! += 1;
			bijections += order.length === 4096 && seen.every((times) => times === n / 16 + 1) ? 1 : 0;
		}
		for (const [at, r] of rows.entries()) positions[at]![order[r]!]! += 1;
		for (const [at, [a, b]] of pairs.entries()) differences[at]![order[a]! ^ order[b]!]! += 1;
		for (const [at, [four]] of fours.entries()) if (four.reduce((x, r) => x ^ order[r]!, 0) === 0) hits[at]! += 1;
	}

	it("is one, whatever the six words", () => {
		expect(bijections).toBe(count / 16);
		for (const word of [0, 0xffffffff, 0x7ff, 0x800, 0x80000000, 0x55555555]) {
			expect(new Set(rowPermutation([word, word, word, word, word, word])).size).toBe(4096);
			expect(new Set(rowPermutation([0, word, 0, ~word >>> 0, word, 0])).size).toBe(4096);
		}
		// An even factor would not be invertible.
		expect(new Set(Array.from({ length: 4096 }, (_, r) => rowOf(2 * r, [5, 6, 7, 8]))).size).toBeLessThan(4096);
	});

	it("puts a row at every position equally often", () => {
		expect(worst(positions.map((counts) => fitScore(counts, () => count / 4096)))).toBeLessThan(LIMIT);
		const halfRange = new Uint32Array(4096);
		for (let n = 0; n < count; n++) halfRange[rowOf(0, [q(n)[0]! & 0x3fffff])]! += 1;
		expect(fitScore(halfRange, () => count / 4096)).toBeGreaterThan(LIMIT);
	});

	it("takes pairs to nearly uniform differences", () => {
		// A factor spreads a difference 2^v·odd over all 2^v·odd, and the addition makes the position uniform and independent of
		// it. So only v counts, and the differences of the rounds are a Markov chain on its 12 values, which is summed up exactly.
		const next = Array.from({ length: 12 }, () => new Float64Array(12));
		const last = Array.from({ length: 12 }, () => new Float64Array(4096));
		for (let v = 0; v < 12; v++) {
			const share = 2 ** v / 2048 / 4096;
			for (let difference = 2 ** v; difference < 4096; difference += 2 ** (v + 1)) {
				for (let x = 0; x < 4096; x++) {
					const a = x ^ (x >>> 6);
					const other = (x + difference) & 4095;
					const b = other ^ (other >>> 6);
					const step = (b - a) & 4095;
					next[v]![31 - Math.clz32(step & -step)]! += share;
					last[v]![a ^ b]! += share;
				}
			}
		}
		const precede = (of: Float64Array[]): Float64Array[] =>
			next.map((row) => Float64Array.from(of[0]!, (_, d) => row.reduce((sum, p, w) => sum + p * of[w]![d]!, 0)));
		const three = precede(precede(last));
		const six = precede(precede(precede(three)));
		const most = (of: Float64Array[]): number => Math.max(...of.map((p) => Math.max(...p))) * 4095;
		expect(most(six)).toBeCloseTo(1.015, 3);
		expect(Math.min(...six.map((p) => Math.min(...p.subarray(1)))) * 4095).toBeGreaterThan(0.99);
		// With half as many rounds some pairs have a difference 64 times as often as the others.
		expect(most(three)).toBeCloseTo(63.984, 3);
		const scores = differences.map((counts, v) => fitScore(counts.subarray(1), (cell) => six[v]![cell + 1]! * count));
		expect(worst(scores)).toBeLessThan(LIMIT);
		const ofThree = new Uint32Array(4096);
		for (let n = 0; n < count; n++) ofThree[rowOf(0, q(n, 3)) ^ rowOf(2048, q(n, 3))]! += 1;
		expect(fitScore(ofThree.subarray(1), (cell) => six[11]![cell + 1]! * count)).toBeGreaterThan(LIMIT);
	});

	it("keeps k1 xor k2 xor k3 xor k4 = 0 once in 4096", () => {
		for (const [at, [four, factor]] of fours.entries()) {
			const expected = (factor * count) / 4096;
			expect(hits[at], `${four}`).toBeLessThan(expected + LIMIT * Math.sqrt(expected));
		}
		// A single round takes every difference of 2048 to the same one.
		const kept = (n: number): boolean => [0, 1, 2048, 2049].reduce((x, r) => x ^ rowOf(r, q(n, 1)), 0) === 0;
		expect(Array.from({ length: 1000 }, (_, n) => kept(n)).every(Boolean)).toBe(true);
	});
});
