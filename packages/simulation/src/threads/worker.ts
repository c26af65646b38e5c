import { parentPort, workerData } from "node:worker_threads";
import {
	type ArrayOf,
	arrayFrom,
	bytesOf,
	bytesPerElement,
	contentDigest,
	type Data,
	type DType,
	loadRegistry,
	type Registry,
	type Trainer,
	type Vec,
	vecOf,
} from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { configureKernels, fromHex, type Random, randomFrom } from "@rondo/kernels";
import { type Blobs, type Job, type RunFacts, runClientHalf } from "../client-half.js";
import { armed } from "../executor.js";
import { BlobCache } from "./blob-cache.js";
import { type FromThread, fromErrorMessage, type ThreadRun, type ThreadSettings, type ToThread, toErrorMessage } from "./messages.js";
import { loadWorkload, type SimulatedModel, type SimulatedWorkload } from "./workload.js";

// One thread of the pool: client halves, one after the other.

interface OpenRun {
	readonly spec: ThreadRun;
	readonly facts: RunFacts;
	readonly model: SimulatedModel;
	readonly secret: Random;
	trainer: Trainer | undefined;
	/** By client. */
	readonly data: Map<string, Data>;
}

const port = parentPort!;
const settings = workerData as ThreadSettings;
const runs = new Map<number, OpenRun>();
const aborts = new Map<number, AbortController>();
const asked = new Map<string, ((bytes: Uint8Array | undefined) => void)[]>();
const logs = new Map<number, { resolve(entries: readonly Uint8Array[]): void; reject(error: Error): void }>();
const cache = new BlobCache();
let askCount = 0;
let last: Promise<void> = Promise.resolve();

const send = (message: FromThread, transfer: readonly ArrayBuffer[] = []): void => port.postMessage(message, transfer);

async function start(): Promise<void> {
	await configureKernels({ threads: 1 });
	const registry = await loadRegistry(settings.strategies);
	const workload = await loadWorkload(settings.workload);
	port.on("message", (message: ToThread) => {
		switch (message.type) {
			case "open":
				last = last
					.then(() => open(message.id, message.run, registry))
					.then(
						() => send({ type: "opened", id: message.id }),
						(error) => send({ type: "failed", id: message.id, error: toErrorMessage(error) }),
					);
				return;
			case "job":
				aborts.set(message.id, new AbortController());
				last = last.then(() => answer(message.id, runs.get(message.run)!, message.run, message.job, workload));
				return;
			case "abort":
				return aborts.get(message.id)?.abort();
			case "blob":
				for (const resolve of asked.get(message.sha256) ?? []) resolve(message.bytes);
				asked.delete(message.sha256);
				return;
			case "log":
				logs.get(message.ask)?.resolve(message.entries);
				logs.delete(message.ask);
				return;
			case "noLog":
				logs.get(message.ask)?.reject(fromErrorMessage(message.error));
				logs.delete(message.ask);
				return;
			case "close":
				last = last.then(async () => {
					await runs.get(message.id)?.trainer?.dispose?.();
					runs.delete(message.id);
					cache.clear();
					send({ type: "closed", id: message.id });
				});
		}
	});
	send({ type: "ready" });
}

function open(id: number, spec: ThreadRun, registry: Registry): void {
	const strategy = registry.strategy(spec.strategy);
	if (strategy.version !== spec.version)
		throw new RondoError(
			"STRATEGY_VERSION",
			`run ${spec.run} has ${spec.strategy} version ${spec.version}, its threads have ${strategy.version}`,
		);
	const { layout, manifest, config, initial } = spec;
	const model: SimulatedModel = {
		runId: spec.run,
		strategy: spec.strategy,
		layout,
		manifest,
		asset: async (digest) => {
			const bytes = spec.assets.get(digest);
			if (bytes === undefined) throw new RondoError("NOT_FOUND", `the simulation has no asset ${JSON.stringify(digest)}`);
			return bytes;
		},
	};
	const shared = randomFrom(fromHex(spec.publicSeed));
	const facts = { strategy, codec: registry.codec, config, layout, initial, shared };
	runs.set(id, { spec, facts, model, secret: randomFrom(fromHex(spec.secretSeed)), trainer: undefined, data: new Map() });
}

async function answer(id: number, run: OpenRun, runId: number, job: Job, workload: SimulatedWorkload): Promise<void> {
	const { signal } = aborts.get(id)!;
	try {
		if (signal.aborted) throw new RondoError("CANCELLED", `task ${job.task} was cancelled`);
		const { spec, facts, model } = run;
		run.trainer ??= await workload.createTrainer(model, spec.workloadOptions);
		const plain = run.data.get(job.client) ?? (await workload.createData(model, spec.workloadOptions, job.client));
		run.data.set(job.client, plain);
		const { data, trainer } = armed(plain, run.trainer, spec.adversaries.get(job.client));
		const key = spec.deviceKeys.get(job.client);
		const secret = key === undefined ? run.secret.at("device", job.client) : randomFrom(key);
		const made = new Map<string, readonly [Vec, Uint8Array]>();
		const log = (afterCommit: number, upTo: number): Promise<readonly Uint8Array[]> => readLog(runId, afterCommit, upTo);
		const done = await runClientHalf({ facts, data, trainer, secret, blobs: blobsOf(runId, made), log, signal }, job);
		// Copies: what was stored may be read again here.
		send({ type: "done", id, done, blobs: [...made.values()] });
	} catch (error) {
		send({ type: "failed", id, error: toErrorMessage(error) });
	} finally {
		aborts.delete(id);
	}
}

function blobsOf(run: number, made: Map<string, readonly [Vec, Uint8Array]>): Blobs {
	return {
		async read<D extends DType>(vec: Vec<D>): Promise<ArrayOf<D>> {
			const known = cache.get(vec.sha256) ?? made.get(vec.sha256)?.[1];
			const bytes = known ?? (await fetched(run, vec));
			if (bytes.length !== vec.length * bytesPerElement(vec.dtype))
				throw new RondoError("DIGEST_MISMATCH", `blob ${vec.sha256} has ${bytes.length} bytes, not ${vec.length} × ${vec.dtype}`);
			return arrayFrom(vec.dtype, bytes);
		},
		put(dtype, array) {
			const bytes = bytesOf(array).slice();
			const vec = vecOf(dtype, array.length, contentDigest(bytes));
			if (!made.has(vec.sha256)) made.set(vec.sha256, [vec, bytes]);
			return vec;
		},
	};
}

async function fetched(run: number, vec: Vec): Promise<Uint8Array> {
	const bytes = await new Promise<Uint8Array | undefined>((resolve) => {
		const waiting = asked.get(vec.sha256) ?? [];
		waiting.push(resolve);
		asked.set(vec.sha256, waiting);
		if (waiting.length === 1) send({ type: "read", run, vec });
	});
	if (bytes === undefined) throw new RondoError("BLOB_MISSING", `the store has no blob ${vec.sha256} (${vec.length} × ${vec.dtype})`);
	cache.set(vec.sha256, bytes);
	return bytes;
}

function readLog(run: number, afterCommit: number, upTo: number): Promise<readonly Uint8Array[]> {
	const ask = ++askCount;
	return new Promise((resolve, reject) => {
		logs.set(ask, { resolve, reject });
		send({ type: "log", run, ask, afterCommit, upTo });
	});
}

start().catch((error: unknown) => send({ type: "unusable", error: toErrorMessage(error) }));
