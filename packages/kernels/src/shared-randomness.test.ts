import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { gaussian4, permutation, uniform01, uniformBelow, weightedDraw } from "./draws.js";
import { fromHex } from "./hash.js";
import { type NoiseKind, type Perturbations, perturbations } from "./perturbations.js";
import { philox4x32 } from "./philox.js";
import { type Random, randomFrom, randomFromSeed } from "./random.js";
import { rowPermutation } from "./reference/structured.js";
import { configureKernels, type KernelOptions, kernelState } from "./runtime/runtime.js";
import { addLedger, perturb, project, rebuild } from "./signs.js";

interface Values {
	values: number[];
}
interface Signs {
	kind: NoiseKind;
	k: number;
	from: number;
	values: string;
}
interface Ledger {
	kind: NoiseKind;
	/** Pairs [k, ledger[k]]; the other entries are zero. */
	entries: [number, number][];
	from: number;
	sums: number[];
}
interface Case {
	seed: string;
	path: (string | number)[];
	key: string;
	words: (Values & { from: number })[];
	signs: Signs[];
	permutations: (Values & { group: number; block: number })[];
	ledgers: Ledger[];
	uniform01: number[];
	below: (Values & { bound: number })[];
	permutation: number[];
	weighted: Values & { weights: number[] };
	gaussian4: number[];
}
interface Golden {
	version: number;
	cases: Case[];
}

const file = readFileSync(new URL("./shared-randomness.golden.json", import.meta.url));
const golden = JSON.parse(file.toString("utf8")) as Golden;
const COUNT = 64;
const END = 2 ** 53;

const nodeOf = (one: Case): Random => randomFromSeed(one.seed).at(...one.path);

function denseLedger(entries: readonly [number, number][]): Int32Array {
	const ledger = new Int32Array(1 + Math.max(-1, ...entries.map(([k]) => k)));
	for (const [k, value] of entries) ledger[k] = value;
	return ledger;
}

/** Parameters before and behind the 64 of the file: a call that reaches over both block borders has to agree with a short one. */
function wide(from: number): { start: number; length: number; at: number } {
	const start = Math.max(0, from - 5001);
	return { start, length: Math.min(END, from + COUNT + 4099) - start, at: from - start };
}

const textOf = (signs: Float32Array): string => Array.from(signs, (z) => (z === 1 ? "+" : z === -1 ? "-" : "?")).join("");

function signsOf(family: Perturbations, k: number, from: number): string {
	const out = new Float32Array(COUNT);
	perturb(new Float32Array(COUNT), 1, family, k, out, from);
	const { start, length, at } = wide(from);
	const long = new Float32Array(length);
	perturb(new Float32Array(length), 1, family, k, long, start);
	const text = textOf(out);
	return textOf(long.subarray(at, at + COUNT)) === text ? text : "a long call differs from a short one";
}

function sumsOf(family: Perturbations, ledger: Int32Array, from: number): number[] {
	const sum = new Float64Array(COUNT);
	addLedger(sum, ledger, family, from);
	const { start, length, at } = wide(from);
	const long = new Float64Array(length);
	// In two steps: from a ledger that lacks every third entry and has another one too many.
	const had = ledger.map((value, k) => (k % 3 === 0 ? 0 : k % 64 === 1 ? ~value : value));
	addLedger(long, had, family, start);
	addLedger(long, ledger, family, start, had);
	return Array.from(sum, (value, i) => (long[at + i] === value ? value : Number.NaN));
}

