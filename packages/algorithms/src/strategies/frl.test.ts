import { permutation, type Random, randomFromSeed } from "@rondo/kernels";
import { type Layout, layoutOf } from "@rondo/tensors";
import { describe, expect, it } from "vitest";
import {
	atOf,
	clientOf,
	type Device,
	deviceOf,
	foldOf,
	memoryData,
	memoryStore,
	playRound,
	type Run,
	trainerOf,
} from "../../test/fixture.js";
import { EXAMPLES, gap } from "../../test/problems.js";
import { unpackRankings } from "../codecs/ranking.js";
import { resolveConfig } from "../config.js";
import type { Batch, Work } from "../contract.js";
import { encodePlain } from "../plain.js";
import { createRegistry } from "../registry.js";
import { type FrlTypes, frl } from "./frl.js";

function runOn(layout: Layout, options: object): Run<FrlTypes> {
	const store = memoryStore();
	const initial = Float32Array.from({ length: layout.length }, (_, j) => (j + 1) / 8);
	const config = resolveConfig(frl, options, layout);
	return { strategy: frl, config, layout, store, initial: store.keep("f32", initial), shared: randomFromSeed("frl"), log: [] };
}

const sizesOf = (layout: Layout) => layout.tensors.filter(({ shape }) => shape.length > 1).map(({ from, to }) => to - from);

/** The rankings of a state, lowest edge first. */
const ordersOf = (run: Run<FrlTypes>, { order }: FrlTypes["state"]): number[][] => [
	...Array.from(
		unpackRankings(
			run.store.io.read(order),
			sizesOf(run.layout).map((n) => [n, n]),
		),
		(edges) => [...edges],
	),
];

/** What a client sends that votes for these rankings, lowest edge first. */
function ballot(...orders: number[][]): Work<FrlTypes> {
	const ranks = orders.map((order) => {
		const places = new Float64Array(order.length);
		for (const [place, e] of order.entries()) places[e] = place;
		return places;
	});
	return { header: null, lanes: { ranks: Float64Array.from(ranks.flatMap((places) => [...places])) }, numExamples: 1 };
}

/** The state after a vote, and its metrics. */
function vote(run: Run<FrlTypes>, works: readonly Work<FrlTypes>[]) {
	const at = atOf(run);
	const state = frl.init(at);
	return frl.finish(state, foldOf(run, works, frl.plan(state, at)), at);
}

describe("the vote", () => {
	const SIX = layoutOf([{ name: "w", shape: [2, 3] }]);
	const [first, second, third] = [ballot([2, 0, 3, 5, 1, 4]), ballot([4, 2, 0, 3, 1, 5]), ballot([0, 2, 5, 3, 4, 1])];

	it("adds the places that three clients gave to six edges", () => {
		const run = runOn(SIX, { cohortSize: 3 });
		const at = atOf(run);
		const folded = foldOf(run, [first, second, third], frl.plan(frl.init(at), at));
		expect([...folded.lanes.ranks!]).toEqual([3, 13, 2, 8, 9, 10]);
		const { state } = vote(run, [first, second, third]);
		expect(ordersOf(run, state)).toEqual([[2, 0, 3, 4, 5, 1]]);
		const model = run.store.io.read(frl.model!(state, undefined, at));
		expect([...model.keys()].filter((e) => model[e] !== 0)).toEqual([1, 4, 5]);
	});

	it("survives one reversed ballot of three, and orders ties by the lower edge", () => {
		const run = runOn(SIX, { cohortSize: 3 });
		const at = atOf(run);
		const works = [first, second, ballot([1, 5, 3, 4, 0, 2])];
		expect([...foldOf(run, works, frl.plan(frl.init(at), at)).lanes.ranks!]).toEqual([7, 8, 6, 7, 8, 9]);
		expect(ordersOf(run, vote(run, works).state)).toEqual([[2, 0, 3, 1, 4, 5]]);
	});

	it("counts one for each client, whatever its examples, and in any order", () => {
		const layout = layoutOf([
			{ name: "a", shape: [7, 5] },
			{ name: "b", shape: [9] },
			{ name: "c", shape: [3, 2, 2] },
		]);
		const run = runOn(layout, { cohortSize: 6 });
		const works = Array.from({ length: 6 }, (_, i) =>
			ballot(...sizesOf(layout).map((n, part) => [...permutation(randomFromSeed(`ballot ${i} ${part}`), n)])),
		);
		const { state } = vote(run, works);
		for (const order of [
			[5, 4, 3, 2, 1, 0],
			[2, 0, 5, 1, 3, 4],
			[1, 2, 3, 4, 5, 0],
		]) {
			const again = order.map((i) => ({ ...works[i]!, numExamples: 10 ** i }));
			expect(vote(run, again).state).toEqual(state);
		}
		expect(vote(run, works.slice(1)).state).not.toEqual(state);
		expect(frl.weigh!(1, 0, run.config)).toBe(frl.weigh!(1_000_000, 7, run.config));
	});

	it("of one client is its ranking; of sparse ballots, their edges before all others", () => {
		const run = runOn(SIX, { cohortSize: 1 });
		expect(ordersOf(run, vote(run, [first]).state)).toEqual([[2, 0, 3, 5, 1, 4]]);
		const sparse = runOn(SIX, { cohortSize: 2, ballot: "sparse", ballotShare: 0.34 });
		const at = atOf(sparse);
		const plan = frl.plan(frl.init(at), at);
		expect(plan.lanes.ranks!.codec).toEqual(["ranking", [6, 3]]);
		// The three highest count 3, 4 and 5, the others nothing, whatever rank the client gave them.
		expect([...foldOf(sparse, [first, second], plan).lanes.ranks!]).toEqual([0, 4 + 4, 0, 3, 5, 3 + 5]);
		expect(ordersOf(sparse, vote(sparse, [first, second]).state)).toEqual([[0, 2, 3, 4, 1, 5]]);
	});

	it("reports how many of the kept edges are new", () => {
		const run = runOn(SIX, { cohortSize: 1 });
		const [start] = ordersOf(run, frl.init(atOf(run)));
		expect(vote(run, [ballot(start!)]).metrics).toEqual({ changedEdges: 0 });
		expect(vote(run, [ballot(start!.toReversed())]).metrics).toEqual({ changedEdges: 1 });
		expect(vote(run, [ballot([3, 1, 2, 0, 4, 5].map((place) => start![place]!))]).metrics).toEqual({ changedEdges: 1 / 3 });
	});
});

