import { expect } from "vitest";
import type { PastTask, RoundKey, RoundState, RunEffect, RunPhase, RunState, TaskId, TaskState } from "../../src/machine-types.js";

interface StoredTask {
	task: TaskState;
	outcome?: "applied" | "discarded";
}

interface StoredRound {
	state: RoundState;
	tasks: Map<TaskId, StoredTask>;
	frozen?: readonly TaskId[];
}

export const textOf = ({ kind, round, attempt }: RoundKey): string => `${kind}/${round}/${attempt}`;

/**
 * What a database would hold: it carries out durable effects one by one, refuses those that no correct machine asks for,
 * and loads a run from its rows alone.
 */
export class ModelStore {
	readonly log: { readonly key: RoundKey; readonly skip: boolean; readonly applied: readonly TaskId[] }[] = [];
	readonly rounds = new Map<string, StoredRound>();
	/** Of every accepted report, in order. */
	readonly staleness: number[] = [];
	/** Moves of the run and of its rounds, in order, as "from>to". */
	readonly runMoves: string[] = [];
	readonly roundMoves: string[] = [];
	readonly #created: RunState;
	phase: RunPhase;
	reason: string | undefined;
	misses = 0;
	#ending: string | undefined;

	constructor(created: RunState) {
		this.#created = created;
		this.phase = created.phase;
	}

	get commits(): number {
		return this.log.length;
	}

	/** Carries out a durable effect; false when the effect is not one. */
	apply(effect: RunEffect): boolean {
		switch (effect.type) {
			case "setPhase":
				this.runMoves.push(`${this.phase}>${effect.phase}`);
				this.phase = effect.phase;
				this.reason = effect.reason;
				return true;
			case "openRound":
				expect(this.rounds.has(textOf(effect.state)), `${textOf(effect.state)} is new`).toBe(false);
				this.rounds.set(textOf(effect.state), { state: effect.state, tasks: new Map() });
				this.#take(effect.state);
				return true;
			case "lease": {
				const round = this.#open(effect.key);
				if (round.state.phase === "planned") this.#move(round, "collecting");
				expect(round.state.phase).toBe("collecting");
				for (const task of effect.tasks) {
					const others = [...round.tasks.values()].map((other) => other.task);
					const asynchronous = round.state.plan.maxStaleness !== undefined;
					expect(others.some((other) => other.client === task.client && !(asynchronous && other.phase === "accepted"))).toBe(false);
					expect(others.some((other) => other.basis === undefined && other.slot === task.slot)).toBe(false);
					expect(this.find(task.id)).toBeUndefined();
					round.tasks.set(task.id, { task });
				}
				this.#checkLeases(round);
				return true;
			}
			case "accept": {
				const round = this.#open(effect.key);
				const stored = round.tasks.get(effect.task)!;
				expect([round.state.phase, stored.task.phase]).toEqual(["collecting", "leased"]);
				stored.task = { ...stored.task, phase: "accepted", digest: effect.digest };
				expect(effect.staleness).toBe(round.state.commit - (stored.task.basis?.commit ?? round.state.commit));
				expect(effect.staleness).toBeGreaterThanOrEqual(0);
				expect(effect.staleness).toBeLessThanOrEqual(round.state.plan.maxStaleness ?? 0);
				this.staleness.push(effect.staleness);
				return true;
			}
			case "endTask": {
				const { stored } = this.find(effect.task)!;
				expect(stored.task.phase).toBe("leased");
				stored.task = { ...stored.task, phase: effect.phase };
				return true;
			}
			case "freeze": {
				const round = this.#open(effect.key);
				expect([...effect.tasks].sort()).toEqual(this.#accepted(round).sort());
				const clients = effect.tasks.map((task) => round.tasks.get(task)!.task.client);
				expect(clients).toEqual([...clients].sort());
				round.frozen = effect.tasks;
				this.#move(round, "closing");
				return true;
			}
			case "commit": {
				const round = this.#open(effect.key);
				expect(effect.applied).toEqual(effect.skip ? [] : round.frozen);
				this.#settle(round, effect.applied);
				this.#move(round, "committed");
				expect(effect.carried === undefined).toBe(round.state.plan.maxStaleness === undefined);
				for (const stored of effect.carried === undefined ? [] : round.tasks.values()) {
					if (stored.task.phase === "leased" && !effect.carried!.includes(stored.task.id))
						stored.task = { ...stored.task, phase: "expired" };
				}
				if (effect.key.kind === "evaluate") return true;
				expect(effect.key.round).toBe(this.commits + 1);
				this.log.push({ key: effect.key, skip: effect.skip, applied: effect.applied });
				this.misses = effect.misses;
				this.#ending = effect.done?.reason;
				return true;
			}
			case "abandon": {
				const round = this.#open(effect.key);
				expect([...effect.discarded].sort()).toEqual(this.#accepted(round).sort());
				this.#settle(round, []);
				this.#move(round, "abandoned");
				this.misses = effect.misses;
				return true;
			}
			case "saveBudgets": {
				const round = this.#open(effect.key);
				round.state = { ...round.state, waitLeftMs: effect.waitLeftMs, leftMs: effect.leftMs };
				return true;
			}
			default:
				return false;
		}
	}

	/** The run as a restarted coordinator loads it. */
	load(): RunState {
		const open = [...this.rounds.values()].filter(({ state }) => state.phase !== "committed" && state.phase !== "abandoned");
		const evaluated = [...this.rounds.values()].filter(({ state }) => state.kind === "evaluate").map(({ state }) => state.round);
		return {
			...this.#created,
			phase: this.phase,
			...(this.reason === undefined ? {} : { reason: this.reason }),
			commit: this.commits,
			rounds: this.commits,
			misses: this.misses,
			...(this.#ending === undefined ? {} : { ending: this.#ending }),
			evaluated: Math.max(0, ...evaluated),
			open: open.map(({ state, tasks }) => ({ ...state, tasks: Object.fromEntries([...tasks].map(([id, { task }]) => [id, task])) })),
			...this.#carried(),
		};
	}

	/** What the newest commit left in flight. */
	#carried(): { carried?: RoundState } {
		if (["completed", "failed", "stopped"].includes(this.phase)) return {};
		for (const { state, tasks } of this.rounds.values()) {
			if (state.phase !== "committed" || state.plan.maxStaleness === undefined) continue;
			const leased = [...tasks.values()].filter(({ task }) => task.phase === "leased");
			if (leased.length > 0) return { carried: { ...state, tasks: Object.fromEntries(leased.map(({ task }) => [task.id, task])) } };
		}
		return {};
	}

	/** A new round takes over what is in flight, all of it. */
	#take(state: RoundState): void {
		const { carried } = this.#carried();
		expect(Object.keys(state.tasks).sort()).toEqual(state.kind === "train" ? Object.keys(carried?.tasks ?? {}).sort() : []);
		for (const task of Object.values(state.tasks)) {
			const from = this.find(task.id)!;
			expect(task).toEqual({ ...from.stored.task, basis: task.basis, endsAtMs: task.endsAtMs });
			const { round, attempt, commit } = from.round.state;
			expect(task.basis).toEqual(from.stored.task.basis ?? { round, attempt, commit });
			expect(state.commit - task.basis!.commit).toBeLessThanOrEqual(state.plan.maxStaleness!);
			expect(state.leftMs - task.endsAtMs!).toBeGreaterThan(0);
			from.round.tasks.delete(task.id);
			this.rounds.get(textOf(state))!.tasks.set(task.id, { task });
		}
	}

	/** In flight: at most `leases`, one task of a client at a time. */
	#checkLeases({ state, tasks }: StoredRound): void {
		const leased = [...tasks.values()].filter(({ task }) => task.phase === "leased");
		expect(new Set(leased.map(({ task }) => task.client)).size).toBe(leased.length);
		const fresh = leased.filter(({ task }) => task.basis === undefined).length;
		if (fresh > 0) expect(leased.length).toBeLessThanOrEqual(state.plan.leases);
	}

