import { RondoError } from "@rondo/errors";
import type { Plan } from "./contract.js";

/** Options that every strategy with rounds of a drawn cohort shares. */
export interface CohortOptions {
	/** Reports that close a round. */
	readonly cohortSize: number;
	/** Clients asked beyond `cohortSize`; the slowest of them are not waited for. */
	readonly overSelect: number;
	/** Fewest reports that may commit at the deadline; 0: half of `cohortSize`, rounded up. */
	readonly quorum: number;
	/** Time for one attempt at a round, milliseconds. */
	readonly deadlineMs: number;
	/** Clamp of the claimed number of examples, hence the largest weight. */
	readonly maxExamples: number;
	/** What follows a deadline below the quorum. */
	readonly onMiss: "replan" | "skip";
}

/** Option of a strategy whose rounds may be asynchronous. */
export interface AsyncOptions {
	/** Commits after which a report counts no more; 0: synchronous rounds. */
	readonly maxStaleness: number;
}

/** As JSON Schema (draft 7). The defaults end every round although clients vanish: half a cohort commits at the deadline. */
export const sharedProperties = {
	cohortSize: { type: "integer", minimum: 1, maximum: 100_000, default: 10, description: "reports that close a round" },
	overSelect: { type: "integer", minimum: 0, maximum: 100_000, default: 0, description: "clients asked beyond cohortSize" },
	quorum: {
		type: "integer",
		minimum: 0,
		maximum: 100_000,
		default: 0,
		description: "fewest reports that commit at the deadline; 0: half of cohortSize, rounded up",
	},
	deadlineMs: {
		type: "integer",
		minimum: 1,
		maximum: 604_800_000,
		default: 600_000,
		description: "time for one attempt at a round, milliseconds",
	},
	maxExamples: {
		type: "integer",
		minimum: 1,
		maximum: 1_000_000_000,
		default: 1_000_000,
		description: "clamp of a client's number of examples, hence of its weight",
	},
	onMiss: {
		type: "string",
		enum: ["replan", "skip"],
		default: "replan",
		description: "below the quorum at the deadline: try again, or skip the round",
	},
} as const;

/** The option as JSON Schema properties: `cohortSchema({ ...own, ...asyncProperties })`. */
export const asyncProperties = {
	maxStaleness: {
		type: "integer",
		minimum: 0,
		maximum: 1000,
		default: 0,
		description: "0: synchronous rounds; above: slow clients report to later rounds, at most this many commits late",
	},
} as const;

/**
 * The option's part of a plan: `{ ...cohortPlan(config), ...asyncPlan(config), lanes }`. Leases stay, and are handed out again.
 * Stored options of a run that is older than this one do not have it: its rounds stay synchronous.
 */
export const asyncPlan = ({ maxStaleness }: Partial<AsyncOptions>): Pick<Plan, "maxStaleness"> =>
	maxStaleness === undefined || maxStaleness === 0 ? {} : { maxStaleness };

/** Schema of a strategy's options: its own properties, then the shared ones, unless it shares only some. */
export const cohortSchema = (
	properties: Readonly<Record<string, object>>,
	shared: Readonly<Record<string, object>> = sharedProperties,
): object => ({
	$schema: "http://json-schema.org/draft-07/schema#",
	type: "object",
	additionalProperties: false,
	properties: { ...properties, ...shared },
});

/** @throws INVALID_ARGUMENT when the quorum could never be reached. */
export function checkCohort(options: CohortOptions): void {
	if (options.quorum > options.cohortSize) {
		throw new RondoError("INVALID_ARGUMENT", `option quorum must be at most cohortSize (${options.cohortSize}), got ${options.quorum}`);
	}
}

/** The plan of a round, but for its lanes. */
export const cohortPlan = (options: CohortOptions): Omit<Plan, "lanes"> => ({
	leases: options.cohortSize + options.overSelect,
	closeAt: options.cohortSize,
	quorum: options.quorum === 0 ? Math.ceil(options.cohortSize / 2) : options.quorum,
	deadlineMs: options.deadlineMs,
	maxExamples: options.maxExamples,
	onMiss: options.onMiss,
});
