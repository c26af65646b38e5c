import { createHash } from "node:crypto";
import { EventEmitter, once } from "node:events";
import {
	Server,
	ServerCredentials,
	type ServerDuplexStream,
	type ServerReadableStream,
	type ServerUnaryCall,
	type ServerWritableStream,
	type sendUnaryData,
} from "@grpc/grpc-js";
import { contentDigest, contentDigestOf, decodePlain, digestOf, encodePlain, type Plain, vecOf } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import {
	type ConnectRequest,
	ConnectResponse,
	checkChunk,
	checkConnectRequest,
	checkEnrolRequest,
	checkGetBlobRequest,
	checkPutBlobStart,
	checkStatBlobRequest,
	digestBytes,
	digestHex,
	type EnrolRequest,
	type EnrolResponse,
	FederationServiceService,
	type GetBlobRequest,
	type GetBlobResponse,
	type GetCurrentTaskRequest,
	GetCurrentTaskResponse,
	type Hello,
	LIMITS,
	type Offer,
	type PutBlobRequest,
	type PutBlobResponse,
	type PutBlobStart,
	type ReadLogRequest,
	type ReadLogResponse,
	Receipt,
	ReceiptCode,
	RunDescription,
	SERVER_OPTIONS,
	SettlementOutcome,
	type StatBlobRequest,
	type StatBlobResponse,
	TaskKind,
	toServiceError,
} from "@rondo/protocol";

/** A report that arrived. */
export interface Arrived {
	readonly clientId: string;
	readonly taskId: string;
	readonly digest: string;
	readonly report: { readonly [key: string]: Plain };
}

interface FakeEvents {
	hello: [Hello, string];
	submit: [Arrived];
	decline: [{ clientId: string; taskId: string; reason: string }];
	progress: [{ clientId: string; taskId: string; done: number; total: number }];
	putChunk: [{ digest: string; receivedBytes: number }];
}

type Stream = ServerDuplexStream<ConnectRequest, ConnectResponse>;

const sha256 = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();

const chunksOf = (bytes: Uint8Array, from = 0): Uint8Array[] =>
	Array.from({ length: Math.ceil((bytes.length - from) / LIMITS.chunkBytes) }, (_, i) =>
		bytes.subarray(from + i * LIMITS.chunkBytes, from + (i + 1) * LIMITS.chunkBytes),
	);

/** The service in memory, over real gRPC on loopback: records what clients do, does what the test says. */
export class FakeCoordinator extends EventEmitter<FakeEvents> {
	epoch = 1;
	protocolVersion = 1;
	heartbeatMs = 60_000;
	/** Plain text unless a test sets others before `start`. */
	credentialsOfServer = ServerCredentials.createInsecure();
	/** Enrolment tokens still valid. */
	readonly tokens = new Set(["token"]);
	/** Clients by credential; remove one to revoke it. */
	readonly credentials = new Map<string, string>();
	readonly enrolments: EnrolRequest[] = [];
	readonly hellos: Hello[] = [];
	readonly reports: Arrived[] = [];
	readonly blobs = new Map<string, Uint8Array>();
	readonly partial = new Map<string, Uint8Array>();
	readonly uploads: PutBlobStart[] = [];
	readonly downloads: GetBlobRequest[] = [];
	readonly runs = new Map<string, RunDescription>();
	readonly current = new Map<string, GetCurrentTaskResponse>();
	readonly streams = new Map<string, Stream>();
	readonly logs = new Map<string, ReadLogResponse[]>();
	/** `from_commit` of the calls of ReadLog. */
	readonly logReads: number[] = [];
	/** The receipt of a report; default ACCEPTED. Undefined: none. */
	onSubmit: (arrived: Arrived) => Partial<Receipt> | undefined = ({ digest }) => ({
		code: ReceiptCode.ACCEPTED,
		acceptedDigest: digestBytes(digest),
	});
	/** Throw to break an upload off after this many bytes were kept. */
	onPutChunk: (digest: string, receivedBytes: number) => void = () => {};
	/** What goes out instead of a chunk; throw to break the download off. */
	onGetChunk: (chunk: Uint8Array, digest: string, at: number) => Uint8Array = (chunk) => chunk;
	#server: Server | undefined;
	#port = 0;
	readonly #tasks = new Map<string, string>();

	get address(): string {
		return `127.0.0.1:${this.#port}`;
	}

