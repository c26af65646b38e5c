import { mkdir, open, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { RondoError } from "@rondo/errors";
import { lock } from "proper-lockfile";
import writeFileAtomic from "write-file-atomic";

/** Where a client keeps what survives a restart. */
export interface StatePaths {
	readonly root: string;
	readonly identity: string;
	readonly blobs: string;
	readonly outbox: string;
	readonly carry: string;
	readonly cache: string;
	readonly unsettled: string;
	readonly logHeads: string;
}

/** Creates the folders of a state directory (readable by their owner only) and names its parts. */
export async function openStateDir(root: string): Promise<StatePaths> {
	const paths: StatePaths = {
		root,
		identity: join(root, "identity.json"),
		blobs: join(root, "blobs"),
		outbox: join(root, "outbox"),
		carry: join(root, "carry"),
		cache: join(root, "cache"),
		unsettled: join(root, "unsettled.json"),
		logHeads: join(root, "log-heads.json"),
	};
	for (const dir of [root, paths.blobs, paths.outbox, paths.carry, paths.cache]) await mkdir(dir, { recursive: true, mode: 0o700 });
	return paths;
}

// The lock of a killed process is stale after 5 s; the retries outlast that, so a restart right after kill -9 succeeds.
const LOCK_STALE_MS = 5_000;
const LOCK_RETRIES = { retries: 14, factor: 1, minTimeout: 500, maxTimeout: 500 };

/**
 * Takes the folder for this process, waiting up to 7 s for the lock of a killed one to become stale.
 * @param onLost called when another process has taken the folder all the same (this one was frozen too long)
 * @returns releases the lock
 * @throws FOLDER_LOCKED when a living process holds it
 */
export async function lockStateDir(root: string, onLost: (error: RondoError) => void): Promise<() => Promise<void>> {
	let lost = false;
	const release = await lock(root, {
		lockfilePath: join(root, ".lock"),
		stale: LOCK_STALE_MS,
		update: 1_000,
		retries: LOCK_RETRIES,
		onCompromised: (cause) => {
			lost = true;
			onLost(new RondoError("FOLDER_LOCKED", `the lock of ${root} was lost: ${cause.message}`, { details: { stateDir: root }, cause }));
		},
	}).catch((cause: NodeJS.ErrnoException) => {
		if (cause.code !== "ELOCKED") throw cause;
		throw new RondoError("FOLDER_LOCKED", `another client holds the state directory ${root}`, { details: { stateDir: root }, cause });
	});
	return async () => {
		if (!lost) await release();
	};
}

/**
 * Replaces a file so that after a crash or a power cut the old or the new content is there, never a mixture: written
 * aside, synced, renamed, and the folder synced.
 * @throws DISK_FULL
 */
export async function writeDurably(path: string, content: string | Uint8Array): Promise<void> {
	try {
		await writeFileAtomic(
			path,
			typeof content === "string" ? content : Buffer.from(content.buffer, content.byteOffset, content.byteLength),
			{ mode: 0o600 },
		);
		await syncFolder(dirname(path));
	} catch (cause) {
		throw fileError(cause, path);
	}
}

/** Makes renames and removals in a folder durable; Windows cannot open folders and journals renames itself. */
export async function syncFolder(dir: string): Promise<void> {
	if (process.platform === "win32") return;
	const handle = await open(dir, "r");
	try {
		await handle.sync();
	} finally {
		await handle.close();
	}
}

/** Removes a file or folder if it is there. */
export const removeAny = (path: string): Promise<void> => rm(path, { recursive: true, force: true });

/** DISK_FULL when the disk is full, otherwise the error itself. */
export function fileError(cause: unknown, path: string): unknown {
	const code = (cause as NodeJS.ErrnoException | null)?.code;
	return code === "ENOSPC" || code === "EDQUOT"
		? new RondoError("DISK_FULL", `no room to write ${path}`, { details: { path }, cause })
		: cause;
}
