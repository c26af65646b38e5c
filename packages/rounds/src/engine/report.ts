import { decodePlain, encodePlain, isVec, MAX_INLINE_BYTES, type Metrics, type Plain, type Vec } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { sha256, toHex } from "@rondo/kernels";

/**
 * A client's report in its canonical form: `encodePlain` of this is what travels and is stored, its digest names it.
 * A lane whose encoded bytes do not fit inline is a Vec of bytes that was uploaded before.
 */
export interface Report {
	readonly header: Plain;
	readonly lanes: { readonly [name: string]: Uint8Array | Vec<"u8"> };
	/** Positive. */
	readonly numExamples: number;
	readonly metrics: Metrics;
}

/** Where the blobs that reports refer to lie: synchronous, because it is read in a worker. */
export interface ReportSource {
	/** Bytes `from` up to `to` of the blob; default: all. @throws BLOB_MISSING */
	blob(vec: Vec<"u8">, from?: number, to?: number): Uint8Array;
}

/** Largest canonical report, bytes; its blobs come on top. */
export const MAX_REPORT_BYTES = 196_608;
/** Largest encoded lane that travels inside the report, bytes. A longer one is uploaded as a blob. */
export const INLINE_LANE_BYTES = 32_768;
/** Largest sum of the lanes inside one report, bytes; the largest ones become blobs until the rest fits. */
export const INLINE_LANES_BYTES = 98_304;
/** Most lanes of one report or plan. */
export const MAX_LANES = 64;
/** Most metrics of one report or commit. */
export const MAX_METRICS = 64;
/** Largest magnitude of a metric: means and sums of such metrics are finite. */
export const MAX_METRIC = 1e100;

const NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/;
const FIELDS = ["header", "lanes", "metrics", "numExamples"];

/** Whether `name` may name a lane or a metric: a letter, then at most 63 letters, digits, `_`, `.` or `-`. */
export const isName = (name: string): boolean => NAME.test(name);

/**
 * The canonical bytes of a report and the digest that names it.
 * @throws INVALID_ARGUMENT, NOT_FINITE, TOO_LARGE, BAD_ENCODING that name the field, for a report that `decodeReport` would refuse
 */
export function encodeReport(report: Report): { readonly bytes: Uint8Array; readonly digest: string } {
	const { header, lanes, numExamples, metrics } = report;
	const bytes = encodePlain({ header, lanes, numExamples, metrics });
	checkShape({ header, lanes, numExamples, metrics }, bytes.length);
	return { bytes, digest: reportDigest(bytes) };
}

/** SHA-256 of canonical report bytes, 64 hexadecimal digits; equals `digestOf` the report. */
export const reportDigest = (bytes: Uint8Array): string => toHex(sha256(bytes));

/**
 * Reads a report back. Total: any bytes give a report within the limits or an error.
 * @throws TOO_LARGE, BAD_ENCODING, NOT_FINITE, INVALID_ARGUMENT that name the field
 */
export function decodeReport(bytes: Uint8Array): Report {
	if (bytes.length > MAX_REPORT_BYTES)
		throw new RondoError("TOO_LARGE", `report has ${bytes.length} bytes, at most ${MAX_REPORT_BYTES} are allowed`);
	const value = decodePlain(bytes);
	checkShape(value, bytes.length);
	return value;
}

function checkShape(value: Plain, size: number): asserts value is Report & Plain {
	if (size > MAX_REPORT_BYTES) throw new RondoError("TOO_LARGE", `report has ${size} bytes, at most ${MAX_REPORT_BYTES} are allowed`);
	if (!isObject(value)) throw new RondoError("INVALID_ARGUMENT", `report must be a map, got ${show(value)}`);
	const fields = Object.keys(value).sort();
	if (fields.join() !== FIELDS.join())
		throw new RondoError("INVALID_ARGUMENT", `report must have the fields ${FIELDS.join(", ")}, got ${fields.slice(0, 8).join(", ")}`);
	const { header, lanes, metrics, numExamples } = value;
	const headerBytes = encodePlain(header!).length;
	if (headerBytes > MAX_INLINE_BYTES)
		throw new RondoError("TOO_LARGE", `report.header has ${headerBytes} bytes, at most ${MAX_INLINE_BYTES} are allowed`);
	if (!(Number.isSafeInteger(numExamples) && (numExamples as number) > 0)) {
		throw new RondoError("INVALID_ARGUMENT", `report.numExamples must be a positive integer, got ${show(numExamples)}`);
	}
	for (const [name, lane] of entriesOf(lanes, "report.lanes", MAX_LANES)) {
		if (!(lane instanceof Uint8Array) && !(isVec(lane) && lane.dtype === "u8")) {
			throw new RondoError("INVALID_ARGUMENT", `report.lanes.${name} must be bytes or a Vec of u8, got ${show(lane)}`);
		}
	}
	checkMetrics(metrics, "report.metrics");
}

/**
 * Checks names, number and size of metrics.
 * @throws INVALID_ARGUMENT, NOT_FINITE, TOO_LARGE that name `field` and the metric
 */
export function checkMetrics(metrics: unknown, field: string): asserts metrics is Metrics {
	for (const [name, metric] of entriesOf(metrics, field, MAX_METRICS)) {
		if (typeof metric !== "number") throw new RondoError("INVALID_ARGUMENT", `${field}.${name} must be a number, got ${show(metric)}`);
		if (!Number.isFinite(metric)) throw new RondoError("NOT_FINITE", `${field}.${name} is ${metric}`);
		if (Math.abs(metric) > MAX_METRIC)
			throw new RondoError("INVALID_ARGUMENT", `${field}.${name} must be within ±${MAX_METRIC}, got ${metric}`);
	}
}

function entriesOf(value: unknown, field: string, most: number): [string, unknown][] {
	if (!isObject(value)) throw new RondoError("INVALID_ARGUMENT", `${field} must be a map, got ${show(value)}`);
	const entries = Object.entries(value);
	if (entries.length > most) throw new RondoError("TOO_LARGE", `${field} has ${entries.length} entries, at most ${most} are allowed`);
	const odd = entries.find(([name]) => !isName(name));
	if (odd !== undefined) throw new RondoError("INVALID_ARGUMENT", `${field} has a malformed name ${show(odd[0])}`);
	return entries;
}

const isObject = (value: unknown): value is { readonly [key: string]: Plain } =>
	typeof value === "object" && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value) && !isVec(value);

/** A value as it stands in messages, cut to a readable length. */
export function show(value: unknown): string {
	if (ArrayBuffer.isView(value)) return `${value.constructor.name} of ${value.byteLength} bytes`;
	if (isVec(value)) return `Vec of ${value.length} ${value.dtype}`;
	if (typeof value === "bigint" || value === undefined) return String(value).slice(0, 80);
	return JSON.stringify(value, (_key, inner: unknown) => (typeof inner === "bigint" ? inner.toString() : inner)).slice(0, 80);
}
