import { Worker } from "node:worker_threads";
import type { Plain, Vec } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";
import type { Done, Job, ReadLog } from "../client-half.js";
import type { ClientSpec } from "../device.js";
import type { Executor } from "../executor.js";
import type { MemoryStore } from "../memory-store.js";
import { type FromThread, fromErrorMessage, type ThreadRun, type ThreadSettings, type ToThread, toErrorMessage } from "./messages.js";

/** What a pool is made of. */
export interface ThreadPoolOptions extends ThreadSettings {
	readonly threads: number;
}

/** What a pool needs to know of a run. */
export interface PoolRun {
	readonly run: string;
	readonly strategy: { readonly name: string; readonly version: number };
	readonly config: unknown;
	readonly layout: Layout;
	readonly initial: Vec<"f32">;
	readonly publicSeed: string;
	readonly secretSeed: string;
	readonly clients: readonly ClientSpec[];
	readonly manifest?: unknown;
	readonly assets?: ReadonlyMap<string, Uint8Array>;
	readonly workloadOptions?: Plain;
	readonly store: MemoryStore;
	readonly log: ReadLog;
}

/** Threads in which client halves run, for one simulation after the other. */
export interface ThreadPool {
	/** Makes the threads ready for a run. @throws UNKNOWN_STRATEGY, STRATEGY_VERSION */
	open(run: PoolRun): Promise<Executor & { close(): Promise<void> }>;
	/** Ends the threads. */
	close(): Promise<void>;
}

interface Waiting {
	readonly job: Job;
	readonly run: number;
	readonly signal: AbortSignal;
	resolve(done: Done): void;
	reject(error: Error): void;
}

interface Thread {
	readonly worker: Worker;
	busy: { readonly id: number; readonly waiting: Waiting; readonly abort: () => void } | undefined;
}

/**
 * Starts the threads; each loads the strategies and the workload module.
 * @throws INVALID_ARGUMENT for a number of threads below 1; TRAINER_FAILED, INVALID_ARGUMENT for a module that cannot be used
 */
export async function openThreadPool({ threads, workload, strategies }: ThreadPoolOptions): Promise<ThreadPool> {
	if (!Number.isSafeInteger(threads) || threads < 1)
		throw new RondoError("INVALID_ARGUMENT", `threads must be a positive integer, got ${threads}`);
	const pool = new Pool({ workload, strategies }, threads);
	try {
		await pool.ready();
	} catch (error) {
		await pool.close();
		throw error;
	}
	return pool;
}

class Pool implements ThreadPool {
	readonly #threads: Thread[];
	readonly #queue: Waiting[] = [];
	/** What open runs read, by message id. */
	readonly #sources = new Map<number, Pick<PoolRun, "store" | "log">>();
	/** Answers that are waited for, by message id and thread. */
	readonly #answers = new Map<string, { resolve(): void; reject(error: Error): void }>();
	#count = 0;
	#broken: Error | undefined;

