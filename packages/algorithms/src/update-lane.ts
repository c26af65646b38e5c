import { RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";
import { bytesOfLane, type CodecOptions, checkCodec, codecOfLane, codecProperties, isSparse } from "./codec-options.js";
import type { CohortOptions } from "./cohort.js";
import type { Lane } from "./contract.js";
import { checkReducer, type ReducerOptions, reducerOf, reducerProperties } from "./reducer-options.js";

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

/** Reducers that take a middle value of each weight, which is 0 where most reports leave the weight out. */
const ORDER_STATISTICS: ReadonlySet<string> = new Set(["median", "trimmed-mean"]);

/** @throws INVALID_ARGUMENT for options that do not fit one another; the message names option and value. */
export function checkUpdate(options: UpdateOptions & CohortOptions, _layout: Layout): void {
	checkCodec(options);
	checkReducer(options);
	if (isSparse(options) && ORDER_STATISTICS.has(options.reducer)) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`option reducer: ${options.reducer} takes the middle of each weight's values, and with codec ${options.codec} most of them are 0; choose another reducer or a codec that sends every weight`,
			{ details: { option: "reducer", value: options.reducer } },
		);
	}
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
