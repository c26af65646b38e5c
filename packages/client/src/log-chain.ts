import { createHash } from "node:crypto";
import { decodePlain, encodePlain, isVec, type Plain } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { LogHead } from "./log-heads.js";
import type { RunSpec } from "./messages.js";

/** A commit as it goes to the training thread. */
export interface LogEntryMessage {
	readonly commit: number;
	readonly track: number;
	readonly round: number;
	/** Canonical CBOR of what was published; null for a skipped round. */
	readonly value: Uint8Array;
}

/** The run's parts that its genesis entry must agree with. */
export type RunIdentity = Pick<RunSpec, "runId" | "strategy" | "version" | "config" | "publicSeed" | "initialDigest">;

/** Checks entries one after the other: numbers, hashes, links, and the places that are known already. */
export class LogChain {
	readonly #run: RunIdentity;
	readonly #known: ReadonlyMap<number, string>;
	#last: LogHead | undefined;

	/**
	 * @param known places that the log must pass through
	 * @param last entry before the first one, where it is known
	 */
	constructor(run: RunIdentity, known: readonly LogHead[], last: LogHead | undefined) {
		this.#run = run;
		this.#known = new Map(known.map(({ commit, hash }) => [commit, hash]));
		this.#last = last;
	}

	/** The last entry that was taken. */
	get last(): LogHead | undefined {
		return this.#last;
	}

	/**
	 * Takes the next entry; undefined for the genesis.
	 * @param commit number that is due
	 * @throws REPLAY_MISMATCH, or BAD_ENCODING for bytes that are not a canonical plain value
	 */
	take(commit: number, given: { readonly commit: bigint; readonly entry: Uint8Array; readonly hash: string }): LogEntryMessage | undefined {
		this.#equal(commit, "commit number", String(commit), String(given.commit));
		this.#equal(commit, "hash of the entry", given.hash, createHash("sha256").update(given.entry).digest("hex"));
		const known = this.#known.get(commit);
		if (known !== undefined) this.#equal(commit, "hash, which is known from the offer or from an earlier reading", known, given.hash);
		const entry = decodePlain(given.entry) as { readonly [field: string]: Plain };
		const isMap = typeof entry === "object" && entry !== null && !Array.isArray(entry) && !ArrayBuffer.isView(entry);
		this.#equal(commit, "entry", "a map", isMap ? "a map" : String(entry));
		const message = commit === 0 ? this.#genesis(entry) : this.#commit(commit, entry);
		this.#last = { commit, hash: given.hash };
		return message;
	}

	/** REPLAY_MISMATCH: another entry is known at this place. */
	forked({ commit, hash }: LogHead): RondoError {
		return mismatch(this.#run.runId, commit, "hash, which is known from an earlier reading", String(this.#last?.hash), hash);
	}

	/** REPLAY_MISMATCH: the log ended although later entries are known to exist. */
	endsEarly(commit: number, target: number): RondoError {
		return mismatch(this.#run.runId, commit, "end of the log", `an entry up to ${target}`, "none");
	}

	#genesis(entry: { readonly [field: string]: Plain }): undefined {
		const { runId, strategy, version, config, publicSeed, initialDigest } = this.#run;
		this.#equal(0, "kind", "genesis", entry.kind);
		this.#equal(0, "run", runId, entry.run);
		this.#equal(0, "strategy", strategy, entry.strategy);
		this.#equal(0, "strategy version", version, entry.strategyVersion);
		this.#equal(0, "public seed", hex(publicSeed), entry.publicSeed);
		this.#equal(0, "initial weights", initialDigest, isVec(entry.initial) ? entry.initial.sha256 : entry.initial);
		this.#equal(0, "options", hex(config), hex(encodePlain(entry.config ?? null)));
		return undefined;
	}

	#commit(commit: number, entry: { readonly [field: string]: Plain }): LogEntryMessage {
		const { kind, track, round, publish = null } = entry;
		this.#equal(commit, "kind", "commit or skip", kind === "commit" || kind === "skip" ? "commit or skip" : kind);
		this.#equal(commit, "commit number of the entry", commit, entry.commit);
		const { previous } = entry;
		if (this.#last === undefined)
			this.#equal(commit, "previous hash", "64 hexadecimal digits", isHash(previous) ? "64 hexadecimal digits" : previous);
		else this.#equal(commit, "previous hash", this.#last.hash, previous);
		if (!isCount(track) || !isCount(round)) throw mismatch(this.#run.runId, commit, "track and round", "counts", `${track} and ${round}`);
		return { commit, track, round, value: encodePlain(publish) };
	}

	#equal(commit: number, what: string, expected: string | number, actual: unknown): void {
		if (actual !== expected) throw mismatch(this.#run.runId, commit, what, String(expected), String(actual));
	}
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const isHash = (value: unknown): boolean => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const mismatch = (run: string, commit: number, what: string, expected: string, actual: string): RondoError =>
	new RondoError("REPLAY_MISMATCH", `log of run ${run}, entry ${commit}: ${what}: expected ${expected}, got ${actual}`, {
		details: { run, commit, what, expected, actual },
	});
