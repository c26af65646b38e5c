import type { Batch, Data, LocalTraining, Metrics, Optimizer, Trainer } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { randomFromSeed } from "@rondo/kernels";
import type { Layout } from "@rondo/tensors";
import type { LayersModel, Scalar, Tensor, Variable } from "@tensorflow/tfjs";
import type { LayersArchitecture } from "./architecture.js";
import { buildModel, checkWeights, type InputForm, inputForm } from "./layers-model.js";
import { ResidentTraining } from "./local-training.js";
import { type Objective, objectiveOf, type TfjsLoss } from "./objective.js";
import type { Runtime } from "./runtime.js";

/** Rows per forward pass of `evaluate`, which bounds its memory. */
const EVALUATION_ROWS = 256;

/** One layers model on one opened backend. */
export class LayersTrainer implements Trainer {
	readonly description: string;
	readonly #runtime: Runtime;
	readonly #model: LayersModel;
	readonly #layout: Layout;
	/** The model's trainable weights, in layout order; every call overwrites them first. */
	readonly #variables: readonly Variable[];
	readonly #input: InputForm;
	readonly #width: number;
	readonly #objective: Objective;
	#disposed = false;

	private constructor(runtime: Runtime, model: LayersModel, loss: TfjsLoss, layout: Layout, description: string) {
		this.#input = inputForm(model);
		this.#objective = objectiveOf(runtime.tf, loss, model.outputs[0]!.shape);
		checkWeights(model, layout);
		this.description = description;
		this.#runtime = runtime;
		this.#model = model;
		this.#layout = layout;
		this.#variables = model.trainableWeights.map((weight) => weight.read() as Variable);
		this.#width = this.#input.shape.reduce((product, size) => product * size, 1);
	}

