import { checkLogRange, encodePlain, type Plain } from "@rondo/algorithms";
import type { LogRecord } from "@rondo/rounds";
import type { ReadLog } from "./client-half.js";

/** Reads the log as clients are sent it. @param records genesis first, as of now */
export const logReader =
	(records: () => readonly LogRecord[]): ReadLog =>
	async (afterCommit, upTo) => {
		const all = records();
		checkLogRange(afterCommit, upTo, all.length - 1);
		return all.slice(afterCommit + 1, upTo + 1).map(({ entry }) => encodePlain(entry as unknown as Plain));
	};
