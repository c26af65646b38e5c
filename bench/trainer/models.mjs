import { randomFromSeed } from "@rondo/kernels";
import { gpt2, lenet, mlp, resnet8 } from "@rondo/trainer-onnx";

// The models of the bench: the same shapes, batches and optimiser as in pytorch_steps.py.

const images = (classes, ...shape) => ({ classes, width: shape.reduce((product, size) => product * size, 1) });

export const MODELS = {
	mlp: { title: "MLP 784-200-10", batch: 32, of: images(10, 784), build: () => mlp({ inputs: 784, hidden: [200], classes: 10 }) },
	lenet5: { title: "LeNet-5, 1×28×28", batch: 32, of: images(10, 1, 28, 28), build: () => lenet() },
	resnet8: { title: "ResNet-8, 3×32×32", batch: 32, of: images(10, 3, 32, 32), build: () => resnet8() },
	gpt: {
		title: "GPT 4×128, 4 heads, 128 tokens",
		batch: 8,
		of: { tokens: 128, vocabulary: 512 },
		build: () => gpt2({ vocabulary: 512, contextLength: 128, width: 128, layers: 4, heads: 4 }),
	},
	// For GPUs: too slow to be compared on a CPU by default.
	"gpt-wide": {
		title: "GPT 8×512, 8 heads, 128 tokens",
		batch: 8,
		onRequest: true,
		of: { tokens: 128, vocabulary: 512 },
		build: () => gpt2({ vocabulary: 512, contextLength: 128, width: 512, layers: 8, heads: 8 }),
	},
};

/** Weights to start from, and batches that do not repeat for a while. */
export function prepared(name, size = MODELS[name].batch) {
	const { build, of } = MODELS[name];
	const blueprint = build();
	const random = randomFromSeed(`bench/trainer/${name}`);
	const batches = Array.from({ length: 16 }, (_, i) => batchOf(of, size, random.at(i)));
	return { ...blueprint, weights: blueprint.initialWeights(random.at("weights")), batches };
}

function batchOf({ classes, width, tokens, vocabulary }, size, random) {
	const below = (count, limit, name) => Int32Array.from(random.at(name).words(0, new Uint32Array(count)), (word) => word % limit);
	if (tokens !== undefined)
		return { size, inputs: below(size * tokens, vocabulary, "inputs"), labels: below(size * tokens, vocabulary, "labels") };
	const inputs = Float32Array.from(random.at("inputs").words(0, new Uint32Array(size * width)), (word) => word / 2 ** 31 - 1);
	return { size, inputs, labels: below(size, classes, "labels") };
}