	constructor(settings: ThreadSettings, threads: number) {
		this.#threads = Array.from({ length: threads }, (_, index) => {
			const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: settings });
			const thread: Thread = { worker, busy: undefined };
			worker.on("message", (message: FromThread) => this.#hear(thread, index, message));
			worker.on("error", (error) => this.#break(error));
			worker.on("exit", () => this.#break(new RondoError("TRAINER_FAILED", `thread ${index} of the simulation ended`)));
			return thread;
		});
	}

	async ready(): Promise<void> {
		await Promise.all(this.#threads.map((_, index) => this.#answer("ready", index)));
	}

	async open(run: PoolRun): Promise<Executor & { close(): Promise<void> }> {
		const id = ++this.#count;
		const { strategy, clients, manifest = null, assets = new Map(), workloadOptions = null, store } = run;
		const spec: ThreadRun = {
			run: run.run,
			strategy: strategy.name,
			version: strategy.version,
			config: run.config,
			layout: run.layout,
			initial: run.initial,
			publicSeed: run.publicSeed,
			secretSeed: run.secretSeed,
			manifest,
			assets,
			workloadOptions,
			deviceKeys: new Map(clients.flatMap(({ id: client, deviceKey }) => (deviceKey === undefined ? [] : [[client, deviceKey] as const]))),
			adversaries: new Map(clients.flatMap(({ id: client, adversary }) => (adversary === undefined ? [] : [[client, adversary] as const]))),
		};
		this.#sources.set(id, { store, log: run.log });
		const tell = (message: ToThread): Promise<unknown> =>
			Promise.all(
				this.#threads.map((thread, index) => {
					const answer = this.#answer(String(id), index);
					thread.worker.postMessage(message);
					return answer;
				}),
			);
		await tell({ type: "open", id, run: spec });
		return {
			width: this.#threads.length,
			run: (job, signal) => this.#run(job, id, signal),
			close: async () => {
				if (this.#broken === undefined) await tell({ type: "close", id });
				this.#sources.delete(id);
			},
		};
	}

	async close(): Promise<void> {
		this.#break(new RondoError("CANCELLED", "the threads of the simulation were ended"));
		await Promise.all(this.#threads.map(({ worker }) => worker.terminate()));
	}

	#run(job: Job, run: number, signal: AbortSignal): Promise<Done> {
		return new Promise((resolve, reject) => {
			if (this.#broken !== undefined) reject(this.#broken);
			else {
				this.#queue.push({ job, run, signal, resolve, reject });
				this.#assign();
			}
		});
	}

	#assign(): void {
		for (const thread of this.#threads) {
			if (thread.busy !== undefined) continue;
			const waiting = this.#queue.shift();
			if (waiting === undefined) return;
			if (waiting.signal.aborted) {
				waiting.reject(new RondoError("CANCELLED", `task ${waiting.job.task} was cancelled`));
				this.#assign();
				return;
			}
			const id = ++this.#count;
			const abort = (): void => thread.worker.postMessage({ type: "abort", id } satisfies ToThread);
			waiting.signal.addEventListener("abort", abort, { once: true });
			thread.busy = { id, waiting, abort };
			thread.worker.postMessage({ type: "job", id, run: waiting.run, job: waiting.job } satisfies ToThread);
		}
	}

	#hear(thread: Thread, index: number, message: FromThread): void {
		switch (message.type) {
			case "ready":
				this.#settle("ready", index);
				break;
			case "unusable":
				this.#break(fromErrorMessage(message.error));
				break;
			case "opened":
			case "closed":
				this.#settle(String(message.id), index);
				break;
			case "read": {
				const { vec, run } = message;
				const bytes = this.#sources.get(run)?.store.find(vec);
				thread.worker.postMessage({ type: "blob", sha256: vec.sha256, ...(bytes === undefined ? {} : { bytes }) } satisfies ToThread);
				break;
			}
			case "log": {
				const { ask, afterCommit, upTo } = message;
				const tell = (answer: ToThread): void => thread.worker.postMessage(answer);
				void this.#sources
					.get(message.run)
					?.log(afterCommit, upTo)
					.then(
						(entries) => tell({ type: "log", ask, entries }),
						(error) => tell({ type: "noLog", ask, error: toErrorMessage(error) }),
					);
				break;
			}
			case "failed":
				if (thread.busy?.id === message.id) this.#end(thread, ({ reject }) => reject(fromErrorMessage(message.error)));
				else this.#settle(String(message.id), index, fromErrorMessage(message.error));
				break;
			case "done":
				this.#end(thread, ({ resolve, run }) => {
					for (const [vec, bytes] of message.blobs) this.#sources.get(run)?.store.adopt(vec, bytes);
					resolve(message.done);
				});
				break;
		}
	}

	#end(thread: Thread, tell: (waiting: Waiting) => void): void {
		const { waiting, abort } = thread.busy!;
		waiting.signal.removeEventListener("abort", abort);
		thread.busy = undefined;
		tell(waiting);
		this.#assign();
	}

	#answer(id: string, index: number): Promise<void> {
		return new Promise((resolve, reject) => {
			if (this.#broken !== undefined) reject(this.#broken);
			else this.#answers.set(`${id}/${index}`, { resolve, reject });
		});
	}

	#settle(id: string, index: number, error?: Error): void {
		const waiting = this.#answers.get(`${id}/${index}`);
		this.#answers.delete(`${id}/${index}`);
		if (error === undefined) waiting?.resolve();
		else waiting?.reject(error);
	}

	/** A thread that is gone takes the pool with it: what it had in hand cannot be told from what it had not. */
	#break(error: Error): void {
		if (this.#broken !== undefined) return;
		this.#broken = error;
		for (const { reject } of this.#answers.values()) reject(error);
		for (const { reject } of this.#queue.splice(0)) reject(error);
		for (const thread of this.#threads) thread.busy?.waiting.reject(error);
	}
}
