import { type AnyStrategy, type Batch, builtInStrategies, type Plain } from "@rondo/algorithms";
import { randomFromSeed } from "@rondo/kernels";
import { decodeReport } from "@rondo/rounds";
import { layoutOf } from "@rondo/tensors";
import { describe, expect, test } from "vitest";
import { clientsOf } from "../../test/quadratic.js";
import { type SimulateOptions, type SimulationResult, simulate } from "../simulate.js";
import { forge } from "./forge.js";
import type { ForgeContext, HonestWork } from "./forge-context.js";
import { poisonedData, withoutTraining } from "./poison.js";
import { type AdversarySpec, chooseClients } from "./spec.js";

const builtIn = (name: string): AnyStrategy => builtInStrategies.find((strategy) => strategy.name === name)!;
const layout = layoutOf([
	{ name: "a", shape: [3] },
	{ name: "b", shape: [2] },
]);

/** Lanes: a mean of real numbers, and a ranking within each tensor. */
function contextOf(accepts: (work: HonestWork) => boolean = () => true): ForgeContext {
	const lanes = {
		delta: { length: 4, absMax: 10, combine: "mean", codec: ["f32"] },
		rank: { length: 5, absMax: 5, combine: "sum", codec: ["f32"] },
	} as const;
	const plan = { lanes, leases: 4, closeAt: 4, quorum: 1, deadlineMs: 1000, maxExamples: 10, onMiss: "skip" } as const;
	return { strategy: { ...builtIn("fedavg"), name: "mixed" }, config: {}, layout, plan, random: randomFromSeed("forge"), accepts };
}
const work = (delta: number[], rank: number[]): HonestWork => ({
	header: null,
	lanes: { delta: Float32Array.from(delta), rank: Float64Array.from(rank) },
	numExamples: 3,
	metrics: {},
});
const forged = (spec: AdversarySpec, works: readonly HonestWork[], accepts?: (work: HonestWork) => boolean): Record<string, number[]> => {
	const { lanes } = forge(spec as never, works, contextOf(accepts));
	return Object.fromEntries(Object.entries(lanes).map(([name, values]) => [name, [...values]]));
};
const own = work([1, -2, 0.5, 0], [2, 0, 1, 4, 3]);
const perTensor = work([1, -2, 0.5, 0], [2, 0, 1, 1, 0]);
/** As a codec of rankings of each tensor would decide. */
const ranksOfTensors = ({ lanes }: HonestWork): boolean =>
	[...lanes.rank!.slice(0, 3)].sort().join() === "0,1,2" && [...lanes.rank!.slice(3)].sort().join() === "0,1";

