import { foldInto, gridOf, meanOf, normalizedWeight, permutation, type Random, randomFromSeed, sumOf } from "@rondo/kernels";
import { type Layout, layoutOf } from "@rondo/tensors";
import { resolveConfig } from "../src/config.js";
import type { At, Batch, Client, Data, Folded, Io, LogValue, Outcome, Plan, Strategy, Trainer, Types, Work } from "../src/contract.js";
import {
	type ArrayOf,
	arrayFrom,
	bytesOf,
	contentDigest,
	type DType,
	decodePlain,
	encodePlain,
	type Plain,
	type Vec,
	vecOf,
} from "../src/plain.js";
import { createRegistry } from "../src/registry.js";

/** A content store in memory, written and read as the server half does (`io`) and as devices do (`read`, `keep`). */
export interface MemoryStore {
	readonly io: Io;
	keep<D extends DType>(dtype: D, array: ArrayOf<D>): Vec<D>;
	forget(): void;
}

/** @param tile elements per tile, odd and small so that tile edges are crossed */
export function memoryStore(tile = 7): MemoryStore {
	const blobs = new Map<string, Uint8Array>();
	const keep = <D extends DType>(dtype: D, array: ArrayOf<D>): Vec<D> => {
		const bytes = bytesOf(array).slice();
		const digest = contentDigest(bytes);
		blobs.set(digest, bytes);
		return vecOf(dtype, array.length, digest);
	};
	const io: Io = {
		read(vec, from = 0, to = vec.length) {
			const bytes = blobs.get(vec.sha256);
			if (bytes === undefined) throw new Error(`no blob ${vec.sha256}`);
			return arrayFrom(vec.dtype, bytes.slice()).slice(from, to) as ArrayOf<typeof vec.dtype>;
		},
		write(dtype, length, tileOf) {
			const all = arrayFrom(dtype, new Uint8Array(8 * length)).slice(0, length) as ArrayOf<typeof dtype>;
			for (let from = 0; from < length; from += tile) {
				const to = Math.min(length, from + tile);
				const part = tileOf(from, to);
				if (part.length !== to - from) throw new Error(`tile ${from} to ${to} has ${part.length} elements`);
				all.set(part, from);
			}
			return keep(dtype, all);
		},
	};
	return { io, keep, forget: () => blobs.clear() };
}

/** Examples in memory: rows of features, one class each. */
export function memoryData(rows: readonly (readonly number[])[], labels: readonly number[] = rows.map(() => 0)): Data {
	return {
		numExamples: rows.length,
		*batches(size, order) {
			for (let epoch = 0; rows.length > 0; epoch++) {
				const turn = permutation(order.at("epoch", epoch), rows.length);
				for (let from = 0; from < rows.length; from += size) {
					const ids = [...turn.subarray(from, from + size)];
					yield {
						size: ids.length,
						inputs: Float32Array.from(ids.flatMap((i) => rows[i]!)),
						labels: Int32Array.from(ids, (i) => labels[i]!),
					};
				}
			}
		},
	};
}

/** A trainer from a loss that also returns its gradient, both in float64. */
export function trainerOf(lossAndGradient: (weights: ArrayLike<number>, batch: Batch) => readonly [number, readonly number[]]): Trainer {
	return {
		loss: async (weights, batch) => lossAndGradient(weights, batch)[0],
		gradient: async (weights, batch, out) => {
			const [loss, gradient] = lossAndGradient(weights, batch);
			out.set(gradient);
			return loss;
		},
		evaluate: async () => ({ loss: 0 }),
	};
}

/** ½·mean over rows of ‖w − row‖². */
export function quadratic(weights: ArrayLike<number>, { inputs, size }: Batch): readonly [number, readonly number[]] {
	const d = weights.length;
	const gradient = new Array<number>(d).fill(0);
	let loss = 0;
	for (let i = 0; i < inputs.length; i++) {
		const difference = weights[i % d]! - inputs[i]!;
		loss += (0.5 * difference * difference) / size;
		gradient[i % d]! += difference / size;
	}
	return [loss, gradient];
}

/** Softmax regression: weights are `classes` rows of features, then `classes` biases; mean cross-entropy. */
export const softmax =
	(features: number, classes: number) =>
	(weights: ArrayLike<number>, { inputs, labels, size }: Batch): readonly [number, readonly number[]] => {
		const gradient = new Array<number>(weights.length).fill(0);
		let loss = 0;
		for (let i = 0; i < size; i++) {
			const x = Array.from(inputs.subarray(i * features, (i + 1) * features));
			const scores = Array.from({ length: classes }, (_, c) =>
				x.reduce((sum, value, f) => sum + value * weights[c * features + f]!, weights[classes * features + c]!),
			);
			const total = scores.reduce((sum, score) => sum + Math.exp(score), 0);
			loss += (Math.log(total) - scores[labels[i]!]!) / size;
			scores.forEach((score, c) => {
				const error = (Math.exp(score) / total - (c === labels[i] ? 1 : 0)) / size;
				x.forEach((value, f) => {
					gradient[c * features + f]! += error * value;
				});
				gradient[classes * features + c]! += error;
			});
		}
		return [loss, gradient];
	};

/** A device of the fixture; its cache lives from round to round. */
export interface Device {
	readonly id: string;
	readonly data: Data;
	readonly trainer: Trainer;
	readonly cache: Map<string, Plain>;
	readonly store: MemoryStore;
}

