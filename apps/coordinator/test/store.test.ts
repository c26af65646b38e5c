import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { PGlite } from "@electric-sql/pglite";
import pg from "pg";
import { PrismaPGlite } from "pglite-prisma-adapter";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openStore } from "../dist/store/open-store.js";
import { PrismaClient } from "../src/generated/prisma/client.js";
import { openDatabase } from "../src/store/databases.js";
import { applyMigrations, type Migration, readMigrations, type SqlSession } from "../src/store/migrate.js";
import { createPrismaStore } from "../src/store/prisma-store.js";
import { startPostgres, type TestPostgres } from "./postgres.js";
import { sharedStoreContract, storeContract } from "./store-contract.js";
import { by, makeRun } from "./store-fixtures.js";

const MIGRATIONS = fileURLToPath(new URL("../../../prisma/migrations/", import.meta.url));
const quiet = { warn: () => undefined };

const embeddedSession = (database: PGlite): SqlSession => ({
	query: async (sql, parameters) => (await database.query(sql, [...parameters])).rows,
	script: async (sql) => {
		await database.exec(sql);
	},
});

async function temporaryFolder(): Promise<{ folder: string; remove(): Promise<void> }> {
	const folder = await mkdtemp(join(tmpdir(), "rondo-store-"));
	return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

let postgres: TestPostgres;
beforeAll(async () => {
	postgres = await startPostgres();
});
afterAll(() => postgres.stop());

sharedStoreContract("the embedded database in memory, two coordinators", async () => {
	const database = await PGlite.create();
	await applyMigrations(embeddedSession(database), await readMigrations(MIGRATIONS));
	const adapter = new PrismaPGlite(database as unknown as ConstructorParameters<typeof PrismaPGlite>[0]);
	const [store, other] = [1, 2].map(() => createPrismaStore(new PrismaClient({ adapter }), quiet, () => Promise.resolve())) as [
		ReturnType<typeof createPrismaStore>,
		ReturnType<typeof createPrismaStore>,
	];
	await store.claimEpoch();
	return {
		store,
		other,
		sql: (statement) => database.query(statement),
		close: async () => {
			await store.close();
			await other.close();
			await database.close();
		},
	};
});

storeContract("the embedded database in a folder, in its thread", async () => {
	const { folder, remove } = await temporaryFolder();
	const store = await openStore({ folder });
	await store.claimEpoch();
	return {
		store,
		close: async () => {
			await store.close();
			await remove();
		},
	};
});

sharedStoreContract("PostgreSQL, two coordinators", async () => {
	const url = await postgres.createDatabase();
	const store = await openDatabase({ url }, quiet, { migrations: MIGRATIONS });
	// In its thread, as production has it.
	const other = await openStore({ url, folder: "unused" });
	const client = new pg.Client({ connectionString: url });
	await client.connect();
	await store.claimEpoch();
	return {
		store,
		other,
		sql: (statement) => client.query(statement),
		close: async () => {
			await client.end();
			await other.close();
			await store.close();
		},
	};
});

describe("opening", () => {
	test("an embedded database keeps everything when it is closed and opened again", async () => {
		const { folder, remove } = await temporaryFolder();
		const first = await openStore({ folder });
		await first.claimEpoch();
		await makeRun(first, "kept", 2);
		const before = await first.loadRun("kept");
		await first.close();
		await expect(first.ping()).rejects.toMatchObject({ code: "UNAVAILABLE" });
		const second = await openStore({ folder });
		expect(await second.claimEpoch()).toBe(before.machine.epoch + 1);
		expect(await second.loadRun("kept")).toEqual({ ...before, machine: { ...before.machine, epoch: before.machine.epoch + 1 } });
		await second.close();
		await remove();
	});

	test("errors cross the thread with code and details", async () => {
		const store = await openStore({ folder: "unused", memory: true });
		await store.claimEpoch();
		await expect(store.revokeToken("nobody's", by("token.revoke"))).rejects.toMatchObject({
			name: "RondoError",
			code: "NOT_FOUND",
			details: { id: "nobody's" },
		});
		await store.close();
	});

	test("a server that does not answer is UNAVAILABLE, a URL of another kind is refused", async () => {
		await expect(openStore({ folder: "unused", url: "postgresql://rondo@127.0.0.1:1/rondo" })).rejects.toMatchObject({
			code: "UNAVAILABLE",
		});
		await expect(openStore({ folder: "unused", url: "mysql://127.0.0.1/rondo" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
	});

	test("a folder that is no database is refused with its name", async () => {
		const { folder, remove } = await temporaryFolder();
		await writeFile(join(folder, "pglite"), "a file");
		await expect(openStore({ folder })).rejects.toMatchObject({ code: "INTERNAL", message: expect.stringContaining(folder) as string });
		await remove();
	});
});

describe("migrations", () => {
	let migrations: readonly Migration[];
	beforeAll(async () => {
		migrations = await readMigrations(MIGRATIONS);
	});

	test("coordinators that start together migrate an empty database once", async () => {
		const url = await postgres.createDatabase();
		const stores = await Promise.all([1, 2, 3].map(() => openDatabase({ url }, quiet, { migrations: MIGRATIONS })));
		const client = new pg.Client({ connectionString: url });
		await client.connect();
		const { rows } = await client.query(`SELECT migration_name, checksum, finished_at IS NOT NULL AS finished FROM "_prisma_migrations"`);
		expect(rows).toEqual(migrations.map(({ name, checksum }) => ({ migration_name: name, checksum, finished: true })));
		await client.end();
		for (const store of stores) await store.close();
	});

	test("edited, unknown and unfinished migrations are refused, and a failing one leaves nothing behind", async () => {
		const database = await PGlite.create();
		const apply = (list: readonly Migration[]) =>
			database.transaction((tx) => applyMigrations(embeddedSession(tx as unknown as PGlite), list));
		await apply(migrations);
		await apply(migrations);
		const [first] = migrations;
		await expect(apply([{ ...first!, checksum: "0".repeat(64) }])).rejects.toMatchObject({
			code: "CONFLICT",
			message: expect.stringContaining("edited") as string,
			details: { migration: first!.name },
		});
		await expect(apply([])).rejects.toMatchObject({ code: "CONFLICT", message: expect.stringContaining("does not know") as string });
		const broken = { name: "29990101000000_broken", sql: `CREATE TABLE "Half" (id INTEGER); SELECT nonsense;`, checksum: "1".repeat(64) };
		await expect(apply([...migrations, broken])).rejects.toThrow(/nonsense/);
		expect((await database.query(`SELECT 1 FROM pg_tables WHERE tablename = 'Half'`)).rows).toEqual([]);
		await database.exec(`UPDATE "_prisma_migrations" SET finished_at = NULL`);
		await expect(apply(migrations)).rejects.toMatchObject({ code: "CONFLICT", message: expect.stringContaining("not finished") as string });
		await database.close();
	});
});
