import { pick } from "./pick.mjs";

// What is tried: pure functions of the seed, so that a failure can be repeated.

/** Instants at which the coordinator is killed; the names are those of its checkpoints. */
export const KILL_POINTS = ["blob-renamed", "acceptance-row", "receipt-sent", "set-frozen", "fold", "commit-transaction", "next-plan"];
/** Agents of every run. */
export const AGENTS = 6;
/** The agent that, in "deadline" and "buffered" runs, reports only what it was asked before its connection broke. */
export const LATE_AGENT = AGENTS - 1;

const PER_ROUND = new Set(["set-frozen", "commit-transaction", "next-plan"]);
const FULL = { cohortSize: AGENTS, quorum: AGENTS, deadlineMs: 600_000 };
const TRAINING = {
	inline: { model: "small", strategy: "fedavg", options: { learningRate: 0.2, batchSize: 4, localEpochs: 2 } },
	blob: { model: "large", strategy: "fedavg", options: { learningRate: 0.2, batchSize: 4, localEpochs: 1 } },
	seeds: { model: "small", strategy: "fedkseed", options: { candidates: 256, localSteps: 20, learningRate: 0.01, batchSize: 4 } },
};
const COHORTS = {
	/** Nobody is missing: the result must be that of the run that nothing disturbed. */
	full: { options: FULL, minClients: AGENTS, waitForClientsMs: 3_600_000, maxReplans: 0 },
	/** The four fastest of five: the result must be the replay of the log. */
	overselect: {
		options: { cohortSize: 4, overSelect: 1, quorum: 3, deadlineMs: 20_000 },
		minClients: 4,
		waitForClientsMs: 60_000,
		maxReplans: 50,
	},
	/** One agent is always late: rounds close at the deadline. */
	deadline: { options: { cohortSize: AGENTS, quorum: 3, deadlineMs: 8_000 }, minClients: AGENTS, waitForClientsMs: 60_000, maxReplans: 50 },
	/** Asynchronous: the late agent's reports are of older models. The result must be the replay of the log. */
	buffered: {
		strategy: "fedbuff",
		trainings: ["inline", "blob"],
		options: { concurrency: AGENTS, bufferSize: 4, maxStaleness: 8, deadlineMs: 60_000 },
		minClients: AGENTS,
		waitForClientsMs: 60_000,
		maxReplans: 50,
	},
};
/** Those that take turns when none is asked for. */
const MIXED = ["deadline", "full", "overselect", "full"];
export const COHORT_NAMES = ["mixed", ...Object.keys(COHORTS)];

/** @typedef {{ point: string, hit: number, hold?: boolean }} Kill `hold`: the client with the newest receipt is killed too, and stays away until the next commit. */
/** @typedef {{ afterReceipts: number, agent: number }} AgentKill */
/** @typedef {{ index: number, name: string, cohort: keyof typeof COHORTS, training: "inline" | "blob" | "seeds", kills: Kill[], agentKills: AgentKill[] }} Scenario */

/** Name of the run that a scenario drives. @param {Pick<Scenario, "cohort" | "training">} scenario */
export const runNameOf = ({ cohort, training }) => `${cohort}-${training}`;

/** Everything that a base holds, as submissions. @param {number} rounds */
export function submissions(rounds) {
	return Object.entries(COHORTS).flatMap(([cohort, { options, trainings = Object.keys(TRAINING), ...settings }]) =>
		trainings.map((training) => {
			const { model, strategy, options: own } = TRAINING[training];
			return { name: `${cohort}-${training}`, model, strategy, options: { ...own, ...options }, rounds, ...settings, start: false };
		}),
	);
}

/**
 * The runs of a test. Even ones drop clients and reports, odd ones have full participation; kill points take turns.
 * The first run shows both mutations for certain: an agent whose receipt was sent stays away until its round is
 * over, and an agent that was not there when a set was frozen reports right after the crash that follows.
 * @param {{ runs: number, rounds: number, seed: number, cohort: string }} options `cohort`: "mixed", or the only one
 * @returns {Scenario[]}
 */
export function plan({ runs, rounds, seed, cohort: only }) {
	const all = /** @type {const} */ (["blob", "seeds", "inline"]);
	const many = rounds >= 8;
	let turn = 0;
	return Array.from({ length: runs }, (_, index) => {
		const cohort = only === "mixed" ? MIXED[index % MIXED.length] : only;
		const trainings = all.filter((training) => COHORTS[cohort].trainings?.includes(training) ?? true);
		const training = trainings[Math.floor(index / 2) % trainings.length];
		/** @type {Kill[]} */
		const kills =
			index === 0
				? [
						{ point: "receipt-sent", hit: 2, hold: true },
						{ point: "set-frozen", hit: 2 },
					]
				: [];
		while (kills.length < (many ? 3 : 2)) {
			const point = KILL_POINTS[turn++ % KILL_POINTS.length];
			if (point === "blob-renamed" && training !== "blob") continue;
			kills.push({ point, hit: 1 + pick(seed, ["hit", index, kills.length], PER_ROUND.has(point) ? 2 : AGENTS + 2) });
		}
		// Not in the first run, whose course is fixed.
		const agentKills = Array.from({ length: index === 0 ? 0 : many ? 2 : 1 }, (_, k) => ({
			afterReceipts: 2 + k * AGENTS * 3 + pick(seed, ["when", index, k], AGENTS * 2),
			agent: pick(seed, ["who", index, k], AGENTS),
		}));
		return { index, name: runNameOf({ cohort, training }), cohort, training, kills, agentKills };
	});
}
