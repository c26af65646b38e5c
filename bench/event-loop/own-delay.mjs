import { readFileSync } from "node:fs";

// On a busy machine the longest delay of an event loop is the time for which the system gave it no processor. Linux
// tells, for each thread, how long it ran and how long it was ready to run and waited.

const TICK_MS = 2;
const SCHEDSTAT = `/proc/self/task/${process.pid}/schedstat`;

/** Nanoseconds that this thread ran, and waited for a processor. Zeros where the system does not tell. */
function schedule() {
	try {
		const [ran, waited] = readFileSync(SCHEDSTAT, "latin1").split(" ").map(Number);
		return { ran, waited };
	} catch (error) {
		if (error.code !== "ENOENT") throw error;
		return { ran: 0, waited: 0 };
	}
}

/**
 * Watches the event loop of this thread.
 * @returns {() => { ownMaxMs: number, ownMaxRanMs: number, worstWaitMs: number }} stops, and gives the longest time between two
 * ticks without the wait for a processor in it, how much of that the thread ran, and the longest such wait
 */
export function watchLoop() {
	let [at, before] = [performance.now(), schedule()];
	let [ownMaxMs, ownMaxRanMs, worstWaitMs] = [0, 0, 0];
	const timer = setInterval(() => {
		const [now, after] = [performance.now(), schedule()];
		const waitedMs = (after.waited - before.waited) / 1e6;
		const ownMs = now - at - waitedMs;
		if (ownMs > ownMaxMs) [ownMaxMs, ownMaxRanMs] = [ownMs, (after.ran - before.ran) / 1e6];
		worstWaitMs = Math.max(worstWaitMs, waitedMs);
		[at, before] = [now, after];
	}, TICK_MS);
	return () => {
		clearInterval(timer);
		return { ownMaxMs, ownMaxRanMs, worstWaitMs };
	};
}
