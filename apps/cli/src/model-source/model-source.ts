import { RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";
import type { OnnxChoices, OnnxFacts } from "./onnx-facts.js";

/** A model that is ready to be sent. */
export interface ModelSource {
	/** A safetensors file. */
	readonly file: Uint8Array;
	readonly layout: Layout;
	readonly manifest: unknown;
	/** Safetensors files of what the manifest lists under `assets`, by digest. */
	readonly assets?: ReadonlyMap<string, Uint8Array>;
	/** What the import of an ONNX file found. */
	readonly onnx?: OnnxFacts;
}

/** What the command line says beside the source. */
export interface SourceChoices extends OnnxChoices {
	/** Keras topology for a safetensors file. */
	readonly architecture?: string;
	/** What new kernels are drawn from. */
	readonly seed?: string;
}

export const refusal = (source: string, problem: string): RondoError =>
	new RondoError("INVALID_ARGUMENT", `source ${JSON.stringify(source)} ${problem}`, { details: { field: "source", value: source } });

/** Bytes of a model's description as clients get it. */
export const manifestBytes = (manifest: unknown): number => Buffer.byteLength(JSON.stringify(manifest));
