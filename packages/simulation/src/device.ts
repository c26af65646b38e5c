import {
	bytesPerElement,
	type Client,
	type ClientId,
	type Data,
	decodePlain,
	type Plan,
	type Trainer,
	type Vec,
	vecsIn,
} from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { Random } from "@rondo/kernels";
import type { TaskId } from "@rondo/rounds";
import type { AdversarySpec } from "./adversary/spec.js";
import { clientView, type Done, type Job, type ReadLog, type RunFacts } from "./client-half.js";
import type { MemoryStore } from "./memory-store.js";

/** A client as the caller of a simulation describes it, but for what it computes with. */
export interface ClientSpec {
	readonly id: ClientId;
	/** Whether it is connected while a round is open; default: always. */
	readonly present?: (round: number) => boolean;
	/** Root of its secret randomness, 32 bytes; default: derived from the run's secret seed and the client id. */
	readonly deviceKey?: Uint8Array;
	/** What it does against the federation, one after the other; default: nothing. */
	readonly adversary?: readonly AdversarySpec[];
	/** What the length of its tasks in virtual time follows from. */
	readonly numExamples?: number;
}

/** A client whose half runs in the thread of the simulation. */
export interface SimulatedClient extends ClientSpec {
	readonly data: Data;
	readonly trainer: Trainer;
}

/** What all devices of a run share. */
export interface DeviceContext extends RunFacts {
	readonly store: MemoryStore;
	readonly signal: AbortSignal;
	readonly log: ReadLog;
}

/** Bytes that a task cost. */
export interface Traffic {
	readonly down: number;
	readonly up: number;
}

/**
 * What one client keeps from task to task, as a real device does and in the same canonical encoding: its cache, its carry
 * and the digests of the blobs it holds.
 */
export class Device {
	readonly id: ClientId;
	readonly #spec: ClientSpec;
	readonly #secret: Random;
	readonly #context: DeviceContext;
	readonly #cache = new Map<string, Uint8Array>();
	readonly #held = new Set<string>();
	/** Carries of tasks whose outcome is not known. */
	readonly #pending = new Map<TaskId, Uint8Array>();
	#carry: Uint8Array | undefined;

	/** @param secret root of the device's secret randomness */
	constructor(spec: ClientSpec, secret: Random, context: DeviceContext) {
		this.id = spec.id;
		this.#spec = spec;
		this.#secret = secret;
		this.#context = context;
	}

	/** Its device state, encoded. */
	get carry(): Uint8Array | undefined {
		return this.#carry;
	}

	/** The task together with what the device kept until now. */
	job(
		task: {
			readonly id: TaskId;
			readonly round: number;
			readonly payload: Uint8Array;
			/** `carry` when the task was leased, which it starts from if the strategy's carry follows what was applied. */
			readonly basis: Uint8Array | undefined;
		},
		plan: Plan,
		raw: boolean,
	): Job {
		const { id, round, payload, basis } = task;
		const carry = this.#context.strategy.needs.carry === "latest" ? this.#carry : basis;
		return {
			client: this.id,
			task: id,
			round,
			payload,
			lanes: plan.lanes,
			...(carry === undefined ? {} : { carry }),
			cache: new Map(this.#cache),
			raw,
		};
	}

	/**
	 * Keeps what a task left behind, now that its report has arrived.
	 * @param payload of the task
	 * @returns what it cost; the report itself comes on top
	 * @throws TOO_LARGE beyond `bounds.carry`
	 */
	keep(task: TaskId, payload: Uint8Array, done: Done): Traffic {
		for (const [key, bytes] of done.cache) this.#cache.set(key, bytes);
		let down = payload.length + done.logBytes;
		for (const { vec, isStored } of done.touched) {
			if (!isStored && !this.#held.has(vec.sha256)) down += vec.length * bytesPerElement(vec.dtype);
			this.#held.add(vec.sha256);
		}
		if (done.carry !== undefined) this.#keepCarry(task, done.carry);
		const up = (done.report?.blobs ?? []).reduce((sum, { length }) => sum + length, 0);
		return { down, up };
	}

	/** What the client half may touch while it does a task in this thread. */
	client(task: TaskId, round: number): Client {
		const { store, signal, log, ...facts } = this.#context;
		const { data, trainer } = this.#spec as SimulatedClient;
		const blobs = { read: async <V extends Vec>(vec: V) => store.read(vec) as never, put: store.put };
		const carry = this.#carry === undefined ? {} : { carry: this.#carry };
		return clientView(
			{ facts, data, trainer, secret: this.#secret, blobs, log, signal },
			{ client: this.id, task, round, ...carry, cache: this.#cache },
			{ touched: [], cache: this.#cache, logBytes: 0 },
		);
	}

	/** The coordinator tells what became of an accepted report: device state follows only what was applied. */
	settle(task: TaskId, outcome: "applied" | "discarded"): void {
		const carry = this.#pending.get(task);
		if (carry !== undefined && outcome === "applied") this.#carry = carry;
		this.#pending.delete(task);
	}

	/** Blobs that its carry and its cache refer to. */
	vecs(): Vec[] {
		const kept = [...this.#cache.values(), ...this.#pending.values(), ...(this.#carry === undefined ? [] : [this.#carry])];
		return kept.flatMap((bytes) => vecsIn(decodePlain(bytes)));
	}

	#keepCarry(task: TaskId, bytes: Uint8Array): void {
		const { strategy, config, layout } = this.#context;
		const most = strategy.bounds(config, layout).carry ?? 0;
		if (bytes.length > most)
			throw new RondoError("TOO_LARGE", `the carry of ${this.id} has ${bytes.length} bytes, bounds.carry of ${strategy.name} is ${most}`);
		if (strategy.needs.carry === "latest") this.#carry = bytes;
		else this.#pending.set(task, bytes);
	}
}