describe("forged lanes", () => {
	test("sign flip: −scale·x, within the bound of the lane", () => {
		expect(forged({ kind: "sign-flip", scale: 6 }, [own]).delta).toEqual([-6, 10, -3, -0]);
		expect(forged({ kind: "sign-flip" }, [own]).delta).toEqual([-1, 2, -0.5, -0]);
	});

	test("reverse: max − x on ranks, in one piece or tensor by tensor as the coordinator demands", () => {
		expect(forged({ kind: "reverse" }, [own])).toEqual({ delta: [1, -2, 0.5, 0], rank: [2, 4, 3, 0, 1] });
		expect(forged({ kind: "reverse" }, [perTensor], ranksOfTensors).rank).toEqual([0, 2, 1, 0, 1]);
	});

	test("reverse: a ranking of the matrices alone is cut between them", () => {
		const shapes = { tensors: [[2, 2], [3], [1, 3]] };
		const context = contextOf(
			({ lanes }) => [...lanes.rank!.slice(0, 4)].sort().join() === "0,1,2,3" && lanes.rank!.slice(4).every((x) => x < 3),
		);
		const matrices = layoutOf(shapes.tensors.map((shape, i) => ({ name: `t${i}`, shape })));
		const plan = { ...context.plan, lanes: { rank: { ...context.plan.lanes.rank!, length: 7 } } };
		const own = { header: null, lanes: { rank: Float64Array.of(3, 0, 1, 2, 0, 2, 1) }, numExamples: 1, metrics: {} };
		const { lanes } = forge({ kind: "reverse" }, [own], { ...context, layout: matrices, plan });
		expect([...lanes.rank!]).toEqual([0, 3, 2, 1, 2, 0, 1]);
	});

	test("colluders send the reverse of their common ranking, or minus a multiple of their mean", () => {
		const others = [work([3, 0, 0.5, 0], [0, 2, 1, 0, 1]), work([5, 2, 0.5, 0], [2, 1, 0, 1, 0])];
		const reverse: AdversarySpec = { kind: "collude", combine: "sum", send: "reverse", scale: 2 };
		// Sums of ranks: [4, 3, 2 | 2, 1], so the common order is 2, 1, 0 | 1, 0.
		expect(forged(reverse, [perTensor, ...others], ranksOfTensors).rank).toEqual([0, 1, 2, 0, 1]);
		expect(forged(reverse, [perTensor, ...others], ranksOfTensors).delta).toEqual([-10, -0, -3, -0]);
		const flip: AdversarySpec = { kind: "collude", combine: "mean", send: "sign-flip", scale: 2 };
		expect(forged(flip, [own, ...others]).delta).toEqual([-6, -0, -1, -0].map((x) => expect.closeTo(x, 12)));
		const opposite: AdversarySpec = { ...flip, send: "opposite" };
		expect(forged(opposite, [perTensor, ...others], ranksOfTensors)).toEqual({
			delta: forged(flip, [perTensor, ...others]).delta,
			rank: forged(reverse, [perTensor, ...others], ranksOfTensors).rank,
		});
	});

	test("noise has the size of the work, or the one that is asked for; ranks stay ranks", () => {
		const wide = (spec: AdversarySpec, delta: Float32Array): Float64Array => {
			const context = contextOf();
			const lane = { length: delta.length, absMax: 100, combine: "mean", codec: ["f32"] } as const;
			const lanes = { delta, rank: Float64Array.from([0]) };
			const plan = { ...context.plan, lanes: { delta: lane, rank: { ...context.plan.lanes.rank!, length: 1 } } };
			return Float64Array.from(forge(spec as never, [{ ...own, lanes }], { ...context, plan }).lanes.delta!);
		};
		const delta = new Float32Array(10_000).fill(3);
		const deviation = (values: Float64Array, mean: number): number =>
			Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
		expect(deviation(wide({ kind: "noise", scale: 2 }, delta), 3)).toBeCloseTo(6, 0);
		expect(deviation(wide({ kind: "free-rider", report: "noise", stdDev: 0.5 }, delta), 0)).toBeCloseTo(0.5, 1);
		const { rank } = forged({ kind: "noise" }, [own]);
		expect([...rank!].sort()).toEqual([0, 1, 2, 3, 4]);
	});

	test("a free rider's zeros are zeros; what would be refused ends the experiment with the reason", () => {
		expect(forged({ kind: "free-rider", report: "zeros" }, [own])).toEqual({ delta: [0, 0, 0, 0], rank: [0, 0, 0, 0, 0] });
		expect(() => forged({ kind: "free-rider", report: "zeros" }, [perTensor], ranksOfTensors)).toThrow(
			"the attack free-rider is not possible: the coordinator would refuse what it makes of the lanes of mixed",
		);
	});
});

describe("poisoned data", () => {
	const labelled = (labels: Int32Array | Float32Array) => ({
		numExamples: labels.length,
		*batches(): Generator<Batch> {
			yield { size: labels.length, inputs: new Float32Array(labels.length), labels };
		},
	});
	const labelsUnder = async (labels: Int32Array | Float32Array, specs: AdversarySpec[]): Promise<number[]> => {
		for await (const batch of poisonedData(labelled(labels), specs).batches(9, randomFromSeed("x"))) return [...batch.labels];
		return [];
	};

	test("classes are exchanged or shifted, one flip after the other; labels that count nowhere stay", async () => {
		const labels = Int32Array.of(0, 1, 2, -100, 1);
		expect(await labelsUnder(labels, [{ kind: "label-flip", from: 1, to: 2 }])).toEqual([0, 2, 2, -100, 2]);
		expect(await labelsUnder(labels, [{ kind: "label-flip", shift: 2, classes: 3 }])).toEqual([2, 0, 1, -100, 0]);
		const twice: AdversarySpec[] = [
			{ kind: "label-flip", from: 1, to: 2 },
			{ kind: "label-flip", from: 2, to: 0 },
		];
		expect(await labelsUnder(labels, twice)).toEqual([0, 0, 0, -100, 0]);
		expect([...labels]).toEqual([0, 1, 2, -100, 1]);
		await expect(labelsUnder(Float32Array.of(1), twice)).rejects.toThrow("label-flip needs examples with class labels");
	});

	test("who replays learns nothing", async () => {
		const [client] = clientsOf(1);
		const idle = withoutTraining(client!.trainer, [{ kind: "free-rider", report: "replay" }]);
		const gradient = Float32Array.of(1, 2, 3);
		const [batch] = client!.data.batches(1, randomFromSeed("x")) as Iterable<Batch>;
		expect([await idle.loss(gradient, batch!), await idle.gradient(new Float32Array(3), batch!, gradient), ...gradient]).toEqual([
			0, 0, 0, 0, 0,
		]);
	});
});

