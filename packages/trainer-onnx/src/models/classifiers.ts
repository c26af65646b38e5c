import { filledWith, glorotUniform, type Initializer, type ModelBlueprint, ModelWriter, normal } from "./model-writer.js";
import { checkDivides, checkSize } from "./options.js";

export interface MlpConfig {
	/** Values per example. */
	readonly inputs: number;
	/** Units of each hidden layer; empty for softmax regression. */
	readonly hidden: readonly number[];
	readonly classes: number;
	/** Whether layers have biases; default true. */
	readonly bias?: boolean;
}

/**
 * A classifier of dense layers with relu between them. Its layout and its fresh weights are those of `denseClassifier` of
 * @rondo/trainer-tfjs: `dense_0/kernel` [in, units], `dense_0/bias`, … Input "inputs" [batch, inputs], output "logits" [batch,
 * classes], loss softmax-cross-entropy.
 * @throws INVALID_ARGUMENT that names the option and its value
 */
export function mlp({ inputs, hidden, classes, bias = true }: MlpConfig): ModelBlueprint {
	checkSize("inputs", inputs);
	for (const [i, units] of hidden.entries()) checkSize(`hidden[${i}]`, units);
	checkSize("classes", classes, 2);
	const w = new ModelWriter();
	let x = w.input("inputs", "float32", ["batch", inputs]);
	const widths = [inputs, ...hidden, classes];
	for (const [i, units] of widths.slice(1).entries()) {
		const from = widths[i]!;
		// Softmax regression is convex: it may start at 0.
		const initial = hidden.length === 0 ? filledWith(0) : glorotUniform(from, units);
		const kernel = w.parameter(`dense_${i}/kernel`, [from, units], initial);
		const y = bias ? w.dense(x, kernel, w.parameter(`dense_${i}/bias`, [units], filledWith(0))) : w.dense(x, kernel);
		x = i === hidden.length ? y : w.node("Relu", [y]);
	}
	return w.finish(x, ["batch", classes], "softmax-cross-entropy");
}

/** Deviation sqrt(2 / fan in) (K. He et al., "Delving Deep into Rectifiers", ICCV 2015, arXiv:1502.01852, eq. 10). */
const he = (fanIn: number): Initializer => normal(Math.sqrt(2 / fanIn));

interface Convolution {
	readonly name: string;
	readonly from: number;
	readonly out: number;
	readonly kernel: number;
	readonly stride?: number;
	readonly padding?: number;
	readonly bias?: boolean;
}

function convolution(w: ModelWriter, x: string, { name, from, out, kernel, stride = 1, padding = 0, bias = false }: Convolution): string {
	const weight = w.parameter(`${name}.weight`, [out, from, kernel, kernel], he(from * kernel * kernel));
	const inputs = bias ? [x, weight, w.parameter(`${name}.bias`, [out], filledWith(0))] : [x, weight];
	return w.node("Conv", inputs, {
		kernel_shape: { ints: [kernel, kernel] },
		strides: { ints: [stride, stride] },
		pads: { ints: [padding, padding, padding, padding] },
	});
}

function head(w: ModelWriter, x: string, name: string, from: number, out: number): string {
	return w.linear(x, w.parameter(`${name}.weight`, [out, from], he(from)), w.parameter(`${name}.bias`, [out], filledWith(0)));
}

export interface LenetConfig {
	/** Height and width; a multiple of 4. Default 28. */
	readonly size?: number;
	/** Default 1. */
	readonly channels?: number;
	/** Default 10. */
	readonly classes?: number;
}

/**
 * LeNet-5 (Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998) as it is trained today: relu and
 * maximum in place of tanh and scaled sums, every feature map of a layer reads every one of the layer before. Input "inputs"
 * [batch, channels, size, size], output "logits" [batch, classes], loss softmax-cross-entropy.
 * @throws INVALID_ARGUMENT that names the option and its value
 */
