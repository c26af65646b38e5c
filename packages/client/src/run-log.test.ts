import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodePlain, digestOf, encodePlain, type Plain, vecOf } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { digestBytes, type ReadLogResponse } from "@rondo/protocol";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { LogEntryMessage } from "./log-chain.js";
import { type LogHead, LogHeads } from "./log-heads.js";
import { RunLogs } from "./run-log.js";

const run = {
	runId: "r1",
	strategy: "s",
	version: 2,
	config: encodePlain({ a: 1 }),
	publicSeed: new Uint8Array(32).fill(7),
	initialDigest: "ab".repeat(32),
};
type Entry = { readonly [field: string]: Plain };

/** A log of `commits` commits; `change` alters an entry before it is hashed and followed by others. */
function chainOf(commits: number, change: (entry: Entry) => Entry = (entry) => entry): ReadLogResponse[] {
	const responses: ReadLogResponse[] = [];
	let previous = "";
	for (let commit = 0; commit <= commits; commit++) {
		const entry = change(
			commit === 0
				? {
						kind: "genesis",
						logVersion: 1,
						run: "r1",
						strategy: "s",
						strategyVersion: 2,
						config: { a: 1 },
						initial: vecOf("f32", 3, run.initialDigest),
						publicSeed: "07".repeat(32),
					}
				: commit % 3 === 0
					? { kind: "skip", commit, track: 0, round: commit, publish: null, previous }
					: { kind: "commit", commit, track: 0, round: commit, publish: { n: commit }, previous },
		);
		previous = digestOf(entry);
		responses.push({ commit: BigInt(commit), entry: encodePlain(entry), hash: digestBytes(previous) });
	}
	return responses;
}

const headOf = (chain: readonly ReadLogResponse[], commit = chain.length - 1): LogHead => ({
	commit,
	hash: Buffer.from(chain[commit]!.hash).toString("hex"),
});

