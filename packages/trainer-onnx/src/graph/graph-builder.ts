import { RondoError } from "@rondo/errors";
import { type Attributes, type ElementType, int64s, isFloat, type Node, newArray, numbersOf, sizeOf, type Tensor } from "./ir.js";

/** A value of a graph whose dimensions are known. */
export interface Ref {
	readonly name: string;
	readonly type: ElementType;
	readonly dims: readonly number[];
}

/** What a float operator takes: a value, or a number that becomes a constant of the other operand's type. */
export type Operand = Ref | number;

/** Largest constant that is written once for equal contents, elements. */
const MAX_SHARED_ELEMENTS = 64;

/**
 * Collects nodes and constants, and knows the dimensions of everything it makes. Graphs are of opset 18 or later.
 * Equal calls give equal names, so graphs made by it are the same bytes each time.
 */
export class GraphBuilder {
	readonly nodes: Node[] = [];
	readonly initializers = new Map<string, Tensor>();
	/** Everything made so far, by name. */
	readonly refs = new Map<string, Ref>();
	readonly #prefix: string;
	readonly #shared = new Map<string, Ref>();
	#count = 0;

	/** @param prefix starts the name of all that is made; no other name in the graph may */
	constructor(prefix: string) {
		this.#prefix = prefix;
	}

	/** A node with one result. */
	node(op: string, inputs: readonly Ref[], type: ElementType, dims: readonly number[], attributes: Attributes = {}): Ref {
		return this.nodeOf(op, inputs, [{ type, dims }], attributes)[0]!;
	}

	/** A node with several results; `undefined` leaves an optional input or output out. */
	nodeOf(
		op: string,
		inputs: readonly (Ref | undefined)[],
		outputs: readonly ({ readonly type: ElementType; readonly dims: readonly number[] } | undefined)[],
		attributes: Attributes = {},
	): Ref[] {
		const name = `${this.#prefix}${this.#count++}.${op}`;
		const results = outputs.map(
			(output, i): Ref => ({ name: outputs.length === 1 ? name : `${name}.${i}`, type: "float32", dims: [], ...output }),
		);
		for (const [i, result] of results.entries()) if (outputs[i] !== undefined) this.refs.set(result.name, result);
		this.nodes.push({
			op,
			domain: "",
			name,
			inputs: inputs.map((input) => input?.name ?? ""),
			outputs: results.map(({ name: output }, i) => (outputs[i] === undefined ? "" : output)),
			attributes,
		});
		return results;
	}

	/** A constant; equal small ones are written once. */
	constant(tensor: Tensor): Ref {
		const { type, dims, data } = tensor;
		const key = data.length <= MAX_SHARED_ELEMENTS ? `${type}[${dims}]${numbersOf(tensor).map(show)}` : undefined;
		const known = key === undefined ? undefined : this.#shared.get(key);
		if (known !== undefined) return known;
		const ref: Ref = { name: `${this.#prefix}c${this.initializers.size}`, type, dims };
		this.initializers.set(ref.name, tensor);
		this.refs.set(ref.name, ref);
		if (key !== undefined) this.#shared.set(key, ref);
		return ref;
	}

	/** A constant of `type` with the given elements. */
	values(type: ElementType, dims: readonly number[], values: readonly number[]): Ref {
		const data = newArray(type, values.length);
		for (const [i, value] of values.entries()) {
			if (data instanceof BigInt64Array || data instanceof BigUint64Array) data[i] = BigInt(value);
			else data[i] = value;
		}
		return this.constant({ type, dims, data });
	}

	int64s(...values: readonly number[]): Ref {
		return this.constant(int64s(...values));
	}

	/** `value` everywhere, without a constant of that size in the file. */
	filled(type: ElementType, dims: readonly number[], value: number): Ref {
		return this.expand(this.values(type, [], [value]), dims);
	}

	/** An element-wise operator of one operand that keeps the type. */
	unary(op: string, x: Ref, attributes: Attributes = {}): Ref {
		return this.node(op, [x], x.type, x.dims, attributes);
	}

