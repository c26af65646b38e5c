import { fields, size } from "../output.js";
import { type ModelSource, manifestBytes } from "./model-source.js";
import type { OnnxFacts } from "./onnx-facts.js";

/** A model in short, for programs. */
export interface ModelSummary extends Partial<OnnxFacts> {
	readonly parameters: number;
	/** Of the parameters as float32. */
	readonly bytes: number;
	readonly trained: readonly { readonly name: string; readonly shape: readonly number[] }[];
	/** Of the description that clients get: the graph without its trained weights, packed, or the topology. */
	readonly manifestBytes: number;
}

/** Lines of a list that people are shown. */
const SHOWN = 20;

export const summaryOf = ({ layout, manifest, onnx }: ModelSource): ModelSummary => ({
	parameters: layout.length,
	bytes: 4 * layout.length,
	trained: layout.tensors.map(({ name, shape }) => ({ name, shape })),
	manifestBytes: manifestBytes(manifest),
	...onnx,
});

type Sized = NonNullable<ModelSummary["inputs"]>[number];
const valueText = ({ name, type, dims }: Sized): string =>
	`${name}: ${type} ${dims === undefined ? "of any rank" : `[${dims.map((dim) => dim ?? "?").join(", ")}]`}`;

/** The same for people. @param more goes first */
export function describeModel(summary: ModelSummary, more: Readonly<Record<string, unknown>> = {}): string {
	const { parameters, bytes, trained, inputs, outputs, frozen = [], ties = [], trainer, loss, lora } = summary;
	const list = (title: string, lines: readonly string[]): string[] =>
		lines.length === 0
			? []
			: [
					"",
					title,
					...lines.slice(0, SHOWN).map((line) => `  ${line}`),
					...(lines.length > SHOWN ? [`  and ${lines.length - SHOWN} more`] : []),
				];
	const head = {
		...more,
		parameters,
		bytes: size(bytes),
		description: size(summary.manifestBytes),
		...(loss === undefined ? {} : { loss: `${loss}${loss === summary.output ? "" : ` of ${summary.output}`}` }),
		...(lora === undefined ? {} : { adapters: `${lora.targets.length} of rank ${lora.rank}, alpha ${lora.alpha}` }),
		...(summary.dropout === true ? { dropout: "in training" } : {}),
		...(trainer === undefined ? {} : { gradients: trainer === "gradient" ? "can be derived" : `none: ${summary.reason}` }),
	};
	const role = (value: Sized): string =>
		value.name === summary.input ? " (the batch's inputs)" : value.name === summary.labels ? " (the batch's labels)" : "";
	return [
		fields(head),
		...list(
			"inputs",
			(inputs ?? []).map((value) => `${valueText(value)}${role(value)}`),
		),
		...list("outputs", (outputs ?? []).map(valueText)),
		...list(
			`trained tensors (${trained.length})`,
			trained.map(({ name, shape }) => `${name} [${shape.join(", ")}]`),
		),
		...list(`not trained (${frozen.length})`, frozen),
		...list(
			`copies of one weight (${ties.length}), trained as one`,
			ties.map(({ name, of, transposed }) => `${name} = ${of}${transposed ? " transposed" : ""}`),
		),
	].join("\n");
}
