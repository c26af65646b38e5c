import { createHash, randomUUID } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { RondoError } from "@rondo/errors";

/** One connection inside an open transaction. */
export interface SqlSession {
	/** A single statement with parameters $1, $2, …; its rows. */
	query(sql: string, parameters: readonly unknown[]): Promise<readonly unknown[]>;
	/** A script of several statements. */
	script(sql: string): Promise<void>;
}

/** One step of the database schema, as it lies in prisma/migrations. */
export interface Migration {
	readonly name: string;
	readonly sql: string;
	/** SHA-256 of the file, as Prisma records it. */
	readonly checksum: string;
}

// Prisma's own table and lock, so that `prisma migrate status` and `deploy` understand a database that Rondo migrated.
const PRISMA_MIGRATE_LOCK = 72_707_369;
const PRISMA_MIGRATIONS_TABLE = `
	CREATE TABLE IF NOT EXISTS "_prisma_migrations" (
		id VARCHAR(36) PRIMARY KEY NOT NULL,
		checksum VARCHAR(64) NOT NULL,
		finished_at TIMESTAMPTZ,
		migration_name VARCHAR(255) NOT NULL,
		logs TEXT,
		rolled_back_at TIMESTAMPTZ,
		started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
		applied_steps_count INTEGER NOT NULL DEFAULT 0
	)`;

/** Reads the migrations of a folder, oldest first. */
export async function readMigrations(folder: string): Promise<readonly Migration[]> {
	const entries = await readdir(folder, { withFileTypes: true });
	const names = entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])).sort();
	return Promise.all(
		names.map(async (name) => {
			const sql = await readFile(join(folder, name, "migration.sql"), "utf8");
			return { name, sql, checksum: createHash("sha256").update(sql).digest("hex") };
		}),
	);
}

/**
 * Brings a database to the newest schema; the caller commits or rolls back. Coordinators that start at the same time
 * wait for each other.
 * @throws CONFLICT for a database that other, newer or edited migrations made, or that one left half done.
 */
export async function applyMigrations(session: SqlSession, migrations: readonly Migration[]): Promise<void> {
	await session.query("SELECT pg_advisory_xact_lock($1::bigint)", [PRISMA_MIGRATE_LOCK]);
	await session.script(PRISMA_MIGRATIONS_TABLE);
	const recorded = (await session.query(
		`SELECT migration_name, checksum, finished_at IS NOT NULL AS finished FROM "_prisma_migrations" WHERE rolled_back_at IS NULL`,
		[],
	)) as readonly { migration_name: string; checksum: string; finished: boolean }[];
	const known = new Map(migrations.map((migration) => [migration.name, migration]));
	for (const { migration_name: name, checksum, finished } of recorded) {
		const migration = known.get(name);
		const details = { migration: name };
		if (migration === undefined) {
			throw new RondoError(
				"CONFLICT",
				`the database has migration ${name}, which this version of Rondo does not know: start the version that made it, or a newer one`,
				{ details },
			);
		}
		if (!finished)
			throw new RondoError(
				"CONFLICT",
				`migration ${name} was begun but not finished in this database: restore a backup, or repair it with "prisma migrate resolve"`,
				{ details },
			);
		if (migration.checksum !== checksum) {
			throw new RondoError(
				"CONFLICT",
				`migration ${name} was edited after it had been applied: the database has checksum ${checksum}, the file ${migration.checksum}`,
				{ details },
			);
		}
	}
	const done = new Set(recorded.map((row) => row.migration_name));
	for (const { name, sql, checksum } of migrations) {
		if (done.has(name)) continue;
		await session.script(sql);
		await session.query(
			`INSERT INTO "_prisma_migrations" (id, checksum, migration_name, started_at, finished_at, applied_steps_count) VALUES ($1, $2, $3, now(), now(), 1)`,
			[randomUUID(), checksum, name],
		);
	}
}
