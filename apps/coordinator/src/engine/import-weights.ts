import type { Io } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { type Layout, readSafetensors } from "@rondo/tensors";
import type { ImportedWeights } from "./engine.js";

/**
 * Checks parameters from number `first` of the flat vector on.
 * @throws NOT_FINITE that names tensor, element and value
 */
export function checkFinite(layout: Layout, weights: Float32Array, first = 0): void {
	const at = weights.findIndex((value) => !Number.isFinite(value));
	if (at < 0) return;
	const tensor = layout.tensors.find(({ to }) => first + at < to)!;
	const field = `${tensor.name}[${first + at - tensor.from}]`;
	throw new RondoError("NOT_FINITE", `weights: ${field} is ${weights[at]}`, { details: { field, value: String(weights[at]) } });
}

/**
 * Stores the weights of a safetensors file as float32.
 * @throws BAD_SAFETENSORS, NOT_FINITE
 */
export function importWeights(io: Io, file: Uint8Array): ImportedWeights {
	const { layout, weights } = readSafetensors(file);
	if (layout.length === 0) throw new RondoError("BAD_SAFETENSORS", "the file has no parameters", { details: { field: "body" } });
	checkFinite(layout, weights);
	const { sha256: digest } = io.write("f32", weights.length, (from, to) => weights.subarray(from, to));
	return { digest, layout };
}