/** What this implementation makes of the inputs of a case. */
function computed(one: Case): Omit<Case, "key"> {
	const random = nodeOf(one);
	const many = (draw: (index: number) => number): number[] => Array.from({ length: COUNT }, (_, index) => draw(index));
	const total: number[] = [];
	for (const weight of one.weighted.weights) total.push((total.at(-1) ?? 0) + weight);
	const families = { "noise/1": perturbations(random, "noise/1"), "noise/2": perturbations(random, "noise/2") };
	return {
		seed: one.seed,
		path: one.path,
		words: one.words.map(({ from }) => ({ from, values: [...random.words(from, new Uint32Array(COUNT))] })),
		signs: one.signs.map(({ kind, k, from }) => ({ kind, k, from, values: signsOf(families[kind], k, from) })),
		permutations: one.permutations.map(({ group, block }) => {
			const words = random.at("noise/2", group).words(512 * block + 256, new Uint32Array(6));
			return { group, block, values: [...rowPermutation(words).subarray(0, COUNT)] };
		}),
		ledgers: one.ledgers.map(({ kind, entries, from }) => ({
			kind,
			entries,
			from,
			sums: sumsOf(families[kind], denseLedger(entries), from),
		})),
		uniform01: many((m) => uniform01(random, m) * END),
		below: one.below.map(({ bound }) => ({ bound, values: many((m) => uniformBelow(random, m, bound)) })),
		permutation: [...permutation(random, COUNT)],
		weighted: { weights: one.weighted.weights, values: many((m) => weightedDraw(random, m, total)) },
		gaussian4: many((m) => {
			const value = gaussian4(random, m);
			const integer = Math.round(value * Math.sqrt(21845));
			return integer / Math.sqrt(21845) === value ? integer : Number.NaN;
		}),
	};
}

const withoutKey = ({ key: _, ...rest }: Case): Omit<Case, "key"> => rest;

/** Every list of outputs in the file; flipping a bit in any of them has to be noticed. */
const lists = (cases: readonly Case[]): number[][] =>
	cases.flatMap((one) => [
		...one.words.map(({ values }) => values),
		...one.permutations.map(({ values }) => values),
		...one.ledgers.map(({ sums }) => sums),
		one.uniform01,
		...one.below.map(({ values }) => values),
		one.permutation,
		one.weighted.values,
		one.gaussian4,
	]);

/** A published version's values never change, so neither does its file. */
const PUBLISHED = { version: 2, sha256: "6d5638b445c99178914724c3d48709f539dfbc1fba358a17e594d9b9cc2793ea" };
const WHEN_CHANGED = [
	"The golden file is not the one that was published under this version. If a value changed, the rule behind it needs a new name",
	"(noise/3, draw/2, …) and docs/shared-randomness.md and the file a new version; if only cases were added, with every old value in",
	"place, pin the new SHA-256 here. The file is written by tools/golden/shared_randomness.py alone.",
].join(" ");

const hex = (words: Uint32Array): string => [...words].map((word) => word.toString(16).padStart(8, "0")).join(" ");
const ONES = 0xffffffff;

describe("Philox4x32", () => {
	// kat_vectors of Random123 (Salmon, Moraes, Dror and Shaw, 2011).
	it.each([
		[10, [0, 0, 0, 0], [0, 0], "6627e8d5 e169c58d bc57ac4c 9b00dbd8"],
		[10, [ONES, ONES, ONES, ONES], [ONES, ONES], "408f276d 41c83b0e a20bc7c6 6d5451fd"],
		[10, [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], "d16cfe09 94fdcceb 5001e420 24126ea1"],
		[7, [0, 0, 0, 0], [0, 0], "5f6fb709 0d893f64 4f121f81 4f730a48"],
		[7, [ONES, ONES, ONES, ONES], [ONES, ONES], "5207ddc2 45165e59 4d8ee751 8c52f662"],
		[7, [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], "4dfccaba 190a87f0 c47362ba b6b5242a"],
	])("has the published known answer: %i rounds, counter %j", (rounds, counter, key, answer) => {
		expect(hex(philox4x32(counter, key, rounds))).toBe(answer);
	});
});

describe("the golden file of docs/shared-randomness.md", () => {
	it("changes only with its version", () => {
		const page = readFileSync(new URL("../../../docs/shared-randomness.md", import.meta.url), "utf8");
		expect(page.split("\n", 1)[0]).toBe(`# Shared randomness, version ${PUBLISHED.version}`);
		expect(golden.version).toBe(PUBLISHED.version);
		expect(createHash("sha256").update(file).digest("hex"), WHEN_CHANGED).toBe(PUBLISHED.sha256);
	});

	it("reaches the places where implementations go wrong", () => {
		const { cases } = golden;
		expect(lists(cases).every(({ length }) => length === COUNT)).toBe(true);
		expect(cases.some(({ path }) => path.some((element) => typeof element === "number" && element > 2 ** 32))).toBe(true);
		expect(cases.some(({ words }) => words.some(({ from }) => from > 2 ** 34))).toBe(true);
		for (const kind of ["noise/1", "noise/2"]) {
			const signs = cases.flatMap((one) => one.signs).filter((one) => one.kind === kind);
			for (const k of [0, 4095, 4096, 2 ** 32 - 1]) expect(signs.some((one) => one.k === k)).toBe(true);
			for (const from of [0, 4090, END - COUNT]) expect(signs.some((one) => one.from === from)).toBe(true);
			expect(signs.some(({ from }) => from > 2 ** 32 && from % 2 === 1)).toBe(true);
			const entries = cases.flatMap((one) => one.ledgers.filter((ledger) => ledger.kind === kind).flatMap((ledger) => ledger.entries));
			for (const value of [-(2 ** 31), 2 ** 31 - 1]) expect(entries.some((entry) => entry[1] === value)).toBe(true);
			expect(entries.some(([k]) => k > 65_536)).toBe(true);
		}
		expect(cases.some(({ permutations }) => permutations.some(({ group, block }) => group > 0 && block > 2 ** 32))).toBe(true);
	});
});

