import { type ClientId, decodePlain, encodePlain, type Plan, vecsIn } from "@rondo/algorithms";
import { type ErrorCode, RondoError } from "@rondo/errors";
import {
	ConnectResponse,
	digestBytes,
	type Hello,
	type InlineBlob,
	type LaneSpec,
	LIMITS,
	ReceiptCode,
	SettlementOutcome,
	TaskKind,
} from "@rondo/protocol";
import type { Receipt, RunPhase, TaskId } from "@rondo/rounds";
import type { Logger } from "pino";
import type { BlobStore } from "../blobs/blob-store.js";
import type { ClientLink, TaskOffer } from "../driver/ports.js";
import type { PresenceView } from "../services.js";
import type { ClientRole, ClientRow, Store } from "../store/store.js";

type Message = NonNullable<ConnectResponse["message"]>;

/** What a session needs of its stream. */
export interface MessageSink {
	write(message: ConnectResponse): void;
	/** Ends the stream with an error. */
	fail(error: RondoError): void;
}

/** One client's open stream. */
export class Session {
	readonly client: ClientId;
	readonly role: ClientRole;
	readonly number: bigint;
	readonly #sink: MessageSink;
	readonly #strategies: ReadonlySet<string>;
	readonly #codecs: ReadonlySet<string>;
	readonly knownRuns: Set<string>;
	/** Task that downloads are counted on: the newest one offered. */
	newestTask: TaskId | undefined;

	constructor(row: ClientRow, hello: Hello, sink: MessageSink) {
		this.client = row.id;
		this.role = row.role;
		this.number = hello.session;
		this.#sink = sink;
		this.#strategies = new Set(hello.strategies.map(({ name, version }) => `${name}@${version}`));
		this.#codecs = new Set(hello.codecs);
		this.knownRuns = new Set(hello.knownRunIds);
	}

	/** @param codecs names of those that its lanes are encoded with */
	canRun(strategy: string, version: number, codecs: readonly string[]): boolean {
		return this.#strategies.has(`${strategy}@${version}`) && codecs.every((name) => this.#codecs.has(name));
	}

	/** Sends a message and returns its encoded size, bytes. */
	send(message: Message): number {
		const response: ConnectResponse = { message };
		this.#sink.write(response);
		return ConnectResponse.encode(response).finish().length;
	}

	end(error: RondoError): void {
		this.#sink.fail(error);
	}
}

const FLUSH_MS = 250;

const RECEIPT_CODES: Readonly<Record<Receipt["code"], ReceiptCode>> = {
	ACCEPTED: ReceiptCode.ACCEPTED,
	DUPLICATE: ReceiptCode.DUPLICATE,
	CONFLICT: ReceiptCode.CONFLICT,
	STALE: ReceiptCode.STALE,
	NOT_SELECTED: ReceiptCode.NOT_SELECTED,
	RUN_OVER: ReceiptCode.RUN_OVER,
	REJECTED: ReceiptCode.REJECTED,
	DECLINED: ReceiptCode.DECLINED,
};

/** All open streams: who is present, and the way to them. */
export class Sessions implements ClientLink, PresenceView {
	readonly #sessions = new Map<ClientId, Session>();
	readonly #store: Store;
	readonly #blobs: BlobStore;
	readonly #epoch: number;
	readonly #headerOnly: ReadonlySet<string>;
	readonly #log: Logger;
	readonly #counts = new Map<TaskId, { down: number; up: number; delivered: boolean }>();
	#flushTimer: NodeJS.Timeout | undefined;
	/** Called when a client came or went. */
	onChange: () => void = () => undefined;

	constructor(ports: { store: Store; blobs: BlobStore; epoch: number; headerOnly: ReadonlySet<string>; log: Logger }) {
		this.#store = ports.store;
		this.#blobs = ports.blobs;
		this.#epoch = ports.epoch;
		this.#headerOnly = ports.headerOnly;
		this.#log = ports.log;
	}

