import { setTimeout as wait } from "node:timers/promises";

/** Bounds of the waits between attempts, milliseconds. */
export interface BackoffOptions {
	/** Upper bound of the first wait. */
	readonly minMs: number;
	/** Upper bound of every wait. */
	readonly maxMs: number;
}

/**
 * Exponential backoff with full jitter (Brooker, "Exponential Backoff and Jitter", 2015): each wait is uniform below a
 * bound that doubles, so that clients that lost the coordinator together do not come back together.
 */
export class Backoff {
	readonly #options: BackoffOptions;
	#attempt = 0;

	constructor(options: BackoffOptions) {
		this.#options = options;
	}

	/** The next wait, milliseconds. */
	next(): number {
		const bound = Math.min(this.#options.maxMs, this.#options.minMs * 2 ** Math.min(this.#attempt, 30));
		this.#attempt++;
		return Math.random() * bound;
	}

	/** After a success: begins with the shortest waits again. */
	reset(): void {
		this.#attempt = 0;
	}
}

/** Waits; returns at once, without an error, when `signal` aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
	try {
		await wait(ms, undefined, { signal });
	} catch (error) {
		if (!signal.aborted) throw error;
	}
}
