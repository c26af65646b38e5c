import type { RondoError } from "@rondo/errors";
import type { RoundKey, RoundState, RunEvent, RunState, TaskId, TaskState } from "@rondo/rounds";
import type { Logger } from "pino";
import type { AcceptanceLog } from "../blobs/acceptance-log.js";
import type { EngineMethods, RunPosition, RunSpec } from "../engine/engine.js";
import type { RunNotice } from "../services.js";
import type { Store } from "../store/store.js";
import type { Remote } from "../threads/rpc.js";
import type { OpenRound } from "./open-round.js";
import type { Checkpoints, ClientLink } from "./ports.js";

export interface ActorPorts {
	readonly store: Store;
	readonly engine: Remote<EngineMethods>;
	readonly link: ClientLink;
	readonly acceptances: AcceptanceLog;
	readonly checkpoint: Checkpoints;
	readonly notify: (notice: RunNotice) => void;
	readonly log: Logger;
	/** The store refuses this coordinator: another one took over. */
	readonly onFenced: (error: RondoError) => void;
}

/** A run as the parts of its driver see it. */
export interface RunView {
	readonly id: string;
	readonly spec: RunSpec;
	readonly manifest: unknown;
	readonly ports: ActorPorts;
	readonly log: Logger;
	readonly machine: RunState;
	readonly logHead: { readonly commit: number; readonly hash: string };
	/** The newest state, for exports and for tasks outside a round. */
	position(population?: number): RunPosition;
	/** Queues an event; resolves when its effects are carried out. @throws CONFLICT when the phase does not allow it. */
	post(event: RunEvent): Promise<void>;
	/** A task that is in an open round or in flight, and the round that holds it. */
	find(task: TaskId): { readonly round: RoundState; readonly task: TaskState } | undefined;
	/** An open round. @throws INTERNAL when there is none of this name. */
	round(key: RoundKey): { readonly state: RoundState; readonly open: OpenRound };
	/** Runs work that nobody waits for; what it throws is logged. */
	background(work: Promise<unknown>): void;
}
