import {
	type AnyStrategy,
	type ArrayOf,
	bytesPerElement,
	type Client,
	type ClientId,
	type Data,
	type DType,
	decodePlain,
	encodePlain,
	type Plain,
	type Plan,
	type Trainer,
	type Vec,
	vecsIn,
	type Work,
} from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { Random } from "@rondo/kernels";
import { type CodecLookup, encodeReport, INLINE_LANE_BYTES, INLINE_LANES_BYTES, type Report, type TaskId } from "@rondo/rounds";
import type { Layout } from "@rondo/tensors";
import type { MemoryStore } from "./memory-store.js";

/** A client as the caller of a simulation describes it. */
export interface SimulatedClient {
	readonly id: ClientId;
	readonly data: Data;
	readonly trainer: Trainer;
	/** Whether it is connected while a round is open; default: always. */
	readonly present?: (round: number) => boolean;
	/** Root of its secret randomness, 32 bytes; default: derived from the run's secret seed and the client id. */
	readonly deviceKey?: Uint8Array;
}

/** What all devices of a run share. */
export interface DeviceContext {
	readonly strategy: AnyStrategy;
	readonly codec: CodecLookup;
	readonly config: unknown;
	readonly layout: Layout;
	readonly initial: Vec<"f32">;
	readonly shared: Random;
	readonly store: MemoryStore;
	readonly signal: AbortSignal;
}

/** What one task cost and made. */
export interface DeviceResult {
	readonly bytes: Uint8Array;
	readonly digest: string;
	readonly bytesDown: number;
	readonly bytesUp: number;
}

/**
 * The client half of one client: runs the strategy's `train` and keeps what a real device keeps, in the same canonical
 * encoding: its cache, its carry and the digests of the blobs it holds.
 */
export class Device {
	readonly id: ClientId;
	readonly #spec: SimulatedClient;
	readonly #secret: Random;
	readonly #context: DeviceContext;
	readonly #cache = new Map<string, Uint8Array>();
	readonly #held = new Set<string>();
	/** Carries of tasks whose outcome is not known. */
	readonly #pending = new Map<TaskId, Uint8Array>();
	#carry: Uint8Array | undefined;

	/** @param secret root of the device's secret randomness */
	constructor(spec: SimulatedClient, secret: Random, context: DeviceContext) {
		this.id = spec.id;
		this.#spec = spec;
		this.#secret = secret;
		this.#context = context;
	}

	/** Does a task. @throws whatever the strategy, the trainer or the data throw; TOO_LARGE beyond `bounds.carry` */
	async train(task: { readonly id: TaskId; readonly round: number; readonly payload: Uint8Array }, plan: Plan): Promise<DeviceResult> {
		const { strategy } = this.#context;
		const traffic = { down: task.payload.length, up: 0 };
		const client = this.client(task.id, task.round, traffic);
		const work: Work = await strategy.train(decodePlain(task.payload), client);
		this.#keepCarry(task.id, work.carry);
		const { bytes, digest } = encodeReport(this.#report(work, plan, client.secret.at("codec"), traffic));
		return { bytes, digest, bytesDown: traffic.down, bytesUp: traffic.up + bytes.length };
	}

	/** What the client half may touch while it does a task. */
	client(task: TaskId, round: number, traffic = { down: 0 }): Client {
		const { config, layout, initial, shared, store, signal } = this.#context;
		const { data, trainer } = this.#spec;
		return {
			id: this.id,
			round,
			config,
			layout,
			initial,
			trainer,
			data,
			signal,
			shared,
			secret: this.#secret.at("task", task),
			carry: this.#carry === undefined ? undefined : decodePlain(this.#carry),
			cache: {
				get: (key) => {
					const bytes = this.#cache.get(key);
					return bytes === undefined ? undefined : decodePlain(bytes);
				},
				set: (key, value) => this.#cache.set(key, encodePlain(value)),
			},
			read: async <D extends DType>(vec: Vec<D>): Promise<ArrayOf<D>> => {
				const array = store.read(vec);
				if (!this.#held.has(vec.sha256)) traffic.down += vec.length * bytesPerElement(vec.dtype);
				this.#held.add(vec.sha256);
				return array;
			},
			keep: (dtype, array) => {
				const vec = store.put(dtype, array);
				this.#held.add(vec.sha256);
				return vec;
			},
			progress: () => undefined,
		};
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

	#keepCarry(task: TaskId, carry: Plain | undefined): void {
		if (carry === undefined) return;
		const { strategy, config, layout } = this.#context;
		const bytes = encodePlain(carry);
		const most = strategy.bounds(config, layout).carry ?? 0;
		if (bytes.length > most)
			throw new RondoError("TOO_LARGE", `the carry of ${this.id} has ${bytes.length} bytes, bounds.carry of ${strategy.name} is ${most}`);
		if (strategy.needs.carry === "latest") this.#carry = bytes;
		else this.#pending.set(task, bytes);
	}

	#report(work: Work, plan: Plan, random: Random, traffic: { up: number }): Report {
		const { strategy, codec, store } = this.#context;
		const encoded = Object.entries(work.lanes).map(([name, values]): [string, Uint8Array] => {
			const lane = plan.lanes[name];
			if (lane === undefined || strategy.unpack !== undefined)
				throw new RondoError("INVALID_ARGUMENT", `${strategy.name} reports lane ${name}, which it did not plan`);
			return [name, codec(lane.codec).encode(values, lane, random.at(name))];
		});
		let inline = encoded.reduce((sum, [, bytes]) => sum + bytes.length, 0);
		const lanes: Record<string, Uint8Array | Vec<"u8">> = {};
		for (const [name, bytes] of encoded.sort(([, a], [, b]) => b.length - a.length)) {
			const fits = bytes.length <= INLINE_LANE_BYTES && inline <= INLINE_LANES_BYTES;
			lanes[name] = fits ? bytes : store.put("u8", bytes);
			if (fits) continue;
			inline -= bytes.length;
			traffic.up += bytes.length;
		}
		return { header: work.header, lanes, numExamples: work.numExamples, metrics: work.metrics ?? {} };
	}
}
