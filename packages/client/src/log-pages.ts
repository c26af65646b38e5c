import { toRondoError } from "@rondo/errors";
import type { LogEntryMessage } from "./log-chain.js";
import { type LogAsk, type LogPage, toErrorMessage } from "./messages.js";

/** Opens a reading of the log. */
export type OpenLog = (after: number, upTo: number) => AsyncIterator<LogEntryMessage>;

// A page is sent when it is this full, so that neither thread holds more of a log.
const PAGE_BYTES = 262_144;
const PAGE_ENTRIES = 256;

/** The readings of one job, by the training thread's number: each goes on when the thread asks for more. */
export class LogPages {
	readonly #open: OpenLog;
	readonly #readings = new Map<number, AsyncIterator<LogEntryMessage>>();

	constructor(open: OpenLog) {
		this.#open = open;
	}

	/** The next page; undefined after "close". */
	async answer(log: number, ask: LogAsk): Promise<LogPage | undefined> {
		if (ask === "close") return void (await this.#end(log));
		if (ask !== "more") this.#readings.set(log, this.#open(ask.after, ask.upTo));
		const reading = this.#readings.get(log);
		if (reading === undefined) return undefined;
		const entries: LogEntryMessage[] = [];
		try {
			for (let bytes = 0; bytes < PAGE_BYTES && entries.length < PAGE_ENTRIES; ) {
				const { value, done } = await reading.next();
				if (done === true) {
					this.#readings.delete(log);
					return { entries, done: true };
				}
				entries.push(value);
				bytes += value.value.length;
			}
			return { entries, done: false };
		} catch (error) {
			this.#readings.delete(log);
			return { entries, done: true, error: toErrorMessage(toRondoError(error), "INTERNAL") };
		}
	}

	/** Ends what the job left open. */
	async close(): Promise<void> {
		for (const log of [...this.#readings.keys()]) await this.#end(log);
	}

	async #end(log: number): Promise<void> {
		const reading = this.#readings.get(log);
		this.#readings.delete(log);
		await reading?.return?.();
	}
}
