export {
	type AsyncOptions,
	asyncPlan,
	asyncProperties,
	type CohortOptions,
	checkCohort,
	cohortPlan,
	cohortSchema,
	sharedProperties,
} from "./cohort.js";
export { resolveConfig } from "./config.js";
export type {
	About,
	AnyStrategy,
	At,
	Batch,
	Bounds,
	Chunk,
	Client,
	ClientId,
	Codec,
	Data,
	Folded,
	Io,
	Lane,
	LocalTraining,
	LogValue,
	Metrics,
	Needs,
	Optimizer,
	Outcome,
	Plan,
	Received,
	Reduced,
	Reducer,
	Stack,
	Strategy,
	Trainer,
	Types,
	Work,
} from "./contract.js";
export { describeStrategies } from "./describe.js";
export { checkLogRange } from "./following/log-range.js";
export { loadRegistry } from "./load-registry.js";
export { type ResolvedOptimizer, resolveOptimizer } from "./local-training/optimizer.js";
export {
	type ArrayOf,
	arrayFrom,
	bytesOf,
	bytesPerElement,
	CHUNK_BYTES,
	contentDigest,
	contentDigestOf,
	DTYPES,
	type DType,
	decodePlain,
	digestOf,
	encodePlain,
	isVec,
	MAX_INLINE_BYTES,
	type Plain,
	type Vec,
	vecOf,
	vecsIn,
} from "./plain.js";
export { readsOf } from "./reads.js";
export { checkReducer, type ReducerOptions, reducerOf, reducerProperties } from "./reducing/reducer-options.js";
export { builtInCodecs, builtInReducers, builtInStrategies, createRegistry, type Registry } from "./registry.js";
export { checkUpdate, type UpdateOptions, updateLane, updateProperties } from "./update-lane.js";
