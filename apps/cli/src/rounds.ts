import type { Api } from "./api.js";
import { hasEnded, type RoundDetailView, type RoundView, type RunView } from "./api-types.js";
import { size } from "./output.js";

/** Bytes that one client exchanged for one round. */
export interface ClientBytes {
	readonly client: string;
	readonly up: number;
	readonly down: number;
}

/** A finished round of training with its evaluation, if there was one. */
export interface RoundSummary {
	readonly round: number;
	readonly attempt: number;
	/** False: no report counted and the model stayed as it was. */
	readonly committed: boolean;
	/** After the round, on the evaluator's data. */
	readonly accuracy: number | null;
	readonly loss: number | null;
	readonly reports: number;
	readonly leased: number;
	readonly clients: readonly ClientBytes[];
	/** From opening to commit; without the evaluation. */
	readonly seconds: number;
	readonly metrics: { readonly [name: string]: number };
}

/** A round is shown without its evaluation once this many rounds came after it: there may be no evaluator. */
const MAX_EVALUATION_LAG = 3;

/**
 * The finished rounds of a run from `from` on, in order. A round counts as finished when it is committed and, where the
 * run evaluates it, evaluated or long past.
 */
export async function finishedRounds(api: Api, run: RunView, from = 1): Promise<RoundSummary[]> {
	const path = `/runs/${encodeURIComponent(run.id)}/rounds`;
	const rounds = await api.list<RoundView>(path, { limit: "200" });
	const evaluations = new Map(rounds.filter(({ kind }) => kind === "evaluate").map((row) => [row.round, row]));
	const finished: RoundSummary[] = [];
	// Abandoned attempts are followed by another one of the same number.
	const committed = rounds
		.filter((row) => row.kind === "train" && row.phase === "committed" && row.round >= from)
		.sort((a, b) => a.round - b.round);
	for (const row of committed) {
		const evaluation = evaluations.get(row.round);
		const pending = evaluation === undefined ? isDue(run, row.round) : evaluation.closedAt === null;
		if (pending && !hasEnded(run.phase) && run.rounds - row.round < MAX_EVALUATION_LAG) break;
		const { tasks } = await api.get<RoundDetailView>(`${path}/train/${row.round}/${row.attempt}`);
		finished.push({
			round: row.round,
			attempt: row.attempt,
			committed: row.accepted > 0,
			accuracy: evaluation?.metrics.accuracy ?? null,
			loss: evaluation?.metrics.loss ?? null,
			reports: row.accepted,
			leased: row.leased,
			clients: tasks.map(({ client, bytesUp, bytesDown }) => ({ client, up: bytesUp, down: bytesDown })),
			seconds: row.closedAt === null ? 0 : (Date.parse(row.closedAt) - Date.parse(row.openedAt)) / 1000,
			metrics: row.metrics,
		});
	}
	return finished;
}

const isDue = ({ settings: { evaluateEvery } }: RunView, round: number): boolean => evaluateEvery > 0 && round % evaluateEvery === 0;

/** Titles of `roundCells`. */
export const ROUND_HEAD = ["ROUND", "ACCURACY", "LOSS", "REPORTS", "UP/CLIENT", "DOWN/CLIENT", "SECONDS"] as const;

/** A round as cells of a table. */
export const roundCells = (round: RoundSummary): string[] => [
	String(round.round),
	round.accuracy === null ? "-" : percent(round.accuracy),
	round.loss === null ? "-" : round.loss.toFixed(4),
	`${round.reports}/${round.leased}`,
	spread(round.clients.map(({ up }) => up)),
	spread(round.clients.map(({ down }) => down)),
	round.seconds.toFixed(1),
];

/** A round as one line. */
export function roundLine(round: RoundSummary, of: number): string {
	const [, accuracy, loss, reports, up, down, seconds] = roundCells(round);
	return `round ${String(round.round).padStart(String(of).length)}/${of}  accuracy ${accuracy}  loss ${loss}  reports ${reports}  per client ${up} up, ${down} down  ${seconds} s`;
}

const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

/** One size where all are as good as equal, else the smallest and the largest. */
function spread(bytes: readonly number[]): string {
	if (bytes.length === 0) return "-";
	const [low, high] = [size(Math.min(...bytes)), size(Math.max(...bytes))];
	return low === high ? low : `${low} to ${high}`;
}
