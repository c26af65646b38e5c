import type { Batch, LocalTraining, ResolvedOptimizer } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";
import type { Graph } from "../graph/ir.js";
import type { OnnxModel } from "../model.js";
import { type OptimizerPlan, planOptimizer } from "../optimizer.js";
import {
	gradientGraph,
	gradientOf,
	LOSS,
	nextState,
	nextWeight,
	readyGraph,
	scalarInput,
	stateInput,
	stepGraph,
	updateGraph,
} from "../training-graph.js";
import { type Device, keepsResults } from "./device.js";
import type { DataFeeds } from "./feeds.js";
import type { MaskSource } from "./mask-source.js";
import type { Prepared, PreparedGraphs } from "./prepared.js";
import type { Ort, OrtTensor } from "./runtime.js";

/** What a trainer lends to its local training. */
export interface TrainingPorts {
	readonly ort: Ort;
	readonly model: OnnxModel;
	readonly layout: Layout;
	readonly device: Device;
	readonly graphs: PreparedGraphs;
	feeds(batch: Batch): { readonly data: DataFeeds; readonly withLabels: (graph: Prepared) => Record<string, OrtTensor> };
	exclusive<T>(work: () => Promise<T>): Promise<T>;
	/** Where dropout is on. */
	readonly masks: MaskSource | undefined;
}

type Tensors = Record<string, OrtTensor>;

/**
 * Steps that leave weights and optimiser state where they are: the results of one step are the inputs of the next, on the
 * device, or on the host where the device does not keep results.
 */
export class ResidentTraining implements LocalTraining {
	readonly #ports: TrainingPorts;
	readonly #plan: OptimizerPlan;
	readonly #optimizer: ResolvedOptimizer;
	readonly #kind: string;
	/** Inputs that a step replaces by its results: weights and states. */
	#current: Tensors;
	/** Lets go of the session whose results `#current` holds on a device. */
	#letGo: () => void = () => undefined;
	readonly #stays: boolean;
	#steps = 0;
	#disposed = false;

	constructor(ports: TrainingPorts, optimizer: ResolvedOptimizer, weights: Float32Array) {
		this.#ports = ports;
		this.#plan = planOptimizer(optimizer);
		this.#optimizer = optimizer;
		this.#kind = JSON.stringify(optimizer);
		this.#stays = keepsResults(ports.device);
		this.#current = this.#start(weights);
	}

