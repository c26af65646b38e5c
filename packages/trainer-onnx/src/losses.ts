import { RondoError } from "@rondo/errors";
import { type GraphBuilder, type Ref, range } from "./graph/graph-builder.js";
import { sizeOf } from "./graph/ir.js";

/** Losses that are put on top of a model; any other name is that of an output which already is a loss. */
export const LOSSES = ["softmax-cross-entropy", "causal-lm", "mse", "binary-cross-entropy"] as const;
export type LossName = (typeof LOSSES)[number];

export const isLossName = (name: string): name is LossName => (LOSSES as readonly string[]).includes(name);

/** Labels of this class are ignored, as in PyTorch. */
export const IGNORED_LABEL = -100;

/** A loss on top of a model's output, with what training and evaluation need of it. */
export interface Loss {
	/** Mean over what is counted: examples, or positions of a sequence, or elements. No dimensions. */
	readonly mean: Ref;
	/** Derivative of the mean by the output. */
	readonly seed: Ref;
	/** Σ of the losses, and over how many it is. No dimensions. */
	readonly sum: Ref;
	readonly count: Ref;
	/** Number of right predictions, where the loss has such a thing. No dimensions. */
	hits?(): Ref;
}

/** How labels are fed. */
export interface LabelSpec {
	readonly type: "int32" | "float32";
	readonly dims: readonly number[];
	/** For class indices: how many classes there are. */
	readonly classes?: number;
}

/** The labels that go with an output: one class per row, or a target per element. @throws INVALID_ARGUMENT */
export function labelsFor(loss: LossName, { dims, name }: Ref): LabelSpec {
	if (loss === "mse" || loss === "binary-cross-entropy") return { type: "float32", dims };
	if (dims.length < 2)
		throw new RondoError(
			"INVALID_ARGUMENT",
			`loss ${loss} needs an output [batch, …, classes], ${JSON.stringify(name)} has dimensions [${dims}]`,
			{
				details: { field: "loss", value: loss },
			},
		);
	return { type: "int32", dims: dims.slice(0, -1), classes: dims.at(-1)! };
}

/**
 * Builds a loss. Class labels of −100 are ignored.
 * - softmax-cross-entropy, causal-lm: −log softmax(z)[label], classes on the last axis; for causal-lm the label of a position is
 *   the token that follows it.
 * - mse: (z − t)², mean over all elements.
 * - binary-cross-entropy: softplus(z) − z·t for logits z and targets t from 0 to 1, mean over all elements.
 */
export function buildLoss(g: GraphBuilder, loss: LossName, output: Ref, labels: Ref): Loss {
	switch (loss) {
		case "softmax-cross-entropy":
		case "causal-lm":
			return crossEntropy(g, output, labels);
		case "mse": {
			const difference = g.sub(output, g.cast(labels, output.type));
			return perElement(g, output, g.mul(difference, difference), () => g.mul(difference, 2));
		}
		case "binary-cross-entropy": {
			const targets = g.cast(labels, output.type);
			const losses = g.sub(softplus(g, output), g.mul(output, targets));
			const elements = perElement(g, output, losses, () => g.sub(g.unary("Sigmoid", output), targets));
			const positive = (x: Ref, threshold: number): Ref => g.indicator("Greater", x, threshold);
			return { ...elements, hits: () => g.total(g.indicator("Equal", positive(output, 0), positive(targets, 0.5), output.type)) };
		}
	}
}

/** log(1 + eˣ), also for large |x|. */
const softplus = (g: GraphBuilder, x: Ref): Ref =>
	g.add(g.unary("Relu", x), g.unary("Log", g.add(g.unary("Exp", g.neg(g.unary("Abs", x))), 1)));

function perElement(g: GraphBuilder, output: Ref, losses: Ref, derivative: () => Ref): Loss {
	const elements = sizeOf(output.dims);
	const sum = g.total(losses);
	return {
		sum,
		count: g.values(output.type, [], [elements]),
		mean: g.mul(sum, 1 / elements),
		seed: g.mul(derivative(), 1 / elements),
	};
}

/** The derivative takes from one place per row what softmax gives to all: nothing of the size of all logits but softmax itself. */
function crossEntropy(g: GraphBuilder, output: Ref, labels: Ref): Loss {
	const classes = output.dims.at(-1)!;
	const rows = sizeOf(output.dims) / classes;
	const z = g.reshape(output, [rows, classes]);
	const logP = g.node("LogSoftmax", [z], z.type, z.dims, { axis: { int: 1 } });
	const wanted = g.reshape(labels, [rows, 1]);
	// A label that is no class, like −100, counts nowhere: its row is looked up at class 0, and weighted with 0.
	const counted = g.indicator("GreaterOrEqual", wanted, 0, z.type);
	const known = g.binary("Max", wanted, 0);
	const ofLabel = (values: Ref): Ref => g.node("GatherElements", [values, known], values.type, [rows, 1], { axis: { int: 1 } });
	const count = g.total(counted);
	const share = g.div(1, g.binary("Max", count, 1));
	const sum = g.neg(g.total(g.mul(counted, ofLabel(logP))));
	const weight = g.mul(counted, share);
	const places = g.cast(g.concat([g.values("int32", [rows, 1], range(rows)), known], 1), "int64");
	const shares = g.mul(g.unary("Exp", logP), weight);
	const seed = g.node("ScatterND", [shares, places, g.reshape(g.neg(weight), [rows])], z.type, z.dims, { reduction: { string: "add" } });
	return {
		sum,
		count,
		mean: g.mul(sum, share),
		seed: g.reshape(seed, output.dims),
		// Right: no class is better than the label, and none before it is as good.
		hits: () => {
			const own = ofLabel(z);
			const better = g.indicator("Greater", z, own);
			const earlier = g.indicator("Less", g.values("int32", [1, classes], range(classes)), wanted, z.type);
			const rivals = g.reduce("ReduceMax", g.add(better, g.mul(g.indicator("Equal", z, own), earlier)), [1]);
			return g.total(g.mul(counted, g.indicator("Equal", rivals, 0)));
		},
	};
}
