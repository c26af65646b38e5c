import { EventEmitter } from "node:events";
import { join } from "node:path";
import { RondoError, toRondoError } from "@rondo/errors";
import {
	type ConnectResponse,
	checkGetCurrentTaskResponse,
	digestBytes,
	digestHex,
	type Hello,
	LIMITS,
	PROTOCOL_VERSION,
	RANDOMNESS_VERSION,
	type Receipt,
	type Settled,
	SettlementOutcome,
	type Welcome,
} from "@rondo/protocol";
import { checkLayout, type Layout } from "@rondo/tensors";
import { type BlobStore, digestOfBytes } from "./blob-store.js";
import type { CarryStore } from "./carry.js";
import { Connection } from "./connection.js";
import { Delivery } from "./delivery.js";
import type { ClientEvents, OfferInfo } from "./events.js";
import type { IdentityFile } from "./identity.js";
import type { LogHeads } from "./log-heads.js";
import type { RunSpec } from "./messages.js";
import type { Settings } from "./options.js";
import type { Outbox } from "./outbox.js";
import type { RunLogs } from "./run-log.js";
import { removeAny, type StatePaths } from "./state-dir.js";
import { Tasks } from "./tasks.js";
import { type Bytes, type Traffic, taskOf } from "./traffic.js";
import type { Inventory, TrainerHost } from "./trainer-host.js";
import type { BlobTransfer } from "./transfer.js";
import { logHeadOf, receiptOf, runSpecOf, taskOfOffer } from "./translate.js";
import type { Transport } from "./transport.js";
import type { Unsettled } from "./unsettled.js";

/** Name and version that Hello carries. */
const SOFTWARE = "rondo-client/0.1.0";

/** The newest weights of a run, verified against the coordinator's digest. */
export interface GlobalModel {
	/** Flat float32 vector in layout order. */
	readonly weights: Float32Array;
	readonly layout: Layout;
	/** Commits that the weights contain. */
	readonly commit: number;
}

/** The opened parts of a client. */
export interface ClientParts {
	readonly settings: Settings;
	readonly paths: StatePaths;
	readonly identity: IdentityFile;
	readonly transport: Transport;
	readonly traffic: Traffic;
	readonly store: BlobStore;
	readonly transfer: BlobTransfer;
	readonly outbox: Outbox;
	readonly carry: CarryStore;
	readonly unsettled: Unsettled;
	readonly logHeads: LogHeads;
	readonly logs: RunLogs;
	readonly host: TrainerHost;
	readonly inventory: Inventory;
	/** Releases the state directory. */
	readonly unlock: () => Promise<void>;
	/** Aborts when the client closes. */
	readonly abort: AbortController;
}

const TERMINAL_PHASES = new Set(["completed", "failed", "stopped"]);
const FINAL_RECEIPTS = new Set(["ACCEPTED", "DUPLICATE", "CONFLICT", "STALE", "NOT_SELECTED", "RUN_OVER", "REJECTED"]);
// The coordinator hears of progress once a second at most.
const PROGRESS_INTERVAL_MS = 1_000;

/** A client of one coordinator; made by `connect`. It keeps connected and trains until it is closed. */
export class RondoClient extends EventEmitter<ClientEvents> {
	/**
	 * Settles when the client has stopped: resolves after `close` or an abort, rejects with the reason why it cannot go
	 * on (TOKEN_REVOKED, UNAUTHENTICATED, PROTOCOL_TOO_OLD, SUPERSEDED, FOLDER_LOCKED, …).
	 */
	readonly closed: Promise<void>;
	readonly #parts: ClientParts;
	readonly #connection: Connection;
	readonly #delivery: Delivery;
	readonly #tasks: Tasks;
	readonly #runs = new Map<string, RunSpec>();
	/** What messages leave to do on disk, in their order. */
	#bookkeeping: Promise<void> = Promise.resolve();
	#progressAtMs = Number.NEGATIVE_INFINITY;
	#fatal: RondoError | undefined;

