import { randomBytes } from "node:crypto";
import { type Batch, type Data, type LocalTraining, type Metrics, type Optimizer, resolveOptimizer, type Trainer } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { type Random, randomFrom, randomFromSeed } from "@rondo/kernels";
import type { Layout } from "@rondo/tensors";
import { hasDropout, noDropout } from "../dropout.js";
import type { Value } from "../graph/ir.js";
import { IGNORED_LABEL, type LabelSpec } from "../losses.js";
import { type OnnxModel, readManifest } from "../model.js";
import {
	COUNT,
	evaluationGraph,
	gradientGraph,
	gradientOf,
	HITS,
	LABELS,
	LOSS,
	LOSS_SUM,
	lossGraph,
	outputGraph,
	readyGraph,
} from "../training-graph.js";
import { whyPassOver } from "./availability.js";
import { type Device, type DeviceOptions, wantedDevices } from "./device.js";
import { DataFeeder, type DataFeeds, unshared } from "./feeds.js";
import { type FrozenSource, frozenTensors, type Placed, placeFrozen, readFrozen } from "./frozen.js";
import { ResidentTraining } from "./local-training.js";
import { MaskSource } from "./mask-source.js";
import { type Prepared, PreparedGraphs } from "./prepared.js";
import { rewriteForGpu } from "./rewrite-for-gpu.js";
import { type ImportModule, loadOrt, type Ort, type OrtTensor } from "./runtime.js";

export interface OnnxTrainerOptions {
	/** As `importOnnx` makes it. */
	readonly manifest: unknown;
	/** How the trained weights lie in the flat vector. */
	readonly layout: Layout;
	/** The model's frozen weights, where its manifest names some: numbers or bytes, used without a copy, or a function that fetches a blob. */
	readonly frozen?: FrozenSource;
	/** Default "auto": the first of cuda, directml, coreml, webgpu, cpu that runs the model. */
	readonly device?: "auto" | Device | readonly Device[];
	/** Threads of the cpu device; default: one per core. */
	readonly threads?: number;
	/**
	 * Compute intermediate results a second time in gradients and steps instead of keeping all of them: less memory for deep
	 * models or long sequences, for more time: GPT 4 × 128 peaks at 196 instead of 277 MiB and takes a tenth longer (`npm run
	 * bench:trainer -- --model gpt --recompute`). Default false.
	 */
	readonly recompute?: boolean;
	/** Refuse a device that lacks some operator, instead of running that operator on the CPU. Default false. */
	readonly strict?: boolean;
	/**
	 * Whether gradients and steps drop what the model's Dropout nodes say, or the randomness that decides which elements; true: fresh
	 * randomness, other masks on each device and after each start. Default: as the manifest says. Each call of `gradient` takes the next
	 * masks of one sequence; each `begin` has a sequence of its own, of which every step, or every part of one, takes the next. So equal
	 * randomness and equal calls in equal order give equal bytes. Losses, metrics and predictions drop nothing.
	 */
	readonly dropout?: boolean | { readonly random: Random };
	/** Default `import()`; give the application's own where only that one can resolve onnxruntime-node. */
	readonly importModule?: ImportModule;
}

/** What a model answers. */
export interface Prediction {
	readonly dims: readonly number[];
	readonly data: Float32Array;
}

/** Rows per forward pass of `evaluate`, which bounds its memory. */
const EVALUATION_ROWS = 256;

/**
 * The Trainer port on ONNX Runtime: loss, gradients and whole steps as graphs derived from the model, compiled once per
 * size of batch. `description` says which device computes. Calls block their thread while they run: use it in a worker
 * thread, as the SDK does.
 * @throws TRAINER_FAILED when no wanted device is there, with the reasons, or onnxruntime-node is not installed, with the command
 * @throws INVALID_ARGUMENT, BAD_MODEL, SHAPE_MISMATCH for a manifest that is not as it must be, or frozen weights that are not its
 */
