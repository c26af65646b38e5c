import { RondoError } from "@rondo/errors";
import { type Layout, layoutOf } from "@rondo/tensors";
import { type OnnxManifest, type OnnxModel, readManifest } from "../model.js";
import { frozenNumbers } from "../session/frozen.js";
import { type Lora, type LoraTarget, moduleOf } from "./apply-lora.js";

/** Weights with names, as a file has them. */
export interface NamedWeights {
	readonly layout: Layout;
	/** `layout.length` elements. */
	readonly weights: Float32Array;
}

/** A trained model with adapters. */
export interface AdaptedModel {
	/** As `importOnnx` made it. */
	readonly manifest: unknown;
	readonly layout: Layout;
	/** Adapters, and what else was trained. */
	readonly weights: Float32Array;
}

/** Adapters in the files of the PEFT library. */
export interface PeftAdapter extends NamedWeights {
	/** Content of `adapter_config.json`. */
	readonly config: Readonly<Record<string, unknown>>;
}

/**
 * The weights of the model without adapters that computes the same: W + (alpha / rank)·A·B where there was an adapter. All
 * weights are there, trained or not, under the names and the way round that PyTorch has them; copies of tied weights are not.
 * @param frozen the model's frozen weights, where its manifest names some
 * @throws INVALID_ARGUMENT for a model without adapters or frozen weights that are absent, SHAPE_MISMATCH
 */
export function mergeLora({ manifest, layout, weights }: AdaptedModel, frozen?: Float32Array | Uint8Array): NamedWeights {
	const model = readManifest(manifest, layout);
	const { lora, base, transposed } = adaptersOf(manifest, model, layout);
	const matrixOf = reader(model, layout, weights, frozen);
	const targets = new Map(lora.targets.map((target) => [target.weight, target]));
	const adapters = new Set(lora.targets.flatMap(({ a, b }) => [a, b]));
	const names = new Set([...base, ...layout.tensors.map(({ name }) => name).filter((name) => !adapters.has(name))]);
	const tensors = [...names].map((name) => {
		const target = targets.get(name);
		const matrix = target === undefined ? matrixOf(name) : merged(matrixOf(name), target, matrixOf, lora.alpha / lora.rank);
		return { name, ...(transposed.has(name) ? transpose(matrix) : matrix) };
	});
	return named(tensors);
}

/**
 * The adapters as the PEFT library (https://github.com/huggingface/peft) saves them: `adapter_model.safetensors` and
 * `adapter_config.json`, whose target modules are named in full.
 * @param frozen the model's frozen weights, where its adapters' first matrices are among them
 * @throws INVALID_ARGUMENT for a model without adapters or frozen weights that are absent, SHAPE_MISMATCH
 */
export function peftAdapter({ manifest, layout, weights }: AdaptedModel, frozen?: Float32Array | Uint8Array): PeftAdapter {
	const model = readManifest(manifest, layout);
	const { lora } = adaptersOf(manifest, model, layout);
	const isApart = lora.targets.some(({ a }) => model.frozen?.layout.tensors.some(({ name }) => name === a));
	const matrixOf = reader(isApart ? model : { ...model, frozen: undefined }, layout, weights, frozen);
	const modules = lora.targets.map(({ weight }) => moduleOf(weight));
	const tensors = lora.targets.flatMap(({ a, b }, i) => [
		{ name: `base_model.model.${modules[i]}.lora_A.weight`, ...transpose(matrixOf(a)) },
		{ name: `base_model.model.${modules[i]}.lora_B.weight`, ...transpose(matrixOf(b)) },
	]);
	return {
		...named(tensors),
		config: {
			peft_type: "LORA",
			task_type: (manifest as OnnxManifest).loss === "causal-lm" ? "CAUSAL_LM" : null,
			base_model_name_or_path: null,
			r: lora.rank,
			lora_alpha: lora.alpha,
			lora_dropout: 0,
			bias: "none",
			fan_in_fan_out: false,
			init_lora_weights: true,
			inference_mode: true,
			modules_to_save: null,
			target_modules: modules,
		},
	};
}

interface Matrix {
	readonly shape: readonly number[];
	readonly data: Float32Array;
}

