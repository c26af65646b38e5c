import type { Layout } from "@rondo/tensors";
import type { CohortOptions } from "./cohort.js";
import type { Lane } from "./contract.js";
import { bytesOfLane, type CodecOptions, checkCodec, codecOfLane, codecProperties } from "./encoding/codec-options.js";
import { checkReducer, type ReducerOptions, reducerOf, reducerProperties } from "./reducing/reducer-options.js";

/** How the change of the weights travels and is combined: options of every strategy whose clients report one. */
export interface UpdateOptions extends CodecOptions, ReducerOptions {
	/** Largest change of one weight that a report may hold. */
	readonly absMax: number;
}

/** As JSON Schema (draft 7). */
export const updateProperties = {
	absMax: { type: "number", minimum: 1e-6, maximum: 1e6, default: 16, description: "largest change of one weight that a report may hold" },
	...codecProperties,
	...reducerProperties,
} as const;

/** What combines reports without comparing them, so that weights left out do no harm. */
const NOT_COMPARING: ReadonlySet<string | undefined> = new Set(["mean", "norm-bound", undefined]);

/** @throws INVALID_ARGUMENT for options that do not fit one another; the message names option and value. */
export function checkUpdate(options: UpdateOptions & CohortOptions, _layout: Layout): void {
	checkReducer(options);
	checkCodec(options, NOT_COMPARING.has(options.reducer) ? undefined : options.reducer);
}

/** The lane of the change of all weights, in layout order. */
export function updateLane(options: UpdateOptions, layout: Layout): Lane {
	const reducer = reducerOf(options);
	return {
		length: layout.length,
		combine: "mean",
		...codecOfLane(options, options.absMax),
		...(reducer === undefined ? {} : { reducer }),
	};
}

/** Largest size of that lane, bytes. */
export const updateBytes = (options: UpdateOptions, layout: Layout): number => bytesOfLane(updateLane(options, layout));
