import { decodePlain, type Metrics } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { AcceptedReport, RoundKey, RoundState, TaskId } from "@rondo/rounds";
import type { FinishResult } from "../engine/engine.js";
import type { ReportRow } from "../store/store.js";

/** An open round with what the machine does not carry. */
export interface OpenRound {
	readonly population: number;
	/** Frozen task of an evaluation: the state may have moved on when it is leased. */
	readonly payload: Uint8Array | null;
	/** Contents of accepted reports; small, because large lanes are blobs. */
	readonly reports: Map<TaskId, ReportRow>;
	outcome?: FinishResult;
	evaluation?: Metrics;
}

export const keyOf = (round: RoundState): RoundKey => ({ kind: round.kind, round: round.round, attempt: round.attempt });
export const sameKey = (a: RoundKey, b: RoundKey): boolean => a.kind === b.kind && a.round === b.round && a.attempt === b.attempt;

/** What the log records of these tasks. */
export function acceptedOf(open: OpenRound, tasks: readonly TaskId[]): AcceptedReport[] {
	return tasks.map((task) => {
		const report = open.reports.get(task);
		if (report === undefined) throw new RondoError("INTERNAL", `task ${task} is in the frozen set without a report`);
		const { client, numExamples, staleness, sequence, digest } = report;
		return { task, client, numExamples, staleness, sequence, digest };
	});
}

/** The numbers that an evaluator reported. */
export function evaluationMetrics(report: ReportRow): Metrics {
	const { metrics, numExamples } = decodePlain(report.content) as { metrics: Metrics; numExamples: number };
	return { ...metrics, numExamples };
}