	/**
	 * Builds the model and runs one step, because a kernel that the backend lacks (wasm has no gradient of convolutions)
	 * shows only when it is called.
	 * @throws INVALID_ARGUMENT, SHAPE_MISMATCH for the model; TRAINER_FAILED for the backend
	 */
	static async open(
		runtime: Runtime,
		architecture: LayersArchitecture,
		loss: TfjsLoss,
		layout: Layout,
		description: string,
	): Promise<LayersTrainer> {
		const model = await buildModel(runtime, architecture, loss);
		try {
			const trainer = new LayersTrainer(runtime, model, loss, layout, description);
			const inputs = new (trainer.#input.tokens === undefined ? Float32Array : Int32Array)(trainer.#width);
			const batch = { size: 1, inputs, labels: trainer.#objective.sampleLabels(1) };
			await trainer.gradient(new Float32Array(layout.length), batch, new Float32Array(layout.length));
			return trainer;
		} catch (error) {
			model.dispose();
			throw error;
		}
	}

	loss(weights: Float32Array, batch: Batch): Promise<number> {
		return this.#step(weights, batch, () => scalarOf(this.#meanLoss(batch)));
	}

	gradient(weights: Float32Array, batch: Batch, out: Float32Array): Promise<number> {
		return this.#step(weights, batch, () => {
			this.#checkLength("out", out);
			const { value, grads } = this.#runtime.tf.variableGrads(() => this.#meanLoss(batch), [...this.#variables]);
			for (const [i, { from, to }] of this.#layout.tensors.entries()) {
				const gradient = grads[this.#variables[i]!.name];
				// No entry: the loss does not depend on this weight.
				if (gradient === undefined) out.fill(0, from, to);
				else out.set(gradient.dataSync() as Float32Array, from);
			}
			return scalarOf(value);
		});
	}

	/** Means over the labels that count, where rows have several; for the classifying losses also `accuracy`. */
	async evaluate(weights: Float32Array, data: Data): Promise<Metrics> {
		const { numExamples } = data;
		if (!(numExamples > 0)) throw new RondoError("INVALID_ARGUMENT", `data.numExamples must be positive, got ${numExamples}`);
		let rows = 0;
		let count = 0;
		let lossSum = 0;
		let hits: number | undefined = 0;
		for await (const batch of data.batches(EVALUATION_ROWS, randomFromSeed("evaluate"))) {
			const taken = Math.min(batch.size, numExamples - rows);
			const totals = await this.#step(weights, batch, () => this.#objective.totals(this.#outputs(batch), batch.labels, taken));
			count += totals.count;
			lossSum += totals.loss;
			hits = totals.hits === undefined ? undefined : (hits ?? 0) + totals.hits;
			rows += taken;
			if (rows < numExamples) continue;
			if (count === 0) throw new RondoError("INVALID_ARGUMENT", `none of the labels of data's ${rows} examples counts`);
			return hits === undefined ? { loss: lossSum / count } : { loss: lossSum / count, accuracy: hits / count };
		}
		throw new RondoError("TRAINER_FAILED", `data.batches ended after ${rows} of data.numExamples = ${numExamples} examples`);
	}

	async begin(weights: Float32Array, optimizer: Optimizer): Promise<LocalTraining> {
		this.#checkLength("weights", weights);
		const model = {
			variables: this.#variables,
			check: (batch: Batch) => this.#checkBatch(batch),
			meanLoss: (batch: Batch) => this.#meanLoss(batch),
			run: <T>(work: () => T) => this.#scoped(work),
		};
		return ResidentTraining.begin(this.#runtime.tf, model, this.#layout, weights, optimizer);
	}

	async dispose(): Promise<void> {
		if (this.#disposed) return;
		this.#disposed = true;
		await this.#runtime.exclusive(() => {
			this.#model.dispose();
		});
	}

	/** Sets the weights, then runs `work`. */
	#step<T>(weights: Float32Array, batch: Batch, work: () => T): Promise<T> {
		return this.#scoped(() => {
			this.#checkLength("weights", weights);
			this.#checkBatch(batch);
			for (const [i, { from, to }] of this.#layout.tensors.entries()) {
				const variable = this.#variables[i]!;
				variable.assign(this.#runtime.tf.tensor(weights.subarray(from, to), variable.shape));
			}
			return work();
		});
	}

	/** Runs `work` in its turn; all tensors made on the way are freed. */
	#scoped<T>(work: () => T): Promise<T> {
		return this.#runtime.exclusive(() => {
			if (this.#disposed) throw new RondoError("TRAINER_FAILED", "the trainer was disposed");
			const { tf } = this.#runtime;
			// Not tf.tidy: it searches its result for tensors, element by element in a typed array.
			tf.engine().startScope();
			try {
				return work();
			} finally {
				tf.engine().endScope();
			}
		});
	}

	#outputs(batch: Batch): Tensor {
		const inputs = this.#runtime.tf.tensor(batch.inputs, [batch.size, ...this.#input.shape]);
		return this.#model.apply(inputs, { training: false }) as Tensor;
	}

	#meanLoss(batch: Batch): Scalar {
		return this.#objective.mean(this.#outputs(batch), batch.labels);
	}

	#checkLength(field: string, vector: Float32Array): void {
		if (vector.length !== this.#layout.length) {
			throw new RondoError("SHAPE_MISMATCH", `${field} has ${vector.length} elements, the layout ${this.#layout.length}`);
		}
	}

	#checkBatch({ size, inputs, labels, more = {} }: Batch): void {
		if (!Number.isSafeInteger(size) || size < 1)
			throw new RondoError("INVALID_ARGUMENT", `batch.size must be a positive integer, got ${size}`);
		checkCount("inputs", inputs, size, this.#input.shape);
		checkInputs(inputs, this.#input.tokens);
		const { labelsPerRow } = this.#objective;
		checkCount("labels", labels, size, labelsPerRow === 1 ? [] : [labelsPerRow]);
		this.#objective.check(labels);
		const [further] = Object.keys(more);
		if (further !== undefined)
			throw new RondoError("INVALID_ARGUMENT", `batch.more.${further} is no input: the model has one, batch.inputs`);
	}
}

const scalarOf = (value: Scalar): number => value.dataSync()[0]!;

function checkCount(field: string, values: Batch["inputs"], size: number, rowShape: readonly number[]): void {
	const shape = [size, ...rowShape];
	const wanted = shape.reduce((product, dimension) => product * dimension, 1);
	if (values.length !== wanted) {
		throw new RondoError(
			"SHAPE_MISMATCH",
			`batch.${field} has ${values.length} elements, the model wants [${shape.join(", ")}] = ${wanted}`,
		);
	}
}

function checkInputs(inputs: Batch["inputs"], tokens: number | undefined): void {
	if (tokens === undefined) {
		if (!(inputs instanceof Float32Array)) throw new RondoError("INVALID_ARGUMENT", "batch.inputs must be features (Float32Array)");
		return;
	}
	if (!(inputs instanceof Int32Array)) throw new RondoError("INVALID_ARGUMENT", "batch.inputs must be token ids (Int32Array)");
	const outside = inputs.findIndex((token) => token < 0 || token >= tokens);
	if (outside >= 0)
		throw new RondoError("INVALID_ARGUMENT", `batch.inputs[${outside}] is ${inputs[outside]}, the model has ${tokens} tokens`);
}
