import { setTimeout as sleep } from "node:timers/promises";
import type { Plan } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { RoundKey, TaskId, TaskState } from "@rondo/rounds";
import type { World } from "./behaviour.js";

/** A task and what its client is asked. */
export interface Leased {
	readonly task: TaskState;
	readonly payload: Uint8Array;
	/** The plan of its own round. */
	readonly plan: Plan;
	/** Device state when it was leased, encoded. */
	readonly basis: Uint8Array | undefined;
}

/** A task that was leased and whose report has not arrived. */
export interface Assignment extends Leased {
	readonly key: RoundKey;
	/** The tasks that were leased with it, itself among them. */
	readonly cohort: readonly Leased[];
	readonly abort: AbortController;
}

/** An assignment whose report is there, or the error that stands in its place. */
export interface Arrival<R> {
	readonly assignment: Assignment;
	readonly result: Promise<R>;
}

/** Decides when the reports of leased tasks arrive, and keeps the clock. */
export interface Agenda<R> {
	readonly nowMs: number;
	/** Adds tasks of one lease, in the order in which equally fast clients report. */
	add(assignments: readonly Assignment[]): void;
	/** Forgets tasks. */
	cancel(tasks: ReadonlySet<TaskId>): void;
	/** Tasks that may still arrive. */
	waiting(): readonly Assignment[];
	/**
	 * Moves on to the next arrival, or to `untilMs` when there is none before.
	 * @param wanted arrivals that the round can use: no more are worked on ahead
	 */
	next(untilMs: number, wanted: number): Promise<Arrival<R> | undefined>;
}

interface Entry<R> {
	readonly assignment: Assignment;
	/** When it arrives; Infinity: never. */
	readonly atMs: number;
	result?: Promise<R>;
	settled?: boolean;
}

/** What an agenda starts work with. */
export interface AgendaOptions<R> {
	readonly start: (assignment: Assignment) => Promise<R>;
	/** Tasks that are worked on at once. */
	readonly width: number;
}

abstract class Entries<R> {
	protected entries: Entry<R>[] = [];
	readonly #options: AgendaOptions<R>;

	constructor(options: AgendaOptions<R>) {
		this.#options = options;
	}

	cancel(tasks: ReadonlySet<TaskId>): void {
		for (const { assignment } of this.entries) if (tasks.has(assignment.task.id)) assignment.abort.abort();
		this.entries = this.entries.filter(({ assignment }) => !tasks.has(assignment.task.id));
	}

	waiting(): readonly Assignment[] {
		return this.entries.map(({ assignment }) => assignment);
	}

	/** Starts what comes first and is wanted, as far as there is room. */
	protected startAhead(wanted: number): void {
		let running = this.entries.filter(({ result, settled }) => result !== undefined && settled !== true).length;
		for (const entry of this.entries.slice(0, wanted)) {
			if (running >= this.#options.width) return;
			if (entry.result !== undefined || entry.atMs === Number.POSITIVE_INFINITY) continue;
			void this.begin(entry);
			running++;
		}
	}

	protected begin(entry: Entry<R>): Promise<R> {
		entry.result ??= this.#options.start(entry.assignment);
		// An error is seen when the task arrives, or never when it was cancelled before.
		entry.result.then(
			() => (entry.settled = true),
			() => (entry.settled = true),
		);
		return entry.result;
	}
}

/** Virtual time: reports arrive when the world says so, or in the order that `choose` says, however long the work takes here. */
export class VirtualAgenda<R> extends Entries<R> implements Agenda<R> {
	nowMs = 0;
	readonly #world: World;
	readonly #choose: ((waiting: readonly TaskState[]) => number) | undefined;

	/** @param choose index of the task whose report is next; default: the one that arrives first */
	constructor(options: AgendaOptions<R>, world: World, choose?: (waiting: readonly TaskState[]) => number) {
		super(options);
		this.#world = world;
		this.#choose = choose;
	}

	add(assignments: readonly Assignment[]): void {
		for (const assignment of assignments) {
			const { id, client } = assignment.task;
			this.entries.push({ assignment, atMs: this.nowMs + (this.#world.durationMs(id, client) ?? Number.POSITIVE_INFINITY) });
		}
		// Stable: equally fast clients keep their order.
		this.entries.sort((a, b) => (a.atMs < b.atMs ? -1 : a.atMs > b.atMs ? 1 : 0));
	}

	async next(untilMs: number, wanted: number): Promise<Arrival<R> | undefined> {
		const first = this.entries.length === 0 ? undefined : this.#next();
		if (first === undefined || first.atMs >= untilMs) {
			this.nowMs = untilMs;
			return undefined;
		}
		this.startAhead(wanted);
		this.entries = this.entries.filter((entry) => entry !== first);
		this.nowMs = Math.max(this.nowMs, first.atMs);
		return { assignment: first.assignment, result: this.begin(first) };
	}

	/** @throws INVALID_ARGUMENT when `choose` names none of the waiting tasks */
	#next(): Entry<R> {
		const index = this.#choose === undefined ? 0 : this.#choose(this.entries.map(({ assignment }) => assignment.task));
		const entry = this.entries[index];
		if (entry === undefined) throw new RondoError("INVALID_ARGUMENT", `next must be an index below ${this.entries.length}, got ${index}`);
		return entry;
	}
}

/** Real time: reports arrive as their work ends. */
export class RealAgenda<R> extends Entries<R> implements Agenda<R> {
	readonly #startedMs = performance.now();

	get nowMs(): number {
		return performance.now() - this.#startedMs;
	}

	add(assignments: readonly Assignment[]): void {
		this.entries.push(...assignments.map((assignment) => ({ assignment, atMs: 0 })));
	}

	async next(untilMs: number, _wanted: number): Promise<Arrival<R> | undefined> {
		this.startAhead(this.entries.length);
		const timeout = new AbortController();
		const ended = this.entries.flatMap((entry) =>
			entry.result === undefined
				? []
				: [
						entry.result.then(
							() => entry,
							() => entry,
						),
					],
		);
		const pause = sleep(Math.max(0, untilMs - this.nowMs), undefined, { signal: timeout.signal }).catch(() => undefined);
		const first = await Promise.race([...ended, pause]);
		timeout.abort();
		if (first === undefined) return undefined;
		this.entries = this.entries.filter((entry) => entry !== first);
		return { assignment: first.assignment, result: first.result! };
	}
}
