import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { permutation, uniform01, uniformBelow, weightedDraw } from "./draws.js";
import { fromHex } from "./hash.js";
import { type Random, randomFrom, randomFromSeed } from "./random.js";
import { addSigns } from "./signs.js";

interface Values {
	values: number[];
}
interface Case {
	seed: string;
	path: (string | number)[];
	key: string;
	words: (Values & { from: number })[];
	signs: { from: number; values: string };
	uniform01: number[];
	below: (Values & { bound: number })[];
	permutation: number[];
	weighted: Values & { weights: number[] };
}
interface Golden {
	version: number;
	cases: Case[];
}

const golden = JSON.parse(readFileSync(new URL("./shared-randomness.golden.json", import.meta.url), "utf8")) as Golden;

function signsOf(random: Random, from: number, count: number): string {
	const sum = new Float64Array(count);
	addSigns(sum, 1, random, from);
	return Array.from(sum, (z) => (z === 1 ? "+" : z === -1 ? "-" : "?")).join("");
}

/** What this implementation makes of the inputs of a case. */
function computed(one: Case): Case {
	const random = randomFromSeed(one.seed).at(...one.path);
	const many = (draw: (index: number) => number): number[] => Array.from({ length: 64 }, (_, index) => draw(index));
	const total: number[] = [];
	for (const weight of one.weighted.weights) total.push((total.at(-1) ?? 0) + weight);
	return {
		seed: one.seed,
		path: one.path,
		key: one.key,
		words: one.words.map(({ from }) => ({ from, values: [...random.words(from, new Uint32Array(64))] })),
		signs: { from: one.signs.from, values: signsOf(random, one.signs.from, 64) },
		uniform01: many((m) => uniform01(random, m) * 2 ** 53),
		below: one.below.map(({ bound }) => ({ bound, values: many((m) => uniformBelow(random, m, bound)) })),
		permutation: [...permutation(random, 64)],
		weighted: { weights: one.weighted.weights, values: many((m) => weightedDraw(random, m, total)) },
	};
}

const agrees = (content: Golden): boolean => content.cases.every((one) => JSON.stringify(computed(one)) === JSON.stringify(one));

/** Every array of outputs in the file; flipping a bit in any of them has to be noticed. */
const outputs = (content: Golden): number[][] =>
	content.cases.flatMap((one) => [
		...one.words.map(({ values }) => values),
		one.uniform01,
		...one.below.map(({ values }) => values),
		one.permutation,
		one.weighted.values,
	]);

describe("the golden file of docs/shared-randomness.md", () => {
	it("has vectors of version 1 beyond 2^32", () => {
		expect(golden.version).toBe(1);
		expect(golden.cases.length).toBeGreaterThanOrEqual(3);
		expect(golden.cases.some(({ path }) => path.some((element) => typeof element === "number" && element > 2 ** 32))).toBe(true);
		expect(golden.cases.some(({ words }) => words.some(({ from }) => from > 2 ** 32))).toBe(true);
		expect(outputs(golden).every(({ length }) => length === 64)).toBe(true);
	});

	it.each(golden.cases)("is reproduced: seed $seed, path $path", (one) => {
		expect(computed(one)).toEqual(one);
		expect(randomFrom(fromHex(one.key)).words(0, new Uint32Array(64))).toEqual(
			randomFromSeed(one.seed)
				.at(...one.path)
				.words(0, new Uint32Array(64)),
		);
	});

	it("is not reproduced once one bit is flipped", () => {
		expect(agrees(golden)).toBe(true);
		fc.assert(
			fc.property(fc.nat(outputs(golden).length - 1), fc.nat(63), fc.nat(20), (list, index, bit) => {
				const copy = structuredClone(golden);
				const values = outputs(copy)[list]!;
				values[index] = Number(BigInt(values[index]!) ^ (1n << BigInt(bit)));
				expect(agrees(copy)).toBe(false);
			}),
			{ numRuns: 40 },
		);
		const copy = structuredClone(golden);
		const { signs } = copy.cases[1]!;
		signs.values = (signs.values.startsWith("+") ? "-" : "+") + signs.values.slice(1);
		expect(agrees(copy)).toBe(false);
	});
});
