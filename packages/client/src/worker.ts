import { parentPort, workerData } from "node:worker_threads";
import {
	type ArrayOf,
	arrayFrom,
	builtInCodecs,
	bytesOf,
	type Client,
	type DType,
	decodePlain,
	encodePlain,
	type Lane,
	type LogValue,
	loadRegistry,
	MAX_INLINE_BYTES,
	type Registry,
	type Vec,
	vecOf,
	type Work,
} from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { configureKernels, randomFrom } from "@rondo/kernels";
import { type BlobRef, BlobStore } from "./blob-store.js";
import {
	type FromWorker,
	fromErrorMessage,
	type Job,
	type JobResult,
	type LaneMessage,
	type LogAsk,
	type LogPage,
	type ToWorker,
	toErrorMessage,
	type WorkerSettings,
} from "./messages.js";
import { blobOf, encodeReport, encodeWork } from "./report.js";
import { type ReadyRun, WorkerRuns } from "./worker-runs.js";
import { loadWorkload } from "./workload.js";

// The training thread: the client half of strategies, the application's trainer and data. Jobs run one after the
// other, because trainers and caches are not made for more.

const port = parentPort!;
const settings = workerData as WorkerSettings;
const store = new BlobStore(settings.blobsDir);
const device = randomFrom(settings.deviceKey);
const aborts = new Map<number, AbortController>();
const fetches = new Map<number, { resolve(): void; reject(error: Error): void }>();
const pages = new Map<number, (page: LogPage) => void>();
let fetchCount = 0;
let logCount = 0;
let lastJob: Promise<void> = Promise.resolve();

const send = (message: FromWorker, transfer: readonly ArrayBuffer[] = []): void => port.postMessage(message, transfer);

// Trainers report each step; the main thread needs no more than ten messages a second.
const PROGRESS_INTERVAL_MS = 100;

async function start(): Promise<void> {
	await configureKernels({ threads: settings.kernelThreads });
	const registry = await loadRegistry(settings.strategies);
	const runs = new WorkerRuns(registry, await loadWorkload(settings.workload), settings);
	port.on("message", (message: ToWorker) => {
		switch (message.type) {
			case "job": {
				aborts.set(message.id, new AbortController());
				lastJob = lastJob.then(() => answer(message.id, message.job, runs, registry));
				return;
			}
			case "abort":
				return aborts.get(message.id)?.abort();
			case "fetched": {
				const waiting = fetches.get(message.fetch);
				fetches.delete(message.fetch);
				return message.error === undefined ? waiting?.resolve() : waiting?.reject(fromErrorMessage(message.error));
			}
			case "log": {
				pages.get(message.log)?.(message);
				pages.delete(message.log);
				return;
			}
			case "close":
				for (const abort of aborts.values()) abort.abort();
				lastJob = lastJob.then(() => runs.dispose()).finally(() => send({ type: "closed" }));
		}
	});
	const strategies = registry.strategies().map(({ name, version, needs }) => ({ name, version, carry: needs.carry }));
	send({ type: "ready", strategies, codecs: builtInCodecs.map(({ name }) => name) });
}

async function answer(id: number, job: Job, runs: WorkerRuns, registry: Registry): Promise<void> {
	const { signal } = aborts.get(id)!;
	try {
		if (signal.aborted) throw cancelled();
		const { runId } = job.run;
		const run = await runs.get(
			job.run,
			(description) => send({ type: "trainer", id, runId, description }),
			(ref) => readBlob(id, ref),
		);
		try {
			const result = await perform(id, job, run, registry, signal);
			if (signal.aborted) throw cancelled();
			send({ type: "done", id, result }, result instanceof Float32Array ? [result.buffer as ArrayBuffer] : []);
		} finally {
			run.cache.flush();
		}
	} catch (error) {
		// What a strategy or trainer throws once it is told to stop says no more than that it stopped.
		send({ type: "failed", id, error: toErrorMessage(signal.aborted ? cancelled() : error, "TRAINER_FAILED") });
	} finally {
		aborts.delete(id);
	}
}

const cancelled = (): RondoError => new RondoError("CANCELLED", "the task was cancelled");

