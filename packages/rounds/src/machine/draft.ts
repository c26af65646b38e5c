import { RondoError } from "@rondo/errors";
import type { RoundKey, RoundPhase, RoundState, RunEffect, RunPhase, RunState, TaskPhase, TaskState } from "../machine-types.js";
import { checkedMove, ROUND_TRANSITIONS, RUN_TRANSITIONS } from "./transitions.js";

/** One step in the making: the state so far and what the driver has to do. Lives only inside `step`; states are never mutated. */
export interface Draft {
	state: RunState;
	readonly effects: RunEffect[];
}

/** The parts of `round` that name it. */
export const keyOf = ({ kind, round, attempt }: RoundKey): RoundKey => ({ kind, round, attempt });

/** Whether both name one attempt. */
export const sameKey = (a: RoundKey, b: RoundKey): boolean => a.kind === b.kind && a.round === b.round && a.attempt === b.attempt;

/** The open attempt with this name. */
export const openRound = (state: RunState, key: RoundKey): RoundState | undefined => state.open.find((round) => sameKey(round, key));

/** The open attempt at a training round; there is at most one. */
export const openTraining = (state: RunState): RoundState | undefined => state.open.find((round) => round.kind === "train");

/** The round that the run is at, for those who come too late. */
export const currentRound = (state: RunState): number => Math.min(state.rounds + 1, state.settings.rounds);

/** Tasks of `round` in `phase`, in client-id order, those of one client in task-id order. */
export const tasksIn = (round: RoundState, phase: TaskPhase): TaskState[] =>
	Object.values(round.tasks)
		.filter((task) => task.phase === phase)
		.sort((a, b) => (a.client === b.client ? (a.id < b.id ? -1 : 1) : a.client < b.client ? -1 : 1));

/** Number of tasks of `round` in each phase. */
export function tally(round: RoundState): Record<TaskPhase, number> {
	const counts: Record<TaskPhase, number> = { leased: 0, accepted: 0, declined: 0, rejected: 0, expired: 0 };
	for (const id in round.tasks) counts[round.tasks[id]!.phase]++;
	return counts;
}

/** Replaces the open attempt of the same name and returns it. */
export function putRound(draft: Draft, round: RoundState): RoundState {
	draft.state = { ...draft.state, open: draft.state.open.map((other) => (sameKey(other, round) ? round : other)) };
	return round;
}

/** Moves an open attempt to another phase; one that ends leaves the state. @throws INTERNAL for a move that the table lacks. */
export function moveRound(draft: Draft, round: RoundState, to: RoundPhase): RoundState {
	const moved = { ...round, phase: checkedMove(ROUND_TRANSITIONS, round.phase, to) };
	if (to !== "committed" && to !== "abandoned") return putRound(draft, moved);
	draft.state = { ...draft.state, open: draft.state.open.filter((other) => !sameKey(other, round)) };
	return moved;
}

/** Moves the run to another phase, with its reason or none. @throws INTERNAL for a move that the table lacks. */
export function moveRun(draft: Draft, to: RunPhase, reason?: string): void {
	const { reason: _left, tickedAtMs: _ticked, ...rest } = draft.state;
	const why = reason === undefined ? {} : { reason };
	draft.state = { ...rest, phase: checkedMove(RUN_TRANSITIONS, rest.phase, to), ...why };
	draft.effects.push({ type: "setPhase", phase: to, ...why });
}

/** @throws INVALID_ARGUMENT unless `value` is an integer of at least `least`. */
export function checkInteger(field: string, value: number, least: number): void {
	if (!Number.isSafeInteger(value) || value < least) {
		throw new RondoError("INVALID_ARGUMENT", `${field} is ${String(value)}, want an integer of at least ${least}`, {
			details: { field, value },
		});
	}
}
