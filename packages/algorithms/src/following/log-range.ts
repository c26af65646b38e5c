import { RondoError } from "@rondo/errors";

/**
 * Checks what a client half asks of the commit log.
 * @param head commit that the task was made at
 * @throws INVALID_ARGUMENT unless 0 ≤ afterCommit ≤ upTo ≤ head, all integers
 */
export function checkLogRange(afterCommit: number, upTo: number, head: number): void {
	const isRange =
		Number.isSafeInteger(afterCommit) && Number.isSafeInteger(upTo) && afterCommit >= 0 && afterCommit <= upTo && upTo <= head;
	if (!isRange)
		throw new RondoError("INVALID_ARGUMENT", `log: the range must be 0 ≤ afterCommit ≤ upTo ≤ ${head}, got ${afterCommit} and ${upTo}`, {
			details: { afterCommit, upTo, head },
		});
}
