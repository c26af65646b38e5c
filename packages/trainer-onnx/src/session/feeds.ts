import type { Batch } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { Value } from "../graph/ir.js";
import { sizeOf } from "../graph/ir.js";
import { inputsOf, type OnnxModel } from "../model.js";
import { narrowType } from "./gpu/rewriting.js";
import type { Ort, OrtTensor } from "./runtime.js";

/** Inputs of a model that are not weights, for one batch. */
export interface DataFeeds {
	/** Sizes of each. */
	readonly dims: ReadonlyMap<string, readonly number[]>;
	readonly tensors: { readonly [name: string]: OrtTensor };
	/** Equal for batches that go through one specialised graph. */
	readonly key: string;
}

type Numbers = Float32Array | Int32Array;

/**
 * Turns batches into inputs: float inputs are looked at where they lie, token ids converted anew at each call, because data may
 * fill one batch again and again. What a batch leaves out, like an attention mask, is filled in where its meaning is plain.
 */
export class DataFeeder {
	readonly #ort: Ort;
	readonly #model: OnnxModel;
	readonly #inputs: readonly Value[];
	readonly #narrow: boolean;

	/** @param narrow whether numbers of 64 bits are fed in 32, as `rewriteForGpu` makes the graphs */
	constructor(ort: Ort, model: OnnxModel, narrow: boolean) {
		this.#ort = ort;
		this.#narrow = narrow;
		this.#model = model;
		this.#inputs = inputsOf(model).data;
	}

	/** @throws INVALID_ARGUMENT, SHAPE_MISMATCH that name the field of the batch */
	feeds(batch: Batch): DataFeeds {
		const { size } = batch;
		if (!Number.isSafeInteger(size) || size < 1)
			throw new RondoError("INVALID_ARGUMENT", `batch.size must be a positive integer, got ${size}`);
		const symbols = new Map<string, number>();
		const dims = new Map<string, readonly number[]>();
		const tensors: Record<string, OrtTensor> = {};
		const given = this.#inputs.map((input) => [input, this.#given(batch, input.name)] as const);
		for (const [input, numbers] of given) {
			if (numbers === undefined) continue;
			const shape = shapeOf(input, numbers.values.length, size, symbols, numbers.field);
			dims.set(input.name, shape);
			tensors[input.name] = this.#tensor(input, numbers.values, shape);
		}
		for (const [input, numbers] of given) {
			if (numbers !== undefined) continue;
			const filled = this.#filled(input, size, symbols);
			dims.set(input.name, filled.shape);
			tensors[input.name] = this.#tensor(input, filled.values, filled.shape);
		}
		const key = [...dims].map(([name, shape]) => `${name}[${shape}]`).join(" ");
		return { dims, tensors, key };
	}

	#given({ inputs, labels, more }: Batch, name: string): { readonly field: string; readonly values: Numbers } | undefined {
		if (name === this.#model.input) return { field: "inputs", values: inputs };
		if (name === this.#model.labels) return { field: "labels", values: labels };
		const values = more?.[name];
		return values === undefined ? undefined : { field: `more.${name}`, values };
	}

	#filled(
		input: Value,
		size: number,
		symbols: ReadonlyMap<string, number>,
	): { readonly values: Numbers; readonly shape: readonly number[] } {
		const { name, dims = [] } = input;
		const shape = dims.map((dim, i) =>
			typeof dim === "number" ? dim : i === 0 ? size : (symbols.get(dim ?? "") ?? this.#lengthOfSequence(symbols)),
		);
		const elements = sizeOf(shape);
		const last = shape.at(-1) ?? 1;
		if (/mask/i.test(name)) return { shape, values: new Int32Array(elements).fill(1) };
		if (/position/i.test(name)) return { shape, values: Int32Array.from({ length: elements }, (_, i) => i % last) };
		if (/token_type/i.test(name)) return { shape, values: new Int32Array(elements) };
		throw new RondoError(
			"INVALID_ARGUMENT",
			`the batch has nothing for the model's input ${JSON.stringify(name)}; give it as batch.more[${JSON.stringify(name)}]`,
			{
				details: { field: "batch.more", value: name },
			},
		);
	}

	#lengthOfSequence(symbols: ReadonlyMap<string, number>): number {
		return symbols.get("") ?? 1;
	}

	#tensor({ type, name }: Value, values: Numbers, shape: readonly number[]): OrtTensor {
		const { Tensor } = this.#ort;
		switch (this.#narrow ? narrowType(type) : type) {
			case "float32":
				return new Tensor("float32", values instanceof Float32Array ? unshared(values) : Float32Array.from(values), shape);
			case "float64":
				return new Tensor("float64", Float64Array.from(values), shape);
			case "int64":
				return new Tensor("int64", BigInt64Array.from(values as Int32Array, whole(name)), shape);
			case "int32":
				return new Tensor("int32", values instanceof Int32Array ? unshared(values) : Int32Array.from(values), shape);
			case "bool":
				return new Tensor(
					"bool",
					Uint8Array.from(values, (value) => (value === 0 ? 0 : 1)),
					shape,
				);
			default:
				throw new RondoError("BAD_MODEL", `input ${JSON.stringify(name)} is of type ${type}, which batches cannot hold`, {
					details: { input: name },
				});
		}
	}
}

const whole =
	(name: string) =>
	(value: number): bigint => {
		if (!Number.isSafeInteger(value))
			throw new RondoError("INVALID_ARGUMENT", `input ${JSON.stringify(name)} wants whole numbers, got ${value}`, {
				details: { input: name },
			});
		return BigInt(value);
	};

/** ONNX Runtime refuses arrays in shared memory. */
export function unshared<T extends Float32Array | Int32Array>(values: T): T {
	return values.buffer instanceof ArrayBuffer ? values : (values.slice() as T);
}

/** Sizes of an input for a batch: the first is the batch, at most one more may be open. */
function shapeOf(input: Value, elements: number, size: number, symbols: Map<string, number>, field: string): readonly number[] {
	const refuse = (wanted: string): RondoError =>
		new RondoError(
			"SHAPE_MISMATCH",
			`batch.${field} has ${elements} elements for ${size} rows; the model's input ${JSON.stringify(input.name)} wants ${wanted}`,
			{
				details: { field: `batch.${field}` },
			},
		);
	const wanted = `[${(input.dims ?? []).map((dim) => dim ?? "?").join(", ")}]`;
	const dims = input.dims;
	if (dims === undefined || dims.length === 0) throw refuse(`${wanted}, not rows`);
	if (typeof dims[0] === "number" && dims[0] !== size) throw refuse(`batches of ${dims[0]}: ${wanted}`);
	const rest = dims.slice(1);
	const open = rest.flatMap((dim, i) => (typeof dim === "number" || (dim !== null && symbols.has(dim)) ? [] : [i]));
	const known = rest.map((dim) => (typeof dim === "number" ? dim : dim === null ? 1 : (symbols.get(dim) ?? 1)));
	if (open.length > 1) throw refuse(`${wanted} with more than one open size; fix all but one when the model is exported`);
	if (open.length === 1) known[open[0]!] = elements / (size * sizeOf(known));
	if (!Number.isInteger(sizeOf(known)) || size * sizeOf(known) !== elements || sizeOf(known) < 1) throw refuse(wanted);
	for (const i of open) {
		const dim = rest[i];
		if (typeof dim === "string") symbols.set(dim, known[i]!);
		if (!symbols.has("")) symbols.set("", known[i]!);
	}
	return [size, ...known];
}
