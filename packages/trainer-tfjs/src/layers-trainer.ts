import type { Batch, Data, Metrics, Trainer } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { randomFromSeed } from "@rondo/kernels";
import type { Layout } from "@rondo/tensors";
import type { LayersModel, layers, Scalar, Tensor, Tensor2D, Variable } from "@tensorflow/tfjs";
import { type LayersArchitecture, logitsArchitecture } from "./architecture.js";
import type { Runtime } from "./runtime.js";

type Layer = layers.Layer;

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
	/** Shape of one example. */
	readonly #inputShape: readonly number[];
	readonly #width: number;
	readonly #classes: number;
	#disposed = false;

	private constructor(runtime: Runtime, model: LayersModel, layout: Layout, description: string) {
		const { inputShape, classes } = classifierShapes(model);
		checkWeights(model, layout);
		this.description = description;
		this.#runtime = runtime;
		this.#model = model;
		this.#layout = layout;
		this.#variables = model.trainableWeights.map((weight) => weight.read() as Variable);
		this.#inputShape = inputShape;
		this.#width = inputShape.reduce((product, size) => product * size, 1);
		this.#classes = classes;
	}

	/**
	 * Builds the model and runs one step, because a kernel that the backend lacks (wasm has no gradient of convolutions)
	 * shows only when it is called.
	 * @throws INVALID_ARGUMENT, SHAPE_MISMATCH for the model; TRAINER_FAILED for the backend
	 */
	static async open(runtime: Runtime, architecture: LayersArchitecture, layout: Layout, description: string): Promise<LayersTrainer> {
		const model = await buildModel(runtime, architecture);
		try {
			const trainer = new LayersTrainer(runtime, model, layout, description);
			const batch = { size: 1, inputs: new Float32Array(trainer.#width), labels: new Int32Array(1) };
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

	async evaluate(weights: Float32Array, data: Data): Promise<Metrics> {
		const { numExamples } = data;
		if (!(numExamples > 0)) throw new RondoError("INVALID_ARGUMENT", `data.numExamples must be positive, got ${numExamples}`);
		let rows = 0;
		let lossSum = 0;
		let hits = 0;
		for await (const batch of data.batches(EVALUATION_ROWS, randomFromSeed("evaluate"))) {
			const counted = Math.min(batch.size, numExamples - rows);
			await this.#step(weights, batch, () => {
				const { losses, predicted } = this.#predict(batch);
				for (let i = 0; i < counted; i++) {
					lossSum += losses[i]!;
					if (predicted[i] === batch.labels[i]) hits++;
				}
			});
			rows += counted;
			if (rows === numExamples) return { loss: lossSum / rows, accuracy: hits / rows };
		}
		throw new RondoError("TRAINER_FAILED", `data.batches ended after ${rows} of data.numExamples = ${numExamples} examples`);
	}

	async dispose(): Promise<void> {
		if (this.#disposed) return;
		this.#disposed = true;
		await this.#runtime.exclusive(() => {
			this.#model.dispose();
		});
	}

	/** Sets the weights, then runs `work`; all tensors made on the way are freed. */
	#step<T>(weights: Float32Array, batch: Batch, work: () => T): Promise<T> {
		return this.#runtime.exclusive(() => {
			if (this.#disposed) throw new RondoError("TRAINER_FAILED", "the trainer was disposed");
			this.#checkLength("weights", weights);
			this.#checkBatch(batch);
			const { tf } = this.#runtime;
			// Not tf.tidy: it searches its result for tensors, element by element in a typed array.
			tf.engine().startScope();
			try {
				for (const [i, { from, to }] of this.#layout.tensors.entries()) {
					const variable = this.#variables[i]!;
					variable.assign(tf.tensor(weights.subarray(from, to), variable.shape));
				}
				return work();
			} finally {
				tf.engine().endScope();
			}
		});
	}

	#logits(batch: Batch): Tensor2D {
		const inputs = this.#runtime.tf.tensor(batch.inputs, [batch.size, ...this.#inputShape]);
		return this.#model.apply(inputs, { training: false }) as Tensor2D;
	}

	#losses(logits: Tensor2D, batch: Batch, reduction: "mean" | "none"): Tensor {
		const { tf } = this.#runtime;
		const wanted = tf.oneHot(tf.tensor1d(batch.labels, "int32"), this.#classes);
		const how = reduction === "mean" ? tf.Reduction.MEAN : tf.Reduction.NONE;
		return tf.losses.softmaxCrossEntropy(wanted, logits, undefined, undefined, how);
	}

	#meanLoss(batch: Batch): Scalar {
		return this.#losses(this.#logits(batch), batch, "mean") as Scalar;
	}

	#predict(batch: Batch): { losses: Float32Array; predicted: Int32Array } {
		const logits = this.#logits(batch);
		return {
			losses: this.#losses(logits, batch, "none").dataSync() as Float32Array,
			predicted: logits.argMax(-1).dataSync() as Int32Array,
		};
	}

	#checkLength(field: string, vector: Float32Array): void {
		if (vector.length !== this.#layout.length) {
			throw new RondoError("SHAPE_MISMATCH", `${field} has ${vector.length} elements, the layout ${this.#layout.length}`);
		}
	}

	#checkBatch({ size, inputs, labels }: Batch): void {
		if (!Number.isSafeInteger(size) || size < 1)
			throw new RondoError("INVALID_ARGUMENT", `batch.size must be a positive integer, got ${size}`);
		if (inputs.length !== size * this.#width) {
			const shape = `[${[size, ...this.#inputShape].join(", ")}]`;
			throw new RondoError(
				"SHAPE_MISMATCH",
				`batch.inputs has ${inputs.length} elements, the model wants ${shape} = ${size * this.#width}`,
			);
		}
		if (labels.length !== size) throw new RondoError("SHAPE_MISMATCH", `batch.labels has ${labels.length} elements, batch.size is ${size}`);
		const outside = labels.findIndex((label) => label < 0 || label >= this.#classes);
		if (outside >= 0) {
			throw new RondoError("INVALID_ARGUMENT", `batch.labels[${outside}] is ${labels[outside]}, the model has ${this.#classes} classes`);
		}
	}
}

