import { randomBytes } from "node:crypto";
import type { Metadata, ServerDuplexStream } from "@grpc/grpc-js";
import { encodePlain, type Plain } from "@rondo/algorithms";
import { RondoError, toRondoError } from "@rondo/errors";
import {
	ConnectRequest,
	type ConnectResponse,
	checkConnectRequest,
	checkEnrolRequest,
	checkGetCurrentTaskRequest,
	checkReadLogRequest,
	digestBytes,
	digestHex,
	type FederationServiceServer,
	type Hello,
	PROTOCOL_VERSION,
	toServiceError,
} from "@rondo/protocol";
import type { Logger } from "pino";
import { authenticateClient } from "../auth/authenticate.js";
import { hashSecret, newSecret, SECRET_PREFIXES } from "../auth/secrets.js";
import type { Driver } from "../driver/driver.js";
import type { EngineMethods } from "../engine/engine.js";
import type { ClientRow, Store } from "../store/store.js";
import type { Remote } from "../threads/rpc.js";
import type { BlobCalls } from "./blob-calls.js";
import { describeRun, type MessageSink, Session, type Sessions } from "./sessions.js";

export interface FederationPorts {
	readonly store: Store;
	readonly driver: Driver;
	readonly sessions: Sessions;
	readonly blobs: BlobCalls;
	readonly exporter: Remote<EngineMethods>;
	readonly epoch: number;
	readonly heartbeatMs: number;
	readonly log: Logger;
}

const MISSED_HEARTBEATS = 3;
/** Log records that are read at a time. */
const LOG_PAGE = 100;

/** The client's identity behind a call. @throws UNAUTHENTICATED, TOKEN_REVOKED. */
export async function identify(store: Store, metadata: Metadata): Promise<ClientRow> {
	const header = metadata.get("authorization")[0];
	const credential = typeof header === "string" && header.startsWith("Bearer ") ? header.slice(7) : undefined;
	if (credential === undefined)
		throw new RondoError("UNAUTHENTICATED", "authorization: no bearer credential in the call's metadata; enrol first");
	return authenticateClient(store, credential);
}

/** The gRPC service of the coordinator: checks what arrives and hands it to the driver. */
export function createFederationService(ports: FederationPorts): FederationServiceServer {
	const { store, driver, sessions, exporter, log } = ports;

	const unary =
		<Q, A>(handle: (request: Q, metadata: Metadata) => Promise<A>) =>
		(call: { request: Q; metadata: Metadata }, answer: (error: ReturnType<typeof toServiceError> | null, value?: A) => void): void => {
			handle(call.request, call.metadata).then(
				(value) => answer(null, value),
				(thrown: unknown) => {
					const error = toRondoError(thrown);
					if (error.code === "INTERNAL") log.error({ err: error }, "call failed");
					answer(toServiceError(error));
				},
			);
		};

	return {
		...ports.blobs.handlers,

		enrol: unary(async (request) => {
			checkEnrolRequest(request);
			if (request.certificateRequest.length > 0) {
				throw new RondoError("INVALID_ARGUMENT", "certificate_request: this coordinator enrols by token only; leave it empty", {
					details: { field: "certificate_request" },
				});
			}
			const credential = newSecret(SECRET_PREFIXES.client);
			// A free name becomes the id, so that logs read well and experiments repeat; a taken one gets a random ending.
			const { clientName } = request;
			const free = clientName !== "" && (await store.getClient(clientName)) === null;
			const id = free ? clientName : `${clientName === "" ? "client" : clientName}-${randomBytes(4).toString("hex")}`;
			const client = await store.enrol(hashSecret(request.token), {
				id,
				name: clientName === "" ? id : clientName,
				credentialHash: hashSecret(credential),
				installationNonce: Buffer.from(request.installationNonce).toString("hex"),
			});
			log.info({ client: client.id, role: client.role }, "client enrolled");
			return { clientId: client.id, credential, certificateChain: [] };
		}),

		connect: (call: ServerDuplexStream<ConnectRequest, ConnectResponse>): void => {
			serveStream(ports, call);
		},

		readLog: (call): void => {
			const serve = async (): Promise<void> => {
				const client = await identify(store, call.metadata);
				checkReadLogRequest(call.request);
				const run = await store.getRun(call.request.runId);
				if (run === null) throw new RondoError("NOT_FOUND", `run_id: no run ${call.request.runId}`);
				const abort = new AbortController();
				const cancelled = new Promise<void>((resolve) => {
					call.on("cancelled", () => {
						abort.abort();
						resolve();
					});
				});
				const count = (bytes: number): void => {
					const task = sessions.get(client.id)?.newestTask;
					if (task !== undefined) sessions.count(task, { down: bytes });
				};
				let from = Number(call.request.fromCommit);
				const drain = async (): Promise<void> => {
					for (;;) {
						const page = await store.readLog(run.id, from, LOG_PAGE);
						let bytes = 0;
						for (const record of page) {
							if (abort.signal.aborted) break;
							const entry = encodePlain(record.entry as unknown as Plain);
							const hash = digestBytes(record.hash);
							bytes += entry.length + hash.length;
							const more = call.write({ commit: BigInt(record.commit), entry, hash });
							if (!more) await Promise.race([cancelled, new Promise<void>((resolve) => call.once("drain", resolve))]);
						}
						count(bytes);
						if (abort.signal.aborted) return;
						from += page.length;
						if (page.length < LOG_PAGE) return;
					}
				};
				const notices = driver.watch(run.id, abort.signal)[Symbol.asyncIterator]();
				let next = notices.next();
				await drain();
				while (call.request.follow && !abort.signal.aborted) {
					const { value, done } = await next;
					if (done) break;
					next = notices.next();
					if (value.type === "committed") await drain();
					if (value.type === "phase" && ["completed", "failed", "stopped"].includes(value.phase ?? "")) break;
				}
				abort.abort();
				call.end();
			};
			serve().catch((thrown: unknown) => call.emit("error", toServiceError(toRondoError(thrown))));
		},

		getCurrentTask: unary(async (request, metadata) => {
			const client = await identify(store, metadata);
			checkGetCurrentTaskRequest(request);
			const { spec, manifest, position, logHead } = await driver.current(request.runId);
			// A client of whom the strategy keeps nothing has the model that everybody would start from.
			const own = position.members.some(([id]) => id === client.id) ? client.id : undefined;
			const [tasks, model] = await Promise.all([exporter.tasks(spec, position, [client.id]), driver.exportModel(request.runId, own)]);
			return {
				run: describeRun({ spec, manifest }),
				logHead: { commit: BigInt(logHead.commit), hash: digestBytes(logHead.hash) },
				round: position.round - 1,
				task: tasks[0]!,
				modelDigest: digestBytes(model.digest),
			};
		}),
	} as FederationServiceServer;
}

