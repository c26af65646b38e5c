import { axisOf, type GraphBuilder, type Ref, range } from "../graph/graph-builder.js";
import { sizeOf } from "../graph/ir.js";
import { type Backward, floatOf, type GradientRule, intOf } from "./rule.js";

/** x standardised over `axes`: x̂ = (x − mean)·inverse, inverse = 1/√(variance + ε). */
function standardized(g: GraphBuilder, x: Ref, axes: readonly number[], epsilon: number): { readonly hat: Ref; readonly inverse: Ref } {
	const centred = g.sub(x, g.reduce("ReduceMean", x, axes));
	const variance = g.reduce("ReduceMean", g.mul(centred, centred), axes);
	const inverse = g.div(1, g.unary("Sqrt", g.add(variance, epsilon)));
	return { hat: g.mul(centred, inverse), inverse };
}

/** dx of x̂ = standardized(x), given dx̂: inverse · (dx̂ − mean(dx̂) − x̂·mean(dx̂·x̂)). */
function throughStandardized(g: GraphBuilder, dHat: Ref, hat: Ref, inverse: Ref, axes: readonly number[]): Ref {
	const mean = g.reduce("ReduceMean", dHat, axes);
	const slope = g.reduce("ReduceMean", g.mul(dHat, hat), axes);
	return g.mul(inverse, g.sub(g.sub(dHat, mean), g.mul(hat, slope)));
}

/**
 * With t = dy·x̂: dx = (γ·dy − mean(γ·dy) − x̂·mean(γ·t))·inverse. Mean and inverse deviation are further results of the node, and
 * the means over a row are products with γ/width: what is computed in passes over all elements is little.
 */
const layerNormalization: GradientRule = (b) => {
	const { g, node } = b;
	const [x, scale, dy] = [b.input(0), b.input(1), b.dy()!];
	const first = axisOf(intOf(node, "axis", -1), x.dims.length);
	const width = sizeOf(x.dims.slice(first));
	const rows = sizeOf(x.dims) / width;
	const statistics = x.dims.map((size, axis) => (axis < first ? size : 1));
	const inRows = (v: Ref): Ref => g.reshape(v, [rows, width]);
	const given = (): ReturnType<typeof standardized> => {
		const [mean, inverse] = [1, 2].map((i) => g.reshape(b.output(i, statistics), [rows, 1])) as [Ref, Ref];
		return { hat: g.mul(g.sub(inRows(x), mean), inverse), inverse };
	};
	// In float64 the operator gives no statistics.
	const { hat, inverse } = x.type === "float32" ? given() : standardized(g, inRows(x), [1], floatOf(node, "epsilon", 1e-5));
	const t = g.mul(inRows(dy), hat);
	const dx = (): Ref => {
		const gamma = g.reshape(g.expand(scale, x.dims.slice(first)), [width]);
		const share = g.reshape(g.mul(gamma, 1 / width), [width, 1]);
		const mean = g.matMul(inRows(dy), share);
		const slope = g.matMul(t, share);
		return g.reshape(g.mul(g.sub(g.sub(g.mul(inRows(dy), gamma), mean), g.mul(hat, slope)), inverse), x.dims);
	};
	return [
		b.needs(0) ? dx() : undefined,
		b.needs(1) ? g.sumTo(g.reshape(t, x.dims), scale.dims) : undefined,
		b.optional(2) !== undefined && b.needs(2) ? g.sumTo(dy, b.input(2).dims) : undefined,
	];
};

/** A vector of one value per channel, so that it broadcasts against [N, C, …]. */
const perChannel = (g: GraphBuilder, v: Ref, rank: number): Ref => g.reshape(v, [sizeOf(v.dims), ...range(rank - 2).map(() => 1)]);

/** Axes of [N, C, …] other than the channels. */
const acrossChannels = (rank: number): number[] => range(rank).filter((axis) => axis !== 1);

function affineGradients(b: Backward, hat: () => Ref): readonly [Ref | undefined, Ref | undefined] {
	const { g } = b;
	const dy = b.dy()!;
	const axes = acrossChannels(dy.dims.length);
	return [
		b.needs(1) ? g.reduce("ReduceSum", g.mul(dy, hat()), axes, false) : undefined,
		b.needs(2) ? g.reduce("ReduceSum", dy, axes, false) : undefined,
	];
}

