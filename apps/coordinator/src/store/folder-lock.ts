import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { RondoError } from "@rondo/errors";
import lockfile from "proper-lockfile";

// A heartbeat lock: the holder renews the lock's modification time, a holder that was killed stops. These are the
// library's smallest safe values: taken over at the latest STALE_MS plus one look after the last heartbeat.
const STALE_MS = 5000;
const HEARTBEAT_MS = 1000;
const LOOK_EVERY_MS = 500;
const GIVE_UP_AFTER_MS = 9000;

/**
 * Takes a folder for this process. The lock of a killed process is taken over within ten seconds; a heartbeat of a live
 * one ends the wait at once. Resolves to the function that gives the folder back.
 * @param onLost called when the lock was lost (the process was suspended for longer than the lock lasts): stop writing
 * @throws FOLDER_LOCKED when a live process holds the folder.
 */
export async function lockFolder(folder: string, onLost: (error: RondoError) => void): Promise<() => Promise<void>> {
	await mkdir(folder, { recursive: true });
	const lockfilePath = join(folder, "lock");
	const onCompromised = (cause: Error): void =>
		onLost(new RondoError("FOLDER_LOCKED", `the lock of data folder ${folder} was lost: ${cause.message}`, { details: { folder }, cause }));
	let heartbeat: number | undefined;
	for (let waitedMs = 0; ; waitedMs += LOOK_EVERY_MS) {
		try {
			return await lockfile.lock(folder, { lockfilePath, stale: STALE_MS, update: HEARTBEAT_MS, retries: 0, onCompromised });
		} catch (error) {
			if (!hasCode(error, "ELOCKED")) throw error;
			const seen = await heartbeatOf(lockfilePath);
			const alive = heartbeat !== undefined && seen !== undefined && seen !== heartbeat;
			if (alive || waitedMs >= GIVE_UP_AFTER_MS) {
				throw new RondoError(
					"FOLDER_LOCKED",
					`data folder ${folder} is held by another running coordinator: stop that one, or give this one a folder of its own`,
					{
						details: { folder },
						cause: error,
					},
				);
			}
			heartbeat ??= seen;
		}
		await delay(LOOK_EVERY_MS);
	}
}

/** Time of the holder's last heartbeat; undefined when the lock has just been given back. */
async function heartbeatOf(path: string): Promise<number | undefined> {
	try {
		return (await stat(path)).mtimeMs;
	} catch (error) {
		if (hasCode(error, "ENOENT")) return undefined;
		throw error;
	}
}

const hasCode = (error: unknown, code: string): boolean => error instanceof Error && "code" in error && error.code === code;