	/** Listens; after `stop` on the same port, with all that it knew. */
	async start(): Promise<this> {
		const server = new Server(SERVER_OPTIONS);
		server.addService(FederationServiceService, {
			enrol: unary((call: ServerUnaryCall<EnrolRequest, EnrolResponse>) => this.#enrol(call.request)),
			statBlob: unary((call: ServerUnaryCall<StatBlobRequest, StatBlobResponse>) => {
				this.#authenticate(call);
				return this.#stat(call.request);
			}),
			getCurrentTask: unary((call: ServerUnaryCall<GetCurrentTaskRequest, GetCurrentTaskResponse>) => {
				this.#authenticate(call);
				const found = this.current.get(call.request.runId);
				if (found === undefined) throw new RondoError("NOT_FOUND", `no run ${call.request.runId}`);
				return found;
			}),
			connect: (stream: Stream) => this.#connect(stream),
			putBlob: (call: ServerReadableStream<PutBlobRequest, PutBlobResponse>, done: sendUnaryData<PutBlobResponse>) => {
				this.#put(call).then(
					(response) => done(null, response),
					(error: unknown) => done(toServiceError(error)),
				);
			},
			getBlob: (call: ServerWritableStream<GetBlobRequest, GetBlobResponse>) => this.#get(call),
			readLog: (call: ServerWritableStream<ReadLogRequest, ReadLogResponse>) => {
				const from = Number(call.request.fromCommit);
				this.logReads.push(from);
				for (const entry of this.logs.get(call.request.runId)?.slice(from) ?? []) call.write(entry);
				call.end();
			},
		});
		this.#port = await new Promise<number>((resolve, reject) => {
			server.bindAsync(this.address, this.credentialsOfServer, (error, port) => (error === null ? resolve(port) : reject(error)));
		});
		this.#server = server;
		return this;
	}

	/** Every connection breaks, as when the process is killed. */
	stop(): void {
		this.#server?.forceShutdown();
		this.streams.clear();
	}

	/** @param weights initial weights; stored as a blob */
	addRun(run: {
		readonly runId: string;
		readonly strategy: string;
		readonly config: Plain;
		readonly weights: Float32Array;
		readonly manifest?: unknown;
	}): void {
		const { runId, strategy, config, weights, manifest = null } = run;
		const tensors = [{ name: "w", shape: [weights.length], from: 0, to: weights.length }];
		const initialDigest = digestBytes(this.addBlob(weights));
		this.runs.set(
			runId,
			RunDescription.fromPartial({
				runId,
				initialDigest,
				strategy: { name: strategy, version: 1 },
				config: encodePlain(config),
				publicSeed: new Uint8Array(32).fill(7),
				layoutJson: JSON.stringify({ length: weights.length, tensors }),
				manifestJson: JSON.stringify(manifest),
				initialBytes: BigInt(weights.byteLength),
			}),
		);
	}

	/** Writes the log of a run with these publications; its head. */
	addLog(runId: string, published: readonly Plain[]): { readonly commit: bigint; readonly hash: Uint8Array } {
		const { strategy, config, publicSeed, initialDigest, initialBytes } = this.runs.get(runId)!;
		const initial = vecOf("f32", Number(initialBytes) / 4, digestHex(initialDigest));
		const first = { kind: "genesis", logVersion: 1, run: runId, strategy: strategy!.name, strategyVersion: strategy!.version, initial };
		let entry: Plain = { ...first, config: decodePlain(config), publicSeed: Buffer.from(publicSeed).toString("hex") };
		const log = [{ commit: 0n, entry: encodePlain(entry), hash: digestBytes(digestOf(entry)) }];
		for (const publish of published) {
			const commit = log.length;
			entry = { kind: "commit", commit, track: 0, round: commit, publish, previous: digestHex(log.at(-1)!.hash) };
			log.push({ commit: BigInt(commit), entry: encodePlain(entry), hash: digestBytes(digestOf(entry)) });
		}
		this.logs.set(runId, log);
		const { commit, hash } = log.at(-1)!;
		return { commit, hash };
	}

	/** Content digest. */
	addBlob(array: Float32Array | Uint8Array): string {
		const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
		const digest = contentDigest(bytes);
		this.blobs.set(digest, bytes);
		return digest;
	}

	/** Sends the run's description unless the client holds it, then the offer; the task id. */
	offer(clientId: string, runId: string, task: Plain, more: Partial<Offer> & { readonly slot?: number } = {}): string {
		const { slot = 0, ...fields } = more;
		const taskId = fields.taskId === undefined ? digestOf({ clientId, runId, round: fields.round ?? 1, slot }) : digestHex(fields.taskId);
		const stream = this.streams.get(clientId)!;
		if (!this.hellos.at(-1)!.knownRunIds.includes(runId))
			stream.write(ConnectResponse.fromPartial({ message: { $case: "run", run: this.runs.get(runId)! } }));
		const offer = {
			runId,
			kind: TaskKind.TRAIN,
			epoch: BigInt(this.epoch),
			round: 1,
			attempt: 1,
			leaseMs: 600_000n,
			maxExamples: 1000n,
			...fields,
			taskId: digestBytes(taskId),
			task: encodePlain(task),
		};
		stream.write(ConnectResponse.fromPartial({ message: { $case: "offer", offer } }));
		this.#tasks.set(taskId, clientId);
		return taskId;
	}

	cancel(clientId: string, taskId: string, reason: string): void {
		this.streams.get(clientId)!.write({ message: { $case: "cancel", cancel: { taskId: digestBytes(taskId), reason } } });
	}

	settle(clientId: string, taskId: string, outcome: "APPLIED" | "DISCARDED", commit: number): void {
		const settled = { taskId: digestBytes(taskId), outcome: SettlementOutcome[outcome], commit: BigInt(commit) };
		this.streams.get(clientId)!.write({ message: { $case: "settled", settled } });
	}

	/** What `model()` of a client gets. */
	setCurrent(runId: string, task: Plain, modelDigest: string, commit: number): void {
		const logHead = { commit: BigInt(commit), hash: new Uint8Array(32) };
		this.current.set(
			runId,
			GetCurrentTaskResponse.fromPartial({
				logHead,
				run: this.runs.get(runId)!,
				round: commit + 1,
				task: encodePlain(task),
				modelDigest: digestBytes(modelDigest),
			}),
		);
	}

	/** Resolves with the next event of this name that `filter` accepts. */
	async next<E extends keyof FakeEvents>(event: E, filter: (...args: FakeEvents[E]) => boolean = () => true): Promise<FakeEvents[E]> {
		for (;;) {
			const args = (await once(this as EventEmitter, event)) as FakeEvents[E];
			if (filter(...args)) return args;
		}
	}

	#authenticate(call: { readonly metadata: { get(key: string): unknown[] } }): string {
		const credential = String(call.metadata.get("authorization")[0] ?? "").replace("Bearer ", "");
		const clientId = this.credentials.get(credential);
		if (clientId === undefined) throw new RondoError("TOKEN_REVOKED", "the identity was revoked");
		return clientId;
	}

	#enrol(request: EnrolRequest): EnrolResponse {
		checkEnrolRequest(request);
		this.enrolments.push(request);
		if (!this.tokens.has(request.token)) throw new RondoError("TOKEN_EXPIRED", "the token has no uses left");
		const clientId = request.clientName === "" ? `client-${this.credentials.size + 1}` : request.clientName;
		const credential = `secret-of-${clientId}`;
		this.credentials.set(credential, clientId);
		return { clientId, credential, certificateChain: [] };
	}

	#connect(stream: Stream): void {
		let clientId: string | undefined;
		const fail = (error: unknown): void => {
			stream.emit("error", toServiceError(error));
		};
		stream.on("error", () => {});
		stream.on("data", (request: ConnectRequest) => {
			try {
				checkConnectRequest(request);
				const { message } = request;
				clientId ??= this.#authenticate(stream);
				if (message?.$case === "hello") {
					this.hellos.push(message.hello);
					this.streams.get(clientId)?.emit("error", toServiceError(new RondoError("SUPERSEDED", "a newer connection took over")));
					this.streams.set(clientId, stream);
					stream.write({
						message: {
							$case: "welcome",
							welcome: { protocolVersion: this.protocolVersion, epoch: BigInt(this.epoch), heartbeatMs: this.heartbeatMs },
						},
					});
					this.emit("hello", message.hello, clientId);
				} else if (message?.$case === "submit") {
					this.#submit(stream, clientId, digestHex(message.submit.taskId), message.submit.report);
				} else if (message?.$case === "decline") {
					const { taskId, reason } = message.decline;
					this.emit("decline", { clientId, taskId: digestHex(taskId), reason });
					stream.write(ConnectResponse.fromPartial({ message: { $case: "receipt", receipt: { taskId, code: ReceiptCode.DECLINED } } }));
				} else if (message?.$case === "progress") {
					const { taskId, done, total } = message.progress;
					this.emit("progress", { clientId, taskId: digestHex(taskId), done: Number(done), total: Number(total) });
				} else stream.write({ message: { $case: "pong", pong: { nonce: 0n } } });
			} catch (error) {
				fail(error);
			}
		});
		stream.on("end", () => stream.end());
	}

	#submit(stream: Stream, clientId: string, taskId: string, report: Uint8Array): void {
		const arrived: Arrived = {
			clientId,
			taskId,
			digest: sha256(report).toString("hex"),
			report: decodePlain(report) as Arrived["report"],
		};
		this.reports.push(arrived);
		const receipt = this.onSubmit(arrived);
		if (receipt !== undefined)
			stream.write(
				ConnectResponse.fromPartial({
					message: { $case: "receipt", receipt: Receipt.fromPartial({ ...receipt, taskId: digestBytes(taskId) }) },
				}),
			);
		this.emit("submit", arrived);
	}

	#stat(request: StatBlobRequest): StatBlobResponse {
		checkStatBlobRequest(request);
		const digest = digestHex(request.digest);
		return { complete: this.blobs.has(digest), receivedBytes: BigInt(this.partial.get(digest)?.length ?? 0) };
	}

	async #put(call: ServerReadableStream<PutBlobRequest, PutBlobResponse>): Promise<PutBlobResponse> {
		this.#authenticate(call);
		let start: PutBlobStart | undefined;
		let content = new Uint8Array();
		for await (const { message } of call as AsyncIterable<PutBlobRequest>) {
			if (message?.$case === "start") {
				start = message.start;
				checkPutBlobStart(start);
				if (!this.#tasks.has(digestHex(start.taskId))) throw new RondoError("CONFLICT", "the upload belongs to no leased task");
				if (contentDigestOf(Number(start.totalBytes), start.chunkHashes) !== digestHex(start.digest))
					throw new RondoError("DIGEST_MISMATCH", "chunk hashes");
				this.uploads.push(start);
				content = Uint8Array.from((this.partial.get(digestHex(start.digest)) ?? new Uint8Array()).subarray(0, Number(start.offset)));
			} else if (message?.$case === "chunk" && start !== undefined) {
				checkChunk(message.chunk, Number(start.totalBytes), content.length);
				content = Uint8Array.from(Buffer.concat([content, message.chunk]));
				const digest = digestHex(start.digest);
				this.partial.set(digest, content);
				this.emit("putChunk", { digest, receivedBytes: content.length });
				this.onPutChunk(digest, content.length);
			}
		}
		const digest = digestHex(start!.digest);
		if (contentDigest(content) !== digest) throw new RondoError("DIGEST_MISMATCH", "the upload does not hash to its digest");
		this.blobs.set(digest, content);
		return { receivedBytes: BigInt(content.length) };
	}

	#get(call: ServerWritableStream<GetBlobRequest, GetBlobResponse>): void {
		try {
			this.#authenticate(call);
			checkGetBlobRequest(call.request);
			this.downloads.push(call.request);
			const digest = digestHex(call.request.digest);
			const content = this.blobs.get(digest);
			if (content === undefined) throw new RondoError("NOT_FOUND", `no blob ${digest}`);
			call.write({
				message: {
					$case: "start",
					start: { totalBytes: BigInt(content.length), chunkHashes: chunksOf(content).map((chunk) => sha256(chunk)) },
				},
			});
			let at = Number(call.request.offset);
			for (const chunk of chunksOf(content, at)) {
				call.write({ message: { $case: "chunk", chunk: this.onGetChunk(chunk, digest, at) } });
				at += chunk.length;
			}
			call.end();
		} catch (error) {
			call.emit("error", toServiceError(error));
		}
	}
}

function unary<Req, Res>(answer: (call: ServerUnaryCall<Req, Res>) => Res) {
	return (call: ServerUnaryCall<Req, Res>, done: sendUnaryData<Res>): void => {
		try {
			done(null, answer(call));
		} catch (error) {
			done(toServiceError(error));
		}
	};
}