/** Features 3, hidden 4 with relu, classes 3: `hidden/kernel` [in, out], `out.weight` [out, in], `out.bias`. */
const NETWORK = layoutOf([
	{ name: "hidden/kernel", shape: [3, 4] },
	{ name: "out.weight", shape: [3, 4] },
	{ name: "out.bias", shape: [3] },
]);

/** Mean cross-entropy of the network and its gradient, by the chain rule. */
function network(w: ArrayLike<number>, { inputs, labels, size }: Batch): readonly [number, readonly number[]] {
	const gradient = Array<number>(27).fill(0);
	let loss = 0;
	for (let row = 0; row < size; row++) {
		const x = Array.from(inputs.subarray(3 * row, 3 * row + 3));
		const sums = [0, 1, 2, 3].map((h) => x.reduce((sum, value, i) => sum + value * w[4 * i + h]!, 0));
		const hidden = sums.map((sum) => Math.max(0, sum));
		const logits = [0, 1, 2].map((c) => hidden.reduce((sum, value, h) => sum + value * w[12 + 4 * c + h]!, w[24 + c]!));
		const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
		loss += (Math.log(total) - logits[labels[row]!]!) / size;
		const errors = logits.map((logit, c) => (Math.exp(logit) / total - (c === labels[row] ? 1 : 0)) / size);
		for (const [c, error] of errors.entries()) {
			gradient[24 + c]! += error;
			for (const [h, value] of hidden.entries()) gradient[12 + 4 * c + h]! += error * value;
		}
		for (const [h, sum] of sums.entries()) {
			const back = sum > 0 ? errors.reduce((all, error, c) => all + error * w[12 + 4 * c + h]!, 0) : 0;
			for (const [i, value] of x.entries()) gradient[4 * i + h]! += back * value;
		}
	}
	return [loss, gradient];
}

const devices = (): Device[] =>
	Object.entries(EXAMPLES).map(([id, { rows, labels }]) => deviceOf(id, memoryData(rows, labels), trainerOf(network)));
const OPTIONS = {
	learningRate: 0.25,
	learningRateDecay: 0.75,
	momentum: 0.5,
	weightDecay: 0.125,
	sparsity: 0.6,
	gain: 3,
	batchSize: 100,
	localEpochs: 3,
	cohortSize: 3,
};

/** The equations in float64: edge-popup on full batches, Borda count, and the scores of the next round. */
class Reference {
	readonly #theta: number[];
	readonly #initial: number[][];
	orders: number[][];

