import type { Batch, Trainer } from "@rondo/algorithms";
import { randomFromSeed } from "@rondo/kernels";
import { layoutOf } from "@rondo/tensors";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, test } from "vitest";
import { trainerConformance } from "../../testkit/src/trainer-conformance.js";
import { modelOfSpec } from "../test/model-of-spec.js";
import type { LayersArchitecture } from "./architecture.js";
import { denseClassifier } from "./dense-classifier.js";
import type { TfjsLoss } from "./objective.js";
import { createTfjsTrainer, type TfjsTrainerOptions } from "./trainer.js";

const random = randomFromSeed("trainer test");
const classifier = (hidden: readonly number[] = [5]) => denseClassifier({ inputs: 6, hidden, classes: 4, random });
const json = (model: tf.LayersModel): LayersArchitecture => model.toJSON(null, false) as unknown as LayersArchitecture;
const layoutOfModel = (model: tf.LayersModel) =>
	layoutOf(model.trainableWeights.map(({ name, shape }) => ({ name, shape: shape as number[] })));
const absent = (name: string): Promise<unknown> =>
	name.includes("tfjs-node")
		? Promise.reject(Object.assign(new Error(`Cannot find package '${name}'`), { code: "ERR_MODULE_NOT_FOUND" }))
		: import(name);

function batchOf(size: number, shape: readonly number[] = [6], classes = 4): Batch {
	const width = shape.reduce((a, b) => a * b, 1);
	return {
		size,
		inputs: Float32Array.from({ length: size * width }, (_, i) => Math.sin(i + 1)),
		labels: Int32Array.from({ length: size }, (_, i) => i % classes),
	};
}

async function using<T>(options: TfjsTrainerOptions, body: (trainer: Trainer) => Promise<T>): Promise<T> {
	const trainer = await createTfjsTrainer(options);
	try {
		return await body(trainer);
	} finally {
		await trainer.dispose?.();
	}
}

// wasm has no gradients of convolutions and embeddings.
describe.each([
	["wasm", ["dense"]],
	["cpu", ["dense", "convolutional", "transformer"]],
] as const)("conformance on %s", (backend, kinds) => {
	trainerConformance(test, (spec) => createTfjsTrainer({ ...modelOfSpec(spec), backend }), { kinds, localTraining: true });
});

describe("softmax at the end is taken out, softmax elsewhere stays", () => {
	const dense = (activation?: "softmax") => tf.layers.dense({ units: 4, ...(activation ? { activation } : {}) });
	const first = () => tf.layers.dense({ units: 5, activation: "softmax", inputShape: [6] });
	const input = () => tf.input({ shape: [6] });
	const functional = (end: (x: tf.SymbolicTensor) => tf.SymbolicTensor): tf.LayersModel => {
		const x = input();
		return tf.model({ inputs: x, outputs: end(first().apply(x) as tf.SymbolicTensor) });
	};
	const apply = (layer: { apply(x: tf.SymbolicTensor): unknown }, x: tf.SymbolicTensor) => layer.apply(x) as tf.SymbolicTensor;
	const models: Record<string, () => tf.LayersModel> = {
		"sequential, logits": () => tf.sequential({ layers: [first(), dense()] }),
		"sequential, activation": () => tf.sequential({ layers: [first(), dense("softmax")] }),
		"sequential, activation layer": () => tf.sequential({ layers: [first(), dense(), tf.layers.activation({ activation: "softmax" })] }),
		"sequential, softmax layer": () => tf.sequential({ layers: [first(), dense(), tf.layers.softmax()] }),
		"functional, logits": () => functional((x) => apply(dense(), x)),
		"functional, activation": () => functional((x) => apply(dense("softmax"), x)),
		"functional, softmax layer": () => functional((x) => apply(tf.layers.softmax(), apply(dense(), x))),
		nested: () => tf.sequential({ layers: [tf.sequential({ layers: [first(), dense("softmax")] })] }),
	};
	const weights = Float32Array.from({ length: 6 * 5 + 5 + 5 * 4 + 4 }, (_, i) => Math.cos(i));
	const batch = batchOf(9);
	let wanted: number | undefined;

	test.each(Object.keys(models))("%s", async (name) => {
		const model = models[name]!();
		const loss = await using({ architecture: json(model), layout: layoutOfModel(model), backend: "cpu" }, (trainer) =>
			trainer.loss(weights, batch),
		);
		wanted ??= loss;
		expect(loss).toBe(wanted);
		expect(loss).toBeGreaterThan(0.1);
	});
});

