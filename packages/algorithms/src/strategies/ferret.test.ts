import { perturb, perturbations } from "@rondo/kernels";
import { layoutOf } from "@rondo/tensors";
import { describe, expect, it } from "vitest";
import { atOf, clientOf, playRound, type Run, runOf, trainerOf } from "../../test/fixture.js";
import { batchOf, devicesOf, EXAMPLES, gap, lossAndGradient, WEIGHTS } from "../../test/problems.js";
import { resolveConfig } from "../config.js";
import type { Plain } from "../plain.js";
import { blocksOf } from "../projections/blocks.js";
import { allocate, type FerretConfig, type FerretTypes, ferret } from "./ferret.js";

const OPTIONS = {
	bases: 6,
	blocks: "tensors",
	noise: "noise/1",
	learningRate: 0.25,
	batchSize: 100,
	localSteps: 3,
	serverLearningRate: 0.5,
	cohortSize: 3,
};
const LAYOUT = layoutOf([
	{ name: "kernel", shape: [3, 3] },
	{ name: "bias", shape: [3] },
]);
const BLOCKS = [
	[0, 9],
	[9, 12],
] as const;
const ferretRun = (options: object = {}): Run<FerretTypes> => ({ ...runOf(ferret, { ...OPTIONS, ...options }, WEIGHTS), layout: LAYOUT });

/** Σ over elements of a block. */
const along = (from: number, to: number, each: (j: number) => number): number => {
	let sum = 0;
	for (let j = from; j < to; j++) sum += each(j);
	return sum;
};

/** The equations in float64, with signs that are read off one at a time. */
function reference(run: Run<FerretTypes>, rounds: number): { weights: number[]; counts: number[][] } {
	const { bases, learningRate, localSteps, serverLearningRate, rescale } = run.config;
	const counts: number[][] = [];
	let global = WEIGHTS.slice();
	for (let round = 1; round <= rounds; round++) {
		const total = Object.values(EXAMPLES).reduce((n, { rows }) => n + rows.length, 0);
		const signs = BLOCKS.map(([from, to], l) =>
			Array.from({ length: bases }, (_, k) => {
				const sign = new Float32Array(to - from);
				perturb(sign, 1, perturbations(run.shared.at("ferret", round, l), "noise/1"), k, sign);
				return sign;
			}),
		);
		const coefficients = BLOCKS.map(() => new Array<number>(bases).fill(0));
		const meanNorms = BLOCKS.map(() => 0);
		for (const [id, { rows }] of Object.entries(EXAMPLES)) {
			let local = global.slice();
			for (let step = 0; step < localSteps; step++) {
				const [, gradient] = lossAndGradient(local, batchOf(id));
				local = local.map((w, j) => w - learningRate * gradient[j]!);
			}
			const delta = global.map((w, j) => w - local[j]!);
			const norms = BLOCKS.map(([from, to]) => Math.sqrt(along(from, to, (j) => delta[j]! ** 2)));
			const used = norms.map((norm) => Math.max(Math.floor((norm / Math.max(...norms)) * bases), 2));
			counts.push(used);
			BLOCKS.forEach(([from, to], l) => {
				meanNorms[l]! += (rows.length / total) * norms[l]!;
				for (let k = 0; k < used[l]!; k++) {
					const gamma = along(from, to, (j) => signs[l]![k]![j - from]! * delta[j]!);
					coefficients[l]![k]! += ((rows.length / total) * gamma) / used[l]!;
				}
			});
		}
		const next = global.slice();
		BLOCKS.forEach(([from, to], l) => {
			const made = (j: number): number => coefficients[l]!.reduce((sum, c, k) => sum + c * signs[l]![k]![j - from]!, 0);
			const length = Math.sqrt(along(from, to, (j) => made(j) ** 2));
			const shrink = rescale === "norm" ? Math.min(1, meanNorms[l]! / length) : 1;
			for (let j = from; j < to; j++) next[j]! -= serverLearningRate * shrink * made(j);
		});
		global = next;
	}
	return { weights: global, counts };
}

describe.each(["none", "norm"] as const)("ferret, rescale %s", (rescale) => {
	it("three rounds agree with the equations, every client with its own numbers of bases", async () => {
		const run = ferretRun({ rescale });
		let state = ferret.init(atOf(run));
		const used: number[][] = [];
		for (let round = 1; round <= 3; round++) {
			const { outcome, works, model } = await playRound(run, state, round, devicesOf());
			state = outcome.state;
			used.push(...works.map(({ header: [counts] }) => [...counts]));
			expect(gap(model, reference(run, round).weights)).toBeLessThan(2e-6);
		}
		expect(used).toEqual(reference(run, 3).counts);
		expect(new Set(used.map(([, bias]) => bias)).size).toBeGreaterThan(1);
		expect(gap(reference(run, 3).weights, WEIGHTS)).toBeGreaterThan(0.1);
	});
});

