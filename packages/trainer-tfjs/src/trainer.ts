import type { Trainer } from "@rondo/algorithms";
import { isRondoError, RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";
import { checkArchitecture, type LayersArchitecture } from "./architecture.js";
import { LayersTrainer } from "./layers-trainer.js";
import { LOSSES, type TfjsLoss } from "./objective.js";
import { GPU_INSTALL, type ImportModule, openRuntime, type TfjsBackend } from "./runtime.js";

export interface TfjsTrainerOptions {
	/**
	 * A Keras layers model with one input and one output. Its input are features, or token ids where an embedding reads
	 * it; its output what `loss` is of.
	 */
	readonly architecture: LayersArchitecture;
	/** How the model's trainable weights lie in the flat vector: the same shapes in the model's order. */
	readonly layout: Layout;
	/**
	 * "softmax-cross-entropy" (default): of logits, or of a softmax as last activation, [batch, classes] or
	 * [batch, positions, classes], with one class index for each row or position; −100 is left out of the mean.
	 * "causal-lm": the same of [batch, positions, tokens]; the label of a position is the token that follows it.
	 * "mse": mean over all of [batch, outputs] of (output − target)².
	 * "binary-cross-entropy": mean over all of [batch, outputs], logits or a sigmoid as last activation, with targets from
	 * 0 to 1.
	 */
	readonly loss?: TfjsLoss;
	/** Default "auto": the first of gpu, node, wasm, cpu that is there and can differentiate this model. */
	readonly backend?: "auto" | TfjsBackend;
	/** Default `import()` from this package; give the application's own where only that one can resolve the native packages. */
	readonly importModule?: ImportModule;
}

const BACKENDS: readonly TfjsBackend[] = ["gpu", "node", "wasm", "cpu"];

/**
 * The Trainer port on TensorFlow.js. `description` says which backend computes; training on a GPU is added by
 * installing `@tensorflow/tfjs-node-gpu`, without a change of code.
 * @throws TRAINER_FAILED when no wanted backend is there, with the command that installs it
 * @throws SHAPE_MISMATCH when layout and model differ
 * @throws INVALID_ARGUMENT for a model that has not one output that `loss` is of, or weights that are not trainable
 */
export async function createTfjsTrainer(options: TfjsTrainerOptions): Promise<Trainer> {
	const { backend = "auto", loss = "softmax-cross-entropy", layout, importModule } = options;
	const architecture = checkArchitecture(options.architecture);
	if (!LOSSES.includes(loss)) {
		throw new RondoError("INVALID_ARGUMENT", `loss must be one of ${LOSSES.join(", ")}, got ${JSON.stringify(loss)}`);
	}
	if (backend !== "auto" && !BACKENDS.includes(backend)) {
		throw new RondoError("INVALID_ARGUMENT", `backend must be "auto" or one of ${BACKENDS.join(", ")}, got ${JSON.stringify(backend)}`);
	}
	const open = async (candidate: TfjsBackend, passedOver: readonly string[]): Promise<Trainer> => {
		const runtime = await openRuntime(candidate, importModule);
		const hints = candidate === "gpu" ? passedOver : [...passedOver, `for GPU training: ${GPU_INSTALL}`];
		return LayersTrainer.open(runtime, architecture, loss, layout, [runtime.description, ...hints].join("; "));
	};
	if (backend !== "auto") return open(backend, []);

	const passedOver: string[] = [];
	for (const candidate of BACKENDS.slice(0, -1)) {
		try {
			return await open(candidate, passedOver);
		} catch (error) {
			// What is wrong with the model is wrong on every backend.
			if (!isRondoError(error) || error.code !== "TRAINER_FAILED") throw error;
			if (error.details.absent !== true) passedOver.push(`not on ${candidate}: ${error.message}`);
		}
	}
	return open("cpu", passedOver);
}
