import { join } from "node:path";
import type { RondoError } from "@rondo/errors";
import { startWorker } from "../threads/rpc.js";
import type { DatabaseLocation } from "./databases.js";
import type { Store } from "./store.js";
import type { StoreWorkerData } from "./worker.js";

/** What `openStore` needs to know. */
export interface StoreOptions {
	/** postgresql://… ; absent: the embedded database. */
	readonly url?: string;
	/** Folder of the embedded database; the caller holds the lock of the folder around it. */
	readonly folder: string;
	/** The embedded database without a folder: gone after close. For tests and trials. */
	readonly memory?: boolean;
	/** pino's name of the least severe level that is logged. */
	readonly logLevel?: string;
	/** Called once when the database's thread dies; every pending and later call fails with INTERNAL. */
	readonly onDeath?: (error: RondoError) => void;
}

/** Opens and migrates the database in a thread of its own. @throws CONFLICT for a schema that this version cannot bring up to date; UNAVAILABLE. */
export async function openStore({ url, folder, memory = false, logLevel = "warn", onDeath }: StoreOptions): Promise<Store> {
	const location: DatabaseLocation = url !== undefined ? { url } : memory ? { memory: true } : { folder: join(folder, "pglite") };
	const workerData: StoreWorkerData = { location, logLevel };
	const worker = startWorker<Store & { open(): Promise<void> }>(
		new URL("./worker.js", import.meta.url),
		workerData,
		onDeath ?? (() => undefined),
	);
	try {
		await worker.call.open();
	} catch (error) {
		await worker.terminate();
		throw error;
	}
	const close = async (): Promise<void> => {
		try {
			await worker.call.close();
		} finally {
			await worker.terminate();
		}
	};
	return new Proxy(worker.call, { get: (call, name, self) => (name === "close" ? close : (Reflect.get(call, name, self) as unknown)) });
}