	find(id: TaskId): { readonly round: StoredRound; readonly stored: StoredTask } | undefined {
		for (const round of this.rounds.values()) {
			const stored = round.tasks.get(id);
			if (stored) return { round, stored };
		}
		return undefined;
	}

	/** What the coordinator looks up for a task that is in no open round. */
	past(id: TaskId): PastTask | undefined {
		const found = this.find(id);
		if (!found || (found.round.state.phase !== "committed" && found.round.state.phase !== "abandoned")) return undefined;
		const { client, digest } = found.stored.task;
		return { client, ...(digest === undefined ? {} : { acceptedDigest: digest }) };
	}

	/** Every accepted task with what became of it. */
	settlements(): (readonly [TaskId, "applied" | "discarded" | undefined])[] {
		const tasks = [...this.rounds.values()].flatMap((round) => [...round.tasks.values()]);
		return tasks.filter(({ task }) => task.phase === "accepted").map(({ task, outcome }) => [task.id, outcome] as const);
	}

	#open(key: RoundKey): StoredRound {
		const round = this.rounds.get(textOf(key));
		expect(round, `${textOf(key)} exists`).toBeDefined();
		expect(["planned", "collecting", "closing"], `${textOf(key)} is open`).toContain(round!.state.phase);
		return round!;
	}

	#accepted(round: StoredRound): TaskId[] {
		return [...round.tasks.values()].filter(({ task }) => task.phase === "accepted").map(({ task }) => task.id);
	}

	#settle(round: StoredRound, applied: readonly TaskId[]): void {
		for (const id of this.#accepted(round)) {
			const stored = round.tasks.get(id)!;
			expect(stored.outcome, `task of ${stored.task.client} is settled once`).toBeUndefined();
			stored.outcome = applied.includes(id) ? "applied" : "discarded";
		}
	}

	#move(round: StoredRound, to: RoundState["phase"]): void {
		this.roundMoves.push(`${round.state.phase}>${to}`);
		round.state = { ...round.state, phase: to };
	}
}