/** The ways to compute: everything below holds for each, to the bit. */
const implementations: { name: string; options: Required<KernelOptions> }[] = [
	{ name: "plain TypeScript", options: { wasm: false, threads: 1 } },
	{ name: "WebAssembly", options: { wasm: true, threads: 1 } },
	{ name: "WebAssembly on three threads", options: { wasm: true, threads: 3 } },
];

describe.each(implementations)("$name", ({ options }) => {
	beforeAll(async () => {
		await configureKernels(options);
		expect(kernelState()).toMatchObject(options);
	});
	afterAll(() => configureKernels({ wasm: true, threads: 1 }));

	const done = new Map<Case, Omit<Case, "key">>();
	const result = (one: Case): Omit<Case, "key"> => {
		const values = done.get(one) ?? computed(one);
		done.set(one, values);
		return values;
	};

	it("streams the first known answer from a key of zeros", () => {
		expect(hex(randomFrom(new Uint8Array(32)).words(0, new Uint32Array(4)))).toBe("6627e8d5 e169c58d bc57ac4c 9b00dbd8");
	});

	it.each(golden.cases)("reproduces the golden file: seed $seed, path $path", (one) => {
		expect(result(one)).toEqual(withoutKey(one));
	});

	it("would not if one bit of any output were another", () => {
		// What is computed depends on the inputs alone, so once is enough for all the changed files.
		const results = JSON.stringify(golden.cases.map(result));
		const agrees = (cases: readonly Case[]): boolean => JSON.stringify(cases.map(withoutKey)) === results;
		expect(agrees(golden.cases)).toBe(true);
		const copy = structuredClone(golden.cases);
		const flip = (values: number[], index: number, bit: number): boolean => {
			const value = values[index]!;
			values[index] = Number(BigInt(value) ^ (1n << BigInt(bit)));
			const noticed = !agrees(copy);
			values[index] = value;
			return noticed;
		};
		const outputs = lists(copy);
		for (const [list, values] of outputs.entries()) expect(flip(values, (7 * list) % COUNT, list % 3)).toBe(true);
		fc.assert(
			fc.property(fc.nat(outputs.length - 1), fc.nat(COUNT - 1), fc.nat(52), (list, index, bit) => {
				expect(flip(outputs[list]!, index, bit)).toBe(true);
			}),
			{ numRuns: 40 },
		);
		for (const [at, signs] of copy.flatMap((one) => one.signs).entries()) {
			const { values } = signs;
			const i = (11 * at) % COUNT;
			signs.values = `${values.slice(0, i)}${values[i] === "+" ? "-" : "+"}${values.slice(i + 1)}`;
			expect(agrees(copy)).toBe(false);
			signs.values = values;
		}
		expect(agrees(copy)).toBe(true);
	});

	it.each(golden.cases)("has all 32 bytes of the key: seed $seed, path $path", (one) => {
		const random = nodeOf(one);
		// A stream shows the key's first half only, the children all of it.
		const seen = (node: Random): string =>
			`${hex(node.words(0, new Uint32Array(8)))} ${hex(node.at("child").words(0, new Uint32Array(8)))}`;
		const key = fromHex(one.key);
		expect(seen(randomFrom(key))).toBe(seen(random));
		for (let byte = 0; byte < 32; byte++) {
			const other = key.slice();
			other[byte]! ^= 1 << (byte % 8);
			expect(seen(randomFrom(other))).not.toBe(seen(random));
		}
	});

	it("perturbs and rebuilds with the file's signs and sums, rounding once", () => {
		const weights = Float32Array.from({ length: COUNT }, (_, j) => (j % 7 === 0 ? -0 : Math.sin(j) * 10 ** ((j % 9) - 4)));
		for (const one of golden.cases) {
			for (const { kind, k, from, values } of one.signs) {
				for (const scale of [0.1, -1e-3, 1e-45, 3e-46, 0]) {
					const out = new Float32Array(COUNT);
					perturb(weights, scale, perturbations(nodeOf(one), kind), k, out, from);
					const expected = weights.map((w, j) => w + (values[j] === "+" ? Math.fround(scale) : -Math.fround(scale)));
					expect(Buffer.from(out.buffer).equals(Buffer.from(expected.buffer)), `${kind} k ${k} from ${from} scale ${scale}`).toBe(true);
				}
			}
			for (const { kind, entries, from, sums } of one.ledgers) {
				for (const unit of [1, 0.1, 2 ** -40]) {
					const out = new Float32Array(COUNT);
					rebuild(weights, denseLedger(entries), unit, perturbations(nodeOf(one), kind), out, from);
					const expected = weights.map((w, j) => w - unit * sums[j]!);
					expect(Buffer.from(out.buffer).equals(Buffer.from(expected.buffer)), `${kind} from ${from} unit ${unit}`).toBe(true);
				}
			}
		}
	});

	it("projects as the transpose of the ledger sum: Σ_k ledger[k]·γ_k = Σ_j x[j]·S[j]", () => {
		// 0.5, 1.5 and 2.5 units round to even; the others lie off their integer by a quarter of a unit.
		const unit = 2 ** -7;
		const ties = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5];
		const units = Float32Array.from({ length: COUNT }, (_, j) => ties[j] ?? ((j * 40_503) % 2001) - 1000 + (j % 3 === 0 ? 0.25 : -0.25));
		const x = Array.from(units, (value, j) => [0, 2, 2, 0, -2, -2][j] ?? Math.round(value));
		for (const one of golden.cases) {
			for (const { kind, entries, from, sums } of one.ledgers) {
				// More candidates take long in noise/1, where each has a key to be hashed.
				if (entries.some(([k]) => k > 8192)) continue;
				const out = new Float64Array(denseLedger(entries).length).fill(5);
				project(
					units.map((value) => value * unit),
					unit,
					perturbations(nodeOf(one), kind),
					out,
					from,
				);
				const projected = entries.reduce((total, [k, value]) => total + BigInt(value) * BigInt(out[k]! - 5), 0n);
				const direct = sums.reduce((total, sum, j) => total + BigInt(x[j]!) * BigInt(sum), 0n);
				expect(projected, `${kind} from ${from}`).toBe(direct);
			}
		}
	});
});

