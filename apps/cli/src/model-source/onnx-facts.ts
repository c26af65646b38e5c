import type { ImportedModel, ImportOptions, OnnxManifest } from "@rondo/trainer-onnx";

/** What the command line says of an ONNX file. */
export interface OnnxChoices extends Partial<Omit<ImportOptions, "lora">> {
	/** Patterns of weights that get adapters. */
	readonly lora?: readonly string[];
	readonly loraRank?: number;
	readonly loraAlpha?: number;
	/** Train the adapters' second matrices alone. */
	readonly loraFreezeA?: boolean;
}

/** What the import of an ONNX file found, beside its weights. */
export interface OnnxFacts
	extends Pick<OnnxManifest, "loss" | "output" | "input" | "labels" | "dropout" | "trainer" | "reason" | "lora">,
		Pick<ImportedModel, "inputs" | "outputs" | "frozen" | "ties"> {}