const scalarOf = (value: Scalar): number => value.dataSync()[0]!;

/** @throws INVALID_ARGUMENT when TensorFlow.js cannot make a model of it */
export async function buildModel(runtime: Runtime, architecture: LayersArchitecture): Promise<LayersModel> {
	const { tf } = runtime;
	const topology = logitsArchitecture(architecture) as Parameters<typeof tf.models.modelFromJSON>[0];
	return runtime.exclusive(async () => {
		try {
			return await tf.models.modelFromJSON(topology);
		} catch (cause) {
			const message = cause instanceof Error ? cause.message : String(cause);
			throw new RondoError("INVALID_ARGUMENT", `architecture is not a layers model: ${message}`, { cause });
		}
	});
}

function classifierShapes(model: LayersModel): { inputShape: number[]; classes: number } {
	const refuse = (problem: string): RondoError => new RondoError("INVALID_ARGUMENT", `architecture ${problem}`);
	if (model.inputs.length !== 1 || model.outputs.length !== 1) {
		throw refuse(`must have one input and one output, got ${model.inputs.length} and ${model.outputs.length}`);
	}
	const inputShape = model.inputs[0]!.shape.slice(1);
	if (inputShape.some((size) => size === null)) throw refuse(`must have a fixed input shape, got [${inputShape.map(String).join(", ")}]`);
	const [, classes, ...more] = model.outputs[0]!.shape;
	if (classes === undefined || classes === null || classes < 2 || more.length > 0) {
		throw refuse(`must end in [batch, classes] with 2 classes or more, got [${model.outputs[0]!.shape.map(String).join(", ")}]`);
	}
	// Neither would travel or be trained: the run would silently be of another model.
	const [fixed] = model.nonTrainableWeights;
	if (fixed !== undefined) throw refuse(`has the non-trainable weight ${fixed.originalName}; all weights must be trainable`);
	if (hasRegularizer(model)) throw refuse("has a weight regularizer; regularise in the strategy instead");
	return { inputShape: inputShape as number[], classes };
}

function hasRegularizer(layer: Layer): boolean {
	const inner: unknown = "layers" in layer ? layer.layers : undefined;
	return layer.losses.length > 0 || (Array.isArray(inner) && inner.some(hasRegularizer));
}

function checkWeights(model: LayersModel, layout: Layout): void {
	const show = (name: string | undefined, shape: readonly (number | null)[] | undefined): string =>
		name === undefined ? "nothing" : `${name} [${(shape ?? []).join(", ")}]`;
	const wanted = model.trainableWeights;
	for (let i = 0; i < Math.max(wanted.length, layout.tensors.length); i++) {
		const weight = wanted[i];
		const tensor = layout.tensors[i];
		if (weight === undefined || tensor === undefined || String(weight.shape) !== String(tensor.shape)) {
			const model = show(weight?.originalName, weight?.shape);
			throw new RondoError("SHAPE_MISMATCH", `weight ${i}: the model has ${model}, the layout ${show(tensor?.name, tensor?.shape)}`);
		}
	}
}