	step(batch: Batch | readonly Batch[], learningRate: number): Promise<number> {
		return this.#ports.exclusive(async () => {
			this.#requireOpen();
			if (!Number.isFinite(learningRate)) throw new RondoError("INVALID_ARGUMENT", `learningRate must be finite, got ${learningRate}`);
			const parts = isBatch(batch) ? [batch] : batch;
			if (parts.length === 0) throw new RondoError("INVALID_ARGUMENT", "step needs at least one batch");
			const loss = parts.length === 1 ? await this.#fused(parts[0]!, learningRate) : await this.#accumulated(parts, learningRate);
			this.#steps++;
			return loss;
		});
	}

	read(out: Float32Array): Promise<void> {
		return this.#ports.exclusive(async () => {
			this.#requireOpen();
			const { layout } = this.#ports;
			if (out.length !== layout.length)
				throw new RondoError("SHAPE_MISMATCH", `out has ${out.length} elements, the layout ${layout.length}`);
			const host = this.#stays ? await this.#toHost() : this.#current;
			for (const { name, from } of layout.tensors) out.set(host[name]!.data as Float32Array, from);
		});
	}

	async dispose(): Promise<void> {
		if (this.#disposed) return;
		this.#disposed = true;
		for (const tensor of Object.values(this.#current)) tensor.dispose();
		this.#current = {};
		this.#letGo();
		this.#letGo = () => undefined;
	}

	/** Loss, gradient and update in one graph. */
	async #fused(batch: Batch, learningRate: number): Promise<number> {
		const { graphs, model, feeds, masks } = this.#ports;
		const { data, withLabels } = feeds(batch);
		const build = (fixed: Parameters<Parameters<PreparedGraphs["get"]>[2]>[0]) =>
			stepGraph(model, fixed, this.#plan, this.#optimizer.clipNorm);
		const graph = await graphs.training(`step ${this.#kind}`, data, build, (made) => this.#onDevice(made));
		const results = await this.#advance(graph, { ...withLabels(graph), ...masks?.next(graph.masks), ...this.#scalars(learningRate) });
		return (results[LOSS]!.data as Float32Array)[0]!;
	}

	/** The gradients of all parts, averaged on the host, then one update. */
	async #accumulated(parts: readonly Batch[], learningRate: number): Promise<number> {
		const { graphs, model, layout, ort, feeds, masks } = this.#ports;
		const rows = parts.reduce((sum, { size }) => sum + size, 0);
		const sums = new Map(layout.tensors.map(({ name, from, to }) => [name, new Float32Array(to - from)]));
		let loss = 0;
		for (const part of parts) {
			const { data, withLabels } = feeds(part);
			const graph = await graphs.training("gradient", data, (fixed) => gradientGraph(model, fixed));
			const inputs = { ...withLabels(graph), ...masks?.next(graph.masks), ...this.#current };
			const results = (await graph.session.run(this.#used(graph, inputs))) as Tensors;
			const share = part.size / rows;
			loss += share * (results[LOSS]!.data as Float32Array)[0]!;
			for (const [name, sum] of sums) {
				const gradient = results[gradientOf(name)]!.data as Float32Array;
				for (let i = 0; i < sum.length; i++) sum[i]! += share * gradient[i]!;
			}
		}
		const update = await graphs.fixed(
			`update ${this.#kind}`,
			() => updateGraph(model, model.graph.opset, this.#plan, this.#optimizer.clipNorm),
			(made) => this.#onDevice(made),
		);
		const gradients = Object.fromEntries(
			layout.tensors.map(({ name, shape }) => [gradientOf(name), new ort.Tensor("float32", sums.get(name)!, shape)]),
		);
		await this.#advance(update, { ...gradients, ...this.#scalars(learningRate) });
		return loss;
	}

	/** Runs a graph whose results take the place of weights and states. */
	async #advance(graph: Prepared, feeds: Tensors): Promise<Tensors> {
		const inputs = this.#used(graph, { ...feeds, ...this.#current });
		const results = (await graph.session.run(inputs)) as Tensors;
		const [before, letGo] = [this.#current, this.#letGo];
		this.#current = Object.fromEntries(this.#pairs().map(([input, output]) => [input, results[output]!]));
		if (this.#stays) this.#letGo = graph.hold();
		for (const tensor of Object.values(before)) tensor.dispose();
		letGo();
		return results;
	}

	/** What is read, and what takes its place. */
	#pairs(): readonly (readonly [input: string, output: string])[] {
		const { parameters } = this.#ports.model;
		return parameters.flatMap((name) => [
			[name, nextWeight(name)] as const,
			...Array.from({ length: this.#plan.states }, (_, i) => [stateInput(i, name), nextState(i, name)] as const),
		]);
	}

	#onDevice({ outputs }: Graph): readonly string[] {
		if (!this.#stays) return [];
		const next = new Set(this.#pairs().map(([, output]) => output));
		return outputs.map(({ name }) => name).filter((name) => next.has(name));
	}

	#scalars(learningRate: number): Tensors {
		const { ort } = this.#ports;
		const values = this.#plan.valuesAt(this.#steps + 1, learningRate);
		return Object.fromEntries(
			this.#plan.names.map((name, i) => [scalarInput(name), new ort.Tensor("float32", Float32Array.of(values[i]!), [])]),
		);
	}

	/** Host tensors of the weights, and of states: zeros. */
	#start(weights: Float32Array): Tensors {
		const { ort, layout } = this.#ports;
		const tensors: Tensors = {};
		for (const { name, shape, from, to } of layout.tensors) {
			// A copy in memory of its own: ONNX Runtime refuses what is shared, and the caller may change the vector.
			tensors[name] = new ort.Tensor("float32", Float32Array.from(weights.subarray(from, to)), shape);
			for (let i = 0; i < this.#plan.states; i++)
				tensors[stateInput(i, name)] = new ort.Tensor("float32", new Float32Array(to - from), shape);
		}
		return tensors;
	}

	/** Weights of the device: through a graph whose results are the host's. */
	async #toHost(): Promise<Tensors> {
		if (this.#steps === 0) return this.#current;
		const { graphs, model } = this.#ports;
		const parameters = model.graph.inputs.filter(({ name }) => model.parameters.includes(name));
		const copy = await graphs.fixed("read", () =>
			readyGraph({
				opset: model.graph.opset,
				domains: {},
				inputs: parameters,
				outputs: parameters.map((value) => ({ ...value, name: nextWeight(value.name) })),
				initializers: new Map(),
				nodes: parameters.map(({ name }) => ({
					op: "Identity",
					domain: "",
					name: "",
					inputs: [name],
					outputs: [nextWeight(name)],
					attributes: {},
				})),
			}),
		);
		const results = (await copy.session.run(this.#used(copy, this.#current))) as Tensors;
		return Object.fromEntries(model.parameters.map((name) => [name, results[nextWeight(name)]!]));
	}

	#used({ inputs }: Prepared, feeds: Tensors): Tensors {
		return Object.fromEntries(Object.entries(feeds).filter(([name]) => inputs.has(name)));
	}

	#requireOpen(): void {
		if (this.#disposed) throw new RondoError("TRAINER_FAILED", "the local training was disposed");
	}
}

const isBatch = (batch: Batch | readonly Batch[]): batch is Batch => !Array.isArray(batch);