describe("models beyond dense layers", () => {
	const convolutional = (): tf.LayersModel =>
		tf.sequential({
			layers: [
				tf.layers.conv2d({ filters: 2, kernelSize: 3, activation: "relu", inputShape: [6, 6, 1] }),
				tf.layers.dropout({ rate: 0.5 }),
				tf.layers.flatten(),
				tf.layers.dense({ units: 3 }),
			],
		});

	test("a convolution trains on cpu, where auto goes for it; dropout is off", async () => {
		const model = convolutional();
		const options = { architecture: json(model), layout: layoutOfModel(model), importModule: absent };
		await expect(createTfjsTrainer({ ...options, backend: "wasm" })).rejects.toMatchObject({
			code: "TRAINER_FAILED",
			message: expect.stringContaining("Conv2DBackpropFilter"),
		});
		await using(options, async (trainer) => {
			expect(trainer.description).toMatch(
				/^tfjs-cpu 4\.[\d.]+; not on wasm: .*Conv2DBackpropFilter.*npm install @tensorflow\/tfjs-node-gpu$/,
			);
			const weights = Float32Array.from({ length: options.layout.length }, (_, i) => Math.sin(3 * i) / 4);
			const batch = batchOf(4, [6, 6, 1], 3);
			const out = new Float32Array(weights.length);
			const loss = await trainer.gradient(weights, batch, out);
			expect(await trainer.loss(weights, batch)).toBe(loss);
			// Along its gradient the loss changes by the square of the norm.
			const normSquared = out.reduce((sum, g) => sum + g * g, 0);
			const step = 1e-3;
			const [above, below] = [1, -1].map((sign) => weights.map((w, i) => w + sign * step * out[i]!)) as [Float32Array, Float32Array];
			const slope = ((await trainer.loss(above, batch)) - (await trainer.loss(below, batch))) / (2 * step);
			expect(Math.abs(slope / normSquared - 1)).toBeLessThan(0.02);
		});
	});

	test("a weight that the loss does not depend on has gradient 0", async () => {
		const x = tf.input({ shape: [6] });
		const dead = tf.layers.dense({ units: 4, kernelInitializer: "zeros", activation: "relu" }).apply(x) as tf.SymbolicTensor;
		const model = tf.model({ inputs: x, outputs: dead });
		const { architecture, layout } = { architecture: json(model), layout: layoutOfModel(model) };
		await using({ architecture, layout, backend: "wasm" }, async (trainer) => {
			const out = new Float32Array(layout.length).fill(7);
			const weights = new Float32Array(layout.length).fill(0, 0, 24).fill(-1, 24);
			expect(await trainer.gradient(weights, batchOf(8), out)).toBeCloseTo(Math.log(4), 6);
			expect(out).toEqual(new Float32Array(layout.length));
		});
	});
});

describe("backends", () => {
	test("auto takes wasm where the native packages are absent, and says how to add a GPU", async () => {
		await using({ ...classifier(), importModule: absent }, async (trainer) => {
			expect(trainer.description).toMatch(
				/^tfjs-wasm 4\.[\d.]+ \(simd, 1 thread\); for GPU training: npm install @tensorflow\/tfjs-node-gpu$/,
			);
		});
	});

	test.each([
		["gpu", "@tensorflow/tfjs-node-gpu"],
		["node", "@tensorflow/tfjs-node"],
	] as const)("asked for, absent %s is an error with the command that adds it", async (backend, name) => {
		await expect(createTfjsTrainer({ ...classifier(), backend, importModule: absent })).rejects.toMatchObject({
			code: "TRAINER_FAILED",
			message: `backend "${backend}": ${name} is not installed; add it with: npm install ${name}`,
		});
	});

	test("a native package that is there but broken is passed over and named", async () => {
		const broken = (name: string): Promise<unknown> =>
			name === "@tensorflow/tfjs-node-gpu" ? Promise.reject(new Error("libcudart.so.11.0: cannot open\nmore")) : absent(name);
		await using({ ...classifier(), importModule: broken }, async (trainer) => {
			expect(trainer.description).toContain("not on gpu: ");
			expect(trainer.description).toContain("@tensorflow/tfjs-node-gpu failed to load: libcudart.so.11.0: cannot open; for GPU");
		});
		await expect(createTfjsTrainer({ ...classifier(), backend: "gpu", importModule: broken })).rejects.toThrow("failed to load: libcudart");
	});

	test("a native package is taken first and gives the same numbers through the same code", async () => {
		// A backend of the native name that computes with the kernels of the cpu backend.
		tf.registerBackend("tensorflow", () => Object.assign(new tf.MathBackendCPU(), { isUsingGpuDevice: true }));
		for (const kernel of tf.getKernelsForBackend("cpu")) tf.registerKernel({ ...kernel, backendName: "tensorflow" });
		const native = (name: string): Promise<unknown> =>
			name === "@tensorflow/tfjs-node-gpu" ? Promise.resolve({ default: tf }) : absent(name);
		const { architecture, layout, weights } = classifier();
		const loss = await using({ architecture, layout, importModule: native }, (trainer) => {
			expect(trainer.description).toMatch(/^tfjs-node-gpu 4\.[\d.]+ \(GPU\)$/);
			return trainer.loss(weights, batchOf(5));
		});
		expect(loss).toBe(await using({ architecture, layout, backend: "cpu" }, (trainer) => trainer.loss(weights, batchOf(5))));
	});

	test("trainers on different backends work in turns", async () => {
		const { architecture, layout, weights } = classifier();
		const trainers = await Promise.all(
			(["wasm", "cpu", "wasm"] as const).map((backend) => createTfjsTrainer({ architecture, layout, backend })),
		);
		const losses = await Promise.all([...trainers, ...trainers].map((trainer) => trainer.loss(weights, batchOf(5))));
		for (const loss of losses) expect(loss).toBeCloseTo(losses[0]!, 5);
		await Promise.all(trainers.map((trainer) => trainer.dispose?.()));
		await expect(trainers[0]!.loss(weights, batchOf(5))).rejects.toMatchObject({ code: "TRAINER_FAILED" });
	});
});