it("rescaling matters, and never makes a block longer", async () => {
	const length = async (rescale: string): Promise<number> => {
		const run = ferretRun({ rescale });
		return (await playRound(run, ferret.init(atOf(run)), 1, devicesOf())).outcome.metrics!.updateNorm!;
	};
	expect(await length("norm")).toBeLessThan(0.9 * (await length("none")));
});

it("bases differ from round to round and from block to block", async () => {
	const run = ferretRun({ learningRate: 1e-6, allocation: "equal" });
	const state = ferret.init(atOf(run));
	const shares = async (round: number): Promise<number[]> => {
		const at = atOf(run, round);
		const [, , values] = (await ferret.train(ferret.task(state, undefined, { ...at, commit: 0 }), clientOf(run, devicesOf()[0]!, round)))
			.header;
		return Array.from(values as Float32Array);
	};
	const [one, again, two] = [await shares(1), await shares(1), await shares(2)];
	expect(again).toEqual(one);
	expect(gap(one, two)).toBeGreaterThan(0.1);
	const { shared } = run;
	const words = [0, 1].map((l) => [...shared.at("ferret", 1, l).words(0, new Uint32Array(4))]);
	expect(words[0]).not.toEqual(words[1]);
});

describe("the number of bases", () => {
	const norms = Float32Array.of(0.5, 2, 0.001, 0);
	it.each<[string, Partial<FerretConfig>, number, number[]]>([
		["follows the norms", { bases: 100, allocation: "norm" }, 1000, [25, 100, 2, 2]],
		["is the same for all", { bases: 100, allocation: "equal" }, 1000, [100, 100, 100, 100]],
		["is at least one of one", { bases: 1, allocation: "norm" }, 1000, [1, 1, 1, 1]],
		["is cut to what a header holds", { bases: 100, allocation: "equal" }, 8, [2, 2, 2, 2]],
		["is cut in proportion", { bases: 100, allocation: "norm" }, 66, [12, 50, 1, 1]],
	])("%s", (_what, options, most, wanted) => {
		const counts = [...allocate(norms, options as FerretConfig, most)];
		expect(counts).toEqual(wanted);
		expect(counts.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(most);
	});

	it("of blocks that did not change is the least", () => {
		expect([...allocate(new Float32Array(2), { bases: 9, allocation: "norm" }, 100)]).toEqual([2, 2]);
	});
});

it("cuts a model into groups: small tensors together, large ones alone", () => {
	const layout = layoutOf([10, 2, 3, 10, 1, 10, 4, 4].map((size, i) => ({ name: `t${i}`, shape: [size] })));
	const sizes = (blocks: "groups" | "tensors" | "one"): number[] => blocksOf(layout, blocks).map(({ from, to }) => to - from);
	// The median is 4, so that a group ends before 3.6 elements.
	expect(sizes("groups")).toEqual([10, 2, 3, 10, 1, 10, 4, 4]);
	const even = layoutOf([100, 10, 10, 100, 100, 10].map((size, i) => ({ name: `t${i}`, shape: [size] })));
	expect(blocksOf(even, "groups").map(({ from, to }) => [from, to])).toEqual([
		[0, 100],
		[100, 120],
		[120, 220],
		[220, 320],
		[320, 330],
	]);
	expect(sizes("one")).toEqual([44]);
});

describe("what is refused", () => {
	const run = ferretRun();
	const unpack = (header: unknown, options: object = {}) =>
		ferret.unpack!(header as FerretTypes["report"], null as never, { ...run, config: { ...run.config, ...options } });
	const [counts, norms, shares] = [Uint16Array.of(2, 1), Float32Array.of(0.5, 0.25), Float32Array.of(1, -1, 0.5)];

	it("nothing of an honest header, which becomes zero-padded prefixes", () => {
		const { coefficients } = unpack([counts, norms, shares]);
		expect([...coefficients!]).toEqual([0.25, -0.25, 0, 0, 0, 0, 0.125, 0, 0, 0, 0, 0]);
		expect([...unpack([counts, norms, shares]).norms!]).toEqual([0.5, 0.25]);
	});

	it.each<[string, unknown, string, RegExp]>([
		["null", null, "INVALID_ARGUMENT", /must be \[Uint16Array, Float32Array, projections\]/],
		["two parts", [counts, norms], "INVALID_ARGUMENT", /must be \[Uint16Array/],
		["counts of another type", [Uint8Array.of(2, 1), norms, shares], "INVALID_ARGUMENT", /must be \[Uint16Array/],
		["projections of another type", [counts, norms, Float64Array.from(shares)], "INVALID_ARGUMENT", /must be a Float32Array/],
		["one block", [Uint16Array.of(3), Float32Array.of(1), shares], "INVALID_ARGUMENT", /of 2 blocks, got 1 and 1/],
		["more norms than blocks", [counts, Float32Array.of(1, 1, 1), shares], "INVALID_ARGUMENT", /of 2 blocks, got 2 and 3/],
		["no basis", [Uint16Array.of(3, 0), norms, shares], "INVALID_ARGUMENT", /of block 1 must be from 1 to 6, got 0/],
		["too many bases", [Uint16Array.of(7, 1), norms, new Float32Array(8)], "INVALID_ARGUMENT", /of block 0 must be from 1 to 6, got 7/],
		["fewer projections than bases", [Uint16Array.of(3, 1), norms, shares], "INVALID_ARGUMENT", /must hold 4 projections.*got 3/],
		["a negative norm", [counts, Float32Array.of(-1, 1), shares], "LANE_OUT_OF_BOUND", /norm of block 0 must be from 0 to 100, got -1/],
		["a large norm", [counts, Float32Array.of(1, 101), shares], "LANE_OUT_OF_BOUND", /norm of block 1 .* got 101/],
		["a norm that is NaN", [counts, Float32Array.of(1, Number.NaN), shares], "LANE_OUT_OF_BOUND", /got NaN/],
		[
			"a large norm on few bases",
			[counts, Float32Array.of(1, 60), shares],
			"LANE_OUT_OF_BOUND",
			/norm of at most 53.5 per basis, got 60 for 1/,
		],
		["a projection beyond √d", [counts, norms, Float32Array.of(3.22, 0, 0)], "LANE_OUT_OF_BOUND", /projection 0 of block 0 .* got 3.22/],
		["an infinite projection", [counts, norms, Float32Array.of(0, 0, Number.NEGATIVE_INFINITY)], "LANE_OUT_OF_BOUND", /got -Infinity/],
		["a projection that is NaN", [counts, norms, Float32Array.of(0, Number.NaN, 0)], "LANE_OUT_OF_BOUND", /projection 1 .* got NaN/],
	])("%s", (_what, header, code, message) => {
		expect(() => unpack(header)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
	});

	it("half floats that are no numbers", () => {
		expect(() => unpack([counts, norms, Uint16Array.of(0x7c00, 0, 0)], { scalars: "f16" })).toThrow(/got Infinity/);
		expect(() => unpack([counts, norms, Uint8Array.of(0x80, 0, 0)], { scalars: "byte" })).toThrow(
			expect.objectContaining({ code: "BAD_ENCODING" }),
		);
	});

	it("a change that is not finite, before it is sent", async () => {
		const [ann] = devicesOf();
		const odd = {
			...trainerOf(lossAndGradient),
			gradient: async (_w: Float32Array, _b: unknown, out: Float32Array) => out.fill(3e38).length,
		};
		const task = ferret.task(ferret.init(atOf(run)), undefined, atOf(run));
		await expect(
			ferret.train(task, clientOf({ ...run, config: { ...run.config, learningRate: 10 } }, { ...ann!, trainer: odd })),
		).rejects.toThrow(expect.objectContaining({ code: "NOT_FINITE" }));
	});

	it("an update that is not finite", () => {
		const lanes = { coefficients: new Float64Array(12).fill(3e38), norms: Float64Array.of(1e300, 1e300) };
		expect(() => ferret.finish(ferret.init(atOf(run)), { lanes, weight: 1, count: 1, reports: [] }, atOf(run))).toThrow(
			expect.objectContaining({ code: "NOT_FINITE" }),
		);
	});

	it("a model of more blocks than a report holds", () => {
		const layout = layoutOf(Array.from({ length: 8000 }, (_, i) => ({ name: `t${i}`, shape: [2] })));
		expect(() => resolveConfig(ferret, { blocks: "tensors" }, layout)).toThrow(/makes 8000 blocks/);
		expect(() => resolveConfig(ferret, {}, layoutOf([{ name: "w", shape: [5] }]))).not.toThrow();
	});

	it.each<[string, Plain]>([
		["no array", { n: 1 }],
		["too few counts", [Uint16Array.of(1), Float32Array.of(1)]],
		["counts that do not add up", [Uint16Array.of(1, 1), Float32Array.of(1)]],
	])("a publication that is %s", async (_what, value) => {
		const followed = { ...run, log: [{ commit: 1, track: 0, round: 1, value }] };
		const task = [run.initial, 0, 1, "0".repeat(64)] as const;
		await expect(ferret.assemble!(task, clientOf(followed, devicesOf()[0]!, 2))).rejects.toThrow(
			expect.objectContaining({ code: "BAD_ENCODING" }),
		);
	});
});
