import { digestOf, type Plain } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { AcceptedReport, CommitEntry, Genesis, LogEntry, LogRecord } from "../log-types.js";

/** Hash of a log entry: `digestOf` the entry. */
export const hashEntry = (entry: LogEntry): string => digestOf(entry as unknown as Plain);

/** The fields of a row and no others: rows of a store may carry more. */
const rowOf = ({ task, client, numExamples, staleness, sequence, digest }: AcceptedReport): AcceptedReport => ({
	task,
	client,
	numExamples,
	staleness,
	sequence,
	digest,
});

/** Digest of an accepted set, which must be in client-id order. */
export const setDigest = (accepted: readonly AcceptedReport[]): string => digestOf(accepted.map(rowOf) as unknown as Plain);

/** Record 0 of a run. */
export function genesisEntry(parts: Omit<Genesis, "kind" | "logVersion">): LogRecord {
	const entry: Genesis = { kind: "genesis", logVersion: 1, ...parts };
	return { commit: 0, hash: hashEntry(entry), entry, accepted: [] };
}

/** Record of a commit or a skip. */
export function commitEntry(parts: Omit<CommitEntry, "set">, accepted: readonly AcceptedReport[]): LogRecord {
	const entry: CommitEntry = { ...parts, set: setDigest(accepted) };
	return { commit: entry.commit, hash: hashEntry(entry), entry, accepted };
}

/** A copy in client-id order: the order in which an accepted set is hashed and read. */
export const inClientOrder = (accepted: readonly AcceptedReport[]): AcceptedReport[] =>
	accepted.map(rowOf).sort((a, b) => (a.client === b.client ? (a.task < b.task ? -1 : 1) : a.client < b.client ? -1 : 1));

/** What is wrong with a record as the successor of `previous`, or undefined: numbers, hashes, accepted set. */
export function brokenLink(
	record: LogRecord,
	previous: LogRecord | undefined,
): { readonly what: string; readonly expected: string; readonly actual: string } | undefined {
	const { entry } = record;
	const commit = previous === undefined ? 0 : previous.commit + 1;
	if (record.commit !== commit) return { what: "commit number", expected: String(commit), actual: String(record.commit) };
	if (entry.kind !== "genesis" && entry.kind !== "commit" && entry.kind !== "skip")
		return { what: "kind", expected: "genesis, commit or skip", actual: String((entry as LogEntry).kind) };
	if ((entry.kind === "genesis") !== (commit === 0))
		return { what: "kind", expected: commit === 0 ? "genesis" : "commit or skip", actual: entry.kind };
	const hash = hashEntry(entry);
	if (hash !== record.hash) return { what: "hash of the entry", expected: record.hash, actual: hash };
	const set = setDigest(record.accepted);
	if (entry.kind === "genesis") {
		if (record.accepted.length > 0) return { what: "accepted set", expected: setDigest([]), actual: set };
		return undefined;
	}
	if (entry.commit !== commit) return { what: "commit number of the entry", expected: String(commit), actual: String(entry.commit) };
	if (entry.previous !== previous?.hash) return { what: "previous hash", expected: entry.previous, actual: String(previous?.hash) };
	if (set !== entry.set) return { what: "accepted set", expected: entry.set, actual: set };
	const sorted = setDigest(inClientOrder(record.accepted));
	if (set !== sorted) return { what: "order of the accepted set", expected: sorted, actual: set };
	if (entry.kind === "skip" && (record.accepted.length > 0 || entry.publish !== null)) {
		return { what: "skip with content", expected: setDigest([]), actual: set };
	}
	return undefined;
}

/**
 * Checks numbers, hashes, links and accepted sets of a whole log, without recomputing any state.
 * @returns commits so far and the hash of the last record
 * @throws REPLAY_MISMATCH that names the first commit and field that do not fit; INVALID_ARGUMENT for an empty log
 */
export function verifyChain(records: Iterable<LogRecord>): { readonly commits: number; readonly head: string } {
	let last: LogRecord | undefined;
	for (const record of records) {
		const broken = brokenLink(record, last);
		if (broken !== undefined) {
			throw new RondoError(
				"REPLAY_MISMATCH",
				`record ${record.commit}: ${broken.what}: expected ${broken.expected}, got ${broken.actual}`,
				{
					details: { commit: record.commit, ...broken },
				},
			);
		}
		last = record;
	}
	if (last === undefined) throw new RondoError("INVALID_ARGUMENT", "records must hold at least the genesis, got none");
	return { commits: last.commit, head: last.hash };
}
