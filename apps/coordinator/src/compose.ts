import { randomUUID } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { RondoError } from "@rondo/errors";
import type { FastifyInstance } from "fastify";
import { type Logger, pino } from "pino";
import { ensureConfiguredToken } from "./auth/configured-token.js";
import { hashSecret, newSecret, SECRET_PREFIXES } from "./auth/secrets.js";
import { AcceptanceLog } from "./blobs/acceptance-log.js";
import { BlobStore } from "./blobs/blob-store.js";
import type { CoordinatorConfig } from "./config/schema.js";
import { collectGarbage } from "./driver/collect-garbage.js";
import { Driver } from "./driver/driver.js";
import type { Checkpoints } from "./driver/ports.js";
import type { EngineMethods } from "./engine/engine.js";
import type { EngineWorkerData } from "./engine/worker.js";
import { createBlobCalls } from "./grpc/blob-calls.js";
import { createFederationService } from "./grpc/federation-service.js";
import { startGrpcServer } from "./grpc/server.js";
import { Sessions } from "./grpc/sessions.js";
import { createRestServer } from "./rest/server.js";
import type { Services } from "./services.js";
import { lockFolder } from "./store/folder-lock.js";
import { openStore } from "./store/open-store.js";
import type { Store } from "./store/store.js";
import { startWorker } from "./threads/rpc.js";

// The only file that sees everything: it builds the parts and joins them.

/** A running coordinator. */
export interface Coordinator {
	readonly restUrl: string;
	readonly grpcAddress: string;
	/** Where the bootstrap admin token was written, when this start made one. */
	readonly adminTokenFile: string | undefined;
	readonly rest: FastifyInstance;
	/** Resolves with the reason when the coordinator has to end by itself (fenced, lock lost, a worker died). */
	readonly failed: Promise<RondoError>;
	/** Refuses new work, tells clients, finishes what is under way, closes the store. */
	close(): Promise<void>;
}

/** Hooks for tests of durability; production uses none. */
export interface Instruments {
	readonly checkpoint?: Checkpoints;
	readonly wrapStore?: (store: Store) => Store;
	readonly log?: Logger;
}

const COLLECT_EVERY_MS = 60_000;

/** Opens the data folder and the database, loads live runs, starts both servers. */
export async function startCoordinator(config: CoordinatorConfig, instruments: Instruments = {}): Promise<Coordinator> {
	const log = instruments.log ?? pino({ level: config.logLevel, redact: ["authorization", "req.headers.authorization"] });
	const checkpoint = instruments.checkpoint ?? (() => undefined);
	const undo: (() => Promise<void>)[] = [];
	const closeAll = async (): Promise<void> => {
		for (const step of undo.reverse()) await step().catch((error: unknown) => log.error({ err: error }, "closing failed"));
		undo.length = 0;
	};
	let fail: (error: RondoError) => void = () => undefined;
	const failed = new Promise<RondoError>((resolve) => {
		fail = resolve;
	});
	try {
		const tls = await readTls(config);
		warnWithoutTls(config, log);
		await mkdir(config.dataDir, { recursive: true });
		const unlock = await lockFolder(config.dataDir, (error) => fail(error));
		undo.push(unlock);
		const blobs = await BlobStore.open({
			folder: join(config.dataDir, "blobs"),
			maxBlobBytes: config.maxBlobBytes,
			reserveBytes: config.reserveBytes,
		});
		const acceptances = await AcceptanceLog.open(join(config.dataDir, "accepted"));
		const opened = await openStore({
			...(config.databaseUrl === undefined ? {} : { url: config.databaseUrl }),
			folder: join(config.dataDir, "database"),
			onDeath: fail,
		});
		undo.push(() => opened.close());
		const store = instruments.wrapStore?.(opened) ?? opened;
		const epoch = await store.claimEpoch();
		const adminTokenFile = await ensureAdminToken(config, store);

		const engineData: EngineWorkerData = {
			blobFolder: join(config.dataDir, "blobs"),
			strategyModules: config.strategies.map((path) => pathToFileURL(resolve(path)).href),
			kernelThreads: config.kernelThreads ?? Math.min(availableParallelism(), 16),
		};
		const engine = startWorker<EngineMethods>(new URL("./engine/worker.js", import.meta.url), engineData, fail);
		undo.push(() => engine.terminate());
		// Exports wait for rounds, not the other way round: they get no threads of their own.
		const exporterData: EngineWorkerData = { ...engineData, kernelThreads: 1 };
		const exporter = startWorker<EngineMethods>(new URL("./engine/worker.js", import.meta.url), exporterData, fail);
		undo.push(() => exporter.terminate());
		const strategies = await engine.call.strategies();

		const driver = new Driver({
			store,
			blobs,
			acceptances,
			engine: engine.call,
			exporter: exporter.call,
			strategies,
			checkpoint,
			log,
			onFenced: fail,
		});
		const headerOnly = new Set(strategies.filter((strategy) => strategy.headerOnly).map(({ name }) => name));
		const sessions = new Sessions({ store, blobs, epoch, headerOnly, log });
		sessions.onChange = () => driver.presenceChanged();
		let ready = false;
		const services: Services = {
			store,
			blobs,
			runs: driver,
			presence: sessions,
			importWeights: exporter.call.importWeights,
			log,
			ready: () => ready,
		};

		await driver.open(sessions);
		undo.push(() => driver.close());
		const blobCalls = createBlobCalls({ store, blobs, driver, sessions, checkpoint, log });
		const service = createFederationService({
			store,
			driver,
			sessions,
			blobs: blobCalls,
			exporter: exporter.call,
			epoch,
			heartbeatMs: config.heartbeatMs,
			log,
		});
		const grpc = await startGrpcServer({ host: config.grpcHost, port: config.grpcPort, tls, service });
		undo.push(() => grpc.close(config.shutdownGraceMs));
		undo.push(async () => {
			sessions.endAll(new RondoError("UNAVAILABLE", "the coordinator is shutting down"));
			await sessions.flush();
		});
		const rest = await createRestServer(services, config, tls);
		undo.push(async () => rest.close());
		const restAddress = await rest.listen({ host: config.restHost, port: config.restPort }).catch((cause: unknown) => {
			throw new RondoError("CONFLICT", `restHost, restPort: cannot listen on ${config.restHost}:${config.restPort}: ${String(cause)}`, {
				cause,
			});
		});
		const collector = setInterval(() => {
			collectGarbage({ store, blobs, acceptances, retainReportRounds: config.retainReportRounds, log }).catch((error: unknown) =>
				log.error({ err: error }, "collection of blobs failed"),
			);
		}, COLLECT_EVERY_MS);
		undo.push(async () => clearInterval(collector));
		ready = true;
		grpc.setServing(true);
		undo.push(async () => {
			ready = false;
			grpc.setServing(false);
		});
		const grpcAddress = `${config.grpcHost}:${grpc.port}`;
		log.info(
			{ rest: restAddress, grpc: grpcAddress, epoch, database: config.databaseUrl === undefined ? "embedded" : "postgresql" },
			"coordinator is ready",
		);
		return { restUrl: restAddress, grpcAddress, adminTokenFile, rest, failed, close: closeAll };
	} catch (error) {
		await closeAll();
		throw error;
	}
}