async function perform(id: number, job: Job, run: ReadyRun, registry: Registry, signal: AbortSignal): Promise<JobResult> {
	const client = clientOf(id, job, run, signal);
	const task = decodePlain(job.task);
	if (job.type === "train") {
		const work: Work = await run.strategy.train(task, client);
		const encoded = encodeWork(work, lanesOf(job.lanes), registry.codec, client.secret.at("codec"), (bytes) => store.keepSync(bytes));
		if (work.carry === undefined) return encoded;
		const carry = encodePlain(work.carry);
		if (carry.length > MAX_INLINE_BYTES)
			throw new RondoError(
				"TOO_LARGE",
				`carry must be at most ${MAX_INLINE_BYTES} bytes encoded, got ${carry.length}: keep large arrays as a Vec`,
			);
		return { ...encoded, carry };
	}
	if (run.strategy.assemble === undefined) throw new RondoError("CONFLICT", `strategy ${run.strategy.name} has no model`);
	const weights = await run.strategy.assemble(task, client);
	if (weights.length !== run.layout.length)
		throw new RondoError(
			"SHAPE_MISMATCH",
			`strategy ${run.strategy.name} assembled ${weights.length} weights, the layout has ${run.layout.length}`,
		);
	// A copy: the caller gets the memory, and the strategy may hold on to its own.
	if (job.type === "assemble") return weights.slice();
	return encodeReport(null, {}, run.data.numExamples, await run.trainer.evaluate(weights, run.data));
}

function clientOf(id: number, job: Job, run: ReadyRun, signal: AbortSignal): Client {
	let reportedMs = Number.NEGATIVE_INFINITY;
	return {
		id: settings.clientId,
		round: job.round,
		config: run.config,
		layout: run.layout,
		initial: run.initial,
		trainer: run.trainer,
		data: run.data,
		signal,
		shared: run.shared,
		secret: job.type === "assemble" ? device.at("assemble", job.run.runId) : device.at("task", job.taskId),
		carry: job.type !== "assemble" && job.carry !== undefined ? decodePlain(job.carry) : undefined,
		cache: run.cache,
		read: (vec) => read(id, vec),
		log: (afterCommit, upTo) => readLog(id, afterCommit, upTo, signal),
		keep: <D extends DType>(dtype: D, array: ArrayOf<D>): Vec<D> => vecOf(dtype, array.length, store.keepSync(bytesOf(array)).digest),
		progress: (done, total) => {
			const nowMs = performance.now();
			if (done < total && nowMs - reportedMs < PROGRESS_INTERVAL_MS) return;
			reportedMs = nowMs;
			send({ type: "progress", id, done, total });
		},
	};
}

async function read<D extends DType>(id: number, vec: Vec<D>): Promise<ArrayOf<D>> {
	return arrayFrom(vec.dtype, await readBlob(id, blobOf(vec)));
}

async function readBlob(id: number, ref: BlobRef): Promise<Uint8Array> {
	if (!(await store.has(ref))) await fetchBlob(id, ref);
	return store.read(ref).catch(async (error: unknown) => {
		if (!(error instanceof RondoError) || (error.code !== "DIGEST_MISMATCH" && error.code !== "BLOB_MISSING")) throw error;
		// The local copy was damaged or removed in between: get it again, once.
		await fetchBlob(id, ref);
		return store.read(ref);
	});
}

function fetchBlob(id: number, blob: BlobRef): Promise<void> {
	const fetch = ++fetchCount;
	return new Promise((resolve, reject) => {
		fetches.set(fetch, { resolve, reject });
		send({ type: "fetch", fetch, id, blob });
	});
}

/** Page after page, the next one asked for when the last was taken. */
async function* readLog(id: number, after: number, upTo: number, signal: AbortSignal): AsyncGenerator<LogValue> {
	const log = ++logCount;
	const page = (ask: LogAsk): Promise<LogPage> =>
		new Promise((resolve) => {
			pages.set(log, resolve);
			send({ type: "log", log, id, ask });
		});
	let ended = false;
	try {
		for (let ask: LogAsk = { after, upTo }; !ended; ask = "more") {
			const { entries, done, error } = await page(ask);
			ended = done;
			for (const { commit, track, round, value } of entries) yield { commit, track, round, value: decodePlain(value) };
			if (error !== undefined) throw fromErrorMessage(error);
			if (signal.aborted) throw cancelled();
		}
	} finally {
		if (!ended) send({ type: "log", log, id, ask: "close" });
	}
}

function lanesOf(messages: readonly LaneMessage[]): ReadonlyMap<string, Lane> {
	return new Map(
		messages.map(({ name, length, absMax, combine, codec }): [string, Lane] => {
			const spec = decodePlain(codec);
			if (!Array.isArray(spec) || typeof spec[0] !== "string")
				throw new RondoError("BAD_ENCODING", `the codec of lane ${JSON.stringify(name)} is not [name, ...arguments]`);
			return [name, { length, absMax, combine, codec: spec as unknown as Lane["codec"] }];
		}),
	);
}

start().catch((error: unknown) => send({ type: "unusable", error: toErrorMessage(error, "TRAINER_FAILED") }));
