import type { RunNotice } from "../services.js";

const MAX_QUEUED = 1_000;

/** Fans notices of runs out to watchers. A slow watcher loses its oldest progress notices, never others. */
export class Notices {
	readonly #watchers = new Map<string, Set<(notice: RunNotice) => void>>();

	readonly notify = (notice: RunNotice): void => {
		for (const deliver of this.#watchers.get(notice.run) ?? []) deliver(notice);
	};

	/** Notices of a run until the signal aborts. */
	async *watch(run: string, signal: AbortSignal): AsyncIterable<RunNotice> {
		const queue: RunNotice[] = [];
		let wake: (() => void) | undefined;
		const deliver = (notice: RunNotice): void => {
			if (queue.length >= MAX_QUEUED) {
				const stale = queue.findIndex((queued) => queued.type === "progress");
				if (stale >= 0) queue.splice(stale, 1);
			}
			queue.push(notice);
			wake?.();
		};
		const abort = (): void => wake?.();
		const watchers = this.#watchers.get(run) ?? new Set();
		this.#watchers.set(run, watchers.add(deliver));
		signal.addEventListener("abort", abort, { once: true });
		try {
			while (!signal.aborted) {
				const notice = queue.shift();
				if (notice !== undefined) {
					yield notice;
					continue;
				}
				await new Promise<void>((resolve) => {
					wake = resolve;
				});
				wake = undefined;
			}
		} finally {
			signal.removeEventListener("abort", abort);
			watchers.delete(deliver);
			if (watchers.size === 0) this.#watchers.delete(run);
		}
	}
}