let dir: string;
let asked: number[];
beforeEach(async () => {
	dir = await mkdtemp(join(tmpdir(), "rondo-log-"));
	asked = [];
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** Opens the stored heads anew, as after a restart. @param breaks commits before which the call fails once */
async function logsOf(chain: readonly ReadLogResponse[], breaks: readonly number[] = []) {
	const left = [...breaks];
	const transport = {
		async *readLog({ fromCommit }: { readonly fromCommit: bigint }): AsyncGenerator<ReadLogResponse> {
			asked.push(Number(fromCommit));
			for (const response of chain.slice(Number(fromCommit))) {
				if (left[0] === Number(response.commit)) {
					left.shift();
					throw new RondoError("UNAVAILABLE", "gone");
				}
				yield response;
			}
		},
	};
	const heads = await LogHeads.open(join(dir, "log-heads.json"));
	return { heads, logs: new RunLogs(transport, heads, { minMs: 1, maxMs: 2 }) };
}

async function read(
	chain: readonly ReadLogResponse[],
	after: number,
	upTo: number,
	head: LogHead,
	breaks: readonly number[] = [],
): Promise<[number, Plain][]> {
	const { logs } = await logsOf(chain, breaks);
	const call = { signal: new AbortController().signal, count: () => {} };
	const entries: LogEntryMessage[] = [];
	for await (const entry of logs.read(run, after, upTo, head, call)) entries.push(entry);
	return entries.map(({ commit, value }) => [commit, decodePlain(value)]);
}

test("yields what was published, in order, and goes on from the last verified entry after a restart", async () => {
	const chain = chainOf(7);
	expect(await read(chain, 0, 2, headOf(chain, 3))).toEqual([
		[1, { n: 1 }],
		[2, { n: 2 }],
	]);
	expect(await read(chain, 3, 7, headOf(chain))).toEqual([
		[4, { n: 4 }],
		[5, { n: 5 }],
		[6, null],
		[7, { n: 7 }],
	]);
	// Everything is verified: nothing is read.
	expect(await read(chain, 7, 7, headOf(chain))).toEqual([]);
	expect(asked).toEqual([0, 4]);
	expect((await logsOf(chain)).heads.get("r1")).toEqual(headOf(chain));
});

test("an interruption is resumed at the entry that is due", async () => {
	const chain = chainOf(6);
	expect((await read(chain, 0, 6, headOf(chain), [2, 2, 5])).map(([commit]) => commit)).toEqual([1, 2, 3, 4, 5, 6]);
	expect(asked).toEqual([0, 2, 2, 5]);
});

test("a task that is older than what was verified reads on to it", async () => {
	const chain = chainOf(6);
	await read(chain, 0, 6, headOf(chain));
	expect((await read(chain, 1, 4, headOf(chain, 4))).map(([commit]) => commit)).toEqual([2, 3, 4]);
	expect((await logsOf(chain)).heads.get("r1")).toEqual(headOf(chain));
});

test("a part that begins behind the verified entry reads the gap, so that no fork hides in it", async () => {
	const chain = chainOf(9);
	await read(chain, 0, 2, headOf(chain, 2));
	expect((await read(chain, 7, 9, headOf(chain))).map(([commit]) => commit)).toEqual([8, 9]);
	expect(asked).toEqual([0, 3]);
});

const chain = chainOf(5);
const forged = (commit: number, change: (entry: Entry) => Entry): ReadLogResponse[] =>
	chain.with(commit, { ...chain[commit]!, entry: encodePlain(change(decodePlain(chain[commit]!.entry) as Entry)) });
/** As `forged`, with a hash that fits the forged entry. */
const rehashed = (commit: number, change: (entry: Entry) => Entry): ReadLogResponse[] => {
	const entry = change(decodePlain(chain[commit]!.entry) as Entry);
	return chain.with(commit, { commit: BigInt(commit), entry: encodePlain(entry), hash: digestBytes(digestOf(entry)) });
};

test.each<[string, readonly ReadLogResponse[], RegExp]>([
	["a changed entry", forged(2, (entry) => ({ ...entry, publish: { n: 3 } })), /entry 2: hash of the entry: expected/],
	["a changed entry with its hash", rehashed(2, (entry) => ({ ...entry, publish: { n: 3 } })), /entry 3: previous hash: expected/],
	["another previous hash", rehashed(2, (entry) => ({ ...entry, previous: "cd".repeat(32) })), /entry 2: previous hash: expected/],
	["a missing previous hash", rehashed(1, ({ previous, ...entry }) => entry), /entry 1: previous hash: expected .* got undefined/],
	["another last entry", rehashed(5, (entry) => ({ ...entry, publish: 1 })), /entry 5: hash, which is known from the offer/],
	["an entry left out", chain.toSpliced(3, 1), /entry 3: commit number: expected 3, got 4/],
	["entries in another order", [chain[0]!, chain[2]!, chain[1]!, ...chain.slice(3)], /entry 1: commit number: expected 1, got 2/],
	["a number that is not the entry's", rehashed(4, (entry) => ({ ...entry, commit: 3 })), /entry 4: commit number of the entry/],
	["a truncated log", chain.slice(0, 4), /entry 4: end of the log: expected an entry up to 5, got none/],
	["an empty log", [], /entry 0: end of the log/],
	["another run", rehashed(0, (entry) => ({ ...entry, run: "r2" })), /entry 0: run: expected r1, got r2/],
	["other options", rehashed(0, (entry) => ({ ...entry, config: { a: 2 } })), /entry 0: options/],
	["other initial weights", rehashed(0, (entry) => ({ ...entry, initial: null })), /entry 0: initial weights/],
	[
		"a genesis in the middle",
		rehashed(2, () => decodePlain(chain[0]!.entry) as Entry),
		/entry 2: kind: expected commit or skip, got genesis/,
	],
	["an entry that is no map", rehashed(2, () => [] as never), /entry 2: entry: expected a map/],
])("refuses %s, and remembers nothing of it", async (_what, served, message) => {
	await expect(read(served, 0, 5, headOf(chain))).rejects.toThrow(
		expect.objectContaining({ code: "REPLAY_MISMATCH", message: expect.stringMatching(message) }),
	);
	expect((await logsOf(chain)).heads.get("r1")).toBeUndefined();
});

test("a log that is whole in itself but not the one of an earlier reading is refused", async () => {
	await read(chain, 0, 4, headOf(chain, 4));
	const fork = chainOf(7, (entry) => (entry.commit === 2 ? { ...entry, publish: "another" } : entry));
	for (const [after, upTo] of [
		[4, 7],
		[0, 7],
		[6, 7],
	] as const)
		await expect(read(fork, after, upTo, headOf(fork))).rejects.toThrow(expect.objectContaining({ code: "REPLAY_MISMATCH" }));
	await expect(read(fork, 4, 4, headOf(fork, 4))).rejects.toThrow(/entry 4: hash, which is known from an earlier reading/);
	expect((await logsOf(chain)).heads.get("r1")).toEqual(headOf(chain, 4));
});

test.each([
	[-1, 3],
	[0.5, 3],
	[3, 2],
	[0, 6],
	[0, Number.NaN],
])("refuses the range %s to %s", async (after, upTo) => {
	await expect(read(chain, after, upTo, headOf(chain))).rejects.toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
	expect(asked).toEqual([]);
});

test("the heads of runs that are over are forgotten", async () => {
	await read(chain, 0, 5, headOf(chain));
	await (await logsOf(chain)).heads.forget("r1");
	expect((await logsOf(chain)).heads.get("r1")).toBeUndefined();
});
