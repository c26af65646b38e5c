import type { ClientId, Plan } from "@rondo/algorithms";
import type { RoundState, TaskId, TaskState } from "../machine-types.js";
import { type Draft, keyOf, moveRound, putRound, tally, tasksIn } from "./draft.js";
import { adoptTasks, isAsynchronous, leaseLeftMs, turnOf } from "./in-flight.js";
import { taskIdOf } from "./task-id.js";

/** Remaining budgets are made durable when they cross a multiple of this, so a crash gives back at most this, milliseconds. */
const SAVE_EVERY_MS = 5_000;

function open(draft: Draft, round: RoundState): RoundState {
	draft.state = { ...draft.state, open: [...draft.state.open, round] };
	draft.effects.push({ type: "openRound", state: round });
	return round;
}

/** Opens the next attempt at the training round that the run is at, and asks who is there. */
export function openTrainingRound(draft: Draft, plan: Plan): void {
	const { settings, rounds, commit, misses } = draft.state;
	const tasks = adoptTasks(draft, plan);
	const round = open(draft, {
		kind: "train",
		track: 0,
		round: rounds + 1,
		attempt: misses + 1,
		commit,
		phase: "planned",
		plan,
		waitLeftMs: settings.waitForClientsMs,
		leftMs: plan.deadlineMs,
		tasks,
	});
	startPlanned(draft, round);
}

/** An attempt that has taken over tasks collects at once; then asks who is there. */
export function startPlanned(draft: Draft, round: RoundState): void {
	let started = round;
	if (tally(round).leased > 0) {
		started = moveRound(draft, round, "collecting");
		draft.effects.push({ type: "lease", key: keyOf(round), tasks: [] });
	}
	askWhoIsThere(draft, started);
}

/** Opens the evaluation of the newest commit, and asks which evaluators are there. */
export function openEvaluation(draft: Draft): void {
	const { settings, rounds, commit } = draft.state;
	const deadlineMs = settings.evaluateDeadlineMs;
	const one = { leases: 1, closeAt: 1, quorum: 1 };
	const plan: Plan = { lanes: {}, ...one, deadlineMs, maxExamples: Number.MAX_SAFE_INTEGER, onMiss: "skip", audience: "coordinator" };
	const budgets = { waitLeftMs: 0, leftMs: deadlineMs };
	draft.state = { ...draft.state, evaluated: rounds };
	const round = open(draft, {
		kind: "evaluate",
		track: 0,
		round: rounds,
		attempt: 1,
		commit,
		phase: "planned",
		plan,
		...budgets,
		tasks: {},
	});
	askWhoIsThere(draft, round);
}

/** Whether the attempt may lease tasks now. */
export const mayLease = ({ state }: Draft, round: RoundState): boolean => state.phase === "running" && round.phase !== "closing";

/** Tasks that the attempt could lease now. A lease of an asynchronous round is free again once it was returned. */
function freeLeases(round: RoundState): number {
	const { leased, accepted } = tally(round);
	return Math.max(0, round.plan.leases - leased - (isAsynchronous(round) ? 0 : accepted));
}

/** Asks for connected clients, if the attempt can use one. */
export function askWhoIsThere(draft: Draft, round: RoundState): void {
	if (!mayLease(draft, round) || freeLeases(round) === 0) return;
	const turn = turnOf(round);
	draft.effects.push({ type: "draw", key: keyOf(round), ...(turn > 0 && { turn }) });
}

/**
 * Leases tasks to the first usable of `clients`: the whole cohort once enough are there, later whatever is missing of it.
 * An attempt that nobody can report to any more closes if its quorum is met. An asynchronous one asks whoever has
 * reported again, and waits for its deadline.
 */
export function leaseTasks(draft: Draft, round: RoundState, clients: readonly ClientId[]): void {
	const { plan, phase } = round;
	const asynchronous = isAsynchronous(round);
	const ended = Object.values(round.tasks).filter((task) => !(asynchronous && task.phase === "accepted"));
	const used = new Set([...ended.map((task) => task.client), ...(plan.exclude ?? [])]);
	const free = [...new Set(clients)].filter((client) => !used.has(client));
	const patient = round.kind === "train" && round.waitLeftMs > 0;
	if (phase === "planned" && free.length < (patient ? Math.max(draft.state.settings.minClients, plan.quorum) : plan.quorum)) return;
	const chosen = free.slice(0, freeLeases(round));
	if (chosen.length === 0) {
		const { leased, accepted } = tally(round);
		if (!asynchronous && leased === 0 && accepted >= plan.quorum) closeRound(draft, round);
		return;
	}
	const { run, incarnation } = draft.state;
	const { track, kind, attempt } = round;
	const firstSlot = Object.values(round.tasks).filter((task) => task.basis === undefined).length;
	const lease = asynchronous ? { endsAtMs: round.leftMs - plan.deadlineMs } : {};
	const tasks = chosen.map((client, index): TaskState => {
		const slot = firstSlot + index;
		const id = taskIdOf({ run, incarnation, track, round: round.round, attempt, kind, client, slot });
		return { id, client, slot, phase: "leased", ...lease };
	});
	const collecting = phase === "planned" ? moveRound(draft, round, "collecting") : round;
	putRound(draft, { ...collecting, tasks: { ...round.tasks, ...Object.fromEntries(tasks.map((task) => [task.id, task])) } });
	draft.effects.push({ type: "lease", key: keyOf(round), tasks });
}