/** @throws INVALID_ARGUMENT naming the setting whose file cannot be read. */
async function readTls(config: CoordinatorConfig): Promise<{ readonly certificate: Buffer; readonly key: Buffer } | undefined> {
	const { tlsCertificate, tlsKey } = config;
	if (tlsCertificate === undefined || tlsKey === undefined) return undefined;
	const read = (setting: string, path: string): Promise<Buffer> =>
		readFile(path).catch((cause: unknown) => {
			throw new RondoError("INVALID_ARGUMENT", `${setting}: cannot read ${path}: ${String(cause)}`, {
				cause,
				details: { field: setting, value: path },
			});
		});
	return { certificate: await read("tlsCertificate", tlsCertificate), key: await read("tlsKey", tlsKey) };
}

const LOOPBACK = new Set(["127.0.0.1", "::1", "localhost"]);

function warnWithoutTls(config: CoordinatorConfig, log: Logger): void {
	if (config.tlsCertificate !== undefined) return;
	for (const [setting, host] of [
		["restHost", config.restHost],
		["grpcHost", config.grpcHost],
	] as const) {
		if (LOOPBACK.has(host)) continue;
		log.warn(
			{ [setting]: host },
			`NO TLS: ${setting} ${host} is reachable beyond this machine, so tokens and models travel in the clear. Set tlsCertificate and tlsKey, or put a TLS proxy in front.`,
		);
	}
}

/** Makes sure that an administrator can get in: the configured token, or one written to the data folder. */
async function ensureAdminToken(config: CoordinatorConfig, store: Store): Promise<string | undefined> {
	await ensureConfiguredToken(store, config.adminToken);
	if (config.adminToken !== undefined) return undefined;
	const usable = (await store.listTokens()).some(
		({ scope, revokedAt, expiresAt }) =>
			scope === "admin" && revokedAt === null && (expiresAt === null || expiresAt.getTime() > Date.now()),
	);
	if (usable) return undefined;
	const file = join(config.dataDir, "admin-token");
	const secret = newSecret(SECRET_PREFIXES.admin);
	await writeFile(file, `${secret}\n`, { mode: 0o600 });
	await store.createToken(
		{
			id: `bootstrap-${randomUUID()}`,
			name: "bootstrap admin token",
			hash: hashSecret(secret),
			scope: "admin",
			expiresAt: null,
			usesLeft: null,
		},
		{ actor: "coordinator", action: "token.create", subject: "bootstrap", details: { scope: "admin" } },
	);
	return file;
}