test.each(["wasm", "cpu"] as const)("%s keeps no tensor: constant over 50 steps, none after dispose", async (backend) => {
	const { architecture, layout, weights } = classifier();
	await using({ architecture, layout, backend: "cpu" }, async () => undefined);
	const before = tf.memory().numTensors;
	await using({ architecture, layout, backend }, async (trainer) => {
		const out = new Float32Array(layout.length);
		const training = await trainer.begin!(weights, { kind: "adam", clipNorm: 1 });
		const step = async (): Promise<number> => {
			await training.step([batchOf(8), batchOf(2)], 0.1);
			await expect(training.step([batchOf(2), { ...batchOf(3), size: 2 }], 0.1)).rejects.toThrow("the model wants [2, 6]");
			await trainer.gradient(weights, batchOf(8), out);
			await trainer.loss(weights, batchOf(3));
			await expect(trainer.loss(weights, { ...batchOf(3), size: 2 })).rejects.toThrow();
			return tf.memory().numTensors;
		};
		const first = await step();
		for (let i = 0; i < 50; i++) expect(await step()).toBe(first);
		await training.dispose();
		await expect(training.step(batchOf(2), 0.1)).rejects.toThrow("the local training was disposed");
	});
	expect(tf.memory().numTensors).toBe(before);
});

test("the event loop runs between steps", async () => {
	const { architecture, layout, weights } = classifier();
	await using({ architecture, layout, backend: "cpu" }, async (trainer) => {
		let turns = 0;
		const count = (): void => {
			turns++;
			handle = setImmediate(count);
		};
		let handle = setImmediate(count);
		for (let i = 0; i < 20; i++) await trainer.loss(weights, batchOf(2));
		clearImmediate(handle);
		expect(turns).toBeGreaterThanOrEqual(19);
	});
});

