import { type Chunk, type ClientId, type Lane, type Metrics, type Plan, readsOf, type Stack } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { gridOf, normalizedWeight, REDUCTION_TILE } from "@rondo/kernels";
import type { AcceptedReport } from "../log-types.js";
import type { TaskId } from "../machine-types.js";
import { type FoldContext, laneRange } from "./lanes.js";
import { mostReports } from "./plan-check.js";
import type { ReportLookup } from "./received.js";
import { checkMetrics } from "./report.js";

/** Decoded elements of all reports that are held at once, bytes. Memory only: results do not depend on it. */
const CHUNK_BYTES = 128 * 1024 * 1024;

/** What the reducers of a plan make of a round. */
export interface ReducedLanes {
	readonly lanes: { readonly [name: string]: Float64Array };
	/** `reducer.<score>`, or `reducer.<lane>.<score>` where several lanes have one. */
	readonly scores: ReadonlyMap<ClientId, Metrics>;
}

/** Whether `finish` needs the accepted reports themselves: for the strategy, or for a reducer. */
export const needsReports = ({ strategy, config }: Pick<FoldContext, "strategy" | "config">, plan: Plan): boolean =>
	readsOf(strategy, config) === "reports" || reducedOf(plan).length > 0;

const reducedOf = (plan: Plan) =>
	Object.entries(plan.lanes).flatMap(([name, lane]) => (lane.reducer === undefined ? [] : [{ name, lane, spec: lane.reducer }]));

/**
 * Applies the reducers of the plan to the accepted reports, which are read again, chunk by chunk.
 * @param accepted in client-id order
 * @param weights in examples
 * @param chunkBytes bound of the decoded elements held at once
 * @throws as `checkReport`, and what a reducer throws; the message names lane and reducer
 */
export function reduceLanes(
	context: FoldContext,
	plan: Plan,
	accepted: readonly AcceptedReport[],
	reports: ReportLookup,
	weights: ReadonlyMap<TaskId, number>,
	chunkBytes = CHUNK_BYTES,
): ReducedLanes {
	const reduced = reducedOf(plan);
	const lanes: Record<string, Float64Array> = {};
	const scores = new Map<ClientId, Record<string, number>>();
	for (const { name, lane, spec } of reduced) {
		const reducer = context.reducer(spec);
		const [, ...args] = spec;
		const where = `lane ${name}, reducer ${reducer.name}`;
		reducer.check(args, { least: accepted.length, most: accepted.length });
		const shares = accepted.map(({ task }) => normalizedWeight(weights.get(task)!, plan.maxExamples));
		const read = (i: number, from: number, to: number) => laneRange(context, plan, reports(accepted[i]!.task), name, from, to);
		const { center, scores: own } = reducer.reduce(stackOf(lane, gridOf(lane.absMax, mostReports(plan)), shares, read, chunkBytes), args);
		if (center.length !== lane.length || own.length !== accepted.length)
			throw new RondoError(
				"SHAPE_MISMATCH",
				`${where}: ${center.length} elements and ${own.length} scores, expected ${lane.length} and ${accepted.length}`,
			);
		const odd = center.findIndex((value) => !Number.isFinite(value));
		if (odd >= 0) throw new RondoError("NOT_FINITE", `${where}: element ${odd} is ${center[odd]}`);
		lanes[name] = center;
		const prefix = reduced.length === 1 ? "reducer" : `reducer.${name}`;
		own.forEach((metrics, i) => {
			checkMetrics(metrics, `${where}, scores`);
			const { client } = accepted[i]!;
			const all = scores.get(client) ?? {};
			for (const [metric, value] of Object.entries(metrics)) all[`${prefix}.${metric}`] = value;
			scores.set(client, all);
		});
	}
	return { lanes, scores };
}

/** Scores of the strategy and of reducers, together. */
export function mergeScores(a: ReadonlyMap<ClientId, Metrics>, b: ReadonlyMap<ClientId, Metrics>): ReadonlyMap<ClientId, Metrics> {
	if (a.size === 0 || b.size === 0) return a.size === 0 ? b : a;
	return new Map([...new Set([...a.keys(), ...b.keys()])].map((client) => [client, { ...a.get(client), ...b.get(client) }]));
}

function stackOf(
	{ length }: Lane,
	grid: number,
	weights: readonly number[],
	read: (i: number, from: number, to: number) => Float32Array | Float64Array,
	chunkBytes: number,
): Stack {
	const everyone = weights.map((_, i) => i);
	return {
		count: weights.length,
		length,
		grid,
		weights,
		*chunks(which = everyone): Generator<Chunk> {
			const step = REDUCTION_TILE * Math.max(1, Math.floor(chunkBytes / (REDUCTION_TILE * Float64Array.BYTES_PER_ELEMENT * which.length)));
			for (let from = 0; from < length; from += step) {
				const rows = which.map((i) => read(i, from, Math.min(from + step, length)));
				yield { from, rows: ofOneType(rows) };
			}
		},
	};
}

/** A codec may decode some reports to float32 and others to float64: kernels want one type. */
function ofOneType(rows: readonly (Float32Array | Float64Array)[]): Chunk["rows"] {
	if (rows.every((row) => row instanceof Float32Array)) return rows;
	return rows.map((row) => (row instanceof Float64Array ? row : Float64Array.from(row)));
}
