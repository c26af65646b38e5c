import { RondoError } from "@rondo/errors";
import { describe, expect, test } from "vitest";
import { engineOf, mean, reader, runOf } from "../../test/engine-fixture.js";
import type { CommitEntry, Genesis, LogRecord } from "../log-types.js";
import { hashEntry, setDigest, verifyChain } from "./log.js";
import { type ReplayStep, replayRun } from "./replay.js";
import type { RunEngine } from "./run-engine.js";

async function replay(
	records: readonly LogRecord[],
	reports: ReadonlyMap<string, Uint8Array>,
	engine: RunEngine = engineOf(mean),
	head?: string,
): Promise<ReplayStep[]> {
	const report = async (task: string) => {
		const bytes = reports.get(task);
		if (bytes === undefined) throw new RondoError("NOT_FOUND", `no report of task ${task}`);
		return bytes;
	};
	const steps: ReplayStep[] = [];
	for await (const step of replayRun({ records, report, engine, ...(head === undefined ? {} : { head }) })) steps.push(step);
	return steps;
}

const { records, reports } = runOf(engineOf(mean));
/** The log after a forger changed one entry and rehashed everything behind it. */
function forged(at: number, entry: Partial<CommitEntry> | Partial<Genesis>, accepted = records[at]!.accepted): LogRecord[] {
	const log: LogRecord[] = [];
	for (const record of records) {
		const last = log.at(-1);
		const next = {
			...record.entry,
			...(last === undefined ? {} : { previous: last.hash }),
			...(record.commit === at ? entry : {}),
		} as LogRecord["entry"];
		log.push({ ...record, entry: next, hash: hashEntry(next), ...(record.commit === at ? { accepted } : {}) });
	}
	return log;
}

describe("replay", () => {
	const choosy = { ...reader, name: "reader by options", needs: mean.needs, reads: () => "reports" as const };
	test.each([mean, reader, choosy])("of an honest log confirms every record ($name)", async (strategy) => {
		const run = runOf(engineOf(strategy));
		const steps = await replay(run.records, run.reports, engineOf(strategy), run.records.at(-1)!.hash);
		expect(steps.map(({ commit, round, kind, ok }) => [commit, round, kind, ok])).toEqual([
			[0, 0, "genesis", true],
			[1, 1, "commit", true],
			[2, 2, "commit", true],
			[3, 3, "skip", true],
			[4, 4, "commit", true],
		]);
		expect(steps.map(({ actual }) => actual)).toEqual(run.records.map(({ entry }) => entry.state));
		expect(verifyChain(run.records)).toEqual({ commits: 4, head: run.records.at(-1)!.hash });
	});

	const [first, second] = [records[1]!, records[2]!];
	const zeros = "0".repeat(64);
	const swap = [first.accepted[1]!, first.accepted[0]!, first.accepted[2]!];
	const fewer = first.accepted.slice(1);
	const more = first.accepted.map((row, i) => (i === 0 ? { ...row, numExamples: row.numExamples + 1 } : row));
	const stale = first.accepted.map((row, i) => (i === 0 ? { ...row, staleness: 1 } : row));
	const withdrawn = records.map((record) => (record.commit === 1 ? { ...record, accepted: fewer } : record));
	test.each<[string, LogRecord[], number, RegExp]>([
		["another state", forged(2, { state: zeros }), 2, /^state$/],
		["another publication", forged(1, { publish: 1 }), 1, /^publish$/],
		["other metrics", forged(1, { metrics: { count: 4 } }), 1, /^metrics$/],
		["written members", forged(1, { members: zeros }), 1, /^members$/],
		["another initial state", forged(0, { state: zeros }), 0, /^state$/],
		["another seed", forged(0, { publicSeed: "cd".repeat(32) }), 0, /^publicSeed$/],
		["another round", forged(2, { round: 5 }), 2, /^round$/],
		["a skip turned into a commit", forged(3, { kind: "commit" }), 3, /^number of accepted reports$/],
		["a skip with a state", forged(3, { state: zeros }), 3, /^state$/],
		["a set without one of its reports, rehashed", forged(1, { set: setDigest(fewer) }, fewer), 1, /^state$/],
		["a set in another order, rehashed", forged(1, { set: setDigest(swap) }, swap), 1, /^order of the accepted set$/],
		["another number of examples, rehashed", forged(1, { set: setDigest(more) }, more), 1, /^numExamples of report 6/],
		["a stale report in a synchronous round, rehashed", forged(1, { set: setDigest(stale) }, stale), 1, /^staleness of report 6/],
		["a withdrawn report", withdrawn, 1, /^accepted set$/],
		[
			"an entry that its hash does not fit",
			records.map((r) => (r === second ? { ...r, entry: { ...(r.entry as CommitEntry), publish: 1 } } : r)),
			2,
			/^hash of the entry$/,
		],
		["another hash", records.map((r) => (r === second ? { ...r, hash: zeros } : r)), 2, /^hash of the entry$/],
		["a missing record", records.filter((r) => r !== second), 3, /^commit number$/],
		["records in another order", [records[0]!, second, first], 2, /^commit number$/],
		["no genesis", records.slice(1), 1, /^commit number$/],
		["a link to another past", [...records.slice(0, 2), forged(1, { publish: 1 })[2]!], 2, /^previous hash$/],
	])("stops at %s", async (_what, log, commit, what) => {
		const steps = await replay(log, reports);
		expect(steps.slice(0, -1).every(({ ok }) => ok)).toBe(true);
		expect(steps.at(-1)).toMatchObject({ ok: false, commit, what: expect.stringMatching(what) });
		expect(steps.at(-1)!.expected).not.toBe(steps.at(-1)!.actual);
	});

	test("stops at a report with one other bit, or none at all", async () => {
		const { task, digest } = second.accepted[2]!;
		const bytes = reports.get(task)!.slice();
		bytes[bytes.length - 1]! ^= 1;
		expect((await replay(records, new Map([...reports, [task, bytes]]))).at(-1)).toMatchObject({
			ok: false,
			commit: 2,
			what: `digest of report ${task}`,
			expected: digest,
		});
		const without = new Map([...reports].filter(([other]) => other !== task));
		expect((await replay(records, without)).at(-1)).toMatchObject({ ok: false, commit: 2, what: `no report of task ${task}` });
	});

	test("finds out that the end of the log is missing when it is told the head", async () => {
		const head = records.at(-1)!.hash;
		expect((await replay(records.slice(0, -1), reports, engineOf(mean), head)).at(-1)).toMatchObject({
			ok: false,
			commit: 4,
			kind: "missing",
			expected: head,
		});
		await expect(replay([], reports)).rejects.toThrow(/at least the genesis/);
	});

	test("with another configuration stops at the genesis", async () => {
		expect(await replay(records, reports, engineOf(mean, { config: { rate: 0.25 } }))).toMatchObject([
			{ ok: false, commit: 0, what: "config" },
		]);
	});
});

test("a broken chain is named", () => {
	expect(() => verifyChain(records.filter((_, i) => i !== 2))).toThrow(
		expect.objectContaining({ code: "REPLAY_MISMATCH", message: "record 3: commit number: expected 2, got 3" }),
	);
	expect(() => verifyChain([])).toThrow(/at least the genesis/);
});
