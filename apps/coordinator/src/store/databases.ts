import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { PGlite } from "@electric-sql/pglite";
import { PrismaPg } from "@prisma/adapter-pg";
import { RondoError } from "@rondo/errors";
import pg from "pg";
import { PrismaPGlite } from "pglite-prisma-adapter";
import { PrismaClient } from "../generated/prisma/client.js";
import { databaseErrorOf } from "./database-errors.js";
import { applyMigrations, type Migration, readMigrations } from "./migrate.js";
import { createPrismaStore } from "./prisma-store.js";
import type { Store } from "./store.js";
import type { StoreLog } from "./transactions.js";

/** Where the rows are: a PostgreSQL by URL, the embedded one in a folder, or the embedded one in memory. */
export type DatabaseLocation = { readonly url: string } | { readonly folder: string } | { readonly memory: true };

/** Where the build puts the migrations. */
const MIGRATIONS = fileURLToPath(new URL("../migrations/", import.meta.url));
const MAX_CONNECTIONS = 10;

/** What callers may set otherwise. */
export interface OpenOptions {
	/** Folder of the migrations. */
	readonly migrations?: string;
	/**
	 * The embedded database gave up in the middle of a write, as when its log finds the disk full, and computes for ever
	 * instead of answering: end its thread before this returns. What it had acknowledged is there when it is opened again.
	 */
	readonly onPanic?: (message: string) => void;
}

/**
 * Opens a database in this thread and migrates it. `openStore` does the same in a thread of its own.
 * @throws CONFLICT when the database's schema is not one that this version can bring up to date; UNAVAILABLE.
 */
export async function openDatabase(
	location: DatabaseLocation,
	log: StoreLog,
	{ migrations: folder = MIGRATIONS, onPanic = () => undefined }: OpenOptions = {},
): Promise<Store> {
	const migrations = await readMigrations(folder);
	return "url" in location
		? openPostgres(location.url, log, migrations)
		: openEmbedded(await createEmbedded(location, onPanic), log, migrations);
}

async function openPostgres(url: string, log: StoreLog, migrations: readonly Migration[]): Promise<Store> {
	if (!/^postgres(ql)?:\/\//.test(url)) throw new RondoError("INVALID_ARGUMENT", "the database URL must begin with postgresql://");
	const client = new pg.Client({ connectionString: url });
	try {
		await client.connect();
		await client.query("BEGIN");
		await applyMigrations(
			{
				query: async (sql, parameters) => (await client.query(sql, [...parameters])).rows,
				script: async (sql) => {
					await client.query(sql);
				},
			},
			migrations,
		);
		await client.query("COMMIT");
	} catch (error) {
		throw databaseErrorOf("migrate", error);
	} finally {
		// Ends an unfinished transaction with it.
		await client.end();
	}
	const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url, max: MAX_CONNECTIONS }) });
	return createPrismaStore(prisma, log, () => Promise.resolve());
}

async function openEmbedded(database: PGlite, log: StoreLog, migrations: readonly Migration[]): Promise<Store> {
	try {
		await database.transaction((tx) =>
			applyMigrations(
				{
					query: async (sql, parameters) => (await tx.query(sql, [...parameters])).rows,
					script: async (sql) => {
						await tx.exec(sql);
					},
				},
				migrations,
			),
		);
	} catch (error) {
		await database.close();
		throw databaseErrorOf("migrate", error);
	}
	// The adapter may see another copy of PGlite's types than we do; it only runs queries and transactions.
	const prisma = new PrismaClient({ adapter: new PrismaPGlite(database as unknown as ConstructorParameters<typeof PrismaPGlite>[0]) });
	return createPrismaStore(prisma, log, () => database.close());
}

async function createEmbedded(
	location: { readonly folder: string } | { readonly memory: true },
	onPanic: (message: string) => void,
): Promise<PGlite> {
	const onStderr = (text: string): boolean => {
		if (/\bPANIC:/.test(text)) onPanic(text);
		return false;
	};
	try {
		if ("memory" in location) return await PGlite.create({ onStderr });
		await mkdir(dirname(location.folder), { recursive: true });
		return await PGlite.create({ dataDir: location.folder, onStderr });
	} catch (error) {
		const where = "folder" in location ? ` in ${location.folder}` : "";
		throw new RondoError(
			"INTERNAL",
			`the embedded database${where} cannot be opened: ${error instanceof Error ? error.message : String(error)}`,
			{ cause: error },
		);
	}
}
