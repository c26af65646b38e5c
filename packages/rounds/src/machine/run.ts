import type { ClientId } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { RoundKey, RoundState, RunEvent, RunSettings, RunState, Step } from "../machine-types.js";
import { checkInteger, type Draft, keyOf, moveRound, moveRun, openRound, openTraining, sameKey, tally, tasksIn } from "./draft.js";
import { carryTasks, dropCarried, isAsynchronous, stalenessOf } from "./in-flight.js";
import { finalReceipt, findTask, type OpenTask } from "./receipts.js";
import {
	abandonRound,
	askWhoIsThere,
	cancelLeased,
	closeIfComplete,
	closeRound,
	expireLeases,
	finishRound,
	frozenSet,
	leaseTasks,
	mayLease,
	openEvaluation,
	openTrainingRound,
	putTask,
	settle,
	spend,
	startPlanned,
} from "./round.js";
import { commandedPhase, isEnded } from "./transitions.js";

/** Interval of the driver's `tick` events, milliseconds. */
export const TICK_MS = 1_000;

type EventOf<Type extends RunEvent["type"]> = Extract<RunEvent, { type: Type }>;

/**
 * A run in phase created, before anything was done.
 * @throws INVALID_ARGUMENT for settings out of range.
 */
export function createRun(options: {
	readonly run: string;
	readonly epoch: number;
	readonly settings: RunSettings;
	readonly incarnation?: number;
}): RunState {
	const { run, epoch, settings, incarnation = 1 } = options;
	if (run === "") throw new RondoError("INVALID_ARGUMENT", 'run is "", want the id of a run');
	checkInteger("epoch", epoch, 0);
	checkInteger("incarnation", incarnation, 1);
	checkInteger("settings.rounds", settings.rounds, 1);
	checkInteger("settings.maxReplans", settings.maxReplans, 0);
	checkInteger("settings.minClients", settings.minClients, 1);
	checkInteger("settings.waitForClientsMs", settings.waitForClientsMs, 0);
	checkInteger("settings.evaluateEvery", settings.evaluateEvery, 0);
	checkInteger("settings.evaluateDeadlineMs", settings.evaluateDeadlineMs, 1);
	return { run, incarnation, epoch, settings, phase: "created", commit: 0, rounds: 0, misses: 0, evaluated: 0, open: [] };
}

/**
 * What `event` makes of the run, and what the driver has to do about it, in order. Pure: `state` is left as it is, and
 * the same arguments give the same step. Answers that come too late (`planned`, `present`, `finished`, `finishFailed`
 * for an attempt that is not waiting for them) change nothing.
 * @param nowMs a monotonic clock; only `tick` looks at it.
 * @throws CONFLICT for start, pause, resume or stop in a phase that does not allow it; INVALID_ARGUMENT for an event of
 * unknown type or a time that is not finite.
 */
export function step(state: RunState, event: RunEvent, nowMs: number): Step {
	const draft: Draft = { state, effects: [] };
	switch (event.type) {
		case "start":
		case "resume":
			moveRun(draft, commandedPhase(state.run, event.type, state.phase));
			for (const round of state.open) askWhoIsThere(draft, round);
			goOn(draft);
			break;
		case "pause":
			moveRun(draft, commandedPhase(state.run, "pause", state.phase), event.reason);
			break;
		case "stop":
			commandedPhase(state.run, "stop", state.phase);
			endRun(draft, "stopped", "the run was stopped");
			break;
		case "recovered":
			recover(draft);
			break;
		case "planned":
			if (isAwaitedPlan(state, event.round, event.attempt)) openTrainingRound(draft, event.plan);
			break;
		case "present":
			present(draft, event.key, event.clients);
			break;
		case "tick":
			tick(draft, nowMs);
			break;
		case "report":
			report(draft, event);
			break;
		case "decline":
			decline(draft, event);
			break;
		case "finished":
			finished(draft, event);
			break;
		case "finishFailed":
			finishFailed(draft, event);
			break;
		default:
			throw new RondoError(
				"INVALID_ARGUMENT",
				`event.type is "${String((event satisfies never as RunEvent).type)}", which the round machine does not know`,
			);
	}
	return { state: draft.state, effects: draft.effects };
}

/** Why no further training round is opened; undefined while there is one to come. */
function endingReason({ ending, rounds, settings }: RunState): string | undefined {
	if (ending !== undefined) return ending;
	return rounds >= settings.rounds ? `all ${settings.rounds} rounds are done` : undefined;
}

/** Asks for the next plan if the run may open a training round, or completes the run if nothing is left to wait for. */
function goOn(draft: Draft): void {
	const { state } = draft;
	if (openTraining(state)) return;
	const ending = endingReason(state);
	if (ending === undefined) {
		if (state.phase === "running") draft.effects.push({ type: "plan", round: state.rounds + 1, attempt: state.misses + 1 });
	} else if (state.open.length === 0) {
		moveRun(draft, "completed", ending);
	}
}