/** What the manifest says of adapters. @throws INVALID_ARGUMENT where it says nothing, or what is not so */
function adaptersOf(
	manifest: unknown,
	{ graph, frozen }: OnnxModel,
	layout: Layout,
): { readonly lora: Lora; readonly base: readonly string[]; readonly transposed: ReadonlySet<string> } {
	const { lora, transposed = [] } = manifest as Partial<OnnxManifest>;
	const refuse = (problem: string): RondoError =>
		new RondoError("INVALID_ARGUMENT", `manifest.lora ${problem}`, { details: { field: "manifest.lora" } });
	if (lora === undefined) throw refuse("is absent: the model has no adapters; import it with --lora");
	const trained = new Map(layout.tensors.map(({ name, shape }) => [name, shape]));
	const shapes = new Map<unknown, readonly number[]>([
		...trained,
		...(frozen?.layout.tensors ?? []).map(({ name, shape }): [string, readonly number[]] => [name, shape]),
		...[...graph.initializers].map(([name, { dims }]): [string, readonly number[]] => [name, dims]),
	]);
	const { rank, alpha, targets, base } = (lora ?? {}) as { readonly [field in keyof Lora]?: unknown };
	if (
		typeof rank !== "number" ||
		typeof alpha !== "number" ||
		!Array.isArray(targets) ||
		!Array.isArray(base) ||
		!Array.isArray(transposed)
	)
		throw refuse("must be { rank, alpha, targets, base }");
	for (const { weight, a, b, order } of targets as LoraTarget[]) {
		const [rows, columns] = order === "in-out" ? (shapes.get(weight) ?? []) : (shapes.get(weight)?.toReversed() ?? []);
		// A may be frozen.
		if (String(shapes.get(a)) !== String([rows, rank]) || String(trained.get(b)) !== String([rank, columns]))
			throw refuse(`has an adapter of ${JSON.stringify(weight)} whose matrices do not go together`);
	}
	const unknown = base.find((name) => !shapes.has(name));
	if (unknown !== undefined) throw refuse(`names ${JSON.stringify(unknown)}, which is no weight`);
	return { lora: lora as Lora, base: base as string[], transposed: new Set(transposed as string[]) };
}

/** Finds weights wherever they are: trained, frozen, or in the graph. */
function reader(
	{ graph, frozen }: OnnxModel,
	layout: Layout,
	weights: Float32Array,
	given: Float32Array | Uint8Array | undefined,
): (name: string) => Matrix {
	const frozenValues = frozenNumbers(frozen, given);
	const flat = new Map<string, Matrix>();
	for (const [{ tensors }, values] of [
		[layout, weights] as const,
		...(frozen === undefined ? [] : [[frozen.layout, frozenValues] as const]),
	])
		for (const { name, shape, from, to } of tensors) flat.set(name, { shape, data: values.subarray(from, to) });
	return (name) => {
		const known = flat.get(name);
		if (known !== undefined) return known;
		const { dims, data } = graph.initializers.get(name)!;
		return { shape: dims, data: data as Float32Array };
	};
}

/** W + scale·A·B, summed in float64. */
function merged(weight: Matrix, { a, b, order }: LoraTarget, matrixOf: (name: string) => Matrix, scale: number): Matrix {
	const { data: down } = matrixOf(a);
	const { shape, data: up } = matrixOf(b);
	const [rank, columns] = shape as [number, number];
	const rows = weight.data.length / columns;
	const data = new Float32Array(weight.data.length);
	for (let i = 0; i < rows; i++) {
		for (let j = 0; j < columns; j++) {
			let sum = 0;
			for (let k = 0; k < rank; k++) sum += down[i * rank + k]! * up[k * columns + j]!;
			const at = order === "in-out" ? i * columns + j : j * rows + i;
			data[at] = weight.data[at]! + scale * sum;
		}
	}
	return { shape: weight.shape, data };
}

function transpose({ shape, data }: Matrix): Matrix {
	const [rows, columns] = shape as [number, number];
	const out = new Float32Array(data.length);
	for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = data[r * columns + c]!;
	return { shape: [columns, rows], data: out };
}

function named(tensors: readonly ({ readonly name: string } & Matrix)[]): NamedWeights {
	const layout = layoutOf(tensors);
	const weights = new Float32Array(layout.length);
	for (const [i, { from }] of layout.tensors.entries()) weights.set(tensors[i]!.data, from);
	return { layout, weights };
}
