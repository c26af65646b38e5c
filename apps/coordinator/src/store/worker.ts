import { workerData } from "node:worker_threads";
import { pino } from "pino";
import { answerCalls, type Methods } from "../threads/rpc.js";
import { type DatabaseLocation, openDatabase } from "./databases.js";

// Entry of the database's thread: the embedded PostgreSQL and Prisma's query compiler are WebAssembly and would block the
// event loop that clients' streams are served from.

/** What `openStore` gives the thread. */
export interface StoreWorkerData {
	readonly location: DatabaseLocation;
	readonly logLevel: string;
}

const { location, logLevel } = workerData as StoreWorkerData;

// Opening is a call like any other, so that its errors cross with their codes.
const methods: Record<string, Methods[string]> = {
	open: async () => {
		Object.assign(methods, await openDatabase(location, pino({ name: "store", level: logLevel })));
	},
};
answerCalls(methods);
