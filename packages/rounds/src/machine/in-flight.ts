import type { Plan } from "@rondo/algorithms";
import type { RoundState, RunState, TaskId, TaskState } from "../machine-types.js";
import { type Draft, keyOf, tasksIn } from "./draft.js";

/** Whether tasks of this round may land in a later one. */
export const isAsynchronous = ({ plan }: RoundState): boolean => plan.maxStaleness !== undefined;

/** Every attempt that holds tasks somebody may still report for: the open ones, and what a commit left in flight. */
export const heldRounds = ({ open, carried }: RunState): readonly RoundState[] => (carried === undefined ? open : [...open, carried]);

/** Commits between the basis of a task and that of the round that holds it. */
export const stalenessOf = (round: RoundState, task: TaskState): number => round.commit - (task.basis?.commit ?? round.commit);

/** Time until the lease of a task ends, milliseconds: the rest of its round, or in an asynchronous round its own. */
export const leaseLeftMs = (round: RoundState, task: TaskState): number =>
	task.endsAtMs === undefined ? round.leftMs : Math.max(0, round.leftMs - task.endsAtMs);

/**
 * Number of the secret draw that the next lease of this attempt goes by: an asynchronous round draws anew for every lease
 * it hands out again, or the first clients of one draw would be asked for ever. 0: the draw of the attempt.
 */
export const turnOf = (round: RoundState): number =>
	isAsynchronous(round) ? Object.values(round.tasks).filter((task) => task.basis === undefined).length : 0;

/**
 * Decides which leased tasks of a round that was just committed stay in flight: those that the next commit's basis is not
 * too far from. Keeps them in the state.
 * @param over why none does
 */
export function carryTasks(
	draft: Draft,
	committed: RoundState,
	over: string | undefined,
): { readonly kept: readonly TaskId[]; readonly dropped: readonly TaskState[]; readonly reason: string } {
	const { commit } = draft.state;
	const maxStaleness = committed.plan.maxStaleness ?? 0;
	const leased = tasksIn(committed, "leased");
	const stays = (task: TaskState): boolean =>
		over === undefined && commit - committed.commit + stalenessOf(committed, task) <= maxStaleness && leaseLeftMs(committed, task) > 0;
	const kept = leased.filter(stays);
	if (kept.length > 0) {
		draft.state = { ...draft.state, carried: { ...committed, tasks: Object.fromEntries(kept.map((task) => [task.id, task])) } };
	}
	return {
		kept: kept.map((task) => task.id),
		dropped: leased.filter((task) => !stays(task)),
		reason: over ?? `commit ${commit} is more than ${maxStaleness} commits after the task's model, or its lease has ended`,
	};
}

/** The tasks in flight as those of a new round with this plan. One that the plan has no room for in time expires. */
export function adoptTasks(draft: Draft, plan: Plan): RoundState["tasks"] {
	const { carried, ...state } = draft.state;
	if (carried === undefined) return {};
	draft.state = state;
	const { round, attempt, commit } = carried;
	const adopted: TaskState[] = [];
	const dropped: TaskState[] = [];
	for (const task of tasksIn(carried, "leased")) {
		const basis = task.basis ?? { round, attempt, commit };
		if (plan.maxStaleness === undefined || state.commit - basis.commit > plan.maxStaleness) dropped.push(task);
		else adopted.push({ ...task, basis, endsAtMs: plan.deadlineMs - leaseLeftMs(carried, task) });
	}
	const reason = `round ${state.rounds + 1} takes no task of commit ${commit} or before`;
	for (const task of dropped) draft.effects.push({ type: "endTask", key: keyOf(carried), task: task.id, phase: "expired", reason });
	if (dropped.length > 0) draft.effects.push({ type: "cancel", tasks: dropped, reason });
	return Object.fromEntries(adopted.map((task) => [task.id, task]));
}

/** The run ends: nobody waits for what is in flight between two rounds. */
export function dropCarried(draft: Draft, reason: string): void {
	const { carried, ...state } = draft.state;
	if (carried === undefined) return;
	draft.state = state;
	draft.effects.push({ type: "cancel", tasks: tasksIn(carried, "leased"), reason });
}
