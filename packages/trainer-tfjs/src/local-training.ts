import { type Batch, type LocalTraining, type Optimizer, type ResolvedOptimizer, resolveOptimizer } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";
import type { Scalar, Tensor, Variable } from "@tensorflow/tfjs";
import type { Tf } from "./runtime.js";

/** What local training needs of the trainer that began it. */
export interface TrainableModel {
	/** In layout order; shared with all other uses of the model, so they hold this training's weights only during a step. */
	readonly variables: readonly Variable[];
	/** @throws INVALID_ARGUMENT, SHAPE_MISMATCH */
	check(batch: Batch): void;
	meanLoss(batch: Batch): Scalar;
	/** Runs `work` in its turn and frees all tensors made on the way that are not kept. */
	run<T>(work: () => T): Promise<T>;
}

/** Weights and optimiser state as tensors of the backend; each step replaces them. */
export class ResidentTraining implements LocalTraining {
	readonly #tf: Tf;
	readonly #model: TrainableModel;
	readonly #layout: Layout;
	readonly #optimizer: ResolvedOptimizer;
	#weights: Tensor[] = [];
	/** SGD: v, unless momentum is 0. Adam: m. */
	#first: Tensor[] = [];
	/** Adam: v. */
	#second: Tensor[] = [];
	#steps = 0;
	#disposed = false;

	private constructor(tf: Tf, model: TrainableModel, layout: Layout, optimizer: ResolvedOptimizer) {
		this.#tf = tf;
		this.#model = model;
		this.#layout = layout;
		this.#optimizer = optimizer;
	}

	/** @throws INVALID_ARGUMENT for the optimizer */
	static async begin(
		tf: Tf,
		model: TrainableModel,
		layout: Layout,
		weights: Float32Array,
		optimizer: Optimizer,
	): Promise<ResidentTraining> {
		const training = new ResidentTraining(tf, model, layout, resolveOptimizer(optimizer));
		// The backend may read the array only when it computes: by then the caller may have changed it.
		const start = weights.slice();
		await model.run(() => {
			training.#weights = layout.tensors.map(({ from, to }, i) => tf.keep(tf.tensor(start.subarray(from, to), model.variables[i]!.shape)));
		});
		return training;
	}

	step(batch: Batch | readonly Batch[], learningRate: number): Promise<number> {
		const batches = "size" in batch ? [batch] : batch;
		return this.#model.run(() => {
			this.#checkOpen();
			if (batches.length === 0) throw new RondoError("INVALID_ARGUMENT", "a step needs at least one batch, got none");
			for (const each of batches) this.#model.check(each);
			for (const [i, variable] of this.#model.variables.entries()) variable.assign(this.#weights[i]!);
			const { loss, gradients } = this.#meanGradients(batches);
			this.#apply(this.#clip(gradients), learningRate);
			return loss;
		});
	}

	async read(out: Float32Array): Promise<void> {
		if (out.length !== this.#layout.length)
			throw new RondoError("SHAPE_MISMATCH", `out has ${out.length} elements, the layout ${this.#layout.length}`);
		await this.#model.run(() => {
			this.#checkOpen();
			for (const [i, { from }] of this.#layout.tensors.entries()) out.set(this.#weights[i]!.dataSync() as Float32Array, from);
		});
	}

	async dispose(): Promise<void> {
		if (this.#disposed) return;
		this.#disposed = true;
		this.#tf.dispose([...this.#weights, ...this.#first, ...this.#second]);
	}

	#checkOpen(): void {
		if (this.#disposed) throw new RondoError("TRAINER_FAILED", "the local training was disposed");
	}

	/** Averages weighted by rows. */
	#meanGradients(batches: readonly Batch[]): { loss: number; gradients: Tensor[] } {
		const { variables } = this.#model;
		const rows = batches.reduce((sum, { size }) => sum + size, 0);
		let loss = 0;
		const sums: (Tensor | undefined)[] = variables.map(() => undefined);
		for (const batch of batches) {
			const share = batch.size / rows;
			const { value, grads } = this.#tf.variableGrads(() => this.#model.meanLoss(batch), [...variables]);
			loss += share * value.dataSync()[0]!;
			for (const [i, { name }] of variables.entries()) {
				const gradient: Tensor | undefined = grads[name];
				if (gradient === undefined) continue;
				const scaled = share === 1 ? gradient : gradient.mul(share);
				sums[i] = sums[i]?.add(scaled) ?? scaled;
			}
		}
		// No sum: the loss does not depend on this weight.
		return { loss, gradients: sums.map((sum, i) => sum ?? this.#tf.zerosLike(variables[i]!)) };
	}

	#clip(gradients: Tensor[]): Tensor[] {
		const { clipNorm } = this.#optimizer;
		if (clipNorm === Number.POSITIVE_INFINITY) return gradients;
		const normSquared = gradients.map((gradient) => gradient.square().sum()).reduce((sum, square) => sum.add(square));
		// A norm of 0 makes this the minimum of infinity and 1.
		const scale = this.#tf.div(clipNorm, normSquared.sqrt()).minimum(1);
		return gradients.map((gradient) => gradient.mul(scale));
	}

	#apply(gradients: Tensor[], learningRate: number): void {
		const optimizer = this.#optimizer;
		this.#steps++;
		let directions = gradients;
		if (optimizer.kind === "adam") {
			const { beta1, beta2, epsilon, weightDecay } = optimizer;
			const [correction1, correction2] = [1 - beta1 ** this.#steps, 1 - beta2 ** this.#steps];
			this.#first = this.#replace(this.#first, gradients, (m, g) =>
				m === undefined ? g.mul(1 - beta1) : m.mul(beta1).add(g.mul(1 - beta1)),
			);
			this.#second = this.#replace(this.#second, gradients, (v, g) => {
				const square = g.square().mul(1 - beta2);
				return v === undefined ? square : v.mul(beta2).add(square);
			});
			directions = this.#first.map((m, i) => m.div(correction1).div(this.#second[i]!.div(correction2).sqrt().add(epsilon)));
			if (weightDecay > 0) directions = directions.map((direction, i) => direction.add(this.#weights[i]!.mul(weightDecay)));
		} else if (optimizer.momentum > 0) {
			this.#first = this.#replace(this.#first, gradients, (v, g) => (v === undefined ? g.clone() : v.mul(optimizer.momentum).add(g)));
			directions = this.#first;
		}
		this.#weights = this.#replace(this.#weights, directions, (w, direction) => w!.sub(direction.mul(learningRate)));
	}

	/** New state that outlives the step, in place of `state`, which is empty at first. */
	#replace(state: readonly Tensor[], by: readonly Tensor[], next: (old: Tensor | undefined, by: Tensor) => Tensor): Tensor[] {
		const made = by.map((each, i) => next(state[i], each));
		for (const tensor of made) this.#tf.keep(tensor);
		this.#tf.dispose([...state]);
		return made;
	}
}
