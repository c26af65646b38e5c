import { Worker } from "node:worker_threads";
import { RondoError } from "@rondo/errors";
import type { BlobRef } from "./blob-store.js";
import { LogPages, type OpenLog } from "./log-pages.js";
import {
	type FromWorker,
	fromErrorMessage,
	type Job,
	type JobResult,
	type StrategyInfo,
	type ToWorker,
	toErrorMessage,
	type WorkerSettings,
} from "./messages.js";

/** What this device can run. */
export interface Inventory {
	readonly strategies: readonly StrategyInfo[];
	readonly codecs: readonly string[];
}

/** Around one job: when to stop it, where its blobs come from, who hears of its progress. */
export interface JobContext {
	readonly signal: AbortSignal;
	fetch(blob: BlobRef, signal: AbortSignal): Promise<void>;
	/** Reads the log of the run that the job belongs to. */
	readonly log: OpenLog;
	progress?(done: number, total: number): void;
	/** A trainer was made, and what it says of itself. */
	trainer?(runId: string, description: string): void;
}

interface Running extends JobContext {
	readonly logs: LogPages;
	resolve(result: JobResult): void;
	reject(error: RondoError): void;
}

// A trainer that computes synchronously does not hear that it shall stop: then its thread ends.
const ABORT_GRACE_MS = 5_000;
const CLOSE_GRACE_MS = 2_000;

/** Runs jobs in a training thread; a thread that crashed or had to be ended is replaced for the next job. */
export class TrainerHost {
	readonly #settings: WorkerSettings;
	readonly #running = new Map<number, Running>();
	#worker: Worker | undefined;
	#ready: Promise<Inventory> | undefined;
	#onClosed: (() => void) | undefined;
	#jobs = 0;

	constructor(settings: WorkerSettings) {
		this.#settings = settings;
	}

	/** Starts the thread. @throws TRAINER_FAILED or INVALID_ARGUMENT when a module cannot be used */
	start(): Promise<Inventory> {
		this.#ready ??= this.#spawn();
		return this.#ready;
	}

	/** @throws CANCELLED when the signal aborted, otherwise whatever the job failed with */
	async run(job: Job, context: JobContext): Promise<JobResult> {
		await this.start();
		if (context.signal.aborted) throw new RondoError("CANCELLED", "the task was cancelled");
		const id = ++this.#jobs;
		const logs = new LogPages(context.log);
		let grace: NodeJS.Timeout | undefined;
		const abort = (): void => {
			this.#post({ type: "abort", id });
			grace = setTimeout(() => void this.#worker?.terminate(), ABORT_GRACE_MS);
		};
		context.signal.addEventListener("abort", abort, { once: true });
		try {
			return await new Promise<JobResult>((resolve, reject) => {
				this.#running.set(id, { ...context, logs, resolve, reject });
				this.#post({ type: "job", id, job });
			});
		} finally {
			clearTimeout(grace);
			context.signal.removeEventListener("abort", abort);
			this.#running.delete(id);
			// Not awaited: a reading that waits for the network must not hold up a job that is over.
			logs.close().catch(() => {});
		}
	}

	/** Lets trainers release their device and ends the thread. */
	async close(): Promise<void> {
		const worker = this.#worker;
		if (worker === undefined) return;
		let timer: NodeJS.Timeout | undefined;
		await new Promise<void>((resolve) => {
			this.#onClosed = resolve;
			timer = setTimeout(resolve, CLOSE_GRACE_MS);
			this.#post({ type: "close" });
		});
		clearTimeout(timer);
		await worker.terminate();
	}

	#post(message: ToWorker): void {
		this.#worker?.postMessage(message);
	}

	#spawn(): Promise<Inventory> {
		const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: this.#settings, name: "rondo-trainer" });
		this.#worker = worker;
		return new Promise((resolve, reject) => {
			worker.on("message", (message: FromWorker) => {
				if (message.type === "ready") resolve({ strategies: message.strategies, codecs: message.codecs });
				else if (message.type === "unusable") {
					reject(fromErrorMessage(message.error));
					void worker.terminate();
				} else this.#on(message);
			});
			let cause: unknown;
			worker.on("error", (error) => {
				cause = error;
			});
			worker.on("exit", (exitCode) => {
				const why = cause === undefined ? `exit code ${exitCode}` : String(cause);
				this.#gone(worker, new RondoError("TRAINER_FAILED", `the training thread ended: ${why}`, { cause }), reject);
			});
		});
	}

	#gone(worker: Worker, error: RondoError, reject: (error: RondoError) => void): void {
		reject(error);
		this.#onClosed?.();
		if (this.#worker !== worker) return;
		this.#worker = undefined;
		this.#ready = undefined;
		for (const job of this.#running.values())
			job.reject(job.signal.aborted ? new RondoError("CANCELLED", "the task was cancelled") : error);
		this.#running.clear();
	}

	#on(message: Exclude<FromWorker, { type: "ready" | "unusable" }>): void {
		if (message.type === "closed") {
			this.#onClosed?.();
			return;
		}
		const job = this.#running.get(message.id);
		switch (message.type) {
			case "progress":
				job?.progress?.(message.done, message.total);
				return;
			case "trainer":
				job?.trainer?.(message.runId, message.description);
				return;
			case "done":
				job?.resolve(message.result);
				return;
			case "failed":
				job?.reject(fromErrorMessage(message.error));
				return;
			case "log": {
				const { log } = message;
				void job?.logs.answer(log, message.ask).then((page) => {
					if (page !== undefined) this.#post({ type: "log", log, ...page });
				});
				return;
			}
			case "fetch": {
				const { fetch } = message;
				const fetched =
					job === undefined ? Promise.reject(new RondoError("CANCELLED", "the task was cancelled")) : job.fetch(message.blob, job.signal);
				fetched.then(
					() => this.#post({ type: "fetched", fetch }),
					(error: unknown) => this.#post({ type: "fetched", fetch, error: toErrorMessage(error, "INTERNAL") }),
				);
			}
		}
	}
}