/** Rounds first, phase last: a crash in between leaves a run that goes on, never an ended one with open rounds. */
function endRun(draft: Draft, phase: "failed" | "stopped", reason: string): void {
	for (const round of draft.state.open) abandonRound(draft, round, reason);
	dropCarried(draft, reason);
	moveRun(draft, phase, reason);
}

function recover(draft: Draft): void {
	const { phase, open, carried } = draft.state;
	if (phase === "created" || isEnded(phase)) return;
	if (carried) draft.effects.push({ type: "offer", key: keyOf(carried), tasks: tasksIn(carried, "leased") });
	if (draft.state.evaluated !== undefined && evaluationIsDue(draft.state)) openEvaluation(draft);
	for (const round of open) {
		const inFlight = isAsynchronous(round) ? tasksIn(round, "leased") : [];
		if (round.phase !== "collecting" && inFlight.length > 0) draft.effects.push({ type: "offer", key: keyOf(round), tasks: inFlight });
		if (round.phase === "closing") finishRound(draft, round);
		else if (round.phase === "planned") startPlanned(draft, round);
		if (round.phase !== "collecting") continue;
		for (const task of tasksIn(round, "accepted")) draft.effects.push({ type: "fold", key: keyOf(round), task: task.id });
		closeIfComplete(draft, round);
		if (openRound(draft.state, round)?.phase !== "collecting") continue;
		const leased = tasksIn(round, "leased");
		if (leased.length === 0) continue;
		draft.effects.push({ type: "offer", key: keyOf(round), tasks: leased });
		if (!isAsynchronous(round)) askWhoIsThere(draft, round);
	}
	goOn(draft);
}

/** Whether the run waits for the plan of this attempt. */
function isAwaitedPlan(state: RunState, round: number, attempt: number): boolean {
	if (state.phase !== "running" || openTraining(state) || endingReason(state) !== undefined) return false;
	return round === state.rounds + 1 && attempt === state.misses + 1;
}

function present(draft: Draft, key: RoundKey, clients: readonly ClientId[]): void {
	const round = openRound(draft.state, key);
	if (round && mayLease(draft, round)) leaseTasks(draft, round, clients);
}

/** A clock that jumps, or a machine that slept, costs a round two intervals at most. */
function tick(draft: Draft, nowMs: number): void {
	if (!Number.isFinite(nowMs)) throw new RondoError("INVALID_ARGUMENT", `nowMs is ${nowMs}, want a finite number of milliseconds`);
	const now = Math.floor(nowMs);
	const { tickedAtMs = now, phase } = draft.state;
	const elapsedMs = Math.min(Math.max(0, now - tickedAtMs), 2 * TICK_MS);
	draft.state = { ...draft.state, tickedAtMs: now };
	if (phase !== "running") return;
	for (const { kind, round: number, attempt } of draft.state.open) {
		const round = openRound(draft.state, { kind, round: number, attempt });
		if (round) tickRound(draft, round, elapsedMs);
	}
}

function tickRound(draft: Draft, before: RoundState, elapsedMs: number): void {
	if (before.phase === "closing") return;
	const { round, usedUp } = spend(draft, before, elapsedMs);
	if (!usedUp) {
		expireLeases(draft, round);
		return;
	}
	if (round.kind === "train" && round.phase === "planned") {
		if (before.waitLeftMs > 0) askWhoIsThere(draft, round);
	} else if (round.kind === "evaluate") {
		abandonRound(draft, round, `nobody evaluated round ${round.round} within ${round.plan.deadlineMs} ms`);
		goOn(draft);
	} else if (tally(round).accepted >= round.plan.quorum) {
		closeRound(draft, round);
	} else {
		miss(draft, round);
	}
}

/** A training round ended below its quorum. */
function miss(draft: Draft, round: RoundState): void {
	const { settings, misses } = draft.state;
	const { plan } = round;
	const { accepted } = tally(round);
	const shortage = `round ${round.round} got ${accepted} of the ${plan.quorum} reports of its quorum within ${plan.deadlineMs} ms`;
	if (misses + 1 > settings.maxReplans) {
		const attempts = misses === 0 ? "1 attempt" : `${misses + 1} attempts in a row`;
		const advice = "connect more clients, lower the quorum or raise the deadline, and submit the run again";
		endRun(draft, "failed", `${attempts} missed the quorum (maxReplans is ${settings.maxReplans}); in the last one ${shortage}: ${advice}`);
	} else if (plan.onMiss === "skip") {
		commitTraining(draft, round, { skipped: shortage });
	} else {
		abandonRound(draft, round, shortage);
		goOn(draft);
	}
}

