import { setTimeout } from "node:timers/promises";
import { isRondoError, RondoError } from "@rondo/errors";
import type { Api } from "./api.js";
import { hasEnded, type RunNotice, type RunView } from "./api-types.js";
import type { Output } from "./output.js";
import { finishedRounds, type RoundSummary, roundLine } from "./rounds.js";

/** How long a coordinator that went away is waited for, milliseconds. */
const PATIENCE_MS = 60_000;
const RETRY_MS = 500;

/** What a watcher does with what it sees. */
export interface Watcher {
	/** In order, each once. */
	readonly round: (round: RoundSummary, run: RunView) => void;
	readonly notice?: (notice: RunNotice) => void;
}

/**
 * Follows a run to its end, also over restarts of the coordinator.
 * @param from first round of interest
 * @returns the run at its end
 * @throws CANCELLED when `stop` aborts, UNAVAILABLE when the coordinator stays away
 */
export async function followRun(api: Api, id: string, watcher: Watcher, stop: AbortSignal, from = 1): Promise<RunView> {
	const path = `/runs/${encodeURIComponent(id)}`;
	let next = from;
	const refresh = async (): Promise<RunView> => {
		const run = await api.get<RunView>(path, stop);
		for (const round of await finishedRounds(api, run, next)) {
			next = round.round + 1;
			watcher.round(round, run);
		}
		return run;
	};
	let awaySinceMs: number | undefined;
	for (;;) {
		const subscription = new AbortController();
		try {
			// Subscribed first: what happens between this and the first look is not missed.
			const notices = await api.events<RunNotice>(`${path}/events`, AbortSignal.any([stop, subscription.signal]));
			let run = await refresh();
			awaySinceMs = undefined;
			if (hasEnded(run.phase)) return run;
			for await (const notice of notices) {
				watcher.notice?.(notice);
				if (notice.type !== "committed" && notice.type !== "evaluated" && notice.type !== "phase") continue;
				run = await refresh();
				if (hasEnded(run.phase)) return run;
			}
		} catch (error) {
			if (stop.aborted) break;
			if (!isRondoError(error) || (error.code !== "UNAVAILABLE" && error.code !== "DEADLINE")) throw error;
			awaySinceMs ??= performance.now();
			if (performance.now() - awaySinceMs > PATIENCE_MS) throw error;
		} finally {
			subscription.abort();
		}
		if (stop.aborted) break;
		await setTimeout(RETRY_MS, undefined, { signal: stop }).catch(() => undefined);
	}
	throw new RondoError("CANCELLED", "interrupted; the run goes on");
}

/** Shows the tasks of the open round on a progress bar. */
export function roundProgress(out: Output): { readonly notice: (notice: RunNotice) => void; readonly stop: () => void } {
	const bar = out.progress();
	const shares = new Map<string, number>();
	let round = 0;
	return {
		notice(notice) {
			const { type, kind, client, done = 0, total = 0 } = notice;
			if (kind !== "train") return;
			if (notice.round !== undefined && notice.round !== round) {
				round = notice.round;
				shares.clear();
			}
			const waiting = waitingText(notice);
			if (waiting !== undefined) bar.update(done, total, waiting);
			if (client === undefined) return;
			if (type === "leased") shares.set(client, 0);
			if (type === "progress") shares.set(client, total === 0 ? 0 : done / total);
			if (type === "accepted") shares.set(client, 1);
			const reported = [...shares.values()].filter((share) => share === 1).length;
			const sum = [...shares.values()].reduce((a, b) => a + b, 0);
			bar.update(sum, shares.size, `round ${round}: ${reported} of ${shares.size} reports`);
		},
		stop: bar.stop,
	};
}

/** What a round that has too few clients waits for. */
function waitingText({ type, kind, round, done = 0, total = 0 }: RunNotice): string | undefined {
	if (type !== "waiting" || kind !== "train" || done >= total) return undefined;
	return `round ${round}: waiting for clients, ${done} of ${total} are connected`;
}

/** Prints each finished round, and the end of the run. @returns the run at its end */
export async function watchRun(api: Api, id: string, out: Output, stop: AbortSignal): Promise<RunView> {
	const progress = roundProgress(out);
	let waitedFor: string | undefined;
	try {
		const run = await followRun(
			api,
			id,
			{
				round: (round, { settings }) => out.emit({ event: "round", ...round }, () => roundLine(round, settings.rounds)),
				notice: (notice) => {
					progress.notice(notice);
					const waiting = waitingText(notice);
					if (waiting !== undefined && waiting !== waitedFor) out.emit({ event: "waiting", ...notice }, () => waiting);
					waitedFor = waiting ?? waitedFor;
					if (notice.type === "rejected" || notice.type === "abandoned") {
						out.emit(
							{ event: notice.type, ...notice },
							() =>
								`round ${notice.round}: ${notice.type === "rejected" ? "a report was refused or not sent" : "abandoned"}: ${notice.reason ?? "no reason given"}`,
						);
					}
				},
			},
			stop,
		);
		out.emit({ event: "end", run }, () => `run ${run.name} is ${run.phase}${run.reason === null ? "" : `: ${run.reason}`}`);
		return run;
	} finally {
		progress.stop();
	}
}