export async function createOnnxTrainer(options: OnnxTrainerOptions): Promise<OnnxTrainer> {
	const devices = wantedDevices(options.device);
	const model = readManifest(options.manifest, options.layout);
	const dropout = dropoutOf(options.dropout ?? model.dropout, model);
	const ort = await loadOrt(options.importModule);
	const frozen = await readFrozen(model.frozen, options.frozen);
	const deviceOptions: DeviceOptions = {
		...(options.threads === undefined ? {} : { threads: options.threads }),
		...(options.strict === undefined ? {} : { strict: options.strict }),
	};
	const reasons: string[] = [];
	for (const device of devices) {
		try {
			const reason = (options.device ?? "auto") === "auto" ? await whyPassOver(ort, device) : undefined;
			if (reason !== undefined) {
				reasons.push(`${device}: ${reason}`);
				continue;
			}
			const trainer = new OnnxTrainer(ort, model, {
				layout: options.layout,
				frozen,
				device,
				passedOver: reasons,
				dropout,
				recompute: options.recompute ?? false,
				planMemory: options.recompute !== true,
				...deviceOptions,
			});
			await trainer.tryOut();
			return trainer;
		} catch (cause) {
			if (cause instanceof RondoError && cause.code !== "TRAINER_FAILED") throw cause;
			reasons.push(`${device}: ${firstLine(cause)}`);
		}
	}
	throw new RondoError("TRAINER_FAILED", `no device runs the model: ${reasons.join("; ")}`, { details: { reasons } });
}

const firstLine = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause)).split("\n", 1)[0]!;

/** @throws INVALID_ARGUMENT for a model that has nothing to drop */
function dropoutOf(wanted: NonNullable<OnnxTrainerOptions["dropout"]>, { graph }: OnnxModel): Random | undefined {
	if (wanted === false) return undefined;
	if (!hasDropout(graph)) throw noDropout();
	return wanted === true ? randomFrom(randomBytes(32)) : wanted.random;
}

/** How a trainer is made. */
interface TrainerSettings extends DeviceOptions {
	readonly layout: Layout;
	/** In the order of the model's frozen layout. */
	readonly frozen: Float32Array;
	readonly device: Device;
	/** Devices that are not used, with the reasons. */
	readonly passedOver: readonly string[];
	/** What masks are drawn from; undefined: nothing is dropped. */
	readonly dropout: Random | undefined;
	readonly recompute: boolean;
}

export class OnnxTrainer implements Trainer {
	readonly device: Device;
	readonly description: string;
	readonly #ort: Ort;
	readonly #model: OnnxModel;
	readonly #layout: Layout;
	readonly #feeder: DataFeeder;
	readonly #graphs: PreparedGraphs;
	/** Feeds that look at a weight vector; strategies use few of them, many times. */
	readonly #weightFeeds = new WeakMap<Float32Array, Readonly<Record<string, OrtTensor>>>();
	/** Inputs that are the same in every run. */
	#frozen: Placed;
	readonly #dropout: Random | undefined;
	readonly #masks: MaskSource | undefined;
	#begun = 0;
	#turn: Promise<unknown> = Promise.resolve();
	#disposed = false;

