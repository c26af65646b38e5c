import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { checkGraph, MIN_OPSET } from "../src/graph/check-graph.js";
import { type Attribute, type ElementType, type Graph, newArray, type Tensor } from "../src/graph/ir.js";
import { normalize } from "../src/import/normalize.js";

interface Numbers {
	readonly type?: ElementType;
	readonly dims: readonly number[];
	readonly data: readonly number[];
}

/** One case of the fixtures: see make_op_fixtures.py. */
export interface OpCase {
	readonly name: string;
	readonly op: string;
	readonly opset: number;
	readonly nodes: readonly {
		readonly op: string;
		readonly inputs: readonly string[];
		readonly outputs: readonly string[];
		readonly attributes?: { readonly [name: string]: Attribute | { readonly tensor: Numbers } };
	}[];
	readonly inputs: readonly (Numbers & {
		readonly name: string;
		readonly type: ElementType;
		readonly constant?: boolean;
		readonly gradient?: readonly number[];
	})[];
	readonly outputs: readonly (Numbers & { readonly name: string; readonly upstream?: readonly number[] })[];
	readonly checkedWith: readonly string[];
}

const FOLDER = fileURLToPath(new URL("../fixtures/ops", import.meta.url));

export const opCases: readonly OpCase[] = readdirSync(FOLDER)
	.filter((name) => name.endsWith(".json"))
	.sort()
	.flatMap((name) => (JSON.parse(readFileSync(join(FOLDER, name), "utf8")) as { readonly cases: readonly OpCase[] }).cases);

/** Numbers as a tensor; floats in the precision asked for. */
export function tensorOf({ type = "float32", dims, data }: Numbers, precision: "float32" | "float64"): Tensor {
	const actual = type === "float32" ? precision : type;
	const array = newArray(actual, data.length);
	for (const [i, value] of data.entries()) {
		if (array instanceof BigInt64Array || array instanceof BigUint64Array) array[i] = BigInt(value);
		else array[i] = value;
	}
	return { type: actual, dims, data: array };
}

/** The case as a model, in the form that the import makes; what has a gradient is an input. */
export function graphOf(c: OpCase, precision: "float32" | "float64"): Graph {
	const fixed = c.inputs.filter(({ constant, gradient }) => constant === true && gradient === undefined);
	const attribute = (value: Attribute | { readonly tensor: Numbers }): Attribute =>
		"tensor" in value ? { tensor: tensorOf(value.tensor as Numbers, precision) } : value;
	return normalize(
		checkGraph({
			// The fixtures name the opset in which an operator last changed.
			opset: Math.max(MIN_OPSET, c.opset),
			domains: {},
			inputs: c.inputs
				.filter((input) => !fixed.includes(input))
				.map(({ name, type, dims }) => ({ name, type: type === "float32" ? precision : type, dims })),
			outputs: c.outputs.map(({ name, dims }) => ({ name, type: precision, dims })),
			initializers: new Map(fixed.map((input) => [input.name, tensorOf(input, precision)])),
			nodes: c.nodes.map((node) => ({
				...node,
				domain: "",
				name: "",
				attributes: Object.fromEntries(Object.entries(node.attributes ?? {}).map(([name, value]) => [name, attribute(value)])),
			})),
		}),
	);
}
