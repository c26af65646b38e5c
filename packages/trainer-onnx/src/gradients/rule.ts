import { axisOf, type GraphBuilder, type Ref } from "../graph/graph-builder.js";
import { type Node, numbersOf, type Tensor } from "../graph/ir.js";
import { notDifferentiable } from "./refuse.js";

/** What a gradient rule sees of one node whose result the loss depends on. */
export interface Backward {
	readonly node: Node;
	/** Makes the nodes of the gradient. */
	readonly g: GraphBuilder;
	/** Input i, with its dimensions. @throws INTERNAL where the node has none */
	input(i: number): Ref;
	/** Input i, if the node has it. */
	optional(i: number): Ref | undefined;
	/** The elements of input i where they do not depend on data or parameters. */
	constant(i: number): Tensor | undefined;
	/** Result i; one that the node did not make so far is made from now on. */
	output(i: number, dims?: readonly number[]): Ref;
	/** Derivative of the loss by result i, of its dimensions; undefined where the loss does not depend on it. */
	dy(i?: number): Ref | undefined;
	/** Whether the derivative by input i is wanted. Others may be left out. */
	needs(i: number): boolean;
}

/**
 * Derivatives of the loss by the inputs of a node, each of the dimensions of its input; undefined: 0, or not wanted.
 * The rule is only asked where the loss depends on at least one result.
 */
export type GradientRule = (b: Backward) => readonly (Ref | undefined)[];

export const intOf = ({ attributes }: Node, name: string, otherwise: number): number => {
	const value = attributes[name];
	return value !== undefined && "int" in value ? value.int : otherwise;
};
export const floatOf = ({ attributes }: Node, name: string, otherwise: number): number => {
	const value = attributes[name];
	return value !== undefined && "float" in value ? value.float : otherwise;
};
export const intsOf = ({ attributes }: Node, name: string): readonly number[] | undefined => {
	const value = attributes[name];
	return value !== undefined && "ints" in value ? value.ints : undefined;
};
export const stringOf = ({ attributes }: Node, name: string, otherwise: string): string => {
	const value = attributes[name];
	return value !== undefined && "string" in value ? value.string : otherwise;
};

/** Numbers of input i. @throws NOT_DIFFERENTIABLE where they depend on data: static graphs need to know them */
export function constantNumbers(b: Backward, i: number, what: string): number[] {
	const tensor = b.constant(i);
	if (tensor === undefined) throw notDifferentiable(b, `its ${what} must not depend on data or parameters`);
	return numbersOf(tensor);
}

/** Axes of a reduction or a similar operator: input 1, else all. */
export function axesOf(b: Backward): number[] {
	const rank = b.input(0).dims.length;
	const axes = b.optional(1) === undefined ? [] : constantNumbers(b, 1, "axes");
	if (axes.length > 0) return axes.map((axis) => axisOf(axis, rank)).sort((x, y) => x - y);
	return intOf(b.node, "noop_with_empty_axes", 0) === 1 ? [] : Array.from({ length: rank }, (_, i) => i);
}