	constructor(random: Random) {
		const draw = (what: string, name: string, n: number) => [...random.at("edge-popup", what, name).words(0, new Uint32Array(n))];
		const parts = [
			{ name: "hidden/kernel", fanIn: 3 },
			{ name: "out.weight", fanIn: 4 },
		];
		this.#theta = parts.flatMap(({ name, fanIn }) => {
			const [word] = draw("sign", name, 1);
			return Array.from({ length: 12 }, (_, e) => ((Math.floor(word! / 2 ** e) % 2 === 1 ? -1 : 1) * OPTIONS.gain) / Math.sqrt(fanIn));
		});
		this.#initial = parts.map(({ name, fanIn }) => draw("score", name, 12).map((word) => word / 2 ** 32 / Math.sqrt(fanIn)));
		this.orders = this.#initial.map((scores) => this.#ascending(scores));
	}

	#ascending(values: readonly number[]): number[] {
		return [...values.keys()].sort((a, b) => values[a]! - values[b]! || a - b);
	}

	/** Twelve edges lose ⌊0.4 · 12⌋ = 4; biases are 0. */
	weights(orders = this.orders): number[] {
		const dropped = orders.map((order) => order.slice(0, 4));
		return [...this.#theta.map((weight, e) => (dropped[Math.floor(e / 12)]!.includes(e % 12) ? 0 : weight)), 0, 0, 0];
	}

	round(number: number): void {
		const votes = this.orders.map(() => Array<number>(12).fill(0));
		for (const { rows, labels } of Object.values(EXAMPLES)) {
			const batch = { size: rows.length, inputs: Float32Array.from(rows.flat()), labels: Int32Array.from(labels) };
			const scores = this.orders.map((order, part) => {
				const sorted = this.#initial[part]!.toSorted((a, b) => a - b);
				return order.map((_, e) => sorted[order.indexOf(e)]!);
			});
			const velocity = scores.map((all) => all.map(() => 0));
			for (let step = 0; step < OPTIONS.localEpochs; step++) {
				const [, gradient] = network(this.weights(scores.map((all) => this.#ascending(all))), batch);
				for (const [part, all] of scores.entries()) {
					for (let e = 0; e < 12; e++) {
						const g = this.#theta[12 * part + e]! * gradient[12 * part + e]! + OPTIONS.weightDecay * all[e]!;
						velocity[part]![e] = OPTIONS.momentum * velocity[part]![e]! + g;
					}
					for (let e = 0; e < 12; e++) all[e]! -= OPTIONS.learningRate * OPTIONS.learningRateDecay ** (number - 1) * velocity[part]![e]!;
				}
			}
			for (const [part, all] of scores.entries()) for (const [place, e] of this.#ascending(all).entries()) votes[part]![e]! += place;
		}
		this.orders = votes.map((all) => this.#ascending(all));
	}
}

it("four rounds agree with the equations", async () => {
	const run = runOn(NETWORK, OPTIONS);
	const reference = new Reference(run.shared);
	let state = frl.init(atOf(run));
	expect(ordersOf(run, state)).toEqual(reference.orders);
	const seen = new Set<string>();
	for (let round = 1; round <= 4; round++) {
		const { outcome, model } = await playRound(run, state, round, devices());
		reference.round(round);
		state = outcome.state;
		expect(ordersOf(run, state)).toEqual(reference.orders);
		expect(gap(model, reference.weights())).toBeLessThan(1e-6);
		seen.add(String(reference.orders));
		const task = frl.task(state, undefined, atOf(run));
		expect(await frl.assemble!(task, clientOf(run, devices()[0]!))).toEqual(model);
	}
	// Rankings that stand still would agree with anything.
	expect(seen.size).toBe(4);
});

describe("frl", () => {
	it("keeps biases at 0, or with unranked initial at what the run starts from", async () => {
		for (const [unranked, biases] of [
			["zero", [0, 0, 0]],
			["initial", [25 / 8, 26 / 8, 27 / 8]],
		] as const) {
			const run = runOn(NETWORK, { ...OPTIONS, unranked });
			const state = frl.init(atOf(run));
			const { model, outcome } = await playRound(run, state, 1, devices());
			expect([...model.subarray(24)]).toEqual(biases);
			expect(await frl.assemble!(frl.task(outcome.state, undefined, atOf(run)), clientOf(run, devices()[0]!))).toEqual(model);
			let seen: number[] = [];
			const spy = trainerOf((w, batch) => {
				seen = Array.from(w);
				return network(w, batch);
			});
			await frl.train(frl.task(state, undefined, atOf(run)), clientOf(run, { ...devices()[0]!, trainer: spy }));
			expect(seen.slice(24)).toEqual(biases);
		}
	});

	it("its bounds are the sizes of real messages", async () => {
		for (const options of [{}, { ballot: "sparse", ballotShare: 0.25 }, { unranked: "initial" }]) {
			const run = runOn(NETWORK, { ...OPTIONS, ...options });
			const bounds = frl.bounds(run.config, NETWORK);
			const state = frl.init(atOf(run));
			const task = frl.task(state, undefined, atOf(run));
			const { works, plan } = await playRound(run, state, 1, devices());
			const codec = createRegistry().codec(plan.lanes.ranks!.codec);
			const sent = codec.encode(works[0]!.lanes.ranks!, plan.lanes.ranks!, run.shared).length;
			// Twelve edges of four bits each, whole or a quarter of them, twice.
			expect(sent).toBe(2 * Math.ceil(("ballot" in options ? 3 : 12) / 2));
			const down = "unranked" in options ? 12 + 12 : 12;
			expect(bounds).toEqual({ task: encodePlain(task).length, download: down, report: 1 + sent });
		}
	});

	it("sends and fetches 65.4 % of float32 for LeNet's 1,625,632 edges, and a tenth of that sparsely", () => {
		const lenet = layoutOf([
			{ name: "conv1.weight", shape: [32, 1, 3, 3] },
			{ name: "conv2.weight", shape: [64, 32, 3, 3] },
			{ name: "fc1.weight", shape: [128, 12_544] },
			{ name: "fc2.weight", shape: [10, 128] },
		]);
		expect(lenet.length).toBe(1_625_632);
		const run = runOn(lenet, {});
		const at = atOf(run);
		const { ranks } = frl.plan({ order: run.initial as never }, at).lanes;
		const codec = createRegistry().codec(ranks!.codec);
		const orders = sizesOf(lenet).map((n) => [...permutation(run.shared, n)]);
		const sent = codec.encode(ballot(...orders).lanes.ranks!, ranks!, run.shared);
		expect(sent.length).toBe(4_251_428);
		expect(sent.length / (4 * lenet.length)).toBeCloseTo(0.654, 3);
		const limit = sizesOf(lenet).reduce((sum, n) => sum + (n * Math.ceil(Math.log2(n))) / 8 + 16, 0);
		expect(sent.length).toBeLessThanOrEqual(limit);
		expect(frl.bounds(run.config, lenet)).toMatchObject({ download: sent.length, report: 1 + sent.length });
		const sparse = frl.bounds(resolveConfig(frl, { ballot: "sparse" }, lenet) as FrlTypes["config"], lenet);
		expect(sparse.report / (4 * lenet.length)).toBeCloseTo(0.0654, 4);
		expect(sparse.download).toBe(sent.length);
	});

	it("refuses a model without edges to rank, or with too many tensors for a plan", () => {
		const flat = layoutOf([
			{ name: "scale", shape: [] },
			{ name: "bias", shape: [7] },
			{ name: "none", shape: [0, 4] },
		]);
		expect(() => resolveConfig(frl, {}, flat)).toThrow(
			expect.objectContaining({
				code: "INVALID_ARGUMENT",
				message: "frl ranks the edges of tensors of two or more dimensions, and the model has none: scale [], bias [7], none [0, 4]",
			}),
		);
		const deep = (count: number) => layoutOf(Array.from({ length: count }, (_, i) => ({ name: `w${i}`, shape: [1, 3] })));
		expect(() => resolveConfig(frl, {}, deep(257))).toThrow("at most 256 tensors of two or more dimensions, the model has 257");
		const { lanes } = frl.plan({ order: null as never }, atOf(runOn(deep(256), {})));
		expect(lanes.ranks!.codec).toHaveLength(257);
		// What the protocol allows for one codec, were every number the largest.
		const longest = ["ranking", ...Array.from({ length: 256 }, () => [2 ** 31, 2 ** 31])];
		expect(encodePlain(longest).length).toBeLessThan(4096);
	});

	it("declines without examples, on a loss that is not finite and on a gradient that is not, and when cancelled", async () => {
		const run = runOn(NETWORK, OPTIONS);
		const task = frl.task(frl.init(atOf(run)), undefined, atOf(run));
		const train = (rows: number[][], loss: number, slope: number, signal?: AbortSignal) =>
			frl.train(
				task,
				clientOf(
					run,
					deviceOf(
						"a",
						memoryData(rows),
						trainerOf(() => [loss, Array<number>(27).fill(slope)]),
					),
					1,
					signal,
				),
			);
		await expect(train([], 1, 0)).rejects.toThrow(expect.objectContaining({ code: "CONFLICT" }));
		await expect(train([[0, 0, 0]], Number.NaN, 0)).rejects.toThrow(expect.objectContaining({ code: "NOT_FINITE" }));
		await expect(train([[0, 0, 0]], 1, Number.NaN)).rejects.toThrow(expect.objectContaining({ code: "NOT_FINITE" }));
		await expect(train([[0, 0, 0]], 1, 0, AbortSignal.abort())).rejects.toThrow(expect.objectContaining({ code: "CANCELLED" }));
		await expect(train([[0, 0, 0]], 1, 0)).resolves.toMatchObject({ header: null, numExamples: 1, metrics: { loss: 1 } });
	});
});
