import { RondoError } from "@rondo/errors";
import type { Value } from "../graph/ir.js";
import type { FrozenWeights, OnnxModel } from "../model.js";
import { readyGraph } from "../training-graph.js";
import { type Device, keepsResults } from "./device.js";
import type { PreparedGraphs } from "./prepared.js";
import type { Ort, OrtTensor } from "./runtime.js";

/** Frozen weights as they are given: numbers, their bytes, or whoever fetches the blob of a digest. */
export type FrozenSource = Float32Array | Uint8Array | ((digest: string) => Promise<Uint8Array>);

type Tensors = Readonly<Record<string, OrtTensor>>;

/** As `frozenNumbers`, of what is given or fetched. */
export async function readFrozen(frozen: FrozenWeights | undefined, source: FrozenSource | undefined): Promise<Float32Array> {
	return frozenNumbers(frozen, typeof source === "function" && frozen !== undefined ? await source(frozen.digest) : (source as Uint8Array));
}

/**
 * The numbers of a model's frozen weights, in memory that ONNX Runtime can read: without a copy, unless it is shared between
 * threads or not aligned.
 * @throws INVALID_ARGUMENT where there are none, SHAPE_MISMATCH for others than the model's
 */
export function frozenNumbers(frozen: FrozenWeights | undefined, given: Float32Array | Uint8Array | undefined): Float32Array {
	if (frozen === undefined) return new Float32Array();
	const { digest, layout } = frozen;
	if (given === undefined)
		throw new RondoError(
			"INVALID_ARGUMENT",
			`the model has ${layout.length} frozen weights beside its graph (blob ${digest}); give them as the option frozen, or model.asset in a workload`,
			{ details: { field: "frozen", digest } },
		);
	const values = given instanceof Float32Array ? given : asFloats(given);
	if (given.byteLength !== 4 * layout.length)
		throw new RondoError(
			"SHAPE_MISMATCH",
			`frozen has ${given.byteLength} bytes, the model's ${layout.length} frozen weights take ${4 * layout.length}`,
			{
				details: { field: "frozen" },
			},
		);
	return values.buffer instanceof ArrayBuffer ? values : values.slice();
}

/** The same memory, where it is aligned. */
function asFloats(bytes: Uint8Array): Float32Array {
	const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
	return new Float32Array(aligned.buffer, aligned.byteOffset, Math.floor(aligned.byteLength / 4));
}

/** Tensors that look at `values`: all sessions of a trainer read the same memory. */
export const frozenTensors = (ort: Ort, frozen: FrozenWeights | undefined, values: Float32Array): Tensors =>
	Object.fromEntries(
		(frozen?.layout.tensors ?? []).map(({ name, shape, from, to }) => [name, new ort.Tensor("float32", values.subarray(from, to), shape)]),
	);

/** Tensors that are inputs of every run. */
export interface Placed {
	readonly tensors: Tensors;
	/** Gives back what is on a device. */
	dispose(): void;
}

/** The same tensors on a device that keeps results, so that they do not travel there with every run; the host's on others. */
export async function placeFrozen(tensors: Tensors, { graph }: OnnxModel, device: Device, graphs: PreparedGraphs): Promise<Placed> {
	const names = Object.keys(tensors);
	if (names.length === 0 || !keepsResults(device)) return { tensors, dispose: () => undefined };
	const nameOf = (name: string): string => `rondo/placed/${name}`;
	const inputs = graph.inputs.filter(({ name }) => Object.hasOwn(tensors, name));
	const { session, hold } = await graphs.fixed(
		"place",
		() =>
			readyGraph({
				opset: graph.opset,
				domains: {},
				inputs,
				outputs: inputs.map((value): Value => ({ ...value, name: nameOf(value.name) })),
				initializers: new Map(),
				nodes: inputs.map(({ name }) => ({
					op: "Identity",
					domain: "",
					name: "",
					inputs: [name],
					outputs: [nameOf(name)],
					attributes: {},
				})),
			}),
		({ outputs }) => outputs.map(({ name }) => name),
	);
	const letGo = hold();
	const results = (await session.run({ ...tensors })) as Tensors;
	return {
		tensors: Object.fromEntries(names.map((name) => [name, results[nameOf(name)]!])),
		dispose: () => {
			for (const tensor of Object.values(results)) tensor.dispose();
			letGo();
		},
	};
}
