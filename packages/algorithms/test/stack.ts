import { fillGaussian4, gridOf, REDUCTION_TILE, randomFromSeed } from "@rondo/kernels";
import type { Chunk, Reduced, Reducer, Stack } from "../src/contract.js";
import type { Plain } from "../src/plain.js";

export interface StackOptions {
	/** Shares of the largest weight; default: 1 each. */
	readonly weights?: readonly number[];
	/** Tiles of a chunk. */
	readonly tiles?: number;
	readonly absMax?: number;
	/** As the reports are decoded; default: float32. */
	readonly type?: Float32ArrayConstructor | Float64ArrayConstructor;
}

/** Reports in memory, rounded to float32. */
export function stackOf(rows: readonly ArrayLike<number>[], options: StackOptions = {}): Stack {
	const { tiles = 2, absMax = 16, type = Float32Array } = options;
	const reports = rows.map((row) => type.from(Float32Array.from(row)));
	const length = reports[0]!.length;
	return {
		count: rows.length,
		length,
		grid: gridOf(absMax, rows.length),
		weights: options.weights ?? rows.map(() => 1),
		*chunks(which = rows.map((_, i) => i)): Generator<Chunk> {
			const step = tiles * REDUCTION_TILE;
			for (let from = 0; from < length; from += step)
				yield { from, rows: which.map((i) => reports[i]!.slice(from, from + step)) as Chunk["rows"] };
		},
	};
}

/** Checks, then reduces. */
export function reduced(
	reducer: Reducer,
	rows: readonly ArrayLike<number>[],
	args: readonly Plain[] = [],
	options?: StackOptions,
): Reduced {
	reducer.check(args, { least: rows.length, most: rows.length });
	return reducer.reduce(stackOf(rows, options), args);
}

/** One score of every report. */
export const scoresOf = ({ scores }: Reduced, name: string): number[] => scores.map((metrics) => metrics[name]!);

/** Independent numbers of mean 0 and variance 1. */
export const gaussians = (seed: string, count: number): Float64Array => fillGaussian4(randomFromSeed(seed), 0, new Float64Array(count));

/** Reports around one direction, all of `length`. */
export function honestRows(seed: string, count: number, length: number, spread = 0.5): Float32Array[] {
	const truth = gaussians(`${seed} truth`, length);
	return Array.from({ length: count }, (_, i) => {
		const own = gaussians(`${seed} ${i}`, length);
		return Float32Array.from(truth, (x, j) => x + spread * own[j]!);
	});
}

export const distance = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
	Math.sqrt(Array.from(a, (x, j) => (x - b[j]!) ** 2).reduce((sum, square) => sum + square, 0));

export const meanOfRows = (rows: readonly ArrayLike<number>[]): number[] =>
	Array.from(rows[0]!, (_, j) => rows.reduce((sum, row) => sum + row[j]!, 0) / rows.length);

export const asFloat32 = (rows: readonly ArrayLike<number>[]): number[][] => rows.map((row) => [...Float32Array.from(row)]);