export function lenet({ size = 28, channels = 1, classes = 10 }: LenetConfig = {}): ModelBlueprint {
	checkSize("size", size, 16);
	checkDivides("size", size, "4", 4);
	checkSize("channels", channels);
	checkSize("classes", classes, 2);
	const w = new ModelWriter();
	const images = w.input("inputs", "float32", ["batch", channels, size, size]);
	const halve = (x: string): string =>
		w.node("MaxPool", [w.node("Relu", [x])], { kernel_shape: { ints: [2, 2] }, strides: { ints: [2, 2] } });
	const first = halve(convolution(w, images, { name: "conv1", from: channels, out: 6, kernel: 5, padding: 2, bias: true }));
	const second = halve(convolution(w, first, { name: "conv2", from: 6, out: 16, kernel: 5, bias: true }));
	const side = (size / 2 - 4) / 2;
	const flat = w.reshape(second, 0, 16 * side * side);
	const third = w.node("Relu", [head(w, flat, "fc1", 16 * side * side, 120)]);
	const fourth = w.node("Relu", [head(w, third, "fc2", 120, 84)]);
	return w.finish(head(w, fourth, "fc3", 84, classes), ["batch", classes], "softmax-cross-entropy");
}

export interface ResnetConfig {
	/** Height and width; a multiple of 4. Default 32. */
	readonly size?: number;
	/** Default 3. */
	readonly channels?: number;
	/** Default 10. */
	readonly classes?: number;
}

/**
 * A residual network of eight weight layers for small images: a convolution, three blocks of two convolutions with 16, 32 and
 * 64 maps, the mean over each map, a dense layer (K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
 * arXiv:1512.03385, section 4.2; 1×1 convolutions where a block changes the sizes, as in the image classification of MLPerf
 * Tiny, arXiv:2106.07597). Batch normalisation is in its inference form, with mean 0 and variance 1 that stay and a scale and
 * a shift that are trained: statistics of batches are nothing that clients could share. Input "inputs" [batch, channels, size,
 * size], output "logits" [batch, classes], loss softmax-cross-entropy.
 * @throws INVALID_ARGUMENT that names the option and its value
 */
export function resnet8({ size = 32, channels = 3, classes = 10 }: ResnetConfig = {}): ModelBlueprint {
	checkSize("size", size, 4);
	checkDivides("size", size, "4", 4);
	checkSize("channels", channels);
	checkSize("classes", classes, 2);
	const w = new ModelWriter();
	const normalized = (x: string, layer: Convolution): string => {
		const { name, out } = layer;
		const fixed = (value: number): string => w.constant({ type: "float32", dims: [out], data: new Float32Array(out).fill(value) });
		const y = convolution(w, x, layer);
		const scale = w.parameter(`${name}.norm.weight`, [out], filledWith(1));
		const shift = w.parameter(`${name}.norm.bias`, [out], filledWith(0));
		return w.node("BatchNormalization", [y, scale, shift, fixed(0), fixed(1)], { epsilon: { float: 1e-5 } });
	};
	const images = w.input("inputs", "float32", ["batch", channels, size, size]);
	let x = w.node("Relu", [normalized(images, { name: "stem", from: channels, out: 16, kernel: 3, padding: 1 })]);
	for (const [i, out] of [16, 32, 64].entries()) {
		const from = i === 0 ? 16 : out / 2;
		const stride = i === 0 ? 1 : 2;
		const name = `block${i + 1}`;
		const first = w.node("Relu", [normalized(x, { name: `${name}.conv1`, from, out, kernel: 3, stride, padding: 1 })]);
		const second = normalized(first, { name: `${name}.conv2`, from: out, out, kernel: 3, padding: 1 });
		const shortcut = from === out ? x : normalized(x, { name: `${name}.shortcut`, from, out, kernel: 1, stride });
		x = w.node("Relu", [w.node("Add", [second, shortcut])]);
	}
	const pooled = w.reshape(w.node("GlobalAveragePool", [x]), 0, 64);
	return w.finish(head(w, pooled, "fc", 64, classes), ["batch", classes], "softmax-cross-entropy");
}
