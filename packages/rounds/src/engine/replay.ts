import { digestOf, type Plain } from "@rondo/algorithms";
import { RondoError, toRondoError } from "@rondo/errors";
import type { AcceptedReport, CommitEntry, LogRecord } from "../log-types.js";
import type { TaskId } from "../machine-types.js";
import { brokenLink } from "./log.js";
import { mostReports } from "./plan-check.js";
import { needsReports } from "./reduce.js";
import { decodeReport, type Report, reportDigest } from "./report.js";
import type { Position, RunEngine } from "./run-engine.js";

/** What replaying one record found. */
export interface ReplayStep {
	readonly commit: number;
	/** 0 for the genesis. */
	readonly round: number;
	readonly kind: string;
	/** Digest of the state that the log records; on failure the recorded value of `what`. */
	readonly expected: string;
	/** Digest of the recomputed state; on failure the value found. */
	readonly actual: string;
	readonly ok: boolean;
	/** What differs; on failure only. */
	readonly what?: string;
}

export interface ReplayOptions {
	readonly records: AsyncIterable<LogRecord> | Iterable<LogRecord>;
	/** Canonical bytes of an accepted report. @throws NOT_FOUND, BLOB_MISSING */
	readonly report: (task: TaskId) => Promise<Uint8Array>;
	/** Made of what the genesis names. */
	readonly engine: RunEngine;
	/** Hash of the newest record, from elsewhere: without it a log that ends early looks complete. */
	readonly head?: string;
}

type Difference = { readonly what: string; readonly expected: string; readonly actual: string };

class Mismatch extends Error {
	readonly difference: Difference;
	constructor(difference: Difference) {
		super(difference.what);
		this.difference = difference;
	}
}

/**
 * Recomputes a run from its initial model and accepted reports, record by record, and compares every state digest, set
 * digest, published value and hash with the log. Stops after the first difference, which is the last step.
 */
export async function* replayRun({ records, report, engine, head }: ReplayOptions): AsyncGenerator<ReplayStep> {
	let last: LogRecord | undefined;
	let now: Pick<Position, "state" | "members"> = { state: null, members: new Map() };
	for await (const record of records) {
		const { entry } = record;
		const step = { commit: record.commit, round: entry.kind === "genesis" ? 0 : entry.round, kind: entry.kind };
		try {
			differ(brokenLink(record, last));
			now = entry.kind === "genesis" ? replayGenesis(engine, record) : await replayCommit(engine, record, entry, now, last!, report);
		} catch (error) {
			if (error instanceof Mismatch) yield { ...step, ...error.difference, ok: false };
			else yield { ...step, expected: entry.state, actual: "", ok: false, what: toRondoError(error).message };
			return;
		}
		yield { ...step, expected: entry.state, actual: entry.state, ok: true };
		last = record;
	}
	if (last === undefined) throw new RondoError("INVALID_ARGUMENT", "records must hold at least the genesis, got none");
	if (head !== undefined && last.hash !== head) {
		yield {
			commit: last.commit + 1,
			round: 0,
			kind: "missing",
			expected: head,
			actual: last.hash,
			ok: false,
			what: "the log ends before its head",
		};
	}
}

function replayGenesis(engine: RunEngine, record: LogRecord): Pick<Position, "state" | "members"> {
	const { state, record: own } = engine.genesis();
	compare(record, own);
	return { state, members: new Map() };
}

async function replayCommit(
	engine: RunEngine,
	record: LogRecord,
	entry: CommitEntry,
	now: Pick<Position, "state" | "members">,
	last: LogRecord,
	read: ReplayOptions["report"],
): Promise<Pick<Position, "state" | "members">> {
	const round = last.entry.kind === "genesis" ? 1 : last.entry.round + 1;
	if (entry.round !== round) differ({ what: "round", expected: String(round), actual: String(entry.round) });
	const position: Position = { ...now, round, commit: last.commit, population: entry.population };
	const place = { position, incarnation: entry.incarnation, attempt: entry.attempt, previous: last.hash };
	if (entry.kind === "skip") {
		compare(record, engine.skip(place));
		return now;
	}
	const plan = engine.plan(position);
	const { accepted } = record;
	const most = mostReports(plan);
	if (accepted.length < plan.quorum || accepted.length > most) {
		differ({ what: "number of accepted reports", expected: `${plan.quorum} to ${most}`, actual: String(accepted.length) });
	}
	const oldest = Math.min(plan.maxStaleness ?? 0, position.commit);
	const odd = accepted.find(({ staleness }) => !(Number.isSafeInteger(staleness) && staleness >= 0 && staleness <= oldest));
	if (odd !== undefined) differ({ what: `staleness of report ${odd.task}`, expected: `0 to ${oldest}`, actual: String(odd.staleness) });
	const fold = engine.fold(plan);
	const kept = new Map<TaskId, Report>();
	for (const row of accepted) {
		const report = checkedReport(row, await read(row.task));
		fold.add(row.task, report, row.staleness);
		// Only strategies and reducers that read reports see them again; the others need no more than the sum.
		if (needsReports(engine.parts, plan)) kept.set(row.task, report);
	}
	const { record: own, state, members } = engine.finish({ ...place, plan, accepted, fold, reports: (task) => kept.get(task)! });
	fold.release();
	compare(record, own);
	return { state, members };
}

function checkedReport(row: AcceptedReport, bytes: Uint8Array): Report {
	const digest = reportDigest(bytes);
	if (digest !== row.digest) differ({ what: `digest of report ${row.task}`, expected: row.digest, actual: digest });
	const report = decodeReport(bytes);
	if (report.numExamples !== row.numExamples) {
		differ({ what: `numExamples of report ${row.task}`, expected: String(row.numExamples), actual: String(report.numExamples) });
	}
	return report;
}

/** Compares a recorded with a recomputed record and names the first field that differs, the state first. */
function compare(recorded: LogRecord, own: LogRecord): void {
	if (recorded.hash === own.hash) return;
	const theirs = recorded.entry as unknown as { readonly [field: string]: Plain };
	const ours = own.entry as unknown as { readonly [field: string]: Plain };
	const fields = ["state", "set", "publish", ...Object.keys(ours), ...Object.keys(theirs)];
	for (const field of fields) {
		const [expected, actual] = [shown(theirs[field]), shown(ours[field])];
		if (expected !== actual) differ({ what: field, expected, actual });
	}
	differ({ what: "hash of the entry", expected: recorded.hash, actual: own.hash });
}

function differ(difference: Difference | undefined): void {
	if (difference !== undefined) throw new Mismatch(difference);
}

/** Texts that are equal exactly when the values are: the text itself, or a digest. */
function shown(value: Plain | undefined): string {
	if (value === undefined) return "absent";
	return typeof value === "string" ? value : digestOf(value);
}
