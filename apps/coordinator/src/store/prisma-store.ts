import type { PrismaClient } from "../generated/prisma/client.js";
import { identities } from "./identities.js";
import { lookups } from "./lookups.js";
import { rounds } from "./rounds.js";
import { runClients } from "./run-clients.js";
import { runs } from "./runs.js";
import type { Store } from "./store.js";
import { Database, type StoreLog } from "./transactions.js";

/** The store on a migrated PostgreSQL, whoever serves it. `release` closes what lies under the Prisma client. */
export function createPrismaStore(prisma: PrismaClient, log: StoreLog, release: () => Promise<void>): Store {
	const database = new Database(prisma, log);
	return {
		claimEpoch: () => database.claimEpoch(),
		ping: async () => {
			await database.read("ping", (client) => client.$queryRaw`SELECT 1`);
		},
		close: async () => {
			await prisma.$disconnect();
			await release();
		},
		...identities(database),
		...runs(database),
		...rounds(database),
		...lookups(database),
		...runClients(database),
	};
}
