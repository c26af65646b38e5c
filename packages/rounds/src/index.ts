export { rankClients } from "./engine/draw.js";
export { Fold, type FoldResult } from "./engine/fold.js";
export { type CodecLookup, checkReport, type FoldContext, type Lanes, lanesOf, type ReducerLookup, reportSize } from "./engine/lanes.js";
export { commitEntry, genesisEntry, hashEntry, inClientOrder, setDigest, verifyChain } from "./engine/log.js";
export { checkPlan } from "./engine/plan-check.js";
export type { ReportLookup } from "./engine/received.js";
export { type ReplayOptions, type ReplayStep, replayRun } from "./engine/replay.js";
export {
	checkMetrics,
	decodeReport,
	encodeReport,
	INLINE_LANE_BYTES,
	INLINE_LANES_BYTES,
	MAX_LANES,
	MAX_METRIC,
	MAX_METRICS,
	MAX_REPORT_BYTES,
	type Report,
	type ReportSource,
	reportDigest,
} from "./engine/report.js";
export {
	type ClosedRound,
	type EngineParts,
	type Finished,
	MAX_STATE_BYTES,
	type Place,
	type Position,
	RunEngine,
} from "./engine/run-engine.js";
export type { AcceptedReport, CommitEntry, Genesis, LogEntry, LogRecord } from "./log-types.js";
export { heldRounds, leaseLeftMs, stalenessOf, turnOf } from "./machine/in-flight.js";
export { createRun, step, TICK_MS } from "./machine/run.js";
export { type TaskName, taskIdOf } from "./machine/task-id.js";
export type {
	PastTask,
	Receipt,
	ReceiptCode,
	RoundKey,
	RoundKind,
	RoundPhase,
	RoundState,
	RunEffect,
	RunEvent,
	RunPhase,
	RunSettings,
	RunState,
	Step,
	TaskBasis,
	TaskId,
	TaskPhase,
	TaskState,
} from "./machine-types.js";
