import { RondoError } from "@rondo/errors";
import { ceilLog2, powerOfTwo } from "@rondo/kernels";
import { bf16 } from "../codecs/bf16.js";
import { dare, dareFactor } from "../codecs/dare.js";
import { f16 } from "../codecs/f16.js";
import { f32 } from "../codecs/f32.js";
import { int4 } from "../codecs/int4.js";
import { int8 } from "../codecs/int8.js";
import { seededSparse, seededSparseFactor } from "../codecs/seeded-sparse.js";
import { topK } from "../codecs/top-k.js";
import type { Codec, Lane } from "../contract.js";

/** The codecs that a change of the weights may travel in. */
// biome-ignore format: one line per codec
export const updateCodecs: readonly Codec[] = [
	bf16,
	dare,
	f16,
	f32,
	int4,
	int8,
	seededSparse,
	topK,
];

type CodecName = "bf16" | "dare" | "f16" | "f32" | "int4" | "int8" | "seeded-sparse" | "top-k";
type ValueType = "f32" | "f16";

/** How the change of the weights is encoded: options of every strategy whose clients report one. */
export interface CodecOptions {
	readonly codec: CodecName;
	/** Share of the elements that a sparse codec sends; 0: 0.1. */
	readonly codecShare: number;
	/** How a sparse codec sends their values. */
	readonly codecValues: ValueType;
}

/** As JSON Schema (draft 7). */
export const codecProperties = {
	codec: {
		type: "string",
		enum: updateCodecs.map(({ name }) => name),
		default: "f32",
		description: "how the change of the weights travels (docs/codecs.md)",
	},
	codecShare: {
		type: "number",
		minimum: 0,
		maximum: 1,
		default: 0,
		description: "share of the weights that dare, seeded-sparse and top-k send; 0: 0.1",
	},
	codecValues: {
		type: "string",
		enum: ["f32", "f16"],
		default: "f32",
		description: "how dare, seeded-sparse and top-k send the values of those weights",
	},
} as const;

/** Codecs that send some of the elements and 0 for the others. */
const SPARSE: ReadonlySet<CodecName> = new Set<CodecName>(["dare", "seeded-sparse", "top-k"]);
const DEFAULT_SHARE = 0.1;

/** Whether most of what the codec decodes to is 0, which order statistics over clients would take for the truth. */
const isSparse = ({ codec }: Pick<CodecOptions, "codec">): boolean => SPARSE.has(codec);

/**
 * @param reducer what combines the reports instead of their mean, if anything does
 * @throws INVALID_ARGUMENT for options that the chosen codec has no use for, and for a sparse codec where reports are compared
 */
export function checkCodec(options: CodecOptions, reducer?: string): void {
	if (isSparse(options)) {
		if (reducer !== undefined)
			throw new RondoError(
				"INVALID_ARGUMENT",
				`option codec ${options.codec} sends 0 for most weights, which the reducer ${reducer} would take for what clients report; choose another codec, or the mean`,
			);
		return;
	}
	for (const [name, isGiven] of [
		["codecShare", (options.codecShare ?? 0) !== 0],
		["codecValues", (options.codecValues ?? "f32") !== "f32"],
	] as const) {
		if (isGiven)
			throw new RondoError(
				"INVALID_ARGUMENT",
				`option ${name} is for the codecs ${[...SPARSE].join(", ")}: ${options.codec} sends every weight, so that it must be left out, got ${options[name]}`,
			);
	}
}

/**
 * What of a lane is the codec's: its name and arguments, and the bound of what it decodes to. Codecs that divide by the
 * chance of being sent decode to more than a client started from, by so much; quantising ones are free of bias up to a bound
 * that is a power of two.
 * @param absMax largest value that is encoded
 */
export function codecOfLane(options: CodecOptions, absMax: number): Pick<Lane, "codec" | "absMax"> {
	// Runs that were submitted before there were codecs have neither.
	const { codec = "f32", codecValues = "f32" } = options;
	const share = shareOf(options);
	if (isSparse(options)) return { codec: [codec, share, codecValues], absMax: absMax * factorOf(codec, share) };
	return { codec: [codec], absMax: codec === "int8" || codec === "int4" ? powerOfTwo(ceilLog2(absMax)) : absMax };
}

/** Share of the elements that travel. */
export const shareOf = (options: CodecOptions): number =>
	!isSparse(options) ? 1 : options.codecShare === 0 ? DEFAULT_SHARE : options.codecShare;

/** Largest size of a lane with a built-in codec, bytes: what `bounds` declares. */
export const bytesOfLane = (lane: Lane): number => updateCodecs.find(({ name }) => name === lane.codec[0])!.maxBytes(lane);

function factorOf(codec: CodecName, share: number): number {
	if (codec === "dare") return dareFactor(share);
	return codec === "seeded-sparse" ? seededSparseFactor(share) : 1;
}
