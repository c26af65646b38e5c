import type { ClientId } from "@rondo/algorithms";
import type { PastTask, Receipt, ReceiptCode, RoundState, RunState, TaskId, TaskState } from "../machine-types.js";
import { currentRound } from "./draft.js";
import { heldRounds, isAsynchronous } from "./in-flight.js";
import { isEnded } from "./transitions.js";

/** A task of an open attempt, or one in flight between two rounds, and the attempt that holds it. */
export interface OpenTask {
	readonly round: RoundState;
	readonly task: TaskState;
}

/** The task with this id, when its attempt is open or it is in flight. */
export function findTask(state: RunState, id: TaskId): OpenTask | undefined {
	for (const round of heldRounds(state)) {
		const task = Object.hasOwn(round.tasks, id) ? round.tasks[id] : undefined;
		if (task) return { round, task };
	}
	return undefined;
}

/** What a client sent and who it is. */
export interface Incoming {
	readonly task: TaskId;
	readonly client: ClientId;
	/** Digest of the report; absent for a decline. */
	readonly digest?: string;
	readonly past?: PastTask;
}

/**
 * The receipt for a report or decline that can change nothing any more; undefined when the task is leased to this
 * client in an attempt that is collecting, so that its content decides, or in flight, so that it decides sooner or later.
 */
export function finalReceipt(state: RunState, incoming: Incoming, open: OpenTask | undefined): Receipt | undefined {
	const { task, client, past } = incoming;
	const receipt = (code: ReceiptCode, more: Partial<Receipt> = {}): Receipt => ({ task, client, code, ...more });
	const owner = open?.task.client ?? past?.client;
	const acceptedDigest = open ? open.task.digest : past?.acceptedDigest;
	if (owner === client && acceptedDigest !== undefined) {
		return receipt(incoming.digest === acceptedDigest ? "DUPLICATE" : "CONFLICT", { acceptedDigest });
	}
	if (isEnded(state.phase)) return receipt("RUN_OVER");
	if (owner !== client) return receipt("NOT_SELECTED");
	const landing = open !== undefined && (open.round.phase === "collecting" || isAsynchronous(open.round));
	if (landing && open.task.phase === "leased") return undefined;
	return receipt("STALE", { round: currentRound(state) });
}