describe("refuses what does not fit", () => {
	const refused = (model: tf.LayersModel, options: Partial<TfjsTrainerOptions> = {}) =>
		expect(createTfjsTrainer({ architecture: json(model), layout: layoutOfModel(model), backend: "cpu", ...options })).rejects;
	const dense = (units: number, more = {}) => tf.layers.dense({ units, ...more });

	test("a layout of other weights", async () => {
		const { architecture } = classifier();
		const layout = classifier([3]).layout;
		await expect(createTfjsTrainer({ architecture, layout, backend: "cpu" })).rejects.toMatchObject({
			code: "SHAPE_MISMATCH",
			message: "weight 0: the model has dense_0/kernel [6, 5], the layout dense_0/kernel [6, 3]",
		});
		await expect(createTfjsTrainer({ architecture, layout: layoutOf(classifier().layout.tensors.slice(0, 3)) })).rejects.toThrow(
			"weight 3: the model has dense_1/bias [4], the layout nothing",
		);
	});

	test("models that are not what the loss is of", async () => {
		const inputShape = [6];
		const ends = (units: number, loss: TfjsLoss, shape = inputShape) =>
			refused(tf.sequential({ layers: [dense(units, { inputShape: shape })] }), { loss });
		await ends(1, "softmax-cross-entropy").toThrow(
			'must end in [batch, classes] or [batch, positions, classes] with 2 classes or more for loss "softmax-cross-entropy", got [null, 1]',
		);
		await ends(4, "softmax-cross-entropy", [2, 3, 6]).toThrow("got [null, 2, 3, 4]");
		await ends(4, "causal-lm").toThrow('must end in [batch, positions, tokens] with 2 tokens or more for loss "causal-lm", got [null, 4]');
		await ends(4, "mse", [3, 6]).toThrow('must end in [batch, outputs] for loss "mse", got [null, 3, 4]');
		await ends(4, "binary-cross-entropy", [3, 6]).toThrow('must end in [batch, outputs] for loss "binary-cross-entropy"');
		await refused(tf.sequential({ layers: [dense(4, { inputShape: [null, 6] })] })).toThrow("must have a fixed input shape");
		await refused(tf.sequential({ layers: [dense(4, { inputShape }), tf.layers.batchNormalization()] })).toThrow("non-trainable weight");
		await refused(tf.sequential({ layers: [dense(4, { inputShape, kernelRegularizer: "l1l2" })] })).toThrow("weight regularizer");
		const x = tf.input({ shape: [6] });
		const outputs = [dense(4).apply(x), dense(4).apply(x)] as tf.SymbolicTensor[];
		await refused(tf.model({ inputs: x, outputs })).toThrow("one input and one output, got 1 and 2");
	});

	test("architectures that are no models", async () => {
		const { layout } = classifier();
		const given = (architecture: unknown) =>
			expect(createTfjsTrainer({ architecture: architecture as LayersArchitecture, layout, backend: "cpu" })).rejects;
		await given("{}").toThrow("architecture must be an object, got string");
		await given({ config: {} }).toThrow("architecture.class_name must be a string, got undefined");
		await given({ class_name: "Sequential", config: null }).toThrow("architecture.config must be an object, got null");
		await given({ class_name: "Perceptron", config: {} }).toThrow("architecture is not a layers model");
		await given({ class_name: "Sequential", config: { layers: [] } }).toMatchObject({ code: "INVALID_ARGUMENT" });
	});

	test("unknown losses and backends", async () => {
		await expect(createTfjsTrainer({ ...classifier(), loss: "hinge" as TfjsLoss })).rejects.toThrow(
			'loss must be one of softmax-cross-entropy, causal-lm, mse, binary-cross-entropy, got "hinge"',
		);
		await expect(createTfjsTrainer({ ...classifier(), backend: "tpu" as "cpu" })).rejects.toThrow('got "tpu"');
	});

	test("batches and vectors of other shapes, labels that are no class", async () => {
		const { architecture, layout, weights } = classifier();
		const good = batchOf(2);
		await using({ architecture, layout, backend: "cpu" }, async (trainer) => {
			await expect(trainer.loss(weights.subarray(1), good)).rejects.toThrow("weights has 58 elements, the layout 59");
			await expect(trainer.gradient(weights, good, new Float32Array(3))).rejects.toThrow("out has 3 elements, the layout 59");
			await expect(trainer.loss(weights, { ...good, size: 0 })).rejects.toThrow("batch.size must be a positive integer, got 0");
			await expect(trainer.loss(weights, { ...good, inputs: new Float32Array(13) })).rejects.toThrow(
				"batch.inputs has 13 elements, the model wants [2, 6] = 12",
			);
			await expect(trainer.loss(weights, { ...good, labels: new Int32Array(3) })).rejects.toThrow("batch.labels has 3 elements");
			await expect(trainer.loss(weights, { ...good, labels: Int32Array.of(0, 4) })).rejects.toThrow(
				"batch.labels[1] is 4, the model has 4 classes",
			);
			await expect(trainer.loss(weights, { ...good, labels: Int32Array.of(-1, 0) })).rejects.toThrow("batch.labels[0] is -1");
			await expect(trainer.loss(weights, { ...good, inputs: new Int32Array(12) })).rejects.toThrow("must be features (Float32Array)");
			await expect(trainer.loss(weights, { ...good, labels: new Float32Array(2) })).rejects.toThrow("must be class indices (Int32Array)");
			const more = { mask: new Float32Array(2) };
			await expect(trainer.loss(weights, { ...good, more })).rejects.toThrow("batch.more.mask is no input");
			await expect(trainer.begin!(weights.subarray(1), { kind: "sgd" })).rejects.toThrow("weights has 58 elements, the layout 59");
			await expect(trainer.begin!(weights, { kind: "sgd", momentum: 2 })).rejects.toThrow("optimizer.momentum must be");
			const training = await trainer.begin!(weights, { kind: "sgd" });
			await expect(training.step([], 0.1)).rejects.toThrow("a step needs at least one batch, got none");
			await expect(training.read(new Float32Array(3))).rejects.toThrow("out has 3 elements, the layout 59");
			await training.dispose();
			const batches = () => [good];
			await expect(trainer.evaluate(weights, { numExamples: 0, batches })).rejects.toThrow("data.numExamples must be positive, got 0");
			await expect(trainer.evaluate(weights, { numExamples: 3, batches })).rejects.toThrow("ended after 2 of data.numExamples = 3");
		});
	});
});