	/** Takes a stream in. A newer session of the same client ends the older one. @throws SUPERSEDED for an older one. */
	add(session: Session): void {
		const present = this.#sessions.get(session.client);
		if (present !== undefined) {
			const superseded = new RondoError(
				"SUPERSEDED",
				`client ${session.client}: another connection with a higher session number took over`,
			);
			if (present.number > session.number) throw superseded;
			present.end(superseded);
		}
		this.#sessions.set(session.client, session);
		this.onChange();
	}

	remove(session: Session): void {
		if (this.#sessions.get(session.client) !== session) return;
		this.#sessions.delete(session.client);
		this.onChange();
	}

	get(client: ClientId): Session | undefined {
		return this.#sessions.get(client);
	}

	revoke(client: ClientId): void {
		this.#sessions.get(client)?.end(new RondoError("TOKEN_REVOKED", `client ${client} was revoked`));
	}

	endAll(error: RondoError): void {
		for (const session of this.#sessions.values()) session.end(error);
	}

	connected(): readonly ClientId[] {
		return [...this.#sessions.keys()].sort();
	}

	isConnected(id: ClientId): boolean {
		return this.#sessions.has(id);
	}

	eligible(role: ClientRole, strategy: string, version: number, { lanes }: Pick<Plan, "lanes">): readonly ClientId[] {
		// A report of a header alone encodes no lane, nor does an evaluation.
		const codecs = role === "evaluator" || this.#headerOnly.has(strategy) ? [] : Object.values(lanes).map(({ codec: [name] }) => name);
		return this.connected().filter((id) => {
			const session = this.#sessions.get(id);
			return session?.role === role && session.canRun(strategy, version, codecs);
		});
	}

	async offer(client: ClientId, offer: TaskOffer): Promise<void> {
		const session = this.#sessions.get(client);
		if (session === undefined) return;
		const { spec, key, plan } = offer;
		const blobs = await this.#inlineBlobs(offer);
		let down = 0;
		if (!session.knownRuns.has(spec.run)) {
			down += session.send({ $case: "run", run: describeRun(offer) });
			session.knownRuns.add(spec.run);
		}
		const evaluate = key.kind === "evaluate";
		const lanes: LaneSpec[] =
			evaluate || this.#headerOnly.has(spec.strategy)
				? []
				: Object.entries(plan.lanes).map(([name, lane]) => ({
						name,
						length: BigInt(lane.length),
						absMax: lane.absMax,
						combine: lane.combine,
						codec: encodePlain(lane.codec),
					}));
		session.newestTask = offer.task;
		down += session.send({
			$case: "offer",
			offer: {
				taskId: digestBytes(offer.task),
				runId: spec.run,
				incarnation: offer.incarnation,
				epoch: BigInt(this.#epoch),
				kind: evaluate ? TaskKind.EVALUATE : TaskKind.TRAIN,
				track: offer.track,
				round: key.round,
				attempt: key.attempt,
				leaseMs: BigInt(Math.max(0, Math.round(offer.leaseMs))),
				task: offer.payload,
				lanes,
				blobs,
				maxExamples: BigInt(plan.maxExamples),
				carryBasis: offer.carryBasis === null ? new Uint8Array() : digestBytes(offer.carryBasis),
				logHead: { commit: BigInt(offer.logHead.commit), hash: digestBytes(offer.logHead.hash) },
			},
		});
		this.count(offer.task, { down, delivered: true });
	}

	/** Blobs of a task that are small enough to travel with it; the initial weights are fetched once instead. */
	async #inlineBlobs({ payload, spec }: TaskOffer): Promise<InlineBlob[]> {
		const blobs = new Map<string, InlineBlob>();
		let total = 0;
		for (const vec of vecsIn(decodePlain(payload))) {
			if (blobs.has(vec.sha256) || vec.sha256 === spec.initial.sha256) continue;
			const { size } = await this.#blobs.stat(vec.sha256);
			if (size === undefined || size > LIMITS.inlineBlobBytes || total + size > LIMITS.inlineBlobsBytes) continue;
			total += size;
			blobs.set(vec.sha256, { digest: digestBytes(vec.sha256), content: await this.#blobs.read(vec.sha256, 0, size) });
		}
		return [...blobs.values()];
	}

	cancel(client: ClientId, task: TaskId, reason: string): void {
		const down = this.#sessions.get(client)?.send({ $case: "cancel", cancel: { taskId: digestBytes(task), reason } });
		if (down !== undefined) this.count(task, { down });
	}

	receipt(receipt: Receipt): void {
		const down = this.#sessions.get(receipt.client)?.send({
			$case: "receipt",
			receipt: {
				taskId: digestBytes(receipt.task),
				code: RECEIPT_CODES[receipt.code],
				acceptedDigest: receipt.acceptedDigest === undefined ? new Uint8Array() : digestBytes(receipt.acceptedDigest),
				round: receipt.round ?? 0,
				errorCode: receipt.error?.code ?? "",
				errorMessage: receipt.error?.message ?? "",
			},
		});
		if (down !== undefined) this.count(receipt.task, { down });
	}

	/** Asks the client to keep its report and to send it again later. */
	retry(client: ClientId, task: TaskId, error: { readonly code: ErrorCode; readonly message: string }): void {
		const down = this.#sessions.get(client)?.send({
			$case: "receipt",
			receipt: {
				taskId: digestBytes(task),
				code: ReceiptCode.RETRY,
				acceptedDigest: new Uint8Array(),
				round: 0,
				errorCode: error.code,
				errorMessage: error.message,
			},
		});
		if (down !== undefined) this.count(task, { down });
	}

	settled(client: ClientId, task: TaskId, outcome: "applied" | "discarded", commit: number): void {
		const down = this.#sessions.get(client)?.send({
			$case: "settled",
			settled: {
				taskId: digestBytes(task),
				outcome: outcome === "applied" ? SettlementOutcome.APPLIED : SettlementOutcome.DISCARDED,
				commit: BigInt(commit),
			},
		});
		if (down !== undefined) this.count(task, { down });
	}

	runUpdate(run: string, phase: RunPhase, logHead: { readonly commit: number; readonly hash: string }): void {
		for (const session of this.#sessions.values()) {
			if (!session.knownRuns.has(run)) continue;
			session.send({
				$case: "runUpdate",
				runUpdate: { runId: run, phase, logHead: { commit: BigInt(logHead.commit), hash: digestBytes(logHead.hash) } },
			});
		}
	}

	/** Adds to a task's byte counters; written in batches, since a lost count is no reason to slow or fail a round. */
	count(task: TaskId, { down = 0, up = 0, delivered = false }: { down?: number; up?: number; delivered?: boolean }): void {
		const counted = this.#counts.get(task) ?? { down: 0, up: 0, delivered: false };
		this.#counts.set(task, { down: counted.down + down, up: counted.up + up, delivered: counted.delivered || delivered });
		this.#flushTimer ??= setTimeout(() => void this.flush(), FLUSH_MS);
	}

	/** Writes the byte counters that are not stored yet. */
	async flush(): Promise<void> {
		clearTimeout(this.#flushTimer);
		this.#flushTimer = undefined;
		const counts = [...this.#counts].map(([task, bytes]) => ({ task, ...bytes }));
		this.#counts.clear();
		if (counts.length === 0) return;
		await this.#store.countBytes(counts).catch((error: unknown) => this.#log.warn({ err: error }, "byte counts not stored"));
	}
}

/** The wire form of what is constant for a run. */
export function describeRun({ spec, manifest }: Pick<TaskOffer, "spec" | "manifest">) {
	return {
		runId: spec.run,
		strategy: { name: spec.strategy, version: spec.version },
		config: encodePlain(spec.config),
		publicSeed: digestBytes(spec.publicSeed),
		layoutJson: JSON.stringify(spec.layout),
		manifestJson: JSON.stringify(manifest),
		initialDigest: digestBytes(spec.initial.sha256),
		initialBytes: BigInt(spec.initial.length * 4),
	};
}
