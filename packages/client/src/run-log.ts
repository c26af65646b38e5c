import { checkLogRange } from "@rondo/algorithms";
import { RondoError, toRondoError } from "@rondo/errors";
import { checkReadLogResponse, digestHex } from "@rondo/protocol";
import { Backoff, type BackoffOptions, pause } from "./backoff.js";
import { LogChain, type LogEntryMessage, type RunIdentity } from "./log-chain.js";
import type { LogHead, LogHeads } from "./log-heads.js";
import type { CallContext, Transport } from "./transport.js";

/** Reads the commit logs of runs and checks that each continues what was verified before. */
export class RunLogs {
	readonly #transport: Pick<Transport, "readLog">;
	readonly #heads: LogHeads;
	readonly #backoff: BackoffOptions;

	constructor(transport: Pick<Transport, "readLog">, heads: LogHeads, backoff: BackoffOptions) {
		this.#transport = transport;
		this.#heads = heads;
		this.#backoff = backoff;
	}

	/**
	 * The commits after `after` up to `upTo`, as they arrive. Reads from the last entry that was verified, so that a log
	 * that forked is noticed, to `head`, which vouches for all before it; what was verified is stored when the iteration
	 * ends. An interruption is waited out until `call.signal` aborts.
	 * @param head of the log that the task is based on
	 * @throws INVALID_ARGUMENT for a range that is not below the head; REPLAY_MISMATCH; CANCELLED; whatever final error the
	 * coordinator answers
	 */
	async *read(run: RunIdentity, after: number, upTo: number, head: LogHead, call: CallContext): AsyncGenerator<LogEntryMessage> {
		checkLogRange(after, upTo, head.commit);
		const verified = this.#heads.get(run.runId);
		// A task may be older than what was verified since: then both places lie on one chain.
		const newest = verified !== undefined && verified.commit > head.commit ? verified : head;
		const last = verified !== undefined && verified.commit <= after ? verified : undefined;
		const chain = new LogChain(run, verified === undefined ? [head] : [head, verified], last);
		if (last !== undefined && last.commit === newest.commit && last.hash !== newest.hash) throw chain.forked(newest);
		// From the beginning the genesis is read too: it says which run this is.
		const first = last !== undefined ? last.commit + 1 : after === 0 ? 0 : after + 1;
		const backoff = new Backoff(this.#backoff);
		for (let next = first; next <= newest.commit; ) {
			const before = next;
			try {
				for await (const response of this.#transport.readLog({ runId: run.runId, fromCommit: BigInt(next), follow: false }, call)) {
					checkReadLogResponse(response);
					const { commit, entry, hash } = response;
					const message = chain.take(next, { commit, entry, hash: digestHex(hash) });
					next++;
					if (message !== undefined && message.commit > after && message.commit <= upTo) yield message;
					if (next > newest.commit) break;
				}
				if (next <= newest.commit) throw chain.endsEarly(next, newest.commit);
			} catch (cause) {
				const error = toRondoError(cause);
				if (call.signal.aborted) throw new RondoError("CANCELLED", `reading the log of run ${run.runId} was cancelled`, { cause });
				if (!error.spec.retryable) throw error;
				if (next > before) backoff.reset();
				await pause(backoff.next(), call.signal);
			}
		}
		// A head that no entry was read for is only a claim so far.
		if (chain.last !== undefined) await this.#heads.set(run.runId, newest);
	}
}
