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

const log = pino({ name: "store", level: logLevel });
const onPanic = (message: string): never => {
	log.fatal({ database: message }, "the embedded database gave up; its thread ends");
	// Ends this thread only; everybody who waits for an answer hears of it.
	process.exit(1);
};

// Opening is a call like any other, so that its errors cross with their codes.
const methods: Record<string, Methods[string]> = {
	open: async () => {
		Object.assign(methods, await openDatabase(location, log, { onPanic }));
	},
};
answerCalls(methods);