/** One client's stream, from Hello to its end. */
function serveStream(ports: FederationPorts, call: ServerDuplexStream<ConnectRequest, ConnectResponse>): void {
	const { store, driver, sessions, log, heartbeatMs } = ports;
	let session: Session | undefined;
	let timer: NodeJS.Timeout | undefined;
	let ended = false;

	const close = (): void => {
		if (ended) return;
		ended = true;
		clearTimeout(timer);
		if (session === undefined) return;
		sessions.remove(session);
		log.info({ client: session.client }, "client disconnected");
	};
	const fail = (thrown: unknown): void => {
		if (ended) return;
		const error = toRondoError(thrown);
		log[error.code === "INTERNAL" ? "error" : "info"]({ err: error, client: session?.client }, "stream ended with an error");
		close();
		// Not destroy: that would end the stream here without its status ever leaving.
		call.emit("error", toServiceError(error));
	};
	const sink: MessageSink = {
		write: (message) => {
			if (!ended) call.write(message);
		},
		fail,
	};
	const expectHeartbeat = (): void => {
		clearTimeout(timer);
		timer = setTimeout(
			() => fail(new RondoError("UNAVAILABLE", `no heartbeat for ${heartbeatMs * MISSED_HEARTBEATS} ms`)),
			heartbeatMs * MISSED_HEARTBEATS,
		);
	};

	const open = async (hello: Hello): Promise<void> => {
		const client = await identify(store, call.metadata);
		const nonce = Buffer.from(hello.installationNonce).toString("hex");
		if (nonce !== client.installationNonce) {
			await store.appendAudit({
				actor: `client:${client.id}`,
				action: "client.cloned",
				subject: client.id,
				details: { enrolled: client.installationNonce, presented: nonce },
			});
			throw new RondoError(
				"FORBIDDEN",
				`installation_nonce: client ${client.id} was enrolled by another installation; a copied state folder must enrol anew`,
			);
		}
		if (!(await store.touchClient(client.id, Number(hello.session)))) {
			throw new RondoError("SUPERSEDED", `session: ${hello.session} is lower than one that client ${client.id} used before`);
		}
		if (ended) return;
		session = new Session(client, hello, sink);
		session.send({ $case: "welcome", welcome: { protocolVersion: PROTOCOL_VERSION, epoch: BigInt(ports.epoch), heartbeatMs } });
		sessions.add(session);
		log.info({ client: client.id, role: client.role, software: hello.software }, "client connected");
		for (const { task, outcome, commit } of await store.settlementsOf(client.id, hello.unsettledTaskIds.map(digestHex))) {
			sessions.settled(client.id, task, outcome, commit);
		}
		await driver.offersFor(client.id, new Set(hello.outboxTaskIds.map(digestHex)));
	};

	const handle = async (request: ConnectRequest): Promise<void> => {
		checkConnectRequest(request);
		const { message } = request;
		if (message === undefined) throw new RondoError("INVALID_ARGUMENT", "message: empty, or of a kind that this coordinator does not know");
		if (session === undefined) {
			if (message.$case !== "hello")
				throw new RondoError("INVALID_ARGUMENT", `message: the first message of a stream is hello, not ${message.$case}`);
			return open(message.hello);
		}
		const { client } = session;
		switch (message.$case) {
			case "hello":
				throw new RondoError("INVALID_ARGUMENT", "message: a second hello on one stream");
			case "ping":
				session.send({ $case: "pong", pong: { nonce: message.ping.nonce } });
				return;
			case "decline":
				await driver.decline(digestHex(message.decline.taskId), client, message.decline.reason);
				return;
			case "progress":
				driver.progress(digestHex(message.progress.taskId), client, Number(message.progress.done), Number(message.progress.total));
				return;
			case "submit": {
				const task = digestHex(message.submit.taskId);
				const bytesUp = ConnectRequest.encode(request).finish().length;
				try {
					await ports.blobs.requireSpace();
					await driver.submitReport(task, client, message.submit.report, bytesUp);
				} catch (thrown) {
					const error = toRondoError(thrown);
					log.warn({ err: error, client, task }, "report not taken now; the client will send it again");
					sessions.retry(client, task, error);
				}
				return;
			}
		}
	};

	expectHeartbeat();
	// Hello comes first and alone; after it messages are independent of each other, since each names its task.
	let opened: Promise<void> | undefined;
	call.on("data", (request: ConnectRequest) => {
		if (ended) return;
		expectHeartbeat();
		const handled = opened === undefined ? handle(request) : opened.then(() => handle(request));
		opened ??= handled;
		handled.catch(fail);
	});
	call.on("end", () => {
		close();
		call.end();
	});
	call.on("cancelled", close);
	call.on("error", close);
}
