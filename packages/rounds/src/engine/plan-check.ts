import type { Lane, Plan } from "@rondo/algorithms";
import { isRondoError, RondoError } from "@rondo/errors";
import { gridOf, MAX_REPORTS } from "@rondo/kernels";
import { MAX_ELEMENTS } from "@rondo/tensors";
import type { FoldContext } from "./lanes.js";
import { isName, MAX_LANES, show } from "./report.js";

/**
 * Most reports that a round of this plan may have, which the grids of its exact sums are made for: a lease each, or in an
 * asynchronous round, where leases are handed out again, those that close it.
 */
export const mostReports = ({ leases, closeAt, maxStaleness }: Plan): number => (maxStaleness === undefined ? leases : closeAt);

/**
 * Checks what a strategy planned before a round is built on it: ranges, `quorum <= closeAt`, `closeAt <= leases` unless
 * the round is asynchronous, known codecs and reducers, and that the largest encoded lanes fit `bounds.report`.
 * @throws INVALID_ARGUMENT, UNKNOWN_CODEC, UNKNOWN_REDUCER, TOO_LARGE that name strategy, field and value
 */
export function checkPlan(context: Omit<FoldContext, "source">, plan: Plan): Plan {
	const where = `plan of ${context.strategy.name}`;
	const refuse = (field: string, wanted: string, value: unknown): never => {
		throw new RondoError("INVALID_ARGUMENT", `${where}: ${field} must be ${wanted}, got ${show(value)}`, { details: { field } });
	};
	if (typeof plan !== "object" || plan === null) refuse("it", "an object", plan);
	for (const field of ["leases", "closeAt", "quorum", "deadlineMs", "maxExamples"] as const) {
		if (!(Number.isSafeInteger(plan[field]) && plan[field] > 0)) refuse(field, "a positive integer", plan[field]);
	}
	const { maxStaleness } = plan;
	if (maxStaleness !== undefined && !(Number.isSafeInteger(maxStaleness) && maxStaleness >= 0))
		refuse("maxStaleness", "an integer of at least 0", maxStaleness);
	if (maxStaleness !== undefined && plan.audience === "coordinator")
		refuse("maxStaleness", "absent where the coordinator computes", maxStaleness);
	if (plan.leases > MAX_REPORTS) refuse("leases", `at most ${MAX_REPORTS}`, plan.leases);
	if (plan.closeAt > MAX_REPORTS) refuse("closeAt", `at most ${MAX_REPORTS}`, plan.closeAt);
	if (maxStaleness === undefined && plan.closeAt > plan.leases) refuse("closeAt", `at most leases (${plan.leases})`, plan.closeAt);
	if (plan.quorum > plan.closeAt) refuse("quorum", `at most closeAt (${plan.closeAt})`, plan.quorum);
	if (plan.onMiss !== "replan" && plan.onMiss !== "skip") refuse("onMiss", '"replan" or "skip"', plan.onMiss);
	if (plan.audience !== undefined && plan.audience !== "clients" && plan.audience !== "coordinator")
		refuse("audience", '"clients" or "coordinator"', plan.audience);
	if (plan.exclude !== undefined && !(Array.isArray(plan.exclude) && plan.exclude.every((id) => typeof id === "string")))
		refuse("exclude", "a list of client ids", plan.exclude);
	if (typeof plan.lanes !== "object" || plan.lanes === null) refuse("lanes", "an object", plan.lanes);
	const lanes = Object.entries(plan.lanes);
	if (lanes.length > MAX_LANES) refuse("lanes", `at most ${MAX_LANES} lanes`, lanes.length);
	let encoded = 0;
	for (const [name, lane] of lanes) {
		if (!isName(name)) refuse("lanes", "named by a letter and at most 63 letters, digits, _, . or -", name);
		checkLane(`lanes.${name}`, lane, mostReports(plan), refuse);
		if (lane.reducer !== undefined) checkReducer(context, `${where}: lanes.${name}.reducer`, lane, plan);
		if (context.strategy.unpack === undefined) encoded += maxBytes(context, `${where}: lanes.${name}.codec`, lane);
	}
	const most = context.strategy.bounds(context.config, context.layout).report;
	if (encoded > most) throw new RondoError("TOO_LARGE", `${where}: its lanes may take ${encoded} bytes, bounds.report is ${most}`);
	return plan;
}

function checkLane(field: string, lane: Lane, reports: number, refuse: (field: string, wanted: string, value: unknown) => never): void {
	const { length, absMax, combine, codec } = lane;
	if (!(Number.isSafeInteger(length) && length > 0 && length <= MAX_ELEMENTS))
		refuse(`${field}.length`, `an integer from 1 to ${MAX_ELEMENTS}`, length);
	if (!(Number.isFinite(absMax) && absMax > 0)) refuse(`${field}.absMax`, "a positive finite number", String(absMax));
	if (combine !== "mean" && combine !== "sum") refuse(`${field}.combine`, '"mean" or "sum"', combine);
	if (!(Array.isArray(codec) && typeof codec[0] === "string")) refuse(`${field}.codec`, "a list that starts with a codec's name", codec);
	const { reducer } = lane;
	if (reducer !== undefined && !(Array.isArray(reducer) && typeof reducer[0] === "string"))
		refuse(`${field}.reducer`, "a list that starts with a reducer's name", reducer);
	if (reducer !== undefined && combine !== "mean") refuse(`${field}.reducer`, "absent, because only a mean can be replaced", reducer);
	try {
		gridOf(absMax, reports);
	} catch (cause) {
		if (!isRondoError(cause)) throw cause;
		refuse(`${field}.absMax`, "of a magnitude that has an exact grid", absMax);
	}
}

function checkReducer(context: Omit<FoldContext, "source">, field: string, { reducer }: Lane, plan: Plan): void {
	const [, ...args] = reducer!;
	named(field, () => context.reducer(reducer!).check(args, { least: plan.quorum, most: mostReports(plan) }));
}

const maxBytes = (context: Omit<FoldContext, "source">, field: string, lane: Lane): number =>
	named(field, () => context.codec(lane.codec).maxBytes(lane));

function named<T>(field: string, run: () => T): T {
	try {
		return run();
	} catch (cause) {
		if (!isRondoError(cause)) throw cause;
		throw new RondoError(cause.code, `${field}: ${cause.message}`, { details: cause.details, cause });
	}
}