export const deviceOf = (id: string, data: Data, trainer: Trainer): Device => ({
	id,
	data,
	trainer,
	cache: new Map(),
	store: memoryStore(),
});

/** One run: a strategy with its options over a store. */
export interface Run<T extends Types> {
	readonly strategy: Strategy<T>;
	readonly config: T["config"];
	readonly layout: Layout;
	readonly store: MemoryStore;
	readonly initial: Vec<"f32">;
	readonly shared: Random;
	/** What `playRound` published. */
	readonly log: LogValue[];
}

export function runOf<T extends Types>(strategy: Strategy<T>, options: object, weights: readonly number[], seed = "fixture"): Run<T> {
	const layout = layoutOf([{ name: "w", shape: [weights.length] }]);
	const store = memoryStore();
	const config = resolveConfig(strategy, options, layout);
	return { strategy, config, layout, store, log: [], initial: store.keep("f32", Float32Array.from(weights)), shared: randomFromSeed(seed) };
}

export const atOf = <T extends Types>(run: Run<T>, round = 1): At<T> => ({
	config: run.config,
	layout: run.layout,
	initial: run.initial,
	io: run.store.io,
	shared: run.shared,
	round,
	track: 0,
	commit: round - 1,
	population: 10,
	members: () => [],
});

export function clientOf<T extends Types>(run: Run<T>, device: Device, round = 1, signal = new AbortController().signal): Client<T> {
	return {
		id: device.id,
		round,
		config: run.config,
		layout: run.layout,
		initial: run.initial,
		trainer: device.trainer,
		data: device.data,
		signal,
		shared: run.shared,
		secret: randomFromSeed(`secret of ${device.id}`).at("task", round),
		carry: undefined,
		cache: { get: (key) => device.cache.get(key), set: (key, value) => void device.cache.set(key, decodePlain(encodePlain(value))) },
		read: async (vec) => {
			try {
				return run.store.io.read(vec);
			} catch {
				return device.store.io.read(vec);
			}
		},
		log: async function* (afterCommit, upTo) {
			for (const entry of run.log) if (entry.commit > afterCommit && entry.commit <= upTo) yield entry;
		},
		keep: device.store.keep,
		progress: () => {},
	};
}

/** The lanes of a report as the engine sees them: what `unpack` gives, or what survives the codec. */
export function lanesOf<T extends Types>(run: Run<T>, work: Work<T>, plan: Plan): { readonly [lane: string]: Float64Array | Float32Array } {
	if (run.strategy.unpack) return run.strategy.unpack(decodePlain(encodePlain(work.header)) as T["report"], plan, run);
	const registry = createRegistry();
	return Object.fromEntries(
		Object.entries(plan.lanes).map(([name, lane]) => {
			const codec = registry.codec(lane.codec);
			return [name, codec.decode(codec.encode(work.lanes[name]!, lane, randomFromSeed(`codec of ${name}`)).slice(), lane)];
		}),
	);
}

/** The exact weighted sum of reports, in the given order; `staleness` of each, if any is stale. */
export function foldOf<T extends Types>(run: Run<T>, works: readonly Work<T>[], plan: Plan, staleness: readonly number[] = []): Folded<T> {
	const weights = works.map((work, i) => {
		const clamped = Math.min(work.numExamples, plan.maxExamples);
		return normalizedWeight(run.strategy.weigh?.(clamped, staleness[i] ?? 0, run.config) ?? clamped, plan.maxExamples);
	});
	const total = weights.reduce((sum, w) => sum + w, 0);
	const lanes = works.map((work) => lanesOf(run, work, plan));
	const combined = Object.entries(plan.lanes).map(([name, lane]) => {
		const grid = gridOf(lane.absMax, Math.max(plan.leases, plan.closeAt));
		const sum = new Float64Array(lane.length);
		works.forEach((_, i) => {
			foldInto(sum, lanes[i]![name]!, lane.combine === "mean" ? weights[i]! : 1, grid);
		});
		return [name, lane.combine === "mean" ? meanOf(sum, grid, total) : sumOf(sum, grid)];
	});
	return { lanes: Object.fromEntries(combined), weight: total, count: works.length, reports: [] };
}

export interface Played<T extends Types> {
	readonly outcome: Outcome<T>;
	readonly works: readonly Work<T>[];
	readonly plan: Plan;
	readonly model: Float32Array;
}

/** One round in which every device reports; state and task pass through their encoding. */
export async function playRound<T extends Types>(
	run: Run<T>,
	state: T["state"],
	round: number,
	devices: readonly Device[],
	order: (works: readonly Work<T>[]) => readonly Work<T>[] = (works) => works,
): Promise<Played<T>> {
	const at = atOf(run, round);
	const plan = run.strategy.plan(state, at);
	const task = decodePlain(encodePlain(run.strategy.task(state, undefined, at))) as T["task"];
	const works: Work<T>[] = [];
	for (const device of devices) works.push(await run.strategy.train(task, clientOf(run, device, round)));
	const outcome = run.strategy.finish(state, foldOf(run, order(works), plan), at);
	const next = decodePlain(encodePlain(outcome.state)) as T["state"];
	run.log.push({ commit: round, track: 0, round, value: decodePlain(encodePlain(outcome.publish ?? null)) });
	return { outcome: { ...outcome, state: next }, works, plan, model: run.store.io.read(run.strategy.model!(next, undefined, at)) };
}
