import type { GraphBuilder, Ref } from "../../graph/graph-builder.js";
import { type ElementType, type Node, numbersOf, type Tensor } from "../../graph/ir.js";

/** What a rewrite sees of one node. */
export interface Rewriting {
	readonly node: Node;
	/** Makes what takes the place of the node. Only operators that GPU providers have may be made: they are not looked at again. */
	readonly g: GraphBuilder;
	/** Input i; numbers of 64 bits are given in 32. */
	input(i: number): Ref;
	/** Input i as its operator takes it: sizes, axes and indices in 64 bits where it knows no others. */
	operand(i: number): Ref | undefined;
	/** Input i, if the node has it. */
	optional(i: number): Ref | undefined;
	/** The elements of input i, if it is a constant, as the model has them. */
	constant(i: number): Tensor | undefined;
	/** Type and dimensions of result i in the model; undefined where nothing reads it. */
	output(i?: number): Ref | undefined;
	/** The operator that makes a value of the new graph. */
	madeBy(value: Ref): string | undefined;
}

/** Results of a node in other operators, `undefined` for one that nothing reads; or undefined: the node stays as it is. */
export type Rewrite = (r: Rewriting) => readonly (Ref | undefined)[] | undefined;

export type Rewrites = { readonly [op: string]: Rewrite };

/** In what values of a type are kept on a device. */
export const narrowType = (type: ElementType): ElementType => (type === "int64" ? "int32" : type === "float64" ? "float32" : type);

/** The elements of a constant input as numbers, if it is one. */
export function numbersAt(r: Rewriting, i: number): number[] | undefined {
	const tensor = r.constant(i);
	return tensor === undefined ? undefined : numbersOf(tensor);
}
