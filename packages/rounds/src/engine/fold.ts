import type { Metrics, Plan } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { allocateVector, foldInto, gridOf, meanOf, releaseVector, sumOf } from "@rondo/kernels";
import type { AcceptedReport } from "../log-types.js";
import type { TaskId } from "../machine-types.js";
import { checkReport, type FoldContext } from "./lanes.js";
import { mostReports } from "./plan-check.js";
import type { Report } from "./report.js";

/** What a fold makes of an accepted set. */
export interface FoldResult {
	/** But for those with a reducer. */
	readonly lanes: { readonly [name: string]: Float64Array };
	/** Σ weight, in examples. */
	readonly weight: number;
	/** In examples, by task. */
	readonly weights: ReadonlyMap<TaskId, number>;
	/** Weighted means of the reports' metrics. */
	readonly metrics: Metrics;
}

interface Entry {
	/** Share of `plan.maxExamples`. */
	readonly weight: number;
	readonly metrics: Metrics;
}

/**
 * Streaming exact sum of a round's reports: memory for one vector per lane and a few numbers per report. Each weighted
 * value is rounded once to the lane's grid, after which float64 additions are exact: any order, and any detour through
 * another fold of the same reports, gives the same bytes.
 */
export class Fold {
	readonly #context: FoldContext;
	readonly #plan: Plan;
	readonly #sums: ReadonlyMap<string, { readonly sum: Float64Array; readonly grid: number; readonly mean: boolean }>;
	readonly #entries = new Map<TaskId, Entry>();
	#weight = 0;
	#released = false;

	constructor(context: FoldContext, plan: Plan) {
		this.#context = context;
		this.#plan = plan;
		this.#sums = new Map(
			Object.entries(plan.lanes)
				// A reducer reads the reports when the round ends; their sum would serve nobody.
				.filter(([, { reducer }]) => reducer === undefined)
				.map(([name, { length, absMax, combine }]) => [
					name,
					{ sum: newSum(length), grid: gridOf(absMax, mostReports(plan)), mean: combine === "mean" },
				]),
		);
	}

	/** Frees the memory of the sums; the fold must not be used any more. */
	release(): void {
		if (this.#released) return;
		this.#released = true;
		for (const { sum } of this.#sums.values()) releaseVector(sum);
	}

	/** Tasks whose reports are in the sum. */
	get tasks(): Iterable<TaskId> {
		return this.#entries.keys();
	}

	/** Whether this task's report is in the sum. */
	has(task: TaskId): boolean {
		return this.#entries.has(task);
	}

	/** Whether exactly these tasks are in the sum. */
	covers(accepted: readonly AcceptedReport[]): boolean {
		return accepted.length === this.#entries.size && accepted.every(({ task }) => this.has(task));
	}

	/**
	 * Adds a report; a task that is in the sum already is left alone. Nothing changes when the report is refused.
	 * @param staleness commits between the task and this round
	 * @throws as `checkReport`; CONFLICT for more reports than the plan may have, beyond which the sum would not be exact
	 */
	add(task: TaskId, report: Report, staleness = 0): void {
		if (this.#entries.has(task)) return;
		const most = mostReports(this.#plan);
		if (this.#entries.size >= most) {
			const of = this.#plan.maxStaleness === undefined ? `with ${most} leases` : `that closes at ${most} reports`;
			throw new RondoError("CONFLICT", `task ${task} would be report ${this.#entries.size + 1} of a plan ${of}`);
		}
		const { lanes, weight } = checkReport(this.#context, this.#plan, report, staleness);
		for (const [name, { sum, grid, mean }] of this.#sums) foldInto(sum, lanes[name]!, mean ? weight : 1, grid);
		this.#weight += weight;
		this.#entries.set(task, { weight, metrics: report.metrics });
	}

	/**
	 * The combined lanes and metrics; the fold can go on afterwards.
	 * @param accepted the reports in the sum, in client-id order
	 * @throws CONFLICT when the sum is of another set, or empty
	 */
	result(accepted: readonly AcceptedReport[]): FoldResult {
		if (accepted.length === 0) throw new RondoError("CONFLICT", "a round without reports has no result");
		if (!this.covers(accepted))
			throw new RondoError("CONFLICT", `the fold holds ${this.#entries.size} reports, not the ${accepted.length} accepted ones`);
		const { maxExamples } = this.#plan;
		return {
			lanes: Object.fromEntries(
				Array.from(this.#sums, ([name, { sum, grid, mean }]) => [name, mean ? meanOf(sum, grid, this.#weight) : sumOf(sum, grid)]),
			),
			weight: this.#weight * maxExamples,
			weights: new Map(accepted.map(({ task }) => [task, this.#entries.get(task)!.weight * maxExamples])),
			metrics: meanMetrics(accepted.map(({ task }) => this.#entries.get(task)!)),
		};
	}
}

/** Kernels sum in place, and on several threads, what lies in their memory; short sums are not worth the trouble. */
const newSum = (length: number): Float64Array => (length < 65_536 ? new Float64Array(length) : allocateVector(Float64Array, length));

/**
 * Weighted means, summed in the given order. A metric needs at least half of the reports: otherwise a few clients could
 * fill the log with names of their own.
 */
function meanMetrics(entries: readonly Entry[]): Metrics {
	const totals = new Map<string, { count: number; weight: number; sum: number }>();
	for (const { weight, metrics } of entries) {
		for (const [name, value] of Object.entries(metrics)) {
			const total = totals.get(name) ?? { count: 0, weight: 0, sum: 0 };
			totals.set(name, { count: total.count + 1, weight: total.weight + weight, sum: total.sum + weight * value });
		}
	}
	const common = [...totals].filter(([, { count }]) => 2 * count >= entries.length).sort(([a], [b]) => (a < b ? -1 : 1));
	return Object.fromEntries(common.map(([name, { weight, sum }]) => [name, sum / weight]));
}