/** The outcome of a training round becomes durable; then on to its evaluation and to the next round. */
function commitTraining(
	draft: Draft,
	round: RoundState,
	outcome: { readonly skipped?: string; readonly done?: { readonly reason: string } },
): void {
	const { state } = draft;
	const { skipped, done } = outcome;
	const skip = skipped !== undefined;
	const committed = moveRound(draft, round, "committed");
	const misses = skip ? state.misses + 1 : 0;
	const applied = skip ? [] : frozenSet(round);
	const commit = state.commit + 1;
	draft.state = { ...draft.state, commit, rounds: state.rounds + 1, misses, ...(done && { ending: done.reason }) };
	const key = keyOf(round);
	const over = skipped ?? endingReason(draft.state);
	const carried = isAsynchronous(round) ? carryTasks(draft, committed, over) : undefined;
	draft.effects.push({
		type: "commit",
		key,
		skip,
		applied,
		misses,
		...(done && { done: { reason: done.reason } }),
		...(carried && { carried: carried.kept }),
	});
	if (carried && carried.dropped.length > 0) draft.effects.push({ type: "cancel", tasks: carried.dropped, reason: carried.reason });
	else if (!carried && skipped !== undefined) cancelLeased(draft, round, skipped);
	settle(draft, round, skip ? "discarded" : "applied", commit);
	if (evaluationIsDue(draft.state)) openEvaluation(draft);
	goOn(draft);
}

/** Whether the newest commit is one to evaluate and its evaluation was not opened yet. */
function evaluationIsDue(state: RunState): boolean {
	const { rounds, evaluated = 0, settings } = state;
	if (settings.evaluateEvery === 0 || evaluated >= rounds) return false;
	return rounds % settings.evaluateEvery === 0 || endingReason(state) !== undefined;
}

function finished(draft: Draft, { key, done }: EventOf<"finished">): void {
	const round = openRound(draft.state, key);
	if (round?.phase !== "closing") return;
	if (round.kind === "train") {
		commitTraining(draft, round, done ? { done } : {});
		return;
	}
	moveRound(draft, round, "committed");
	draft.effects.push({ type: "commit", key: keyOf(round), skip: false, applied: frozenSet(round), misses: draft.state.misses });
	settle(draft, round, "applied", round.commit);
	goOn(draft);
}

/** An evaluation that cannot be finished is only abandoned; a training round that cannot be planned or finished fails the run. */
function finishFailed(draft: Draft, { key, code, message }: EventOf<"finishFailed">): void {
	const round = openRound(draft.state, key);
	if (!round && key.kind === "train" && isAwaitedPlan(draft.state, key.round, key.attempt)) {
		endRun(draft, "failed", `train round ${key.round} cannot be planned: ${code}: ${message}`);
	}
	if (round?.phase !== "closing") return;
	const reason = `${round.kind} round ${round.round} cannot be finished: ${code}: ${message}`;
	if (round.kind === "train") {
		endRun(draft, "failed", reason);
	} else {
		abandonRound(draft, round, reason);
		goOn(draft);
	}
}

function report(draft: Draft, event: EventOf<"report">): void {
	const open = stillLeased(draft, event);
	if (!open) return;
	const { round, task } = open;
	const { client, digest, verdict } = event;
	const key = keyOf(round);
	if (!verdict.ok) {
		const { code, message } = verdict;
		const ended = putTask(draft, round, { ...task, phase: "rejected" });
		draft.effects.push({ type: "endTask", key, task: task.id, phase: "rejected", reason: `${code}: ${message}` });
		draft.effects.push({ type: "receipt", receipt: { task: task.id, client, code: "REJECTED", error: { code, message } } });
		askWhoIsThere(draft, ended);
		return;
	}
	const accepted = putTask(draft, round, { ...task, phase: "accepted", digest });
	const staleness = stalenessOf(round, task);
	draft.effects.push({ type: "accept", key, task: task.id, digest, numExamples: verdict.numExamples, staleness });
	draft.effects.push({ type: "receipt", receipt: { task: task.id, client, code: "ACCEPTED", acceptedDigest: digest } });
	draft.effects.push({ type: "fold", key, task: task.id });
	closeIfComplete(draft, accepted);
}

function decline(draft: Draft, event: EventOf<"decline">): void {
	const open = stillLeased(draft, event);
	if (!open) return;
	const { round, task } = open;
	const ended = putTask(draft, round, { ...task, phase: "declined" });
	draft.effects.push({ type: "endTask", key: keyOf(round), task: task.id, phase: "declined", reason: event.reason });
	draft.effects.push({ type: "receipt", receipt: { task: task.id, client: event.client, code: "DECLINED" } });
	askWhoIsThere(draft, ended);
}

/**
 * The open task that an incoming message is about; answers the message at once when it can change nothing, and holds it
 * when its task is in flight and no round can take it, or when a report was checked for another round.
 */
function stillLeased(draft: Draft, event: EventOf<"report"> | EventOf<"decline">): OpenTask | undefined {
	const open = findTask(draft.state, event.task);
	const receipt = finalReceipt(draft.state, event, open);
	if (receipt !== undefined || open === undefined) {
		if (receipt !== undefined) draft.effects.push({ type: "receipt", receipt });
		return undefined;
	}
	const { round } = open;
	const isChecked = event.type === "decline" || !isAsynchronous(round) || (event.landing !== undefined && sameKey(event.landing, round));
	if (round.phase === "collecting" && isChecked) return open;
	draft.effects.push({ type: "hold", task: event.task });
	return undefined;
}
