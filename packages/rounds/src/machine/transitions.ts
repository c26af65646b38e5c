import { RondoError } from "@rondo/errors";
import type { RoundPhase, RunPhase } from "../machine-types.js";

/** One legal move of a state machine and, in words, what makes it. */
export interface Transition<Phase extends string> {
	readonly from: Phase;
	readonly to: Phase;
	readonly on: string;
}

/** Commands of an administrator that move a run. */
export type RunCommand = "start" | "pause" | "resume" | "stop";

/** Every legal move of a run. The machine obeys this table and docs/data-model.md draws it. */
export const RUN_TRANSITIONS: readonly Transition<RunPhase>[] = [
	{ from: "created", to: "running", on: "start" },
	{ from: "created", to: "stopped", on: "stop" },
	{ from: "running", to: "paused", on: "pause" },
	{ from: "running", to: "completed", on: "last round committed or strategy done, and no evaluation open" },
	{ from: "running", to: "failed", on: "more than maxReplans misses in a row, or a round cannot be planned or finished" },
	{ from: "running", to: "stopped", on: "stop" },
	{ from: "paused", to: "running", on: "resume" },
	{ from: "paused", to: "completed", on: "a round that was collecting closed as the last one" },
	{ from: "paused", to: "failed", on: "a round that was collecting cannot be finished" },
	{ from: "paused", to: "stopped", on: "stop" },
];

/** Every legal move of one attempt at a round. The machine obeys this table and docs/data-model.md draws it. */
export const ROUND_TRANSITIONS: readonly Transition<RoundPhase>[] = [
	{ from: "planned", to: "collecting", on: "enough clients, tasks leased" },
	{ from: "planned", to: "abandoned", on: "run ended, or evaluation out of time" },
	{ from: "collecting", to: "closing", on: "closeAt reached, all reported, or quorum at the deadline" },
	{ from: "collecting", to: "committed", on: "below quorum at the deadline, skip" },
	{ from: "collecting", to: "abandoned", on: "below quorum at the deadline, or run ended" },
	{ from: "closing", to: "committed", on: "frozen set finished" },
	{ from: "closing", to: "abandoned", on: "frozen set cannot be finished, or run ended" },
];

const ENDED: readonly RunPhase[] = ["completed", "failed", "stopped"];

/** Whether nothing can happen to a run in this phase any more. */
export const isEnded = (phase: RunPhase): boolean => ENDED.includes(phase);

/**
 * Phase that `command` leads to from `phase`.
 * @throws CONFLICT when the command is not legal in this phase.
 */
export function commandedPhase(run: string, command: RunCommand, phase: RunPhase): RunPhase {
	const legal = RUN_TRANSITIONS.filter((transition) => transition.on === command);
	const found = legal.find((transition) => transition.from === phase);
	if (found) return found.to;
	const phases = legal.map((transition) => transition.from).join(", ");
	throw new RondoError("CONFLICT", `run "${run}" is ${phase}: ${command} is possible only in phase ${phases}`, {
		details: { run, phase, command },
	});
}

/**
 * `to`, when the table has this move.
 * @throws INTERNAL when it has not.
 */
export function checkedMove<Phase extends string>(table: readonly Transition<Phase>[], from: Phase, to: Phase): Phase {
	if (table.some((transition) => transition.from === from && transition.to === to)) return to;
	throw new RondoError("INTERNAL", `the state machine has no transition from ${from} to ${to}`, { details: { from, to } });
}

const draw = <Phase extends string>(initial: Phase, on: string, table: readonly Transition<Phase>[]): string => {
	const sources = new Set(table.map((transition) => transition.from));
	const ends = [...new Set(table.map((transition) => transition.to))].filter((phase) => !sources.has(phase));
	return [
		"stateDiagram-v2",
		`    [*] --> ${initial}: ${on}`,
		...table.map(({ from, to, on }) => `    ${from} --> ${to}: ${on}`),
		...ends.map((phase) => `    ${phase} --> [*]`),
	].join("\n");
};

/** The phases of a run as the text of a mermaid state diagram. */
export const drawRunMachine = (): string => draw("created", "submit", RUN_TRANSITIONS);

/** The phases of one attempt at a round as the text of a mermaid state diagram. */
export const drawRoundMachine = (): string => draw("planned", "plan", ROUND_TRANSITIONS);
