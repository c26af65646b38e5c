import {
	type AnyStrategy,
	bytesPerElement,
	type Codec,
	encodePlain,
	isVec,
	type Lane,
	type Plan,
	type Reducer,
	vecsIn,
} from "@rondo/algorithms";
import { isRondoError, RondoError, toRondoError } from "@rondo/errors";
import { checkRange, normalizedWeight } from "@rondo/kernels";
import type { Layout } from "@rondo/tensors";
import type { Report, ReportSource } from "./report.js";

/** Finds the codec that a lane names. @throws UNKNOWN_CODEC */
export type CodecLookup = (codec: Lane["codec"]) => Codec;

/** Finds the reducer that a lane names. @throws UNKNOWN_REDUCER */
export type ReducerLookup = (reducer: NonNullable<Lane["reducer"]>) => Reducer;

/** What reading a report needs besides the plan. */
export interface FoldContext {
	readonly strategy: AnyStrategy;
	readonly codec: CodecLookup;
	readonly reducer: ReducerLookup;
	readonly config: unknown;
	readonly layout: Layout;
	readonly source: ReportSource;
}

/** Lanes of one report, decoded; each has the length that the plan gives it. */
export type Lanes = { readonly [name: string]: Float64Array | Float32Array };

/**
 * The lanes of a report: unpacked from its header, or decoded from its bytes, whose number is checked before they are
 * read. Values are not checked; see `checkReport`.
 * @throws INVALID_ARGUMENT for a missing or unknown lane, TOO_LARGE, SHAPE_MISMATCH, BAD_ENCODING, BLOB_MISSING, and whatever
 * RondoError `unpack` throws; all name the lane
 */
export function lanesOf(context: FoldContext, plan: Plan, report: Report): Lanes {
	if (context.strategy.unpack === undefined) {
		checkNames(Object.keys(report.lanes), plan);
		return Object.fromEntries(Object.keys(plan.lanes).map((name) => [name, decodeLane(context, plan, report, name)]));
	}
	checkNames(Object.keys(report.lanes), { lanes: {} });
	const lanes = unpackHeader(context, plan, report);
	checkNames(Object.keys(lanes), plan);
	for (const [name, values] of Object.entries(lanes)) checkLength(name, values, plan.lanes[name]!);
	return lanes;
}

/** One lane of a report; for strategies that read reports. @throws as `lanesOf` */
export function laneOf(context: FoldContext, plan: Plan, report: Report, name: string): Float64Array | Float32Array {
	if (!Object.hasOwn(plan.lanes, name))
		throw new RondoError("INVALID_ARGUMENT", `lane ${name} is not in the plan, which has ${listed(Object.keys(plan.lanes))}`);
	return context.strategy.unpack === undefined ? decodeLane(context, plan, report, name) : lanesOf(context, plan, report)[name]!;
}

/**
 * Elements `from` up to `to` of one lane of a report that `checkReport` has passed. Of a lane that its codec decodes in parts no
 * more than these elements are read.
 * @throws as `lanesOf`
 */
export function laneRange(
	context: FoldContext,
	plan: Plan,
	report: Report,
	name: string,
	from: number,
	to: number,
): Float64Array | Float32Array {
	const lane = plan.lanes[name]!;
	const whole = from === 0 && to === lane.length;
	const codec = whole || context.strategy.unpack !== undefined ? undefined : context.codec(lane.codec);
	if (codec?.range === undefined) return laneOf(context, plan, report, name).subarray(from, to);
	const encoded = report.lanes[name]!;
	const [first, end] = codec.range(lane, from, to);
	const part = { ...lane, length: to - from };
	const values = decoded(name, () =>
		codec.decode(isVec(encoded) ? context.source.blob(encoded, first, end) : encoded.subarray(first, end), part),
	);
	checkLength(name, values, part);
	return values;
}

function unpackHeader({ strategy, config, layout }: FoldContext, plan: Plan, report: Report): Lanes {
	try {
		return strategy.unpack!(report.header, plan, { config, layout });
	} catch (cause) {
		if (isRondoError(cause)) throw cause;
		// A header of another shape than expected may break a strategy in any way: it is the report that is refused.
		throw new RondoError(
			"INVALID_ARGUMENT",
			`${strategy.name} cannot unpack the header: ${cause instanceof Error ? cause.message : String(cause)}`,
			{ cause },
		);
	}
}

