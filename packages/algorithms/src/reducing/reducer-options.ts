import { isRondoError, RondoError } from "@rondo/errors";
import { type CohortOptions, cohortPlan } from "../cohort.js";
import type { Lane } from "../contract.js";
import { builtInReducers } from "./built-in-reducers.js";

/** How reports are combined: options of every strategy whose clients report an update. */
export interface ReducerOptions {
	/** "mean", or a registered reducer. */
	readonly reducer: string;
	/** f, the most malicious reports of a round that the reducer is to withstand. */
	readonly byzantine: number;
	/** Euclidean norm that a report may have; 0: the median of the round. */
	readonly normBound: number;
	/** m, dimensions of the subspace. */
	readonly flagDimensions: number;
	/** λ, the weight of pairs of reports. */
	readonly flagPairs: number;
}

/** The exact weighted mean of the engine: no reducer. */
const MEAN = "mean";

/** As JSON Schema (draft 7). */
export const reducerProperties = {
	reducer: {
		type: "string",
		enum: [MEAN, ...builtInReducers.map(({ name }) => name)],
		default: MEAN,
		description: "how the reports of a round are combined (docs/robust-aggregation.md)",
	},
	byzantine: {
		type: "integer",
		minimum: 0,
		maximum: 100_000,
		default: 0,
		description: `malicious reports of a round to withstand; of ${usersOf("byzantine")}`,
	},
	normBound: {
		type: "number",
		minimum: 0,
		maximum: 1e9,
		default: 0,
		description: `largest Euclidean norm of a report, or with centered-clip of its pull; 0: the median of the round; of ${usersOf("normBound")}`,
	},
	flagDimensions: {
		type: "integer",
		minimum: 1,
		maximum: 256,
		default: 1,
		description: `dimensions of the subspace; of ${usersOf("flagDimensions")}`,
	},
	flagPairs: {
		type: "number",
		minimum: 0,
		maximum: 1e6,
		default: 0,
		description: `weight of pairs of reports; of ${usersOf("flagPairs")}`,
	},
} as const;

function usersOf(parameter: string): string {
	const users = builtInReducers.filter(({ parameters }) => parameters.includes(parameter));
	return users.map(({ name }) => name).join(", ");
}

/**
 * Refuses a reducer whose guarantee the smallest round that may commit does not give, and options that the chosen reducer does
 * not have.
 * @throws INVALID_ARGUMENT that names options and values
 */
export function checkReducer(options: ReducerOptions & CohortOptions): void {
	const reducer = builtInReducers.find(({ name }) => name === options.reducer);
	for (const name of ["byzantine", "normBound", "flagDimensions", "flagPairs"] as const) {
		// The stored options of runs that are older than these have none of them.
		const { [name]: value = reducerProperties[name].default } = options;
		if (value === reducerProperties[name].default || reducer?.parameters.includes(name)) continue;
		throw new RondoError("INVALID_ARGUMENT", `option ${name} is ${value}, but reducer ${options.reducer} does not use it`, {
			details: { option: name, value },
		});
	}
	const spec = reducerOf(options);
	if (spec === undefined) return;
	const [, ...args] = spec;
	const { quorum, leases } = cohortPlan(options);
	try {
		reducer!.check(args, { least: quorum, most: leases });
	} catch (error) {
		if (!isRondoError(error)) throw error;
		throw new RondoError(error.code, `option reducer: ${error.message}`, {
			details: { option: "reducer", value: options.reducer },
			cause: error,
		});
	}
}

/** What the options put in the place of a lane's mean; undefined for the mean. */
export function reducerOf(options: ReducerOptions): Lane["reducer"] {
	const reducer = builtInReducers.find(({ name }) => name === options.reducer);
	if (reducer === undefined) return undefined;
	return [reducer.name, ...reducer.parameters.map((name) => options[name as keyof ReducerOptions])];
}