describe("calls that threads share", () => {
	afterAll(() => configureKernels({ wasm: true, threads: 1 }));

	it.each(["noise/1", "noise/2"] as const)("have the same bytes in every implementation: %s", async (kind) => {
		const length = 150_001;
		const from = 2 ** 34 - 77;
		const node = randomFromSeed("threads");
		const ledger = Int32Array.from(node.words(0, new Uint32Array(60)));
		const long = Float32Array.from(node.words(0, new Uint32Array(700_001)), (word) => word / 2 ** 31 - 1);
		const initial = long.subarray(3, 3 + length);
		const digests: string[] = [];
		for (const { options } of implementations) {
			await configureKernels(options);
			const z = perturbations(node, kind);
			const perturbed = new Float32Array(long.length);
			perturb(long, 1e-3, z, 4097, perturbed, from);
			const sum = new Float64Array(length);
			addLedger(sum, ledger, z, from);
			const rebuilt = new Float32Array(length);
			rebuild(initial, ledger, 2 ** -35, z, rebuilt, from);
			const projected = new Float64Array(60);
			project(initial, 2 ** -20, z, projected, from);
			const hash = createHash("sha256");
			for (const result of [perturbed, sum, rebuilt, projected]) hash.update(Buffer.from(result.buffer));
			digests.push(hash.digest("hex"));
			expect(kernelState().helpers).toBe(options.threads - 1);
		}
		expect(new Set(digests).size).toBe(1);
	});
});
