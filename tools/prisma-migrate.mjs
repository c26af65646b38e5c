// Authors and checks migrations with Prisma's schema engine in its WebAssembly build, so that neither the native engine
// nor a database server is needed: the engine works on throw-away PostgreSQLs in WebAssembly (PGlite).
//   node tools/prisma-migrate.mjs NAME      writes prisma/migrations/<timestamp>_NAME/migration.sql
//   node tools/prisma-migrate.mjs --check   exits 1 when the migrations do not yield prisma/schema.prisma
// What Prisma's schema language cannot say (triggers, functions) is written into a migration by hand; the comparison
// does not see it.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
const schemaFile = join(root, "prisma/schema.prisma");
const migrationsFolder = join(root, "prisma/migrations");
const lockFile = join(migrationsFolder, "migration_lock.toml");
const NO_FILTERS = { externalTables: [], externalEnums: [] };
// OIDs of PostgreSQL's internal type "char" and of text.
const OID_CHAR = 18;
const OID_TEXT = 25;

/** Resolves as the coordinator does, which is the package that depends on PGlite. */
const { resolve } = createRequire(join(root, "apps/coordinator/package.json"));
const load = (name) => import(pathToFileURL(resolve(name)).href);

async function loadEngineClass() {
	const glueFile = resolve("@prisma/schema-engine-wasm/schema_engine_bg");
	const glue = await import(pathToFileURL(glueFile).href);
	globalThis.PRISMA_WASM_PANIC_REGISTRY ??= { set_message: (message) => console.error(`the schema engine panicked: ${message}`) };
	const module = await WebAssembly.compile(readFileSync(join(dirname(glueFile), "schema_engine_bg.wasm")));
	const instance = await WebAssembly.instantiate(module, { "./schema_engine_bg.js": glue });
	glue.__wbg_set_wasm(instance.exports);
	instance.exports.__wbindgen_start();
	return glue.SchemaEngine;
}

/**
 * Makes the catalogue readable for the engine: PGlite's adapter calls "char" columns characters where the engine wants
 * text, and PostgreSQL 18 lists NOT NULL constraints (type "n"), which the engine does not know.
 */
function presentCatalogue(connection) {
	const perform = connection.performIO.bind(connection);
	connection.performIO = async (query) => {
		const answer = await perform(query);
		for (const field of answer.fields) if (field.dataTypeID === OID_CHAR) field.dataTypeID = OID_TEXT;
		const type = answer.fields.findIndex((field) => field.name === "constraint_type");
		return type === -1 ? answer : { ...answer, rows: answer.rows.filter((row) => row[type] !== "n") };
	};
	if (connection.startTransaction !== undefined) {
		const start = connection.startTransaction.bind(connection);
		connection.startTransaction = async (...args) => presentCatalogue(await start(...args));
	}
	return connection;
}

async function throwAwayDatabases() {
	const [{ PGlite }, { PrismaPGlite }] = [await load("@electric-sql/pglite"), await load("pglite-prisma-adapter")];
	const connectTo = async (database) => presentCatalogue(await new PrismaPGlite(database).connect());
	const main = new PGlite();
	return {
		provider: "postgres",
		adapterName: "pglite-prisma-adapter",
		connect: () => connectTo(main),
		connectToShadowDb: () => connectTo(new PGlite()),
	};
}

function migrationsOnDisk() {
	const names = readdirSync(migrationsFolder, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
	return {
		baseDir: "prisma/migrations",
		lockfile: { path: "migration_lock.toml", content: readFileSync(lockFile, "utf8") },
		shadowDbInitScript: "",
		migrationDirectories: names.sort().map((name) => ({
			path: name,
			migrationFile: {
				path: "migration.sql",
				content: { tag: "ok", value: readFileSync(join(migrationsFolder, name, "migration.sql"), "utf8") },
			},
		})),
	};
}

/** SQL from what the migrations yield to what the schema says; an empty string when they agree. */
async function difference(name) {
	const content = readFileSync(schemaFile, "utf8");
	const { bindMigrationAwareSqlAdapterFactory } = await load("@prisma/driver-adapter-utils");
	const SchemaEngine = await loadEngineClass();
	const database = bindMigrationAwareSqlAdapterFactory(await throwAwayDatabases());
	const engine = await SchemaEngine.new({ datamodels: [["prisma/schema.prisma", content]] }, () => {}, database);
	const migrationsList = migrationsOnDisk();
	// Connects the engine, and fails on a migration that does not run.
	await engine.applyMigrations({ migrationsList, filters: NO_FILTERS });
	await engine.devDiagnostic({ migrationsList, filters: NO_FILTERS });
	const made = await engine.createMigration({
		draft: false,
		migrationName: name,
		migrationsList,
		schema: { files: [{ path: "prisma/schema.prisma", content }] },
		filters: NO_FILTERS,
	});
	const script = (made.migrationScript ?? "").trim();
	return { folder: made.generatedMigrationName, script: script.startsWith("-- This is an empty migration") ? "" : script };
}

async function main(argument) {
	if (argument === undefined || (argument !== "--check" && !/^[a-z][a-z0-9_]*$/.test(argument))) {
		throw new Error(`usage: node tools/prisma-migrate.mjs NAME | --check (NAME in lower_snake_case), got ${argument ?? "nothing"}`);
	}
	mkdirSync(migrationsFolder, { recursive: true });
	if (!existsSync(lockFile)) writeFileSync(lockFile, 'provider = "postgresql"\n');
	const { folder, script } = await difference(argument === "--check" ? "check" : argument);
	if (argument === "--check") {
		if (script !== "") throw new Error(`prisma/migrations do not yield prisma/schema.prisma; missing:\n${script}`);
		console.log("prisma/migrations yield prisma/schema.prisma");
	} else if (script === "") {
		console.log("nothing to migrate");
	} else {
		mkdirSync(join(migrationsFolder, folder));
		writeFileSync(join(migrationsFolder, folder, "migration.sql"), `${script}\n`);
		console.log(`prisma/migrations/${folder}/migration.sql`);
	}
}

try {
	await main(process.argv[2]);
	// The databases in WebAssembly would keep the process alive.
	process.exit(0);
} catch (error) {
	console.error(error instanceof Error ? error.message : error);
	process.exit(1);
}
