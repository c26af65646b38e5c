import type { ImportedModel, ImportOptions, OnnxManifest } from "@rondo/trainer-onnx";

/** What the command line says of an ONNX file. */
export type OnnxChoices = Partial<ImportOptions>;

/** What the import of an ONNX file found, beside its weights. */
export interface OnnxFacts
	extends Pick<OnnxManifest, "loss" | "output" | "input" | "labels" | "trainer" | "reason">,
		Pick<ImportedModel, "inputs" | "outputs" | "frozen" | "ties"> {}
