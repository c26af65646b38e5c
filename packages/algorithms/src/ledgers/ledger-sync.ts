import { isRondoError, RondoError } from "@rondo/errors";
import { fromHex, toHex } from "@rondo/kernels";
import type { Client, Io } from "../contract.js";
import { bytesOf, contentDigest, isVec, type Vec, vecOf } from "../plain.js";
import { applyChanges, packChanges } from "./ledger.js";

/** Rounds whose changes are kept at most: a client that was away for longer downloads the ledger. */
export const MAX_RECENT = 8;
const DIGEST_BYTES = 32;
/** A blob in an offer: its length (uint32, little-endian) and its digest. */
const REFERENCE_BYTES = 4 + DIGEST_BYTES;

/** A ledger as the server keeps it, with the way that led to it. */
export type LedgerState = {
	/** Number of additions since it was empty. */
	readonly step: number;
	readonly ledger: Vec<"i32">;
	/** `packChanges` of the last additions, the newest last: as many as together take fewer bytes than the ledger, at most 8. */
	readonly recent: readonly Vec<"u8">[];
};

/**
 * A ledger as a task carries it. Without recent changes it is a Vec and travels with the task. With them it is a digest, and
 * each client downloads by digest what is less for it: the changes since the ledger it has, or the ledger.
 */
export type LedgerOffer = readonly [step: number, ledger: Vec<"i32"> | Uint8Array, recent: Uint8Array];

/** A ledger that a client has from before. */
export interface HeldLedger {
	readonly step: number;
	readonly ledger: Int32Array;
}

/** A ledger of zeros. */
export const emptyLedger = (io: Io, length: number): LedgerState => ({
	step: 0,
	ledger: io.write("i32", length, (from, to) => new Int32Array(to - from)),
	recent: [],
});

/** The state after an addition that made `next` of `before`. */
export function advanceLedger(io: Io, state: LedgerState, before: Int32Array, next: Int32Array): LedgerState {
	const packed = packChanges(before, next);
	const changes = io.write("u8", packed.length, (from, to) => packed.subarray(from, to));
	const recent: Vec<"u8">[] = [];
	let bytes = 0;
	for (const vec of [...state.recent, changes].reverse()) {
		bytes += vec.length + REFERENCE_BYTES;
		if (recent.length === MAX_RECENT || bytes >= 4 * next.length) break;
		recent.unshift(vec);
	}
	return { step: state.step + 1, ledger: io.write("i32", next.length, (from, to) => next.subarray(from, to)), recent };
}

/** What a task says of a ledger. */
export function offerLedger({ step, ledger, recent }: LedgerState): LedgerOffer {
	if (recent.length === 0) return [step, ledger, new Uint8Array(0)];
	const references = new Uint8Array(REFERENCE_BYTES * recent.length);
	const view = new DataView(references.buffer);
	recent.forEach((vec, i) => {
		view.setUint32(REFERENCE_BYTES * i, vec.length, true);
		references.set(fromHex(vec.sha256), REFERENCE_BYTES * i + 4);
	});
	return [step, fromHex(ledger.sha256), references];
}

/** The largest offers there can be, as values to encode: one with the ledger as a Vec, one by digests. */
export const largestOffers = (length: number): readonly LedgerOffer[] => [
	[Number.MAX_SAFE_INTEGER, vecOf("i32", length, "0".repeat(64)), new Uint8Array(0)],
	[Number.MAX_SAFE_INTEGER, new Uint8Array(DIGEST_BYTES), new Uint8Array(REFERENCE_BYTES * MAX_RECENT)],
];

/** What an offer names. @param length entries of the ledger */
export const ledgerOf = ([, reference]: LedgerOffer, length: number): Vec<"i32"> =>
	isVec(reference) ? (reference as Vec<"i32">) : vecOf("i32", length, toHex(reference as Uint8Array));

/**
 * The ledger of an offer: what the client has, brought up to date by the changes since, if its digest is then that of the
 * offer; otherwise downloaded. Everybody has the ledger of step 0.
 * @param length entries of the ledger
 */
export async function readLedger(
	offer: LedgerOffer,
	length: number,
	held: HeldLedger | undefined,
	client: Pick<Client, "read">,
): Promise<Int32Array> {
	const [step] = offer;
	const ledger = ledgerOf(offer, length);
	const recent = recentOf(offer);
	for (const start of [held, { step: 0, ledger: new Int32Array(length) }]) {
		if (start === undefined || start.ledger.length !== length) continue;
		const missed = step - start.step;
		const changes = recent.slice(recent.length - missed);
		const bytes = changes.reduce((sum, vec) => sum + vec.length, 0);
		if (missed < 0 || missed > recent.length || bytes >= 4 * length) continue;
		const current = await changed(start.ledger, changes, client);
		if (current !== undefined && contentDigest(bytesOf(current)) === ledger.sha256) return current;
	}
	return client.read(ledger);
}

/** @returns undefined when a change is gone from the store, or does not fit */
async function changed(start: Int32Array, changes: readonly Vec<"u8">[], client: Pick<Client, "read">): Promise<Int32Array | undefined> {
	try {
		let ledger = start;
		for (const vec of changes) ledger = applyChanges(ledger, await client.read(vec));
		return ledger;
	} catch (error) {
		if (!isRondoError(error)) throw error;
		return undefined;
	}
}

function recentOf([, , references]: LedgerOffer): Vec<"u8">[] {
	if (references.length % REFERENCE_BYTES !== 0)
		throw new RondoError("BAD_ENCODING", `references take ${REFERENCE_BYTES} bytes each, got ${references.length} bytes`);
	const view = new DataView(references.buffer, references.byteOffset, references.byteLength);
	return Array.from({ length: references.length / REFERENCE_BYTES }, (_, i) => {
		const at = REFERENCE_BYTES * i;
		return vecOf("u8", view.getUint32(at, true), toHex(references.subarray(at + 4, at + REFERENCE_BYTES)));
	});
}
