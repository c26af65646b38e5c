import { RondoError } from "@rondo/errors";
import { type Mask, withMasks, withoutDropout } from "../dropout.js";
import { encodeGraph } from "../graph/encode.js";
import type { Graph } from "../graph/ir.js";
import type { LabelSpec } from "../losses.js";
import { inputsOf, type OnnxModel } from "../model.js";
import { withRecomputation } from "../recompute.js";
import { type SpecializedModel, specialize } from "../specialize.js";
import type { ReadyGraph } from "../training-graph.js";
import { type Device, type DeviceOptions, openSession } from "./device.js";
import type { DataFeeds } from "./feeds.js";
import type { Ort, OrtSession } from "./runtime.js";

/** A graph that can be run on batches of one size. */
export interface Prepared {
	readonly session: OrtSession;
	readonly labels: LabelSpec | undefined;
	readonly inputs: ReadonlySet<string>;
	readonly outputs: Graph["outputs"];
	/** Inputs that say what this run drops. */
	readonly masks: readonly Mask[];
	/**
	 * Keeps the session until what is returned is called: results that stay on a device are gone with the session that made
	 * them, and ONNX Runtime crashes when they are used or given back after it.
	 */
	hold(): () => void;
	/** Releases the session, as soon as nobody holds it. */
	retire(): Promise<void>;
}

export interface PreparedOptions extends DeviceOptions {
	/** Whether Dropout nodes drop in gradients and steps. */
	readonly dropout: boolean;
	/** Whether gradients and steps compute intermediate results a second time instead of keeping them. */
	readonly recompute: boolean;
}

/** Sessions of one trainer at once: a session holds compiled kernels and memory for activations. */
const MAX_SESSIONS = 12;

/** Makes graphs for sizes as they come, and keeps those used last. */
export class PreparedGraphs {
	readonly #ort: Ort;
	readonly #model: OnnxModel;
	readonly #sessions = new Map<string, Promise<Prepared>>();
	readonly #fixed = new Map<string, Promise<SpecializedModel>>();
	/** The model's graph outside of training. */
	readonly #still: Graph;
	readonly #device: Device;
	readonly #options: PreparedOptions;
	/** Changes a graph before it is compiled for the device. */
	readonly #adapt: (ready: ReadyGraph) => Graph;

	readonly #dropout: boolean;

	constructor(ort: Ort, model: OnnxModel, device: Device, options: PreparedOptions, adapt: (ready: ReadyGraph) => Graph) {
		this.#ort = ort;
		this.#model = model;
		this.#still = withoutDropout(model.graph);
		this.#device = device;
		this.#options = options;
		this.#dropout = options.dropout;
		this.#adapt = adapt;
	}

	/** @param kind names what `build` makes @param onDevice results that stay on the device */
	get(
		kind: string,
		feeds: DataFeeds,
		build: (fixed: SpecializedModel) => ReadyGraph,
		onDevice?: (graph: Graph) => readonly string[],
	): Promise<Prepared> {
		return this.#cached(`${kind} ${feeds.key}`, async () => this.#open(build(await this.#specialized(feeds, "", this.#still)), onDevice));
	}

	/** As `get`, for gradients and steps: with dropout on, the graph has masks among its inputs. */
	training(
		kind: string,
		feeds: DataFeeds,
		build: (fixed: SpecializedModel) => ReadyGraph,
		onDevice?: (graph: Graph) => readonly string[],
	): Promise<Prepared> {
		const weights = new Set(inputsOf(this.#model).weights.map(({ name }) => name));
		const built = (fixed: SpecializedModel): ReadyGraph =>
			this.#options.recompute ? withRecomputation(build(fixed), weights) : build(fixed);
		if (!this.#dropout) return this.get(kind, feeds, built, onDevice);
		return this.#cached(`dropping ${kind} ${feeds.key}`, async () => {
			const { fixed, masks } = withMasks(await this.#specialized(feeds, "dropping ", this.#model.graph));
			return this.#open(built(fixed), onDevice, masks);
		});
	}

	/** A graph that does not depend on the size of batches. */
	fixed(kind: string, build: () => ReadyGraph, onDevice?: (graph: Graph) => readonly string[]): Promise<Prepared> {
		return this.#cached(kind, async () => this.#open(build(), onDevice));
	}

	async dispose(): Promise<void> {
		const sessions = [...this.#sessions.values()];
		this.#sessions.clear();
		this.#fixed.clear();
		for (const session of sessions) await retire(session);
	}

	#cached(key: string, make: () => Promise<Prepared>): Promise<Prepared> {
		const known = this.#sessions.get(key);
		this.#sessions.delete(key);
		const session = known ?? make();
		this.#sessions.set(key, session);
		if (known === undefined) {
			// A graph that cannot be made is tried anew the next time.
			session.catch(() => this.#sessions.delete(key));
			if (this.#sessions.size > MAX_SESSIONS) {
				const [oldest, unused] = this.#sessions.entries().next().value!;
				this.#sessions.delete(oldest);
				void retire(unused);
			}
		}
		return session;
	}

	#specialized(feeds: DataFeeds, prefix: string, graph: Graph): Promise<SpecializedModel> {
		const key = `${prefix}${feeds.key}`;
		const known = this.#fixed.get(key);
		if (known !== undefined) return known;
		const sizes = new Map(feeds.dims);
		for (const { name, dims: shape } of inputsOf(this.#model).weights) sizes.set(name, shape as readonly number[]);
		const made = specialize(this.#ort, graph, { inputs: sizes });
		this.#fixed.set(key, made);
		made.catch(() => this.#fixed.delete(key));
		if (this.#fixed.size > MAX_SESSIONS) this.#fixed.delete(this.#fixed.keys().next().value!);
		return made;
	}

	async #open(ready: ReadyGraph, onDevice: (graph: Graph) => readonly string[] = () => [], masks: readonly Mask[] = []): Promise<Prepared> {
		const adapted = this.#adapt(ready);
		try {
			const session = await openSession(this.#ort, encodeGraph(adapted), this.#device, this.#options, onDevice(adapted));
			const inputs = new Set(adapted.inputs.map(({ name }) => name));
			return {
				...lifetimeOf(session),
				labels: ready.labels,
				inputs,
				outputs: adapted.outputs,
				masks: masks.filter(({ name }) => inputs.has(name)),
			};
		} catch (cause) {
			throw new RondoError("TRAINER_FAILED", `${this.#device}: ${cause instanceof Error ? cause.message : String(cause)}`, {
				cause,
				details: { device: this.#device },
			});
		}
	}
}

/** A session that is released once it is retired and nobody holds it. */
function lifetimeOf(session: OrtSession): Pick<Prepared, "session" | "hold" | "retire"> {
	let holders = 0;
	let retired = false;
	return {
		session,
		hold() {
			holders++;
			return () => {
				holders--;
				if (retired && holders === 0) void session.release();
			};
		},
		async retire() {
			retired = true;
			if (holders === 0) await session.release();
		},
	};
}

const retire = (prepared: Promise<Prepared>): Promise<void> =>
	prepared.then(
		(made) => made.retire(),
		() => undefined,
	);
