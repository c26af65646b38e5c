import { createHash } from "node:crypto";
import {
	bytesPerElement,
	encodePlain,
	type Lane,
	MAX_INLINE_BYTES,
	type Metrics,
	type Plain,
	type Registry,
	type Vec,
	vecsIn,
	type Work,
} from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { Random } from "@rondo/kernels";
import { LIMITS } from "@rondo/protocol";
import type { BlobRef } from "./blob-store.js";

/** A finished task, ready for the outbox. */
export interface EncodedReport {
	/** Canonical CBOR of {header, lanes, numExamples, metrics}. */
	readonly report: Uint8Array;
	/** SHA-256 of the report, 64 hexadecimal digits: the digest of the update. */
	readonly digest: string;
	/** Blobs that the report refers to and that the coordinator needs. */
	readonly blobs: readonly BlobRef[];
}

// Beside the lanes a report holds a header of at most 64 KiB and its metrics.
const INLINE_LANES_BYTES = 96 * 1024;

/**
 * Encodes what `train` returned. Lanes above 32 KiB, and the largest ones while all are too large together, become
 * blobs.
 * @param lanes as the offer names them
 * @param random the node above those that the codecs draw from, one for each lane
 * @param keep stores a blob locally, durably
 * @throws TRAINER_FAILED when the work does not fit the task (a lane missing, unknown or of another length; numExamples;
 * metrics), TOO_LARGE for a header above 64 KiB
 */
export function encodeWork(
	work: Work,
	lanes: ReadonlyMap<string, Lane>,
	codecOf: Registry["codec"],
	random: Random,
	keep: (bytes: Uint8Array) => BlobRef,
): EncodedReport {
	const wrong = (what: string): RondoError => new RondoError("TRAINER_FAILED", `the strategy's work does not fit its task: ${what}`);
	const encoded = new Map<string, Uint8Array>();
	for (const name of Object.keys(work.lanes)) if (!lanes.has(name)) throw wrong(`lane ${JSON.stringify(name)} was not asked for`);
	for (const [name, lane] of lanes) {
		const values = work.lanes[name];
		if (values?.length !== lane.length)
			throw wrong(`lane ${JSON.stringify(name)} must have ${lane.length} elements, got ${values?.length ?? "none"}`);
		encoded.set(name, codecOf(lane.codec).encode(values, lane, random.at(name)));
	}
	const headerBytes = encodePlain(work.header).length;
	if (headerBytes > MAX_INLINE_BYTES)
		throw new RondoError("TOO_LARGE", `the report's header must be at most ${MAX_INLINE_BYTES} bytes, got ${headerBytes}`);
	return encodeReport(work.header, spill(encoded, keep), work.numExamples, work.metrics ?? {});
}

/** @throws TRAINER_FAILED for metrics or a number of examples that a report cannot hold, TOO_LARGE above 192 KiB */
export function encodeReport(
	header: Plain,
	lanes: { readonly [name: string]: Uint8Array | Vec<"u8"> },
	numExamples: number,
	metrics: Metrics,
): EncodedReport {
	if (!Number.isSafeInteger(numExamples) || numExamples < 0)
		throw new RondoError("TRAINER_FAILED", `numExamples must be a non-negative integer, got ${numExamples}`);
	for (const [name, value] of Object.entries(metrics)) {
		if (typeof value !== "number" || !Number.isFinite(value))
			throw new RondoError("TRAINER_FAILED", `metric ${JSON.stringify(name)} must be a finite number, got ${value}`);
	}
	const value: Plain = { header, lanes, numExamples, metrics };
	const report = encodePlain(value);
	if (report.length > LIMITS.reportBytes)
		throw new RondoError("TOO_LARGE", `the report must be at most ${LIMITS.reportBytes} bytes, got ${report.length}`);
	const blobs = new Map(vecsIn(value).map((vec): [string, BlobRef] => [vec.sha256, blobOf(vec)]));
	return { report, digest: createHash("sha256").update(report).digest("hex"), blobs: [...blobs.values()] };
}

/** Name and size of the blob that holds an array. */
export const blobOf = (vec: Vec): BlobRef => ({ digest: vec.sha256, bytes: vec.length * bytesPerElement(vec.dtype) });

function spill(encoded: ReadonlyMap<string, Uint8Array>, keep: (bytes: Uint8Array) => BlobRef): { [name: string]: Uint8Array | Vec<"u8"> } {
	let inlineBytes = [...encoded.values()].reduce((sum, bytes) => sum + bytes.length, 0);
	const lanes: { [name: string]: Uint8Array | Vec<"u8"> } = {};
	for (const [name, bytes] of [...encoded].sort(([, a], [, b]) => b.length - a.length)) {
		const fits = bytes.length <= LIMITS.inlineLaneBytes && inlineBytes <= INLINE_LANES_BYTES;
		if (!fits) inlineBytes -= bytes.length;
		lanes[name] = fits ? bytes : { sha256: keep(bytes).digest, dtype: "u8", length: bytes.length };
	}
	return lanes;
}