function decodeLane(context: FoldContext, plan: Plan, report: Report, name: string): Float64Array | Float32Array {
	const lane = plan.lanes[name]!;
	const encoded = report.lanes[name]!;
	const codec = context.codec(lane.codec);
	const most = codec.maxBytes(lane);
	if (encoded.length > most) throw new RondoError("TOO_LARGE", `lane ${name} has ${encoded.length} bytes, at most ${most} are allowed`);
	const values = decoded(name, () => codec.decode(isVec(encoded) ? context.source.blob(encoded) : encoded, lane));
	checkLength(name, values, lane);
	return values;
}

function decoded<T>(name: string, decode: () => T): T {
	try {
		return decode();
	} catch (error) {
		const { code, message, details } = toRondoError(error);
		throw new RondoError(code, `lane ${name}: ${message}`, { details, cause: error });
	}
}

function checkLength(name: string, values: Float64Array | Float32Array, lane: Lane): void {
	if (values.length !== lane.length)
		throw new RondoError("SHAPE_MISMATCH", `lane ${name} has ${values.length} elements, expected ${lane.length}`);
}

function checkNames(names: readonly string[], plan: Pick<Plan, "lanes">): void {
	const unknown = names.find((name) => !Object.hasOwn(plan.lanes, name));
	if (unknown !== undefined)
		throw new RondoError("INVALID_ARGUMENT", `lane ${unknown} is not expected here; expected: ${listed(Object.keys(plan.lanes))}`);
	const missing = Object.keys(plan.lanes).find((name) => !names.includes(name));
	if (missing !== undefined) throw new RondoError("INVALID_ARGUMENT", `lane ${missing} is missing; got: ${listed(names)}`);
}

const listed = (names: readonly string[]): string => (names.length === 0 ? "none" : names.join(", "));

/**
 * Everything that decides whether a report may be accepted: its size against the strategy's bounds, its lanes' names,
 * lengths, encodings and values, its weight. Returns what the fold needs, so that the check is made in one place.
 * @throws TOO_LARGE, NOT_FINITE, LANE_OUT_OF_BOUND, and as `lanesOf`; all name the field and the value
 */
export function checkReport(
	context: FoldContext,
	plan: Plan,
	report: Report,
	staleness: number,
): { readonly lanes: Lanes; readonly weight: number } {
	const most = context.strategy.bounds(context.config, context.layout).report;
	const size = reportSize(report);
	if (size > most) throw new RondoError("TOO_LARGE", `report has ${size} bytes in its header and lanes, at most ${most} are allowed`);
	const lanes = lanesOf(context, plan, report);
	for (const [name, values] of Object.entries(lanes)) checkValues(name, values, plan.lanes[name]!.absMax);
	return { lanes, weight: weightOf(context, plan, report.numExamples, staleness) };
}

/** Bytes that `bounds.report` limits: encoded header, encoded lanes, and the blobs that the header refers to. */
export function reportSize(report: Report): number {
	let size = encodePlain(report.header).length;
	for (const lane of Object.values(report.lanes)) size += lane.length;
	for (const vec of vecsIn(report.header)) size += vec.length * bytesPerElement(vec.dtype);
	return size;
}

function checkValues(name: string, values: Float64Array | Float32Array, absMax: number): void {
	const index = checkRange(values, absMax);
	if (index < 0) return;
	const value = values[index]!;
	const details = { lane: name, index, value: String(value), absMax };
	if (!Number.isFinite(value)) throw new RondoError("NOT_FINITE", `lane ${name}[${index}] is ${value}`, { details });
	throw new RondoError("LANE_OUT_OF_BOUND", `lane ${name}[${index}] is ${value}, beyond the lane's bound of ±${absMax}`, { details });
}

/** Weight of a report as a share of `plan.maxExamples`: a multiple of 2^-32 in (0, 1]. */
function weightOf({ strategy, config }: FoldContext, plan: Plan, numExamples: number, staleness: number): number {
	const clamped = Math.min(numExamples, plan.maxExamples);
	const weight = strategy.weigh === undefined ? clamped : strategy.weigh(clamped, staleness, config);
	if (!(weight > 0 && weight <= plan.maxExamples)) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`${strategy.name}: weigh must be above 0 and at most ${plan.maxExamples}, got ${weight} for ${numExamples} examples`,
		);
	}
	return normalizedWeight(weight, plan.maxExamples);
}
