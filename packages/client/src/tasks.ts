import { RondoError, toRondoError } from "@rondo/errors";
import type { BlobStore } from "./blob-store.js";
import type { CarryStore } from "./carry.js";
import type { OfferInfo } from "./events.js";
import type { LogHead } from "./log-heads.js";
import type { Job, RunSpec, StrategyInfo, TrainResult } from "./messages.js";
import type { Decision } from "./options.js";
import type { Outbox } from "./outbox.js";
import type { RunLogs } from "./run-log.js";
import type { Traffic } from "./traffic.js";
import type { TrainerHost } from "./trainer-host.js";
import type { BlobTransfer } from "./transfer.js";

/** An offer with all that its job needs. */
export interface Task {
	readonly offer: OfferInfo;
	readonly run: RunSpec;
	readonly job: Omit<Extract<Job, { type: "train" | "evaluate" }>, "type" | "run" | "taskId" | "round" | "carry">;
	readonly inlineBlobs: readonly { readonly digest: string; readonly content: Uint8Array }[];
	/** Task whose device state to start from. */
	readonly carryBasis: string | undefined;
	/** Head of the log that the task is based on. */
	readonly logHead: LogHead;
}

/** What tasks work with and whom they tell. */
export interface TasksOptions {
	readonly host: TrainerHost;
	readonly strategies: readonly StrategyInfo[];
	readonly outbox: Outbox;
	readonly carry: CarryStore;
	readonly store: BlobStore;
	readonly transfer: BlobTransfer;
	readonly logs: RunLogs;
	readonly traffic: Traffic;
	shouldTrain(offer: OfferInfo): Decision | Promise<Decision>;
	onOffer(offer: OfferInfo): void;
	onDecline(offer: OfferInfo, reason: string): void;
	onCancelled(taskId: string, reason: string): void;
	onProgress(taskId: string, done: number, total: number): void;
	readonly onTrainer: (runId: string, description: string) => void;
	/** The report is durable. */
	onReport(taskId: string): void;
	/** Nothing runs. */
	onIdle(): Promise<void>;
	onError(error: RondoError): void;
}

interface Open {
	readonly task: Task;
	readonly abort: AbortController;
	lease?: NodeJS.Timeout;
}

const MAX_TIMER_MS = 2 ** 31 - 1;

/** The queue of offered tasks: one runs at a time, each at most once, none beyond its lease. */
export class Tasks {
	readonly #options: TasksOptions;
	readonly #open = new Map<string, Open>();
	#running: Promise<void> = Promise.resolve();
	#closed = false;

	constructor(options: TasksOptions) {
		this.#options = options;
	}

	/** Task that is queued or running, or undefined. */
	get(taskId: string): Task | undefined {
		return this.#open.get(taskId)?.task;
	}

	/** Tasks whose device states those that are queued or running start from. */
	get bases(): string[] {
		return [...this.#open.values()].flatMap(({ task: { carryBasis } }) => (carryBasis === undefined ? [] : [carryBasis]));
	}

	/** Takes an offer; one of a task that is here already, or whose report waits, only renews the lease. */
	offer(task: Task): void {
		if (this.#closed || this.#options.outbox.get(task.offer.taskId) !== undefined) return;
		const { taskId } = task.offer;
		const known = this.#open.get(taskId);
		const open = known ?? { task, abort: new AbortController() };
		clearTimeout(open.lease);
		open.lease = setTimeout(() => this.cancel(taskId, "the lease ran out"), Math.min(task.offer.leaseMs, MAX_TIMER_MS));
		if (known !== undefined) return;
		this.#open.set(taskId, open);
		this.#options.onOffer(task.offer);
		this.#running = this.#running.then(() => this.#take(open)).catch((error: unknown) => this.#options.onError(toRondoError(error)));
	}

	/** Stops a task that is queued or running. */
	cancel(taskId: string, reason: string): void {
		const open = this.#open.get(taskId);
		if (open === undefined) return;
		this.#forget(open);
		open.abort.abort();
		this.#options.onCancelled(taskId, reason);
	}

	/** Stops everything; resolves when nothing runs any more. */
	async close(): Promise<void> {
		this.#closed = true;
		for (const open of this.#open.values()) {
			this.#forget(open);
			open.abort.abort();
		}
		await this.#running;
	}

	#forget(open: Open): void {
		clearTimeout(open.lease);
		this.#open.delete(open.task.offer.taskId);
	}

	async #take(open: Open): Promise<void> {
		const { offer } = open.task;
		if (open.abort.signal.aborted) return;
		const reason = await this.#refusal(open).catch((cause: unknown) => {
			const error = toRondoError(cause);
			if (!open.abort.signal.aborted) this.#options.onError(error);
			return `${error.code}: ${error.message}`;
		});
		this.#forget(open);
		// A report that is in the outbox goes out, even if the task was called off in the last moment: its receipt ends it.
		if (reason === undefined) this.#options.onReport(offer.taskId);
		else if (!open.abort.signal.aborted) this.#options.onDecline(offer, reason);
		if (this.#open.size === 0) await this.#options.onIdle();
	}

	/** Does the task; a reason when it was left undone. */
	async #refusal({ task, abort: { signal } }: Open): Promise<string | undefined> {
		const { offer, run, job } = task;
		const { host, outbox, carry, store, strategies, shouldTrain } = this.#options;
		const strategy = strategies.find(({ name }) => name === run.strategy);
		if (strategy === undefined) return `UNKNOWN_STRATEGY: this client does not have ${run.strategy}`;
		if (strategy.version !== run.version)
			return `STRATEGY_VERSION: this client has ${run.strategy} version ${strategy.version}, not ${run.version}`;
		if (outbox.isFull) throw new RondoError("OUTBOX_FULL", `${outbox.taskIds.length} reports of ${outbox.bytes} bytes wait to be sent`);
		const decision = await shouldTrain(offer);
		if (decision !== true) return decision === false ? "declined by the application" : decision.decline;
		for (const { digest, content } of task.inlineBlobs) await store.putInline(digest, content);
		const basis = offer.kind === "train" ? await carry.load(run.runId, strategy.carry, task.carryBasis) : undefined;
		const what = {
			...job,
			run,
			type: offer.kind,
			taskId: offer.taskId,
			round: offer.round,
			...(basis === undefined ? {} : { carry: basis }),
		};
		const call = { signal, count: this.#options.traffic.counter(offer.taskId) };
		const result = (await host.run(what, {
			signal,
			fetch: (blob) => this.#options.transfer.download(blob, call),
			log: (after, upTo) => this.#options.logs.read(run, after, upTo, task.logHead, call),
			progress: (done, total) => this.#options.onProgress(offer.taskId, done, total),
			trainer: this.#options.onTrainer,
		})) as TrainResult;
		if (signal.aborted) throw new RondoError("CANCELLED", "the task was cancelled");
		await this.#keep(task, strategy, result);
		return undefined;
	}

	async #keep({ offer, run }: Task, strategy: StrategyInfo, { report, digest, blobs, carry }: TrainResult): Promise<void> {
		const entry = { taskId: offer.taskId, runId: run.runId, digest, report, blobs };
		const saveCarry = async (mode: "applied" | "latest"): Promise<void> => {
			if (carry !== undefined && strategy.carry === mode) await this.#options.carry.save(run.runId, mode, offer.taskId, carry);
		};
		// "applied" goes first: a report must not be accepted whose device state was lost. "latest" goes last: a task that
		// is repeated because its report was lost must not start from its own result.
		await saveCarry("applied");
		await this.#options.outbox.add(entry);
		await saveCarry("latest");
	}
}