/**
 * Mean and variance are those of the batch. Results 1 and 2 are running statistics: momentum times the given ones, and
 * 1 − momentum times those of the batch.
 */
const batchNormalizationInTraining: GradientRule = (b) => {
	const { g, node } = b;
	const [x, scale, dy, dMean, dVariance] = [b.input(0), b.input(1), b.dy(0), b.dy(1), b.dy(2)];
	const rank = x.dims.length;
	const axes = acrossChannels(rank);
	const count = sizeOf(x.dims) / x.dims[1]!;
	const momentum = floatOf(node, "momentum", 0.9);
	const { hat, inverse } = standardized(g, x, axes, floatOf(node, "epsilon", 1e-5));
	const parts: Ref[] = [];
	if (dy !== undefined) parts.push(throughStandardized(g, g.mul(dy, perChannel(g, scale, rank)), hat, inverse, axes));
	const share = (d: Ref, factor: number): Ref => perChannel(g, g.mul(d, (factor * (1 - momentum)) / count), rank);
	if (dMean !== undefined) parts.push(g.expand(share(dMean, 1), x.dims));
	if (dVariance !== undefined) parts.push(g.mul(share(dVariance, 2), g.div(hat, inverse)));
	const affine = dy === undefined ? [undefined, undefined] : affineGradients(b, () => hat);
	const kept = (d: Ref | undefined): Ref | undefined => (d === undefined ? undefined : g.mul(d, momentum));
	return [b.needs(0) ? parts.reduce((sum, part) => g.add(sum, part)) : undefined, ...affine, kept(dMean), kept(dVariance)];
};

const batchNormalization: GradientRule = (b) => {
	const { g, node } = b;
	if (intOf(node, "training_mode", 0) === 1) return batchNormalizationInTraining(b);
	const [x, scale, dy] = [b.input(0), b.input(1), b.dy()!];
	const rank = x.dims.length;
	const epsilon = floatOf(node, "epsilon", 1e-5);
	const inverse = g.div(1, g.unary("Sqrt", g.add(b.input(4), epsilon)));
	const hat = (): Ref => g.mul(g.sub(x, perChannel(g, b.input(3), rank)), perChannel(g, inverse, rank));
	return [b.needs(0) ? g.mul(dy, perChannel(g, g.mul(scale, inverse), rank)) : undefined, ...affineGradients(b, hat)];
};

const instanceNormalization: GradientRule = (b) => {
	const { g, node } = b;
	const [x, scale, dy] = [b.input(0), b.input(1), b.dy()!];
	const rank = x.dims.length;
	const axes = range(rank).slice(2);
	const { hat, inverse } = standardized(g, x, axes, floatOf(node, "epsilon", 1e-5));
	const dx = b.needs(0) ? throughStandardized(g, g.mul(dy, perChannel(g, scale, rank)), hat, inverse, axes) : undefined;
	return [dx, ...affineGradients(b, () => hat)];
};

/** Each group of channels is standardised by itself; scale and bias are per channel, per group before opset 21. */
const groupNormalization: GradientRule = (b) => {
	const { g, node } = b;
	const [x, scale, dy] = [b.input(0), b.input(1), b.dy()!];
	const groups = intOf(node, "num_groups", 1);
	const parts = scale.dims[0]!;
	const [n, elements] = [x.dims[0]!, sizeOf(x.dims)];
	/** [N, C, …] with the channels in `count` parts: [N, count, rest]. */
	const inParts = (v: Ref, count: number): Ref => g.reshape(v, [n, count, elements / (n * count)]);
	const { hat, inverse } = standardized(g, inParts(x, groups), [2], floatOf(node, "epsilon", 1e-5));
	const dHat = (): Ref => g.mul(inParts(dy, parts), g.reshape(scale, [parts, 1]));
	return [
		b.needs(0) ? g.reshape(throughStandardized(g, inParts(dHat(), groups), hat, inverse, [2]), x.dims) : undefined,
		b.needs(1) ? g.reduce("ReduceSum", g.mul(inParts(dy, parts), inParts(hat, parts)), [0, 2], false) : undefined,
		b.needs(2) ? g.reduce("ReduceSum", inParts(dy, parts), [0, 2], false) : undefined,
	];
};

export const normalizationRules: { readonly [op: string]: GradientRule } = {
	LayerNormalization: layerNormalization,
	BatchNormalization: batchNormalization,
	InstanceNormalization: instanceNormalization,
	GroupNormalization: groupNormalization,
};