/** Replaces one task of an attempt. */
export const putTask = (draft: Draft, round: RoundState, task: TaskState): RoundState =>
	putRound(draft, { ...round, tasks: { ...round.tasks, [task.id]: task } });

/**
 * Closes the attempt if it has `closeAt` reports, or all of its tasks have reported and its quorum is met. If none is left
 * but some ended without a report, the answer to who is there decides: others take their place, or the attempt closes. An
 * asynchronous attempt hands a returned lease out again at once.
 */
export function closeIfComplete(draft: Draft, round: RoundState): void {
	const { leased, accepted, declined, rejected } = tally(round);
	const asynchronous = isAsynchronous(round);
	const allReported = !asynchronous && leased + declined + rejected === 0 && accepted >= round.plan.quorum;
	if (accepted >= round.plan.closeAt || allReported) closeRound(draft, round);
	else if (asynchronous || leased === 0) askWhoIsThere(draft, round);
}

/** Freezes the accepted set of a collecting attempt and asks for its outcome. */
export function closeRound(draft: Draft, round: RoundState): void {
	const closing = moveRound(draft, round, "closing");
	draft.effects.push({ type: "freeze", key: keyOf(round), tasks: frozenSet(round) });
	finishRound(draft, closing);
}

/** Asks for the outcome of a frozen set, again after a recovery. */
export function finishRound(draft: Draft, round: RoundState): void {
	if (!isAsynchronous(round)) cancelLeased(draft, round, `${round.kind} round ${round.round} is closed`);
	draft.effects.push({ type: "finish", key: keyOf(round), tasks: frozenSet(round) });
}

/** The accepted tasks of a closing attempt: nothing is accepted after the freeze, so they are the frozen set. */
export const frozenSet = (round: RoundState): TaskId[] => tasksIn(round, "accepted").map((task) => task.id);

/** Ends an attempt without a commit. Every abandoned training attempt is a miss, which gives the next one its number. */
export function abandonRound(draft: Draft, round: RoundState, reason: string): void {
	moveRound(draft, round, "abandoned");
	const misses = draft.state.misses + (round.kind === "train" ? 1 : 0);
	draft.state = { ...draft.state, misses };
	draft.effects.push({ type: "abandon", key: keyOf(round), discarded: frozenSet(round), reason, misses });
	cancelLeased(draft, round, reason);
	settle(draft, round, "discarded", draft.state.commit);
}

/** Tells clients to drop the tasks that nobody waits for any more. */
export function cancelLeased(draft: Draft, round: RoundState, reason: string): void {
	const tasks = tasksIn(round, "leased");
	if (tasks.length > 0) draft.effects.push({ type: "cancel", tasks, reason });
}

/** Tells the clients whose reports were accepted what became of them. */
export function settle(draft: Draft, round: RoundState, outcome: "applied" | "discarded", commit: number): void {
	const tasks = tasksIn(round, "accepted");
	if (tasks.length > 0) draft.effects.push({ type: "settle", tasks, outcome, commit });
}

/**
 * Spends elapsed time of the attempt's present budget: a planned training round waits for clients, every other round has
 * its deadline. Returns the attempt and whether that budget is used up.
 */
export function spend(draft: Draft, round: RoundState, elapsedMs: number): { readonly round: RoundState; readonly usedUp: boolean } {
	const budget = round.kind === "train" && round.phase === "planned" ? "waitLeftMs" : "leftMs";
	const before = round[budget];
	const after = Math.max(0, before - elapsedMs);
	const spent = after === before ? round : putRound(draft, { ...round, [budget]: after });
	const usedUp = after === 0;
	// A used up deadline ends the round in this very step.
	const isKept = !usedUp || budget === "waitLeftMs";
	if (isKept && Math.ceil(before / SAVE_EVERY_MS) !== Math.ceil(after / SAVE_EVERY_MS)) {
		draft.effects.push({ type: "saveBudgets", key: keyOf(round), waitLeftMs: spent.waitLeftMs, leftMs: spent.leftMs });
	}
	return { round: spent, usedUp };
}

/** Ends the leases of an asynchronous round whose time is up, and hands them out again. */
export function expireLeases(draft: Draft, round: RoundState): void {
	const late = isAsynchronous(round) ? tasksIn(round, "leased").filter((task) => leaseLeftMs(round, task) === 0) : [];
	if (late.length === 0) return;
	const ended = late.map((task): [TaskId, TaskState] => [task.id, { ...task, phase: "expired" }]);
	const after = putRound(draft, { ...round, tasks: { ...round.tasks, ...Object.fromEntries(ended) } });
	const reason = `no report within ${round.plan.deadlineMs} ms`;
	for (const { id } of late) draft.effects.push({ type: "endTask", key: keyOf(round), task: id, phase: "expired", reason });
	draft.effects.push({ type: "cancel", tasks: late, reason });
	askWhoIsThere(draft, after);
}
