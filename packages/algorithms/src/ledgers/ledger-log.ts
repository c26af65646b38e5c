import { RondoError } from "@rondo/errors";
import { fromHex, toHex } from "@rondo/kernels";
import type { Client } from "../contract.js";
import { bytesOf, contentDigest, digestOf, isVec, type Plain, type Vec, vecOf } from "../plain.js";

/** A ledger, and what it stands on. */
export interface LedgerPlace {
	readonly ledger: Vec<"i32">;
	/** Additions since the epoch began. */
	readonly step: number;
	/** An epoch after the first, the weights that it started from, and the last ledger of the epoch before. */
	readonly basis: { readonly epoch: number; readonly base: Vec<"f32">; readonly previous: Vec<"i32"> } | null;
}

/** What the check takes of a client. */
export interface LogClient extends Pick<Client, "log"> {
	/** Entries of a ledger. */
	readonly config: { readonly candidates: number };
}

/**
 * What the log says of a place so that no other place has the same entry: the ledger that the last addition made, which at the
 * start of an epoch is that of the epoch before, and in later epochs step, epoch and base (a digest, so that no log keeps models).
 */
export function publicationOf({ ledger, step, basis }: LedgerPlace): Plain {
	if (basis === null) return ledger;
	return [step === 0 ? basis.previous : ledger, step, basis.epoch, fromHex(basis.base.sha256)];
}

/**
 * Checks that a place is the one that a commit of the run's log published, so that all who verify the log get the same.
 * It need not be the newest one: the task of an asynchronous client may be older.
 * @param commit of the ledger's last addition; 0: there was none
 * @throws MODEL_MISMATCH that names the commit and both places; whatever reading the log throws
 */
export async function checkPublished(place: LedgerPlace, commit: number | undefined, client: LogClient): Promise<void> {
	if (commit === undefined || !Number.isSafeInteger(commit) || commit < 0)
		throw new RondoError("MODEL_MISMATCH", `the task must name the commit of its ledger, got ${String(commit)}`);
	const { candidates } = client.config;
	const empty = vecOf("i32", candidates, contentDigest(bytesOf(new Int32Array(candidates))));
	let published: Plain = commit === 0 ? empty : null;
	// To the end, where the log proves to be the one that the task is based on.
	if (commit !== 0) for await (const { value } of client.log(commit - 1, commit)) published = value;
	const named = publicationOf(place);
	// Such an entry names the last ledger of the epoch before.
	const startsEpoch = place.step === 0 && place.basis !== null;
	if (digestOf(named) === digestOf(published) && (!startsEpoch || place.ledger.sha256 === empty.sha256)) return;
	const expected = textOf(published);
	const actual = startsEpoch ? `${textOf(named)} and then ${textOf(place.ledger)}` : textOf(named);
	throw new RondoError("MODEL_MISMATCH", `commit ${commit} of the run published ${expected}, the task names ${actual}`, {
		details: { commit, expected, actual },
	});
}

/** A publication in words. */
function textOf(value: Plain): string {
	if (isVec(value)) return `ledger ${value.sha256}`;
	const [ledger, step, epoch, base] = Array.isArray(value) ? (value as readonly Plain[]) : [];
	if (!isVec(ledger) || !(base instanceof Uint8Array)) return "no ledger";
	return `ledger ${ledger.sha256} with step ${String(step)} of epoch ${String(epoch)} from base ${toHex(base)}`;
}