	constructor(ort: Ort, model: OnnxModel, { layout, frozen, device, passedOver, dropout, ...options }: TrainerSettings) {
		this.#ort = ort;
		this.#model = model;
		this.#layout = layout;
		this.device = device;
		this.#feeder = new DataFeeder(ort, model, device !== "cpu");
		this.#graphs = new PreparedGraphs(
			ort,
			model,
			device,
			{ ...options, dropout: dropout !== undefined },
			device === "cpu" ? ({ graph }) => graph : rewriteForGpu,
		);
		this.#dropout = dropout;
		this.#masks = dropout && new MaskSource(ort, dropout.at("gradient"));
		this.#frozen = { tensors: frozenTensors(ort, model.frozen, frozen), dispose: () => undefined };
		const threads =
			device === "cpu" && options.threads !== undefined ? ` (${options.threads} ${options.threads === 1 ? "thread" : "threads"})` : "";
		const hints = passedOver.map((reason) => `; not on ${reason}`).join("");
		this.description = `onnxruntime ${ort.env.versions.node ?? ort.env.versions.common} on ${device}${threads}${hints}`;
	}

	/** Runs the smallest graph once: what a device lacks shows only then. Frozen weights go to the device. */
	async tryOut(): Promise<void> {
		const value = (name: string): Value => ({ name, type: "float32", dims: [1] });
		const graph = await this.#graphs.fixed("try-out", () =>
			readyGraph({
				opset: this.#model.graph.opset,
				domains: {},
				inputs: [value("x")],
				outputs: [value("y")],
				initializers: new Map(),
				nodes: [{ op: "Exp", domain: "", name: "", inputs: ["x"], outputs: ["y"], attributes: {} }],
			}),
		);
		await graph.session.run({ x: new this.#ort.Tensor("float32", Float32Array.of(1), [1]) });
		this.#frozen = await placeFrozen(this.#frozen.tensors, this.#model, this.device, this.#graphs);
	}

	loss(weights: Float32Array, batch: Batch): Promise<number> {
		return this.#exclusive(async () => {
			const { graph, feeds } = await this.#ready("loss", batch, (fixed) => lossGraph(this.#model, fixed));
			const results = await this.#run(graph, { ...feeds, ...this.#weights(weights) });
			return scalarOf(results[LOSS]!);
		});
	}

	gradient(weights: Float32Array, batch: Batch, out: Float32Array): Promise<number> {
		return this.#exclusive(async () => {
			this.#checkLength("out", out);
			const { data, withLabels } = this.#feeds(batch);
			const graph = await this.#graphs.training("gradient", data, (fixed) => gradientGraph(this.#model, fixed));
			const feeds = { ...withLabels(graph), ...this.#masks?.next(graph.masks) };
			const own = out.buffer instanceof ArrayBuffer ? out : new Float32Array(out.length);
			const fetches: Record<string, OrtTensor | null> = { [LOSS]: null };
			for (const { name, shape, from, to } of this.#layout.tensors)
				fetches[gradientOf(name)] = new this.#ort.Tensor("float32", own.subarray(from, to), shape);
			const results = await this.#run(graph, { ...feeds, ...this.#weights(weights) }, fetches);
			if (own !== out) out.set(own);
			return scalarOf(results[LOSS]!);
		});
	}

	async evaluate(weights: Float32Array, data: Data): Promise<Metrics> {
		const { numExamples } = data;
		if (!(numExamples > 0)) throw new RondoError("INVALID_ARGUMENT", `data.numExamples must be positive, got ${numExamples}`);
		let rows = 0;
		let lossSum = 0;
		let counted = 0;
		let hits: number | undefined;
		for await (const batch of data.batches(EVALUATION_ROWS, randomFromSeed("evaluate"))) {
			const part = firstRows(batch, numExamples - rows);
			await this.#exclusive(async () => {
				const { graph, feeds } = await this.#ready("evaluate", part, (fixed) => evaluationGraph(this.#model, fixed));
				const results = await this.#run(graph, { ...feeds, ...this.#weights(weights) });
				lossSum += scalarOf(results[LOSS_SUM]!);
				counted += scalarOf(results[COUNT]!);
				if (results[HITS] !== undefined) hits = (hits ?? 0) + scalarOf(results[HITS]);
			});
			rows += part.size;
			if (rows < numExamples) continue;
			if (counted === 0)
				throw new RondoError("INVALID_ARGUMENT", "data has no label that counts: all are ignored", { details: { field: "labels" } });
			return { loss: lossSum / counted, ...(hits === undefined ? {} : { accuracy: hits / counted }) };
		}
		throw new RondoError("TRAINER_FAILED", `data.batches ended after ${rows} of data.numExamples = ${numExamples} examples`);
	}

	/** The output that the loss is put on, for the rows of a batch; its labels are not looked at. */
	predict(weights: Float32Array, batch: Pick<Batch, "size" | "inputs" | "more">): Promise<Prediction> {
		return this.#exclusive(async () => {
			const { output } = this.#model;
			const feeds = this.#feeder.feeds(batch as Batch);
			const graph = await this.#graphs.get("predict", feeds, outputGraph);
			const { dims, data } = (await this.#run(graph, { ...feeds.tensors, ...this.#frozen.tensors, ...this.#weights(weights) }))[output]!;
			return { dims, data: Float32Array.from(data as Float32Array) };
		});
	}

	/** Several parts of a batch count as one: see `LocalTraining`. */
	async begin(weights: Float32Array, optimizer: Optimizer): Promise<LocalTraining> {
		this.#checkLength("weights", weights);
		return new ResidentTraining(
			{
				ort: this.#ort,
				model: this.#model,
				layout: this.#layout,
				device: this.device,
				graphs: this.#graphs,
				feeds: (batch) => this.#feeds(batch),
				exclusive: (work) => this.#exclusive(work),
				masks: this.#dropout && new MaskSource(this.#ort, this.#dropout.at("begin", this.#begun++)),
			},
			resolveOptimizer(optimizer),
			weights,
		);
	}

	async dispose(): Promise<void> {
		if (this.#disposed) return;
		await this.#exclusive(async () => {
			this.#frozen.dispose();
			await this.#graphs.dispose();
		});
		this.#disposed = true;
	}

	/** Calls take turns: a session may not be released while another call is about to use it. */
	#exclusive<T>(work: () => Promise<T>): Promise<T> {
		const mine = this.#turn.then(async () => {
			if (this.#disposed) throw new RondoError("TRAINER_FAILED", "the trainer was disposed");
			return work();
		});
		this.#turn = mine.then(
			() => undefined,
			() => undefined,
		);
		return mine;
	}

	async #ready(
		kind: string,
		batch: Batch,
		build: Parameters<PreparedGraphs["get"]>[2],
	): Promise<{ readonly graph: Prepared; readonly feeds: Record<string, OrtTensor> }> {
		const { data, withLabels } = this.#feeds(batch);
		const graph = await this.#graphs.get(kind, data, build);
		return { graph, feeds: withLabels(graph) };
	}

	/** Inputs of a batch; its labels are checked against what the graph wants. */
	#feeds(batch: Batch): { readonly data: DataFeeds; readonly withLabels: (graph: Prepared) => Record<string, OrtTensor> } {
		const data = this.#feeder.feeds(batch);
		return {
			data,
			withLabels: ({ labels, inputs }) => {
				const feeds: Record<string, OrtTensor> = {};
				for (const tensors of [data.tensors, this.#frozen.tensors])
					for (const [name, tensor] of Object.entries(tensors)) if (inputs.has(name)) feeds[name] = tensor;
				if (labels !== undefined) feeds[LABELS] = this.#labels(batch, labels);
				return feeds;
			},
		};
	}

	#labels({ labels, size }: Batch, { type, dims, classes = 0 }: LabelSpec): OrtTensor {
		const elements = dims.reduce((product, dim) => product * dim, 1);
		if (labels.length !== elements)
			throw new RondoError(
				"SHAPE_MISMATCH",
				`batch.labels has ${labels.length} elements for ${size} rows; loss ${this.#model.loss} wants [${dims.join(", ")}]`,
				{
					details: { field: "batch.labels" },
				},
			);
		if (type === "float32")
			return new this.#ort.Tensor("float32", labels instanceof Float32Array ? unshared(labels) : Float32Array.from(labels), dims);
		if (!(labels instanceof Int32Array))
			throw new RondoError("INVALID_ARGUMENT", `batch.labels must be class indices (Int32Array) for loss ${this.#model.loss}`, {
				details: { field: "batch.labels" },
			});
		const outside = labels.findIndex((label) => (label < 0 || label >= classes) && label !== IGNORED_LABEL);
		if (outside >= 0)
			throw new RondoError("INVALID_ARGUMENT", `batch.labels[${outside}] is ${labels[outside]}, the model has ${classes} classes`, {
				details: { field: "batch.labels", value: labels[outside] },
			});
		return new this.#ort.Tensor("int32", unshared(labels), dims);
	}

	#weights(weights: Float32Array): Readonly<Record<string, OrtTensor>> {
		this.#checkLength("weights", weights);
		const known = this.#weightFeeds.get(weights);
		if (known !== undefined) return known;
		const shared = !(weights.buffer instanceof ArrayBuffer);
		const own = shared ? weights.slice() : weights;
		const feeds: Record<string, OrtTensor> = {};
		for (const { name, shape, from, to } of this.#layout.tensors)
			feeds[name] = new this.#ort.Tensor("float32", own.subarray(from, to), shape);
		if (!shared) this.#weightFeeds.set(weights, feeds);
		return feeds;
	}

	async #run(
		{ session, inputs }: Prepared,
		feeds: Record<string, OrtTensor>,
		fetches?: Record<string, OrtTensor | null>,
	): Promise<Record<string, OrtTensor>> {
		// A weight that the loss does not depend on is no input of the graph.
		const used = Object.fromEntries(Object.entries(feeds).filter(([name]) => inputs.has(name)));
		try {
			return (await (fetches === undefined ? session.run(used) : session.run(used, fetches))) as Record<string, OrtTensor>;
		} catch (cause) {
			throw new RondoError("TRAINER_FAILED", `${this.device}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
		}
	}

	#checkLength(field: string, vector: Float32Array): void {
		if (vector.length !== this.#layout.length)
			throw new RondoError("SHAPE_MISMATCH", `${field} has ${vector.length} elements, the layout ${this.#layout.length}`);
	}
}

const scalarOf = ({ data }: OrtTensor): number => (data as Float32Array)[0]!;

/** The first `rows` rows of a batch, or all of it. */
function firstRows(batch: Batch, rows: number): Batch {
	const { size, inputs, labels, more } = batch;
	if (rows >= size) return batch;
	const cut = <T extends Float32Array | Int32Array>(values: T): T => values.slice(0, (values.length / size) * rows) as T;
	return {
		size: rows,
		inputs: cut(inputs),
		labels: cut(labels),
		...(more === undefined ? {} : { more: Object.fromEntries(Object.entries(more).map(([name, values]) => [name, cut(values)])) }),
	};
}