	/** For `connect`. */
	constructor(parts: ClientParts) {
		super();
		this.#parts = parts;
		const { settings, transport, traffic, outbox, transfer, logs, store, carry, host, inventory, abort } = parts;
		const { signal } = abort;
		this.#connection = new Connection({
			open: () =>
				transport.connect((direction, bytes, { message }) => {
					const task = taskOf(message);
					traffic.counter(task?.length === LIMITS.digestBytes ? digestHex(task) : undefined)(direction, bytes);
				}),
			hello: () => this.#hello(),
			epochSeen: () => parts.identity.current.epochSeen,
			onWelcome: (welcome) => this.#onWelcome(welcome),
			onConnected: (welcome) => this.#onConnected(welcome),
			onMessage: (message) => this.#onMessage(message),
			onInvalid: (error) => this.#fail(error),
			onLost: (error, retryInMs) => {
				this.#delivery.disconnected();
				settings.log("warn", "disconnected", { code: error.code, error: error.message, retryInMs });
				this.#tell("disconnected", { error, retryInMs });
			},
			backoff: settings.reconnect,
			signal,
		});
		this.#delivery = new Delivery({
			outbox,
			transfer,
			traffic,
			signal,
			connection: this.#connection,
			backoff: settings.reconnect,
			onError: (error) => this.#fail(error),
		});
		this.#tasks = new Tasks({
			host,
			outbox,
			carry,
			store,
			transfer,
			logs,
			traffic,
			strategies: inventory.strategies,
			shouldTrain: settings.shouldTrain,
			onOffer: (offer) => this.#tell("offer", offer),
			onDecline: (offer, reason) => this.#onDecline(offer, reason),
			onCancelled: (taskId, reason) => this.#tell("cancelled", { taskId, reason }),
			onProgress: (taskId, done, total) => this.#onProgress(taskId, done, total),
			onTrainer: this.#onTrainer,
			onReport: (taskId) => this.#delivery.submit(taskId),
			onIdle: () => this.#trim(),
			onError: (error) => this.#fail(error),
		});
		this.closed = this.#live();
		// Those who want to know await `closed`; for the others it is no unhandled rejection.
		this.closed.catch(() => {});
	}

	get clientId(): string {
		return this.#parts.identity.current.clientId!;
	}

	/** Bytes of all messages since this client was made. */
	get traffic(): Bytes {
		return this.#parts.traffic.total;
	}

	/**
	 * The run's newest global weights: the state is downloaded, assembled in the training thread (after a running task)
	 * and compared with the coordinator's digest.
	 * @throws MODEL_MISMATCH; CONFLICT when the strategy has no model; NOT_FOUND; UNAVAILABLE; CANCELLED after `close`
	 */
	async model(runId: string): Promise<GlobalModel> {
		const { transport, transfer, logs, host, traffic, abort } = this.#parts;
		const call = { signal: abort.signal, count: traffic.counter() };
		const current = await transport.getCurrentTask({ runId }, call);
		checkGetCurrentTaskResponse(current);
		const run = runSpecOf(current.run!);
		const weights = (await host.run(
			{ type: "assemble", run, round: current.round, task: current.task },
			{
				signal: abort.signal,
				fetch: (blob) => transfer.download(blob, call),
				log: (after, upTo) => logs.read(run, after, upTo, logHeadOf(current.logHead), call),
				trainer: this.#onTrainer,
			},
		)) as Float32Array;
		const digest = digestOfBytes(new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength));
		const expected = digestHex(current.modelDigest);
		const commit = Number(current.logHead!.commit);
		if (digest !== expected) {
			throw new RondoError(
				"MODEL_MISMATCH",
				`run ${runId}, commit ${commit}: the weights assembled here have the digest ${digest}, the coordinator's ${expected}`,
				{
					details: { runId, commit, digest, expected },
				},
			);
		}
		return { weights, layout: checkLayout(JSON.parse(run.layoutJson)), commit };
	}

	/** Stops training, disconnects, releases everything; what waits in the outbox stays there. */
	async close(): Promise<void> {
		this.#parts.abort.abort();
		await this.closed.catch(() => {});
	}

	/** Ends the client for a reason. */
	end(error: RondoError): void {
		this.#fatal ??= error;
		this.#fail(error);
		this.#parts.abort.abort();
	}

	async #live(): Promise<void> {
		const { settings, abort, host, transport, unlock } = this.#parts;
		const close = (): void => abort.abort();
		if (settings.signal?.aborted) close();
		settings.signal?.addEventListener("abort", close, { once: true });
		// Listeners that are added right after `connect` hear the first event.
		await new Promise<void>((resolve) => setImmediate(resolve));
		try {
			await this.#connection.run().catch((error: unknown) => this.end(toRondoError(error)));
		} finally {
			settings.signal?.removeEventListener("abort", close);
			this.#delivery.close();
			const stopped = this.#tasks.close();
			await host.close();
			await stopped;
			await this.#bookkeeping;
			transport.close();
			await unlock();
		}
		if (this.#fatal !== undefined) throw this.#fatal;
	}

	async #hello(): Promise<Hello> {
		const { identity, inventory, outbox, unsettled } = this.#parts;
		await identity.update({ session: identity.current.session + 1 });
		return {
			protocolVersion: PROTOCOL_VERSION,
			software: SOFTWARE,
			session: BigInt(identity.current.session),
			epochSeen: BigInt(identity.current.epochSeen),
			installationNonce: Buffer.from(identity.current.installationNonce, "hex"),
			strategies: inventory.strategies.map(({ name, version }) => ({ name, version })),
			randomness: [RANDOMNESS_VERSION],
			codecs: [...inventory.codecs],
			outboxTaskIds: outbox.taskIds.map(digestBytes),
			unsettledTaskIds: unsettled.taskIds.map(digestBytes),
			knownRunIds: [...this.#runs.keys()],
		};
	}

	async #onWelcome(welcome: Welcome): Promise<void> {
		const { identity } = this.#parts;
		if (Number(welcome.epoch) > identity.current.epochSeen) await identity.update({ epochSeen: Number(welcome.epoch) });
	}

	#onConnected(welcome: Welcome): void {
		const event = { clientId: this.clientId, epoch: Number(welcome.epoch), heartbeatMs: welcome.heartbeatMs };
		this.#parts.settings.log("info", "connected", event);
		this.#tell("connected", event);
		this.#delivery.connected();
	}

	#onMessage(message: NonNullable<ConnectResponse["message"]>): void {
		switch (message.$case) {
			case "run": {
				const run = runSpecOf(message.run);
				this.#runs.delete(run.runId);
				this.#runs.set(run.runId, run);
				if (this.#runs.size > LIMITS.knownRuns) this.#runs.delete(this.#runs.keys().next().value!);
				return;
			}
			case "offer": {
				const run = this.#runs.get(message.offer.runId);
				if (run === undefined) {
					const taskId = digestHex(message.offer.taskId);
					this.#fail(
						new RondoError("NOT_FOUND", `the offer of task ${taskId} came before the description of its run ${message.offer.runId}`),
					);
					this.#decline(taskId, "NOT_FOUND: run description");
				} else this.#tasks.offer(taskOfOffer(message.offer, run));
				return;
			}
			case "cancel":
				this.#tasks.cancel(digestHex(message.cancel.taskId), message.cancel.reason);
				return;
			case "receipt":
				this.#after(() => this.#onReceipt(message.receipt));
				return;
			case "settled":
				this.#after(() => this.#onSettled(message.settled));
				return;
			case "runUpdate": {
				const { runId, phase, logHead } = message.runUpdate;
				this.#tell("run", { runId, phase, commit: Number(logHead?.commit ?? 0n) });
				if (TERMINAL_PHASES.has(phase)) this.#after(() => this.#forgetRun(runId));
				return;
			}
		}
	}

	async #onReceipt(message: Receipt): Promise<void> {
		const { outbox, carry, unsettled, traffic } = this.#parts;
		const receipt = receiptOf(message);
		const entry = outbox.get(receipt.taskId);
		this.#parts.settings.log("info", "receipt", receipt);
		if (receipt.code === "RETRY") {
			if (entry !== undefined) this.#delivery.retry(receipt.taskId);
		} else if (FINAL_RECEIPTS.has(receipt.code) && entry !== undefined) {
			// The other report of a CONFLICT is someone else's work: only a state that belongs to it may live on.
			const isOurs = receipt.code === "ACCEPTED" || receipt.code === "DUPLICATE" || receipt.acceptedDigest === entry.digest;
			if (isOurs) await unsettled.add(receipt.taskId);
			else await carry.discard(receipt.taskId);
			await outbox.remove(receipt.taskId);
			this.#delivery.done(receipt.taskId);
		}
		this.#tell("receipt", receipt);
		if (receipt.code !== "RETRY") this.#tell("traffic", { taskId: receipt.taskId, ...traffic.take(receipt.taskId), total: traffic.total });
	}

	async #onSettled(message: Settled): Promise<void> {
		const { carry, unsettled, outbox } = this.#parts;
		const taskId = digestHex(message.taskId);
		const outcome = message.outcome === SettlementOutcome.APPLIED ? "applied" : "discarded";
		if (outcome === "applied") await carry.applied(taskId, new Set([...unsettled.taskIds, ...outbox.taskIds, ...this.#tasks.bases]));
		else await carry.discard(taskId);
		await unsettled.remove(taskId);
		this.#tell("settled", { taskId, outcome, commit: Number(message.commit) });
	}

	async #forgetRun(runId: string): Promise<void> {
		const { carry, logHeads, paths } = this.#parts;
		await carry.forget(runId);
		await logHeads.forget(runId);
		await removeAny(join(paths.cache, `${runId}.run`));
	}

	#onDecline(offer: OfferInfo, reason: string): void {
		this.#parts.settings.log("info", "declined", { ...offer, reason });
		this.#decline(offer.taskId, reason);
		this.#tell("declined", { offer, reason });
	}

	#decline(taskId: string, reason: string): void {
		// Cut to the protocol's limit in bytes; a character of which a part is left is dropped.
		const cut = Buffer.from(reason)
			.subarray(0, LIMITS.reasonBytes)
			.toString("utf8")
			.replace(/\ufffd$/, "");
		this.#connection.send({ $case: "decline", decline: { taskId: digestBytes(taskId), reason: cut } });
	}

	readonly #onTrainer = (runId: string, description: string): void => this.#tell("trainer", { runId, description });

	#onProgress(taskId: string, done: number, total: number): void {
		this.#tell("progress", { taskId, done, total });
		const nowMs = performance.now();
		if (nowMs - this.#progressAtMs < PROGRESS_INTERVAL_MS || !Number.isSafeInteger(done) || !Number.isSafeInteger(total)) return;
		this.#progressAtMs = nowMs;
		this.#connection.send({
			$case: "progress",
			progress: { taskId: digestBytes(taskId), done: BigInt(Math.max(0, done)), total: BigInt(Math.max(0, total)) },
		});
	}

	async #trim(): Promise<void> {
		const { store, outbox, carry, settings } = this.#parts;
		const initial = [...this.#runs.values()].map(({ initialDigest }) => initialDigest);
		await store.trim(settings.blobLimitBytes, new Set([...outbox.blobDigests, ...(await carry.blobDigests()), ...initial]));
	}

	#after(work: () => Promise<void>): void {
		this.#bookkeeping = this.#bookkeeping.then(work).catch((error: unknown) => this.#fail(toRondoError(error)));
	}

	#fail(error: RondoError): void {
		this.#parts.settings.log("error", error.message, { code: error.code, ...error.details });
		// An emitter without a listener for `error` would throw it into the event loop.
		if (this.listenerCount("error") > 0) this.#tell("error", error);
	}

	#tell<E extends keyof ClientEvents>(event: E, payload: ClientEvents[E][0]): void {
		try {
			(this as EventEmitter).emit(event, payload);
		} catch (error) {
			// A listener of the application threw: not a reason to lose a receipt.
			this.#parts.settings.log("error", `a listener of "${event}" threw`, { error: String(error) });
		}
	}
}
