// What an experiment file may say, as JSON Schema (draft 7). Parts that come in kinds have a schema for each kind.

const object = (properties: Readonly<Record<string, object>>, required: readonly string[] = []) => ({
	type: "object",
	additionalProperties: false,
	properties,
	required,
});
const integer = (minimum: number, maximum: number, more: object = {}) => ({ type: "integer", minimum, maximum, ...more });
const text = { type: "string", minLength: 1 };
const share = { type: "number", minimum: 0, maximum: 1 };
const positive = { type: "number", exclusiveMinimum: 0, maximum: 1e9 };
const plainOptions = { type: "object", default: {} };

/** A number, or one kind of distribution. */
const distribution = {
	type: ["number", "object"],
	minimum: 0,
	minProperties: 1,
	maxProperties: 1,
	additionalProperties: false,
	properties: {
		uniform: { type: "array", items: { type: "number", minimum: 0 }, minItems: 2, maxItems: 2 },
		lognormal: object({ median: positive, sigma: { type: "number", minimum: 0, maximum: 10 } }, ["median", "sigma"]),
		exponential: object({ mean: positive }, ["mean"]),
	},
};

/** A part that may be written as its kind alone: by kind, the rest of its fields. */
export interface Kinds {
	readonly [kind: string]: { readonly properties: Readonly<Record<string, object>>; readonly required?: readonly string[] };
}

const images = { trainExamples: integer(0, 60_000, { default: 0 }), testExamples: integer(0, 10_000, { default: 0 }) };

export const DATASETS: Kinds = {
	digits: { properties: images },
	mnist: { properties: images },
	text: {
		properties: { file: text, length: integer(2, 4096, { default: 64 }), heldOut: { ...share, default: 0.1 } },
		required: ["file"],
	},
	module: { properties: { file: text, options: { default: null } }, required: ["file"] },
};

export const PARTITIONS: Kinds = {
	iid: { properties: {} },
	dirichlet: {
		properties: { alpha: { type: "number", minimum: 1e-6, maximum: 1e6 }, minPerClient: integer(0, 1000, { default: 1 }) },
		required: ["alpha"],
	},
	"by-key": { properties: {} },
	"power-law": { properties: { exponent: { type: "number", minimum: 0, maximum: 20 } }, required: ["exponent"] },
	"class-count": {
		properties: { classes: { type: ["integer", "array"], minimum: 1, maximum: 1000, items: integer(1, 1000), minItems: 1 } },
		required: ["classes"],
	},
};

export const MODELS: Kinds = {
	mlp: {
		properties: {
			hidden: { type: "array", items: integer(1, 65_536), maxItems: 16, default: [] },
			bias: { type: "boolean", default: true },
		},
	},
	lenet: { properties: {} },
	gpt2: {
		properties: { width: integer(1, 8192, { default: 64 }), layers: integer(1, 96, { default: 2 }), heads: integer(1, 96, { default: 4 }) },
	},
	onnx: {
		properties: { file: text, loss: text, train: { type: "array", items: text }, freeze: { type: "array", items: text } },
		required: ["file", "loss"],
	},
};

export const TRAINERS: Kinds = {
	onnx: { properties: { device: { enum: ["cpu", "auto", "cuda", "directml", "coreml", "webgpu"], default: "cpu" } } },
	tfjs: { properties: { backend: { enum: ["auto", "gpu", "node", "wasm", "cpu"], default: "auto" } } },
};

const scale = { ...positive, default: 1 };
export const ATTACKS: Kinds = {
	"label-flip": {
		properties: { from: integer(0, 1e6), to: integer(0, 1e6), shift: integer(1, 1e6), classes: integer(2, 1e6) },
	},
	"sign-flip": { properties: { scale } },
	noise: { properties: { scale } },
	reverse: { properties: {} },
	"free-rider": {
		properties: { report: { enum: ["zeros", "noise", "replay"] }, stdDev: positive },
		required: ["report"],
	},
	collude: {
		properties: { combine: { enum: ["sum", "mean"], default: "mean" }, send: { enum: ["reverse", "sign-flip", "opposite"] }, scale },
		required: ["send"],
	},
};

/** The document as a whole; what has kinds is checked after it. */
export const EXPERIMENT = object(
	{
		about: object(
			{
				title: text,
				claim: text,
				citation: text,
				text,
				result: text,
				plots: {
					type: "array",
					items: object(
						{ metric: text, axis: { enum: ["rounds", "bytes", "seconds"] }, settings: { type: "array", items: text, minItems: 1 } },
						["metric", "axis"],
					),
				},
			},
			["title"],
		),
		dataset: { type: "object" },
		partition: { type: "object", default: { kind: "iid" } },
		model: { type: "object" },
		trainer: { type: "object", default: { kind: "onnx" } },
		clients: integer(1, 1_000_000),
		rounds: integer(1, 1_000_000),
		strategies: {
			type: "array",
			minItems: 1,
			items: object({ name: text, file: text, label: text, options: plainOptions }),
		},
		options: plainOptions,
		seeds: { type: "array", items: integer(0, 2 ** 32), minItems: 1, uniqueItems: true, default: [1] },
		adversaries: {
			type: "array",
			default: [],
			items: object({ count: integer(0, 1_000_000), share, attacks: { type: "array", items: { type: "object" }, minItems: 1 } }, [
				"attacks",
			]),
		},
		behaviour: {
			...object({
				examplesPerSecond: distribution,
				latencyMs: distribution,
				stragglers: object({ share, slowdown: distribution }, ["share", "slowdown"]),
				dropout: share,
				availability: object({ share, slotMs: integer(1, 86_400_000) }, ["share"]),
			}),
			default: {},
		},
		maxReplans: integer(0, 1000, { default: 3 }),
		evaluateEvery: integer(1, 1_000_000, { default: 1 }),
		metrics: {
			...object({
				last: integer(1, 1_000_000, { default: 1 }),
				reach: object({ metric: text, atLeast: { type: "number" }, atMost: { type: "number" } }, ["metric"]),
			}),
			default: {},
		},
		grid: {
			type: "object",
			default: {},
			additionalProperties: { type: "array", minItems: 1 },
		},
	},
	["dataset", "model", "clients", "rounds", "strategies"],
);