	/** An element-wise operator of two operands with broadcasting. */
	binary(op: string, a: Operand, b: Operand, result?: ElementType): Ref {
		const type = typeof a === "number" ? (b as Ref).type : a.type;
		const [x, y] = [this.#operand(a, type), this.#operand(b, type)];
		return this.node(op, [x, y], result ?? type, broadcast(x.dims, y.dims));
	}

	add(a: Operand, b: Operand): Ref {
		return this.binary("Add", a, b);
	}
	sub(a: Operand, b: Operand): Ref {
		return this.binary("Sub", a, b);
	}
	mul(a: Operand, b: Operand): Ref {
		return this.binary("Mul", a, b);
	}
	div(a: Operand, b: Operand): Ref {
		return this.binary("Div", a, b);
	}
	pow(a: Operand, b: Operand): Ref {
		return this.binary("Pow", a, b);
	}
	neg(x: Ref): Ref {
		return this.unary("Neg", x);
	}

	/** 1 where the comparison holds, else 0, in the operands' type (or `type`). */
	indicator(op: "Greater" | "Less" | "Equal" | "GreaterOrEqual" | "LessOrEqual", a: Operand, b: Operand, type?: ElementType): Ref {
		const compared = this.binary(op, a, b, "bool");
		return this.cast(compared, type ?? (typeof a === "number" ? (b as Ref).type : a.type));
	}

	where(condition: Ref, a: Operand, b: Operand): Ref {
		const type = typeof a === "number" ? (b as Ref).type : a.type;
		const [x, y] = [this.#operand(a, type), this.#operand(b, type)];
		return this.node("Where", [condition, x, y], type, broadcast(condition.dims, broadcast(x.dims, y.dims)));
	}

	cast(x: Ref, type: ElementType): Ref {
		return x.type === type ? x : this.node("Cast", [x], type, x.dims, { to: { int: castNumber(type) } });
	}

	/** The same elements in other dimensions. */
	reshape(x: Ref, dims: readonly number[]): Ref {
		if (sizeOf(dims) !== sizeOf(x.dims)) throw broken(`Reshape of [${x.dims}] to [${dims}]`);
		if (equalDims(dims, x.dims)) return x;
		return this.node("Reshape", [x, this.int64s(...dims)], x.type, dims, sizeOf(dims) === 0 ? { allowzero: { int: 1 } } : {});
	}

	transpose(x: Ref, perm: readonly number[]): Ref {
		if (perm.every((from, to) => from === to)) return x;
		return this.node(
			"Transpose",
			[x],
			x.type,
			perm.map((axis) => x.dims[axis]!),
			{ perm: { ints: perm } },
		);
	}

	/** The last two axes exchanged. */
	transposeLast(x: Ref): Ref {
		const rank = x.dims.length;
		return this.transpose(x, [...Array.from({ length: rank - 2 }, (_, i) => i), rank - 1, rank - 2]);
	}

	expand(x: Ref, dims: readonly number[]): Ref {
		if (equalDims(dims, x.dims)) return x;
		return this.node("Expand", [x, this.int64s(...dims)], x.type, dims);
	}

	/** ReduceSum and its kin over non-negative axes. */
	reduce(
		op: "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceSumSquare",
		x: Ref,
		axes: readonly number[],
		keepDims = true,
	): Ref {
		if (axes.length === 0 && op !== "ReduceSumSquare") return x;
		const dims = keepDims ? x.dims.map((size, axis) => (axes.includes(axis) ? 1 : size)) : x.dims.filter((_, axis) => !axes.includes(axis));
		return this.node(op, [x, this.int64s(...axes)], x.type, dims, { keepdims: { int: keepDims ? 1 : 0 } });
	}

	/** Σ over all elements, without dimensions. */
	total(x: Ref): Ref {
		return this.reduce("ReduceSum", x, range(x.dims.length), false);
	}

	/**
	 * What broadcasting from `dims` to the dimensions of `x` turns into on the way back: the sum over what was repeated. A sum of
	 * rows is a product with ones, which ONNX Runtime's cpu provider computes in 0.4 to 0.7 of the time of ReduceSum.
	 */
	sumTo(x: Ref, dims: readonly number[]): Ref {
		if (equalDims(x.dims, dims)) return x;
		const extra = x.dims.length - dims.length;
		const axes = range(x.dims.length).filter((axis) => axis < extra || (dims[axis - extra] === 1 && x.dims[axis] !== 1));
		const size = sizeOf(dims);
		const rows = sizeOf(x.dims) / size;
		const leading = axes.every((axis, i) => axis === i) && isFloat(x.type) && size > 1;
		const sum = leading ? this.matMul(this.filled(x.type, [1, rows], 1), this.reshape(x, [rows, size])) : this.reduce("ReduceSum", x, axes);
		return this.reshape(sum, dims);
	}

	/** Matrix product over the last two axes, of operands with two or more, with broadcasting of the others. */
	matMul(a: Ref, b: Ref): Ref {
		const batch = broadcast(a.dims.slice(0, -2), b.dims.slice(0, -2));
		if (a.dims.at(-1) !== b.dims.at(-2)) throw broken(`MatMul of [${a.dims}] and [${b.dims}]`);
		return this.node("MatMul", [a, b], a.type, [...batch, a.dims.at(-2)!, b.dims.at(-1)!]);
	}

	/** op(a)·op(b) of two matrices. */
	gemm(a: Ref, b: Ref, transA: boolean, transB: boolean): Ref {
		const [m, k] = transA ? [a.dims[1]!, a.dims[0]!] : [a.dims[0]!, a.dims[1]!];
		const [k2, n] = transB ? [b.dims[1]!, b.dims[0]!] : [b.dims[0]!, b.dims[1]!];
		if (a.dims.length !== 2 || b.dims.length !== 2 || k !== k2) throw broken(`Gemm of [${a.dims}] and [${b.dims}]`);
		return this.node("Gemm", [a, b], a.type, [m, n], { transA: { int: Number(transA) }, transB: { int: Number(transB) } });
	}

	concat(parts: readonly Ref[], axis: number): Ref {
		if (parts.length === 1) return parts[0]!;
		const first = parts[0]!;
		const size = parts.reduce((sum, part) => sum + part.dims[axis]!, 0);
		return this.node("Concat", parts, first.type, first.dims.with(axis, size), { axis: { int: axis } });
	}

	/** Elements `from` up to `to` along one axis, `step` apart; all non-negative. */
	slice(x: Ref, axis: number, from: number, to: number, step = 1): Ref {
		if (from === 0 && to === x.dims[axis] && step === 1) return x;
		const size = Math.max(0, Math.ceil((to - from) / step));
		return this.node(
			"Slice",
			[x, this.int64s(from), this.int64s(to), this.int64s(axis), this.int64s(step)],
			x.type,
			x.dims.with(axis, size),
		);
	}

	/** Zeros around `x`; negative numbers cut. */
	pad(x: Ref, before: readonly number[], after: readonly number[]): Ref {
		if ([...before, ...after].every((count) => count === 0)) return x;
		const dims = x.dims.map((size, axis) => size + before[axis]! + after[axis]!);
		return this.node("Pad", [x, this.int64s(...before, ...after)], x.type, dims);
	}

	#operand(value: Operand, type: ElementType): Ref {
		return typeof value === "number" ? this.values(type, [], [value]) : value;
	}
}

const CAST_NUMBERS: Partial<Record<ElementType, number>> = {
	float32: 1,
	uint8: 2,
	int32: 6,
	int64: 7,
	bool: 9,
	float16: 10,
	float64: 11,
	uint32: 12,
};
const castNumber = (type: ElementType): number => CAST_NUMBERS[type]!;

/** A number as a key: −0 and 0 are two constants. */
const show = (value: number): string => (Object.is(value, -0) ? "-0" : String(value));

const broken = (what: string): RondoError => new RondoError("INTERNAL", `a training graph was built wrongly: ${what}`);

export const range = (length: number): number[] => Array.from({ length }, (_, i) => i);

export const equalDims = (a: readonly number[], b: readonly number[]): boolean =>
	a.length === b.length && a.every((size, i) => size === b[i]);

/** Dimensions of an element-wise result. @throws INTERNAL for dimensions that do not go together */
export function broadcast(a: readonly number[], b: readonly number[]): readonly number[] {
	const rank = Math.max(a.length, b.length);
	return range(rank).map((axis) => {
		const x = a[axis - rank + a.length] ?? 1;
		const y = b[axis - rank + b.length] ?? 1;
		if (x !== y && x !== 1 && y !== 1) throw broken(`[${a}] and [${b}] do not broadcast`);
		return x === 1 ? y : x;
	});
}

/** A non-negative axis. */
export const axisOf = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

export const isFloatRef = ({ type }: Ref): boolean => isFloat(type);