describe("attackers in a federation", () => {
	const base: SimulateOptions = {
		strategy: builtIn("fedavg"),
		options: { cohortSize: 6, learningRate: 0.1, absMax: 20 },
		layout: layoutOf([{ name: "w", shape: [3] }]),
		initial: Float32Array.of(4, 4, 4),
		publicSeed: "01".repeat(32),
		secretSeed: "02".repeat(32),
		clients: clientsOf(6),
		rounds: 1,
	};
	const attacked = (specs: readonly AdversarySpec[], change: Partial<SimulateOptions> = {}) =>
		simulate({
			...base,
			...change,
			clients: clientsOf(6).map((client) => (client.id < "c2" ? { ...client, adversary: specs } : client)),
		});
	/** The delta that each client reported. */
	const deltas = ({ reports, records }: SimulationResult): Map<string, number[]> =>
		new Map(
			records[1]!.accepted.map(({ task, client }) => {
				const lane = decodeReport(reports.get(task)!).lanes.delta as Uint8Array;
				return [client, [...new Float32Array(lane.slice().buffer)]];
			}),
		);

	test("only attackers' reports change", async () => {
		const honest = deltas(await simulate(base));
		const flipped = deltas(await attacked([{ kind: "sign-flip", scale: 3 }]));
		for (const [client, delta] of honest) {
			const scale = client < "c2" ? -3 : 1;
			expect(flipped.get(client)).toEqual(delta.map((x) => expect.closeTo(scale * x, 5)));
		}
	});

	test("colluders send one report, each with its own weight", async () => {
		const honest = deltas(await simulate(base));
		const result = await attacked([{ kind: "collude", combine: "mean", send: "sign-flip", scale: 2 }]);
		const sent = deltas(result);
		const agreed = honest.get("c0")!.map((x, j) => -(x + honest.get("c1")![j]!));
		expect(sent.get("c0")).toEqual(sent.get("c1"));
		expect(sent.get("c0")).toEqual(agreed.map((x) => expect.closeTo(x, 5)));
		expect(sent.get("c3")).toEqual(honest.get("c3"));
		expect(result.records[1]!.accepted.map(({ numExamples }) => numExamples)).toEqual([1, 2, 3, 4, 5, 6]);
	});
	test("what is opposite depends on the lanes: updates turn around, and nothing is refused for the lack of ranks", async () => {
		const collude = { kind: "collude", combine: "mean", scale: 2 } as const;
		const [opposite, flipped] = [await attacked([{ ...collude, send: "opposite" }]), await attacked([{ ...collude, send: "sign-flip" }])];
		expect(opposite.phase).toBe("completed");
		expect(opposite.weights).toEqual(flipped.weights);
		await expect(attacked([{ ...collude, send: "reverse" }])).rejects.toThrow(/collude turns "sum" lanes around, and \S+ has none/);
	});

	test("attacks follow each other", async () => {
		const once = deltas(await attacked([{ kind: "sign-flip", scale: 2 }]));
		const twice = deltas(
			await attacked([
				{ kind: "sign-flip", scale: 2 },
				{ kind: "sign-flip", scale: 0.5 },
			]),
		);
		expect(twice.get("c0")).toEqual(once.get("c0")!.map((x) => expect.closeTo(-x / 2, 5)));
	});

	test("a header that lanes are unpacked from is forged by its numbers", async () => {
		const options = { cohortSize: 6, candidates: 8, localSteps: 3, learningRate: 0.05 };
		const change = { strategy: builtIn("fedkseed"), options };
		const headers = ({ reports, records }: SimulationResult): Map<string, [Uint16Array, Float32Array]> =>
			new Map(
				records[1]!.accepted.map(({ task, client }) => [
					client,
					decodeReport(reports.get(task)!).header as unknown as [Uint16Array, Float32Array],
				]),
			);
		const honest = headers(await attacked([], change));
		const flipped = headers(await attacked([{ kind: "sign-flip", scale: 4 }], change));
		const zeros = headers(await attacked([{ kind: "free-rider", report: "zeros" }], change));
		const noisy = headers(await attacked([{ kind: "noise", scale: 1 }], change));
		expect(flipped.get("c1")![0]).toEqual(honest.get("c1")![0]);
		expect(flipped.get("c1")![1]).toEqual(honest.get("c1")![1].map((x) => -4 * x));
		expect([...zeros.get("c0")![1]]).toEqual([0, 0, 0]);
		expect(noisy.get("c0")![1]).not.toEqual(honest.get("c0")![1]);
		for (const sent of [flipped, zeros, noisy]) expect(sent.get("c4")).toEqual(honest.get("c4"));
		// A bound of the strategy weakens the attack instead of giving it away.
		const most = Math.max(...[...honest.values()].flatMap(([, gradients]) => [...gradients].map(Math.abs)));
		const bounded = { ...change, options: { ...options, maxAbsGradient: 1.5 * most } };
		const [, weakened] = headers(await attacked([{ kind: "sign-flip", scale: 1000 }], bounded)).get("c1")!;
		expect(weakened.every((x) => Math.abs(x) <= 1.5 * most)).toBe(true);
		expect(Math.sign(weakened[0]!)).toBe(-Math.sign(honest.get("c1")![1][0]!));
	});

	test("a header with an order is reversed, and one whose numbers mean something else is left alone", async () => {
		/** Ballots: the header is the order of three candidates, lowest first; the lane their ranks. */
		const ballots = (headerOf: (order: Uint32Array) => Plain, orderOf: (header: Plain) => Uint32Array): AnyStrategy => ({
			...builtIn("fedavg"),
			name: "ballots",
			bounds: () => ({ task: 1000, download: 1000, report: 1000 }),
			plan: (_state, at) => ({
				...builtIn("fedavg").plan(_state, at),
				lanes: { rank: { length: 3, absMax: 2, combine: "sum", codec: ["f32"] } },
			}),
			unpack(header) {
				const rank = new Float64Array(3);
				for (const [place, at] of orderOf(header).entries()) rank[at] = place;
				return { rank };
			},
			finish: (state) => ({ state }),
			train: async () => ({ header: headerOf(Uint32Array.of(2, 0, 1)), lanes: {}, numExamples: 1 }),
		});
		const open = ballots(
			(order) => ({ order }),
			(header) => (header as unknown as { order: Uint32Array }).order,
		);
		const result = await attacked([{ kind: "reverse" }], { strategy: open });
		const orders = result.records[1]!.accepted.map(({ task }) => [
			...(decodeReport(result.reports.get(task)!).header as unknown as { order: Uint32Array }).order,
		]);
		expect(orders).toEqual([[1, 0, 2], [1, 0, 2], ...Array(4).fill([2, 0, 1])]);
		const opaque = ballots(
			(order) => order.join("-"),
			(header) => Uint32Array.from((header as string).split("-"), Number),
		);
		await expect(attacked([{ kind: "reverse" }], { strategy: opaque })).rejects.toThrow(
			/the attack reverse is not possible: no change of the numbers in the header of ballots does to its lanes what the attack wants/,
		);
	});

	test.each<[string, AdversarySpec, string, RegExp]>([
		["without ranks", { kind: "reverse" }, "fedavg", /reverse turns "sum" lanes around, and fedavg has none/],
		[
			"of headers that cannot be combined",
			{ kind: "collude", combine: "sum", send: "sign-flip" },
			"fedkseed",
			/fedkseed reports a header .* headers of several clients cannot be combined/,
		],
		["of a scale that is none", { kind: "sign-flip", scale: 0 }, "fedavg", /adversary of c0\[0\]\.scale must be a positive number, got 0/],
		["of a class for itself", { kind: "label-flip", from: 2, to: 2 }, "fedavg", /\.to must be another class than from \(2\), got 2/],
		["by all classes", { kind: "label-flip", shift: 10, classes: 10 }, "fedavg", /\.shift must be no multiple of classes \(10\), got 10/],
	])("an attack %s is refused before anything runs", async (_what, spec, name, message) => {
		const commits: number[] = [];
		const strategy = builtIn(name);
		const options = { cohortSize: 6 };
		await expect(attacked([spec], { strategy, options, onCommit: ({ commit }) => void commits.push(commit) })).rejects.toMatchObject({
			code: "INVALID_ARGUMENT",
			message: expect.stringMatching(message),
		});
		expect(commits).toEqual([]);
	});

	test("groups are drawn by number or share", () => {
		const ids = Array.from({ length: 50 }, (_, i) => `c${i}`);
		const chosen = chooseClients(ids, { share: 0.2 }, randomFromSeed("a"));
		expect([chosen.length, new Set(chosen).size]).toEqual([10, 10]);
		expect(chooseClients(ids, { count: 10 }, randomFromSeed("a"))).toEqual(chosen);
		expect(chooseClients(ids, { count: 10 }, randomFromSeed("b"))).not.toEqual(chosen);
		expect(() => chooseClients(ids, { count: 51 }, randomFromSeed("a"))).toThrow("count must be an integer from 0 to 50, got 51");
		expect(() => chooseClients(ids, { count: 1, share: 0.1 }, randomFromSeed("a"))).toThrow("either a count or a share");
	});
});
