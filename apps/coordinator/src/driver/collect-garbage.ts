import type { Logger } from "pino";
import type { AcceptanceLog } from "../blobs/acceptance-log.js";
import type { BlobStore } from "../blobs/blob-store.js";
import type { Store } from "../store/store.js";

export interface CollectOptions {
	readonly store: Store;
	readonly blobs: BlobStore;
	readonly acceptances: AcceptanceLog;
	/** Closed rounds per run whose reports stay; 0 keeps all. */
	readonly retainReportRounds: number;
	readonly log: Logger;
}

/** Stands for "all" where a number of rounds is wanted; differences with it stay within the database's integers. */
const ALL_ROUNDS = 2 ** 31 - 1;
/** A blob younger than this may belong to a report or commit that is not in the database yet. */
const GRACE_MS = 3_600_000;

/** Deletes blobs and acceptance records that no live state refers to. Reachable or young ones stay. */
export async function collectGarbage({ store, blobs, acceptances, retainReportRounds, log }: CollectOptions): Promise<void> {
	const reachable = new Set(await store.reachableBlobs(retainReportRounds === 0 ? ALL_ROUNDS : retainReportRounds));
	const { removed, bytes } = await blobs.collect(reachable, GRACE_MS);
	const settled = await acceptances.removeSettled(async (task) => (await store.getTask(task))?.outcome ?? null, GRACE_MS);
	if (removed > 0 || settled > 0) log.info({ blobs: removed, bytes, acceptanceRecords: settled }, "collected what is no longer needed");
}
