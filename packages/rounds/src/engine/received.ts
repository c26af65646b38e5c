import type { Plain, Plan, Received } from "@rondo/algorithms";
import type { AcceptedReport } from "../log-types.js";
import type { TaskId } from "../machine-types.js";
import { type FoldContext, laneOf } from "./lanes.js";
import type { Report } from "./report.js";

/** Decoded lanes kept at once for strategies that read them tile by tile, bytes. */
const LANE_CACHE_BYTES = 128 * 1024 * 1024;

/** Finds an accepted report by its task. @throws BLOB_MISSING or NOT_FOUND */
export type ReportLookup = (task: TaskId) => Report;

/**
 * The accepted reports as `finish` reads them, in the given order. Lanes are decoded when they are asked for; the
 * newest decoded ones are kept up to a bound, so that memory does not grow with the number of reports.
 */
export function receivedReports(
	context: FoldContext,
	plan: Plan,
	accepted: readonly AcceptedReport[],
	reports: ReportLookup,
	weights: ReadonlyMap<TaskId, number>,
	members: ReadonlyMap<string, Plain>,
): Received[] {
	const cache = new Map<string, Float64Array | Float32Array>();
	let cached = 0;
	const decoded = (task: TaskId, name: string): Float64Array | Float32Array => {
		const key = `${task}/${name}`;
		const values = cache.get(key) ?? laneOf(context, plan, reports(task), name);
		if (cache.delete(key)) cached -= values.byteLength;
		cache.set(key, values);
		cached += values.byteLength;
		for (const [oldest, { byteLength }] of cache) {
			if (cached <= LANE_CACHE_BYTES || oldest === key) break;
			cache.delete(oldest);
			cached -= byteLength;
		}
		return values;
	};
	return accepted.map(({ task, client, staleness }) => ({
		client,
		staleness,
		weight: weights.get(task)!,
		// On demand: the headers of a whole cohort need not be in memory at once.
		get header() {
			return reports(task).header;
		},
		member: members.get(client),
		lane: (name, from = 0, to = Number.POSITIVE_INFINITY) => Float64Array.from(decoded(task, name).subarray(from, to)),
	}));
}
