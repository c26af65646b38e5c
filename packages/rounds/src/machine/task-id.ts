import { type ClientId, digestOf } from "@rondo/algorithms";
import type { RoundKind, TaskId } from "../machine-types.js";

/** Everything that tells one task from another. */
export interface TaskName {
	readonly run: string;
	/** Raised when a run is restored from a backup, so that tasks of the lost time never meet new ones. */
	readonly incarnation: number;
	readonly track: number;
	readonly round: number;
	readonly attempt: number;
	readonly kind: RoundKind;
	readonly client: ClientId;
	/** 0-based, in the order of leasing within the attempt. */
	readonly slot: number;
}

/** Id of a task: the digest of its name, so a report for another attempt or incarnation can never be taken for this one. */
export const taskIdOf = ({ run, incarnation, track, round, attempt, kind, client, slot }: TaskName): TaskId =>
	digestOf({ run, incarnation, track, round, attempt, kind, client, slot });
