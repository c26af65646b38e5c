import type { AdversarySpec, Behaviour } from "@rondo/simulation";

/** Where examples come from. Paths are relative to the experiment's file, and absolute once it is read. */
export type DatasetSpec =
	| { readonly kind: "digits" | "mnist"; readonly trainExamples: number; readonly testExamples: number }
	| { readonly kind: "text"; readonly file: string; readonly length: number; readonly heldOut: number }
	| { readonly kind: "module"; readonly file: string; readonly options: unknown };

/** How the training examples are divided among clients. */
export type PartitionSpec =
	| { readonly kind: "iid" | "by-key" }
	| { readonly kind: "dirichlet"; readonly alpha: number; readonly minPerClient: number }
	| { readonly kind: "power-law"; readonly exponent: number }
	| { readonly kind: "class-count"; readonly classes: number | readonly number[] };

export type ModelSpec =
	| { readonly kind: "mlp"; readonly hidden: readonly number[]; readonly bias: boolean }
	| { readonly kind: "lenet" }
	| { readonly kind: "gpt2"; readonly width: number; readonly layers: number; readonly heads: number }
	| {
			readonly kind: "onnx";
			readonly file: string;
			readonly loss: string;
			readonly train?: readonly string[];
			readonly freeze?: readonly string[];
	  };

export type TrainerSpec =
	| { readonly kind: "onnx"; readonly device: "cpu" | "auto" | "cuda" | "directml" | "coreml" | "webgpu" }
	| { readonly kind: "tfjs"; readonly backend: "auto" | "gpu" | "node" | "wasm" | "cpu" };

/** Clients that attack together: so many or such a share of all, drawn by the seed, and what they do. */
export interface AdversaryGroup {
	readonly count?: number;
	readonly share?: number;
	readonly attacks: readonly AdversarySpec[];
}

/** A goal: results say when the mean over the seeds first reaches it. Exactly one bound. */
export interface Reach {
	readonly metric: string;
	readonly atLeast?: number;
	readonly atMost?: number;
}

/** Everything of one simulation but its strategy and its seed. */
export interface Setting {
	readonly dataset: DatasetSpec;
	readonly partition: PartitionSpec;
	readonly model: ModelSpec;
	readonly trainer: TrainerSpec;
	readonly clients: number;
	readonly rounds: number;
	/** Options of every strategy; its own come on top. */
	readonly options: Readonly<Record<string, unknown>>;
	readonly adversaries: readonly AdversaryGroup[];
	readonly behaviour: Behaviour;
	readonly maxReplans: number;
	readonly evaluateEvery: number;
	/** Final metrics are means over so many of the last evaluations. */
	readonly metrics: { readonly last: number; readonly reach?: Reach };
}

/** One entry of `strategies`. */
export interface StrategyEntry {
	readonly name: string;
	readonly label: string;
	readonly options: Readonly<Record<string, unknown>>;
}

/** One metric against one axis, in these settings or in all. */
export interface PlotChoice {
	readonly metric: string;
	readonly axis: "rounds" | "bytes" | "seconds";
	readonly settings?: readonly string[];
}

/** What pages say beside the numbers. */
export interface About {
	readonly title: string;
	/** What the paper says. */
	readonly claim?: string;
	readonly citation?: string;
	/** Why our result differs, or does not. */
	readonly text?: string;
	/** The result in one line. Figures in braces, here and in `text`, are taken from the results. */
	readonly result?: string;
	/** The figures to draw; all of them by default. */
	readonly plots?: readonly PlotChoice[];
}

/** One combination of the grid. */
export interface LabelledSetting {
	/** Empty without a grid. */
	readonly label: string;
	readonly setting: Setting;
}

/** One simulation of an experiment. */
export interface Cell {
	/** File name and argument of `--only`. */
	readonly name: string;
	readonly settingLabel: string;
	readonly setting: Setting;
	readonly strategy: StrategyEntry;
	readonly seed: number;
}

/** An experiment file, checked, with every default filled in. */
export interface Experiment {
	readonly file: string;
	readonly about: About;
	readonly settings: readonly LabelledSetting[];
	readonly strategies: readonly StrategyEntry[];
	/** URLs of modules with strategies. */
	readonly modules: readonly string[];
	readonly seeds: readonly number[];
	readonly cells: readonly Cell[];
}

/** A label as part of a file name. */
export const slugOf = (label: string): string =>
	label
		.toLowerCase()
		.replaceAll(/[^a-z0-9.]+/g, "-")
		.replaceAll(/^-|-$/g, "");
